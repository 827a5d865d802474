//! The clients of all three protocols through a standby.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use windlass_tests::http;
use windlass_worker::{Client, Error, ErrorCode, Job, Worker};

use crate::standby::{Standby, node};

const PATIENCE: Duration = Duration::from_secs(20);

/// A worker behind a relay gossips with the owner, whose greeting it hears.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_and_a_worker_meet_through_it() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (standby, owner) = (Standby::start(), node(dir.path()));
    standby.follow(Some(&owner));
    let worker =
        Worker::builder(standby.address()).handle("double", async |n: u64| Ok::<_, String>(n * 2)).build();
    let working = tokio::spawn(worker.run_until(std::future::pending()));
    let client = Client::connect(standby.address()).await?;
    let id = client.enqueue(Job::new("double", &21)?).await?.id;
    ensure!(client.wait::<u64>(id, PATIENCE).await? == 42);
    let begun = Instant::now();
    loop {
        let members = client.overview().await?.node.members;
        if members.iter().any(|(_, role, _)| role == "worker") {
            break;
        }
        ensure!(begun.elapsed() < PATIENCE, "the worker does not gossip: {members:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    working.abort();
    Ok(())
}

/// Without an owner a client is refused in a way that it takes for a passing thing, and comes through as soon as there is one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_refused_tries_again() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let standby = Standby::start();
    let error = match Client::connect(standby.address()).await {
        Err(Error::Refused(error)) => error,
        other => anyhow::bail!("not refused: {other:?}"),
    };
    ensure!(error.code == ErrorCode::Unavailable && error.message.contains("no node owns"), "{error:?}");
    let client = Client::builder(standby.address()).lazy().connect().await?;
    let enqueued = tokio::spawn({
        let client = client.clone();
        async move { client.enqueue(Job::new("later", &1)?).await }
    });
    // Longer than a connection waits for an owner, so that the client has been refused at least once.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    ensure!(!enqueued.is_finished() && !client.connection().is_up());
    let owner = node(dir.path());
    standby.follow(Some(&owner));
    ensure!(!tokio::time::timeout(PATIENCE, enqueued).await???.duplicate);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_and_api_are_those_of_the_owner() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (standby, owner) = (Standby::start(), node(dir.path()));
    let at = standby.http;
    let ask = |path: &'static str| tokio::task::spawn_blocking(move || http::send(at, "GET", path, &[], &[]));
    ensure!(ask("/healthz").await??.body == "ok\n");
    ensure!(ask("/readyz").await??.status == 503);
    let nobody = ask("/api/v1/queues").await??;
    ensure!((nobody.status, nobody.header("retry-after")) == (503, "1"), "{nobody:?}");
    ensure!(nobody.json()["type"] == "urn:windlass:error:unavailable", "{nobody:?}");
    standby.follow(Some(&owner));
    ensure!(ask("/readyz").await??.body == "ready\n");
    let enqueued = tokio::task::spawn_blocking(move || {
        http::post(at, "/api/v1/jobs", r#"{"queue":"mail","kind":"send","payload":1}"#)
    });
    let (status, body) = enqueued.await??;
    ensure!(status == 201, "{status} {body}");
    ensure!(ask("/api/v1/queues").await??.body.contains("\"mail\""));
    ensure!(ask("/").await??.body.to_ascii_lowercase().contains("<!doctype html>"));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_faktory_client_works_through_it() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let (standby, owner) = (Standby::start(), node(dir.path()));
    let url = format!("tcp://{}", standby.faktory);
    let refused = faktory::Client::connect_to(&url).await;
    let Err(error) = refused else { anyhow::bail!("there is nobody to connect to") };
    ensure!(format!("{error:?}").contains("no node owns"), "{error:?}");
    standby.follow(Some(&owner));
    let mut client = faktory::Client::connect_to(&url).await?;
    let done = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&done);
    let mut worker = faktory::Worker::builder::<io::Error>()
        .register_fn("count", move |_| {
            counter.fetch_add(1, Ordering::Relaxed);
            async { Ok(()) }
        })
        .connect_to(&url)
        .await?;
    let working = tokio::spawn(async move { worker.run(&["default"]).await });
    client.enqueue_many((0..20).map(|n| faktory::Job::new("count", vec![n]))).await?;
    let begun = Instant::now();
    while done.load(Ordering::Relaxed) < 20 {
        ensure!(begun.elapsed() < PATIENCE, "{} of 20", done.load(Ordering::Relaxed));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    working.abort();
    Ok(())
}
