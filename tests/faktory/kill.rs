//! Goal: `kill -9` of the server under load loses nothing that was confirmed to a Faktory client. Method: four producers and four
//! workers of the Rust client stay up while the server is killed again and again, and connect anew when they must; what was
//! confirmed and what ran is their own account.

use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use faktory::{Client, Job, Worker};
use windlass_tests::process::{Server, cycles};

const PRODUCERS: usize = 4;
const WORKERS: usize = 4;
/// Longer than a worker of the last run of the server is awaited.
const PATIENCE: Duration = Duration::from_secs(120);
const RECONNECT: Duration = Duration::from_millis(20);

#[derive(Default)]
struct Account {
    confirmed: Mutex<HashSet<String>>,
    ran: Mutex<HashSet<String>>,
    stop: AtomicBool,
    settled: AtomicBool,
}

impl Account {
    fn missing(&self) -> usize {
        let ran = self.ran.lock().unwrap();
        self.confirmed.lock().unwrap().iter().filter(|jid| !ran.contains(*jid)).count()
    }
}

/// One connection of a producer, to its end.
async fn produce_once(url: String, account: Arc<Account>) {
    let Ok(mut client) = Client::connect_to(&url).await else { return };
    while !account.stop.load(Ordering::Relaxed) {
        let job = Job::new("record", vec!["x".repeat(100)]);
        let jid = job.id().to_string();
        // An error means that nothing was promised.
        if client.enqueue(job).await.is_err() {
            break;
        }
        account.confirmed.lock().unwrap().insert(jid);
    }
}

async fn produce(url: String, account: Arc<Account>) {
    while !account.stop.load(Ordering::Relaxed) {
        // The client panics when it is dropped after its server was; in a task of its own that ends this connection alone.
        let _ = tokio::spawn(produce_once(url.clone(), account.clone())).await;
        tokio::time::sleep(RECONNECT).await;
    }
}

/// One life of a worker: it ends when its connections do.
async fn work_once(url: String, account: Arc<Account>) {
    let record = move |job: Job| {
        let account = Arc::clone(&account);
        async move {
            account.ran.lock().unwrap().insert(job.id().to_string());
            Ok::<(), io::Error>(())
        }
    };
    let worker = Worker::builder().workers(2).register_fn("record", record).connect_to(&url).await;
    if let Ok(mut worker) = worker {
        let _ = worker.run(&["default"]).await;
    }
}

async fn work(url: String, account: Arc<Account>) {
    while !account.settled.load(Ordering::Relaxed) {
        let _ = tokio::spawn(work_once(url.clone(), account.clone())).await;
        tokio::time::sleep(RECONNECT).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_confirmed_is_lost_when_the_server_is_killed() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut server = Server::start(dir.path(), &[])?;
    let url = format!("tcp://{}", server.faktory);
    let account = Arc::new(Account::default());
    let producers: Vec<_> =
        (0..PRODUCERS).map(|_| tokio::spawn(produce(url.clone(), account.clone()))).collect();
    let workers: Vec<_> = (0..WORKERS).map(|_| tokio::spawn(work(url.clone(), account.clone()))).collect();
    let kills = cycles(10);
    for cycle in 0..kills {
        tokio::time::sleep(Duration::from_millis(150 + u64::from(cycle * 37 % 240))).await;
        server.kill()?;
        server.restart()?;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    account.stop.store(true, Ordering::Relaxed);
    for producer in producers {
        producer.await?;
    }
    let begun = Instant::now();
    while account.missing() > 0 && begun.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let missing = account.missing();
    let confirmed = account.confirmed.lock().unwrap().len();
    println!("{kills} kills: {confirmed} jobs confirmed, {missing} missing after {:?}", begun.elapsed());
    account.settled.store(true, Ordering::Relaxed);
    // The workers end with their connections.
    server.stop()?;
    for worker in workers {
        tokio::time::timeout(Duration::from_secs(20), worker).await??;
    }
    ensure!(missing == 0, "{missing} confirmed jobs never ran");
    ensure!(confirmed > 20 * kills as usize, "only {confirmed} jobs were confirmed: the test tested little");
    Ok(())
}
