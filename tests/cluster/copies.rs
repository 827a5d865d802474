//! Goal: a store moves from one machine into a database and back with nothing lost. Method: jobs of all kinds are enqueued on one
//! engine, `windlass store copy` moves them, and the server of the other engine has and runs them all.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use windlass_core::api::{JobQuery, Request, Response};
use windlass_core::id::JobId;
use windlass_tests::postgres::Postgres;
use windlass_tests::process::{Server, binary};
use windlass_worker::{Client, Job, RawPayload, Worker};

const JOBS: u32 = 3_000;

/// Runs `windlass store` and returns what it says and how it ended.
fn store(args: &[&str]) -> Result<(String, Option<i32>)> {
    let out = Command::new(binary()).arg("store").args(args).output()?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr);
    Ok((text, out.status.code()))
}

async fn ids(client: &Client) -> Result<Vec<JobId>> {
    let (mut ids, mut cursor) = (Vec::new(), None);
    loop {
        let query = JobQuery { cursor, limit: Some(100), ..JobQuery::default() };
        let Response::Jobs(page) = client.call(Request::ListJobs(query)).await? else {
            anyhow::bail!("not a page")
        };
        ids.extend(page.jobs.iter().map(|job| job.id));
        cursor = page.next;
        if cursor.is_none() {
            ids.sort_unstable();
            return Ok(ids);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_moves_into_a_database_and_back() -> Result<()> {
    let Some(postgres) = Postgres::start()? else { return Ok(()) };
    let dir = tempfile::tempdir()?;
    let (first, back) = (dir.path().join("first"), dir.path().join("back"));
    let (first_dir, back_dir) = (first.to_str().context("a path")?, back.to_str().context("a path")?);
    let url = postgres.url();

    let mut server = Server::start(&first, &[])?;
    let client = Client::connect(server.address()).await?;
    let mut jobs = Vec::new();
    for n in 0..JOBS {
        let job = Job::new("count", &n)?.queue(if n % 3 == 0 { "one" } else { "other" });
        jobs.push(if n % 5 == 0 { job.delay(Duration::from_secs(3_600)) } else { job });
    }
    client.enqueue_many(jobs).await?;
    let before = ids(&client).await?;
    ensure!(before.len() == JOBS as usize, "{} jobs", before.len());
    let (text, code) = store(&["copy", first_dir, &url])?;
    ensure!(code == Some(4) && text.contains("in use by process"), "{code:?} {text}");
    drop(client);
    server.stop()?;

    let (text, code) = store(&["check", &url])?;
    ensure!(code == Some(6) && text.contains("windlass store migrate"), "{code:?} {text}");
    let (text, code) = store(&["copy", first_dir, &url])?;
    ensure!(code == Some(0) && text.contains("copied"), "{code:?} {text}");
    let (text, code) = store(&["check", &url])?;
    ensure!(code == Some(0) && text.contains("shard 0: nobody"), "{code:?} {text}");
    let (text, code) = store(&["copy", first_dir, &url])?;
    ensure!(code == Some(4) && text.contains("is not empty"), "{code:?} {text}");

    let mut server = Server::start(dir.path(), &["--store", &url, "--name", "n1"])?;
    let client = Client::connect(server.address()).await?;
    ensure!(ids(&client).await? == before, "the database holds other jobs");
    let (text, code) = store(&["copy", &url, back_dir])?;
    ensure!(code == Some(4) && text.contains("in use by node n1"), "{code:?} {text}");
    drop(client);
    server.stop()?;
    let (text, code) = store(&["copy", &url, back_dir])?;
    ensure!(code == Some(0), "{code:?} {text}");

    let mut server = Server::start(&back, &[])?;
    let client = Client::connect(server.address()).await?;
    ensure!(ids(&client).await? == before, "the copy of the copy holds other jobs");
    let ran = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = ran.clone();
    let count = move |_: RawPayload| {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        async {}
    };
    let worker = Worker::builder(server.address()).queues(["one", "other"]).handle("count", count).build();
    let due = JOBS - JOBS / 5;
    let done = async {
        while ran.load(std::sync::atomic::Ordering::Relaxed) < due {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), worker.run_until(done)).await??;
    server.stop()
}
