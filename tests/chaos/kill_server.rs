//! Goal: `kill -9` of the server under load loses no confirmed job. Method: eight producers and a worker stay up while the
//! server is killed again and again; the ledger of what was confirmed and what ran is theirs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use windlass_tests::ledger::Ledger;
use windlass_tests::process::{Server, cycles};
use windlass_worker::{Client, Job, JobCtx, RawPayload, State, Worker};

const PRODUCERS: usize = 8;

async fn record(_payload: RawPayload, job: JobCtx, State(ledger): State<Arc<Ledger>>) {
    ledger.ran(job.id());
    ledger.ended(job.id());
}

async fn produce(client: Client, ledger: Arc<Ledger>, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let job = Job::new("record", &"x".repeat(100)).expect("a string is JSON");
        // An error means that nothing was promised.
        if let Ok(enqueued) = client.enqueue(job).await {
            ledger.confirmed(enqueued.id);
        } else {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_confirmed_is_lost_when_the_server_is_killed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut server = Server::start(dir.path(), &[])?;
    let ledger = Arc::new(Ledger::default());
    let stop = Arc::new(AtomicBool::new(false));
    let mut producers = Vec::new();
    for _ in 0..PRODUCERS {
        let client = Client::connect(server.address()).await?;
        producers.push(tokio::spawn(produce(client, ledger.clone(), stop.clone())));
    }
    let (quit, quitted) = tokio::sync::oneshot::channel::<()>();
    let worker = Worker::builder(server.address())
        .queues(["default"])
        .concurrency(64)
        .state(ledger.clone())
        .handle("record", record)
        .build();
    let worker = tokio::spawn(worker.run_until(async move {
        let _ = quitted.await;
    }));
    let kills = cycles(10);
    let started = Instant::now();
    for cycle in 0..kills {
        let pause = 60 + u64::from(cycle * 37 % 240);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        server.kill()?;
        server.restart()?;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    for producer in producers {
        producer.await?;
    }
    ledger.settled(Duration::from_secs(60)).await?;
    let (confirmed, ran, again) = ledger.counts();
    println!(
        "{kills} kills in {:?}: {confirmed} jobs confirmed, {ran} run, {again} runs again",
        started.elapsed()
    );
    anyhow::ensure!(
        confirmed > 100 * kills as usize / 10,
        "only {confirmed} jobs were confirmed: the test tested little"
    );
    let _ = quit.send(());
    worker.await??;
    server.stop()
}
