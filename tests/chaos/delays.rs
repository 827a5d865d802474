//! Goal: a delayed job never starts early and hardly late. Method: a thousand delays of one request on an idle server; the handler's clock
//! is the judge. How late is printed and only roughly bounded here, since a test machine may be busy; early is an error.
//!
//! `WINDLASS_BINARY=target/release/windlass cargo test -p windlass-tests --test chaos delays -- --nocapture`

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use windlass_tests::process::Server;
use windlass_worker::{Client, Job, State, Worker};

const JOBS: u64 = 1_000;

fn now_us() -> i128 {
    i128::try_from(SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_micros())
        .expect("fits")
}

async fn note(due_us: i64, State(lateness): State<Arc<Mutex<Vec<i128>>>>) {
    lateness.lock().expect("no panic while held").push(now_us() - i128::from(due_us));
}

/// Too far apart to share records.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delayed_job_is_never_early() -> Result<()> {
    never_early(8).await
}

/// Put off by up to 20 ms, so that they share records.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delayed_job_of_a_crowd_is_never_early() -> Result<()> {
    never_early(1).await
}

async fn never_early(apart_ms: u64) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut server = Server::start(dir.path(), &[])?;
    let client = Client::connect(server.address()).await?;
    let lateness = Arc::new(Mutex::new(Vec::<i128>::new()));
    let (quit, quitted) = tokio::sync::oneshot::channel::<()>();
    let worker = Worker::builder(server.address())
        .concurrency(16)
        .state(lateness.clone())
        .handle("note", note)
        .build();
    let worker = tokio::spawn(worker.run_until(async move {
        let _ = quitted.await;
    }));
    let base = SystemTime::now() + Duration::from_millis(1_500);
    let jobs = (0..JOBS).map(|n| {
        let due = base + Duration::from_millis(n * apart_ms);
        let due_us = due.duration_since(UNIX_EPOCH).expect("after 1970").as_micros();
        Job::new("note", &(due_us as i64 / 1_000 * 1_000)).map(|job| job.run_at(due))
    });
    client.enqueue_many(jobs).await?;
    let full = || lateness.lock().expect("no panic while held").len() as u64 == JOBS;
    for _ in 0..600 {
        if full() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    ensure!(full(), "not all delayed jobs ran");
    let mut late = lateness.lock().expect("no panic while held").clone();
    late.sort_unstable();
    let at = |p: usize| late[late.len() * p / 1_000];
    println!(
        "lateness of {JOBS} delayed jobs, {apart_ms} ms apart: p50 {} µs, p99 {} µs, max {} µs",
        at(500),
        at(990),
        late[late.len() - 1]
    );
    ensure!(late[0] >= 0, "a job started {} µs early", -late[0]);
    ensure!(at(500) < 50_000, "half of the jobs started more than 50 ms late");
    let _ = quit.send(());
    worker.await??;
    server.stop()
}
