//! Delayed jobs: never early, hardly late.
//!
//! `cargo run -p windlass-examples --example delayed`

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use windlass_examples::{PATIENCE, Server, fresh_queue};
use windlass_worker::{Client, Job, State, Worker};

/// How late a start may be before this example calls it broken; a busy machine is no defect.
const LATE_MAX: Duration = Duration::from_secs(2);

type Starts = Arc<Mutex<Vec<(u64, SystemTime)>>>;

async fn note(delay_ms: u64, State(starts): State<Starts>) {
    starts.lock().expect("no panic while it is held").push((delay_ms, SystemTime::now()));
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let server = Server::start()?;
    let queue = fresh_queue("delayed");
    let client = Client::connect(server.address()).await?;
    let starts = Starts::default();
    let worker = Worker::builder(server.address())
        .queues([&queue])
        .state(Arc::clone(&starts))
        .handle("note", note)
        .build();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(worker.run_until(async {
        let _ = stopped.await;
    }));

    let begin = SystemTime::now();
    let mut last = None;
    for delay_ms in (50..=1_000).rev().step_by(50) {
        let job = Job::new("note", &delay_ms)?.queue(&queue).delay(Duration::from_millis(delay_ms));
        last = last.or(Some(client.enqueue(job).await?.id));
    }
    let at = begin + Duration::from_millis(1_200);
    let absolute = client.enqueue(Job::new("note", &1_200)?.queue(&queue).run_at(at)).await?.id;
    client.wait_end(last.expect("twenty jobs were enqueued"), PATIENCE).await?;
    client.wait_end(absolute, PATIENCE).await?;

    let _ = stop.send(());
    running.await??;
    let starts = starts.lock().expect("no panic while it is held").clone();
    let mut latest = Duration::ZERO;
    for (delay_ms, started) in &starts {
        // The server counts from when it took the job, which is later than `begin`; so this says "late" for part of the enqueueing.
        let due = begin + Duration::from_millis(*delay_ms);
        let late = started
            .duration_since(due)
            .map_err(|e| anyhow::anyhow!("job {delay_ms} ran {:?} early", e.duration()))?;
        latest = latest.max(late);
    }
    println!("{} jobs, none early, the latest {latest:?} after its time (enqueueing included)", starts.len());
    assert_eq!(starts.len(), 21);
    assert!(latest < LATE_MAX, "a job was {latest:?} late");
    Ok(())
}
