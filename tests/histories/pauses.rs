//! Goal: a process that stood still for longer than anybody waits for it does no harm when it goes on. Method: SIGSTOP and SIGCONT of
//! workers and of the server under load; the history judges.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use windlass_core::job::JobState;
use windlass_tests::check::Options;
use windlass_tests::field::{Field, FieldPlan};
use windlass_tests::load::{Load, Mix};
use windlass_tests::producer::Producer;
use windlass_tests::script::Work;
use windlass_worker::Client;

/// A short lease, so that a test can outlast it.
const LEASE_MS: u64 = 2_000;
/// Longest wait for anything that should happen soon.
const SOON: Duration = Duration::from_secs(30);
/// Longest time until everything has ended after the last fault.
const REST: Duration = Duration::from_secs(120);

fn short() -> FieldPlan {
    FieldPlan { lease_ms: LEASE_MS, ..FieldPlan::default() }
}

/// The report of a worker that was stopped for longer than its lease is refused, and the one of its successor counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_report_is_refused() -> Result<()> {
    let mut field = Field::start(FieldPlan { workers: 1, ..short() })?;
    let client = Client::connect(field.server.address()).await?;
    let producer = Producer::connect(field.server.address(), field.recorder.clone()).await?;
    let works: Vec<Work> = (0..20).map(|_| Work::plain("default").script(1_000, "d").kept()).collect();
    ensure!(producer.enqueue_many(&works).await == works.len(), "not all were taken");
    let id = works[0].id;
    let begun = Instant::now();
    while producer.look(id).await? != Some(JobState::Running) {
        ensure!(begun.elapsed() < SOON, "the worker does not begin");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    field.workers[0].halt()?;
    field.add_worker()?;
    // The successor has everything before the straggler wakes up.
    for work in &works {
        let view = client.wait_end(work.id, SOON).await?;
        ensure!(view.state == JobState::Succeeded, "{} is {}", work.id, view.state);
    }
    field.workers[0].resume()?;
    // It finds that its connection and its leases are gone, and says what it has to say.
    tokio::time::sleep(Duration::from_secs(2)).await;
    field.rest(&client, REST).await?;
    let report = field.judge(&client, Options::default()).await?;
    println!("{report}");
    ensure!(report.again >= 1, "nothing ran twice, so nothing was late: {report}");
    Ok(())
}

/// Workers are stopped and go on, again and again, at all lengths around the lease.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_may_stand_still() -> Result<()> {
    let mut field = Field::start(short())?;
    let client = Client::connect(field.server.address()).await?;
    field.schedule(&client, &[1]).await?;
    let mix = Mix { rate: 150, ..Mix::default() };
    let load = Load::start(&field.server.address(), &field.recorder, &mix).await?;
    for (round, ms) in [300, 1_900, 2_100, 3_500, 6_000].into_iter().enumerate() {
        let worker = round % 2;
        field.workers[worker].halt()?;
        tokio::time::sleep(Duration::from_millis(ms)).await;
        field.workers[worker].resume()?;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    load.stop().await?;
    field.rest(&client, REST).await?;
    let report = field.judge(&client, Options::default()).await?;
    println!("{report}");
    ensure!(report.again > 0 && report.confirmed > 200, "the test tested little: {report}");
    Ok(())
}

/// A server that stood still for longer than a lease hears its living workers before it judges them: long jobs run once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stood_still_takes_no_leases_away() -> Result<()> {
    let mut field = Field::start(short())?;
    let client = Client::connect(field.server.address()).await?;
    let producer = Producer::connect(field.server.address(), field.recorder.clone()).await?;
    let works: Vec<Work> = (0..40).map(|_| Work::plain("default").script(9_000, "d").kept()).collect();
    ensure!(producer.enqueue_many(&works).await == works.len(), "not all were taken");
    let begun = Instant::now();
    let running = async || -> Result<u64> {
        let queues = client.list_queues().await?;
        Ok(queues.iter().filter_map(|queue| queue.counts.get(&JobState::Running)).sum())
    };
    while running().await? < works.len() as u64 {
        ensure!(begun.elapsed() < SOON, "the workers do not begin");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    field.pause_server(Duration::from_millis(3 * LEASE_MS)).await?;
    for work in &works {
        let view = client.wait_end(work.id, SOON).await.context("a job does not end")?;
        ensure!(view.state == JobState::Succeeded, "{} is {}", work.id, view.state);
    }
    field.rest(&client, REST).await?;
    let report = field.judge(&client, Options::default()).await?;
    println!("{report}");
    ensure!(report.again == 0, "{} jobs of living workers ran again: {report}", report.again);
    Ok(())
}
