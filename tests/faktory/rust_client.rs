//! The Rust client, as an application uses it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use faktory::mutate::{Filter, JobSet};
use faktory::{Client, Job, Worker};

use crate::peer::Home;

pub(crate) fn url(home: &Home) -> String {
    format!("tcp://{}", home.server.faktory)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_pushes_and_works() -> Result<()> {
    let home = Home::start(&[]);
    let mut client = Client::connect_to(&url(&home)).await?;
    let done = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&done);
    let mut worker = Worker::builder::<io::Error>()
        .workers(3)
        .register_fn("count", move |job| {
            let counter = Arc::clone(&counter);
            async move {
                counter.fetch_add(job.args().len(), Ordering::Relaxed);
                Ok(())
            }
        })
        .register_fn("fails", |_| async { Err(io::Error::other("as it should")) })
        .connect_to(&url(&home))
        .await?;
    let running = tokio::spawn(async move { worker.run(&["default", "other"]).await });
    let (pushed, refused) = client.enqueue_many((0..50).map(|n| Job::new("count", vec![n, n]))).await?;
    ensure!(pushed == 50 && refused.is_none());
    client.enqueue(Job::builder("fails").queue("other").retry(-1).build()).await?;
    for _ in 0..500 {
        let info = client.current_info().await?;
        if info.data.total_processed == 51 && done.load(Ordering::Relaxed) == 100 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let info = client.current_info().await?;
    ensure!((info.data.total_processed, info.data.total_failures) == (51, 1), "{info:?}");
    ensure!(done.load(Ordering::Relaxed) == 100);
    client.discard(JobSet::Dead, Filter::from_kind("fails")).await?;
    running.abort();
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_says_its_password() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("password");
    std::fs::write(&file, "open-sesame")?;
    let home = Home::start(&["--faktory-password-file", file.to_str().unwrap()]);
    let at = home.server.faktory;
    let mut client = Client::connect_to(&format!("tcp://:open-sesame@{at}")).await?;
    client.enqueue(Job::new("x", vec!["y"])).await?;
    ensure!(Client::connect_to(&format!("tcp://:wrong@{at}")).await.is_err());
    ensure!(Client::connect_to(&format!("tcp://{at}")).await.is_err());
    Ok(())
}
