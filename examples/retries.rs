//! Failed attempts: the wait between them, what is kept of them, and what happens to a job that never succeeds.
//!
//! `cargo run -p windlass-examples --example retries`

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use windlass_examples::{PATIENCE, Server, fresh_queue};
use windlass_worker::{Backoff, Client, Error, Job, JobCtx, JobState, State, Verdict, Worker};

const WAIT_MS: u64 = 200;

/// Fails twice, then succeeds.
async fn flaky(job: JobCtx) -> Result<u32, String> {
    match job.attempt() {
        n @ 1..=2 => Err(format!("attempt {n} of {} has no luck", job.max_attempts())),
        n => Ok(n),
    }
}

/// Works only after somebody has repaired the world; knows errors that no other attempt would cure.
async fn pay(amount: i64, State(repaired): State<Arc<AtomicBool>>) -> Result<&'static str, Verdict> {
    if amount < 0 {
        return Err(Verdict::dead("amounts are not negative"));
    }
    if !repaired.load(Ordering::Relaxed) {
        return Err(Verdict::retry("the bank is closed"));
    }
    Ok("paid")
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let server = Server::start()?;
    let queue = fresh_queue("retries");
    let client = Client::connect(server.address()).await?;
    let repaired = Arc::new(AtomicBool::new(false));
    let worker = Worker::builder(server.address())
        .queues([&queue])
        .state(Arc::clone(&repaired))
        .handle("flaky", flaky)
        .handle("pay", pay)
        .build();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(worker.run_until(async {
        let _ = stopped.await;
    }));
    let wait = Backoff::Fixed { delay_ms: WAIT_MS, jitter_percent: 0 };

    let job = Job::new("flaky", &())?.queue(&queue).backoff(wait.clone());
    let id = client.enqueue(job).await?.id;
    let attempts: u32 = client.wait(id, PATIENCE).await?;
    let view = client.wait_end(id, PATIENCE).await?;
    for pair in view.attempts.windows(2) {
        let ended = pair[0].ended_at.expect("a failed attempt has ended");
        let waited = pair[1].started_at.since_ms(ended);
        println!("attempt {}: {:?}, next {waited} ms later", pair[0].attempt, pair[0].error);
        assert!(waited >= WAIT_MS, "the next attempt came early: after {waited} ms");
    }
    assert_eq!((attempts, view.attempts.len()), (3, 3));

    let job = Job::new("pay", &7)?.queue(&queue).backoff(wait).max_attempts(2);
    let id = client.enqueue(job).await?.id;
    let error = client.wait::<String>(id, PATIENCE).await.expect_err("the bank is closed");
    println!("{error}");
    assert!(matches!(&error, Error::JobFailed { state: JobState::Dead, .. }));

    repaired.store(true, Ordering::Relaxed);
    client.retry(id).await?;
    let answer: String = client.wait(id, PATIENCE).await?;
    println!("after the repair and `retry`: {answer}");
    assert_eq!(answer, "paid");

    let id = client.enqueue(Job::new("pay", &-1)?.queue(&queue)).await?.id;
    let refused = client.wait_end(id, PATIENCE).await?;
    println!("dead at once: {}", refused.reason);
    assert_eq!((refused.state, refused.attempt), (JobState::Dead, 1));

    tokio::time::timeout(PATIENCE, client.close()).await?;
    let _ = stop.send(());
    running.await??;
    Ok(())
}
