//! Goal: memory does not follow the backlog, and a restart finds all of it. Method: many small waiting jobs (a hundred
//! thousand, or `WINDLASS_BACKLOG` of them), the server's resident memory, `kill -9`, a restart, a count, a drain of a part.
//!
//! `WINDLASS_BINARY=target/release/windlass WINDLASS_BACKLOG=10000000 cargo test -p windlass-tests --test chaos backlog -- --nocapture`

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use windlass_core::job::JobState;
use windlass_tests::ledger::Ledger;
use windlass_tests::process::Server;
use windlass_worker::{Client, Job, JobCtx, RawPayload, State, Worker};

/// Promised for ten million waiting jobs of 100 bytes.
const RESIDENT_BYTES_MAX: u64 = 1024 * 1024 * 1024;
const RESTART_MAX: Duration = Duration::from_secs(30);
const DRAINED: usize = 50_000;

async fn record(_payload: RawPayload, job: JobCtx, State(ledger): State<Arc<Ledger>>) {
    ledger.ran(job.id());
    ledger.ended(job.id());
}

fn mib(bytes: u64) -> u64 {
    bytes / (1024 * 1024)
}

async fn ready(client: &Client) -> Result<u64> {
    Ok(client.list_queues().await?.first().map_or(0, |queue| queue.counts[&JobState::Ready]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_does_not_follow_the_backlog() -> Result<()> {
    let jobs: u64 =
        std::env::var("WINDLASS_BACKLOG").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut server = Server::start(dir.path(), &[])?;
    let client = Client::connect(server.address()).await?;
    let started = Instant::now();
    let payload = "x".repeat(98);
    client.enqueue_many((0..jobs).map(|_| Job::new("record", &payload))).await?;
    let took = started.elapsed();
    let resident = server.process().resident_bytes()?;
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = jobs as f64 / took.as_secs_f64();
    println!("{jobs} jobs of 100 bytes waiting: {rate:.0} jobs/s, {} MiB resident", mib(resident));
    ensure!(resident < RESIDENT_BYTES_MAX, "{} MiB resident", mib(resident));
    ensure!(ready(&client).await? == jobs, "not all jobs wait");
    server.kill()?;
    let killed = Instant::now();
    server.restart()?;
    println!(
        "started again in {:?}, {} MiB resident",
        killed.elapsed(),
        mib(server.process().resident_bytes()?)
    );
    ensure!(killed.elapsed() < RESTART_MAX, "the restart took {:?}", killed.elapsed());
    client.connected().await;
    ensure!(ready(&client).await? == jobs, "the restart lost jobs");
    drain_some(&server, DRAINED.min(usize::try_from(jobs)?)).await?;
    ensure!(server.process().resident_bytes()? < RESIDENT_BYTES_MAX, "draining took too much memory");
    server.stop()
}

async fn drain_some(server: &Server, jobs: usize) -> Result<()> {
    let ledger = Arc::new(Ledger::default());
    let (quit, quitted) = tokio::sync::oneshot::channel::<()>();
    let worker = Worker::builder(server.address())
        .concurrency(1_000)
        .state(ledger.clone())
        .handle("record", record)
        .build();
    let started = Instant::now();
    let worker = tokio::spawn(worker.run_until(async move {
        let _ = quitted.await;
    }));
    while ledger.counts().1 < jobs {
        ensure!(started.elapsed() < Duration::from_secs(120), "{} of {jobs} jobs ran", ledger.counts().1);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    println!("{jobs} of them run in {:?}", started.elapsed());
    let _ = quit.send(());
    worker.await??;
    Ok(())
}
