//! The owner moves while clients talk to a standby.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, WaitOptions, waitpid};
use tokio::sync::Semaphore;
use windlass_tests::process::Server;
use windlass_worker::{Client, Job, Worker};

use crate::standby::{Standby, node, node_at};

const PATIENCE: Duration = Duration::from_secs(20);

/// Stops a server in the middle of whatever it does, and waits until all its threads stand.
fn stand_still(server: &mut Server) -> Result<()> {
    server.process().signal(Signal::STOP)?;
    let pid = Pid::from_raw(i32::try_from(server.process().pid())?);
    let (_, status) = waitpid(pid, WaitOptions::UNTRACED)?.context("it is there")?;
    ensure!(status.stopped(), "{status:?}");
    Ok(())
}

/// An owner that stands still closes nothing: the relay does it as soon as it is told of the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_stands_still_is_left() -> Result<()> {
    let dirs = (tempfile::tempdir()?, tempfile::tempdir()?);
    let mut first = Server::start(dirs.0.path(), &[])?;
    let second = Server::start(dirs.1.path(), &[])?;
    let doors = |server: &Server| Some([Some(server.native), Some(server.http), Some(server.faktory)]);
    let standby = Standby::start();
    standby.follow_at(doors(&first));
    let client = Client::connect(standby.address()).await?;
    client.enqueue(Job::new("a", &1)?).await?;
    stand_still(&mut first)?;
    let waits = tokio::spawn({
        let client = client.clone();
        async move { client.enqueue(Job::new("b", &1)?).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    ensure!(!waits.is_finished(), "nobody answers");
    let begun = Instant::now();
    standby.follow_at(doors(&second));
    tokio::time::timeout(PATIENCE, waits).await???;
    ensure!(begun.elapsed() < Duration::from_secs(2), "it took {:?}", begun.elapsed());
    ensure!(client.list_queues().await?.iter().all(|queue| queue.counts.values().sum::<u64>() == 1));
    first.process().signal(Signal::CONT)?;
    Ok(())
}

/// A worker whose jobs wait at a gate, and are counted.
fn work(servers: &str, runs: &Arc<AtomicUsize>, gate: &Arc<Semaphore>) -> Worker {
    let (runs, gate) = (Arc::clone(runs), Arc::clone(gate));
    let handler = move |n: usize| {
        let (runs, gate) = (Arc::clone(&runs), Arc::clone(&gate));
        async move {
            runs.fetch_add(1, Ordering::Relaxed);
            let _ = gate.acquire().await;
            Ok::<_, String>(n)
        }
    };
    Worker::builder(servers).concurrency(2).handle("long", handler).build()
}

async fn begun(runs: &AtomicUsize) -> Result<()> {
    let begun = Instant::now();
    while runs.load(Ordering::Relaxed) == 0 {
        ensure!(begun.elapsed() < PATIENCE, "the job does not run");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

/// The queues move to another node while a job runs: it goes on, and runs once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_runs_on_while_the_owner_moves() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (standby, first) = (Standby::start(), node(dir.path()));
    standby.follow(Some(&first));
    let (runs, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let working = tokio::spawn(work(&standby.address(), &runs, &gate).run_until(std::future::pending()));
    let client = Client::connect(standby.address()).await?;
    let id = client.enqueue(Job::new("long", &7)?).await?.id;
    begun(&runs).await?;
    first.stop().await;
    standby.follow(None);
    // What is enqueued in between waits for the next owner.
    let between = tokio::spawn({
        let client = client.clone();
        async move { client.enqueue(Job::new("long", &8)?).await }
    });
    let second = node(dir.path());
    standby.follow(Some(&second));
    let between = tokio::time::timeout(PATIENCE, between).await.context("enqueued")???.id;
    tokio::time::sleep(Duration::from_millis(500)).await;
    gate.add_permits(100);
    ensure!(client.wait::<usize>(id, PATIENCE).await? == 7);
    ensure!(client.wait::<usize>(between, PATIENCE).await? == 8);
    ensure!(runs.load(Ordering::Relaxed) == 2, "each of the two ran once");
    working.abort();
    Ok(())
}

/// The same without a relay: client and worker know both addresses. The first server dies in the middle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_knows_both_addresses_goes_along() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut first = Server::start(dir.path(), &[])?;
    let free = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let servers = format!("{},{free}", first.address());
    let (runs, gate) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
    let working = tokio::spawn(work(&servers, &runs, &gate).run_until(std::future::pending()));
    let client = Client::connect(servers.as_str()).await?;
    let id = client.enqueue(Job::new("long", &7)?).await?.id;
    begun(&runs).await?;
    // The mark of a lease is durable with the next batch; a server that is killed before hands the job out again.
    client.enqueue(Job::new("other", &0)?.delay(Duration::from_secs(3_600))).await?;
    first.kill()?;
    let between = tokio::spawn({
        let client = client.clone();
        async move { client.enqueue(Job::new("long", &8)?).await }
    });
    // All are dead for a moment; then it is another one that lives.
    tokio::time::sleep(Duration::from_millis(500)).await;
    ensure!(!between.is_finished());
    let _second = node_at(dir.path(), free);
    let between = tokio::time::timeout(PATIENCE, between).await.context("enqueued")???.id;
    tokio::time::sleep(Duration::from_millis(500)).await;
    gate.add_permits(100);
    ensure!(client.wait::<usize>(id, PATIENCE).await? == 7);
    ensure!(client.wait::<usize>(between, PATIENCE).await? == 8);
    ensure!(runs.load(Ordering::Relaxed) == 2, "each of the two ran once");
    working.abort();
    Ok(())
}
