//! Goal: a process may die at every point that the product names, and at those where something can fail or hang it does so without
//! breaking a promise. Method: a server under load is armed at one point after the other; every point has to be reached.
//!
//! On a small disk (a tmpfs, as root) the store makes its segments small, and the points of checkpoints come soon; elsewhere the same
//! takes more data.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use windlass_scheduler::fault::Point;
use windlass_tests::check::Options;
use windlass_tests::disk::Disk;
use windlass_tests::field::{Field, FieldPlan};
use windlass_tests::load::{Load, Mix};
use windlass_tests::producer::Producer;
use windlass_tests::script::Work;
use windlass_worker::{Client, Error, ErrorCode, Job};

/// Longest time until an armed point is reached.
const REACHED: Duration = Duration::from_secs(60);
/// Longest time until everything has ended after the last fault.
const REST: Duration = Duration::from_secs(120);
/// Bytes of one heavy job.
const HEAVY_BYTES: usize = 64 * 1024;

/// A field on a small disk where there is one, and a load that is light.
struct Ground {
    field: Field,
    client: Client,
    producer: Producer,
    load: Load,
    /// Heavy jobs that fill the overlay once.
    heavy: usize,
    disk: Option<Disk>,
}

impl Ground {
    async fn new() -> Result<Ground> {
        let disk = Disk::mount(256).inspect_err(|why| println!("no small disk, so more data: {why}")).ok();
        let data_dir = disk.as_ref().map(|disk| disk.path().join("data"));
        let field = Field::start(FieldPlan { data_dir, ..FieldPlan::default() })?;
        let client = Client::connect(field.server.address()).await?;
        let producer = Producer::connect(field.server.address(), field.recorder.clone()).await?;
        field.schedule(&client, &[1]).await?;
        let mix = Mix { rate: 100, producers: 2, long_ms: 300, ..Mix::default() };
        let load = Load::start(&field.server.address(), &field.recorder, &mix).await?;
        // An overlay takes a sixteenth of a small disk and 48 MiB of a large one.
        let heavy = if disk.is_some() { 16 } else { 48 } * 1024 * 1024 / HEAVY_BYTES * 5 / 4;
        Ground { field, client, producer, load, heavy, disk }.settled().await
    }

    async fn settled(self) -> Result<Ground> {
        self.client.connected().await;
        Ok(self)
    }

    /// Enough waiting data that a segment is full and a checkpoint due. It runs a little later.
    async fn fill(&self) {
        let mut works: Vec<Work> =
            (0..self.heavy).map(|_| Work::plain("default").after(Duration::from_secs(3))).collect();
        works.iter_mut().for_each(|work| work.script.padding = "x".repeat(HEAVY_BYTES));
        self.producer.enqueue_many(&works).await;
    }

    /// Does what leads to the point, the server being armed.
    async fn provoke(&mut self, point: Point) -> Result<()> {
        match point {
            Point::CloseBegin => self.field.server.process().signal(Signal::TERM),
            _ if is_rare(point) => {
                // The server may die in the middle, and the client would wait for the next one.
                let _ = tokio::time::timeout(Duration::from_secs(5), self.fill()).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn end(mut self) -> Result<()> {
        self.client.connected().await;
        // Long enough that schedules have fired and the load has said something.
        while self.load.seen.confirmed.load(Ordering::Relaxed) < 150 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.load.stop().await?;
        self.field.rest(&self.client, REST).await?;
        let report = self.field.judge(&self.client, Options::default()).await?;
        println!("{report}");
        drop(self.disk);
        ensure!(report.confirmed > 100, "the test tested little: {report}");
        Ok(())
    }
}

/// Whether it takes much data to come there.
fn is_rare(point: Point) -> bool {
    let name = point.name();
    ["journal.rotate", "journal.release", "journal.prepare"].contains(&name)
        || name.starts_with("checkpoint.")
        || name.starts_with("directory.")
}

/// Points that a start passes before it is ready.
fn is_in_start(point: Point) -> bool {
    point.name().starts_with("open.")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_may_die_at_every_point() -> Result<()> {
    let mut ground = Ground::new().await?;
    for point in Point::ALL.iter().copied() {
        let begun = Instant::now();
        let at = if is_rare(point) || is_in_start(point) || point == Point::CloseBegin { 1 } else { 7 };
        // Others than those of a start may be reached in it as well, since the load is waiting.
        if ground.field.arm_server(&format!("{}=kill@{at}", point.name()))? {
            ensure!(!is_in_start(point), "{} was not reached", point.name());
            ground.provoke(point).await?;
            let died = ground.field.server_died(REACHED).await.with_context(|| point.name())?;
            ensure!(died == Some(9), "{}: the server ended with {died:?}", point.name());
        }
        ground.field.restart_server().with_context(|| point.name())?;
        println!("{}: killed and back after {:?}", point.name(), begun.elapsed());
    }
    ground.end().await
}

/// A server that stands still for a moment, wherever, is only slow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_may_pause_at_every_point() -> Result<()> {
    let mut ground = Ground::new().await?;
    let anywhere = Point::ALL.iter().filter(|point| !is_in_start(**point) && **point != Point::CloseBegin);
    let points: Vec<String> = anywhere.map(|point| format!("{}=pause:300@2", point.name())).collect();
    ground.field.arm_server(&points.join(","))?;
    ground.fill().await;
    ground.fill().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    ensure!(ground.field.server.process().is_running()?, "the server has ended");
    ground.end().await
}

/// A commit that fails stops all writing with the first reason, visibly; a restart finds everything that was confirmed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_commit_stops_the_writing() -> Result<()> {
    let mut ground = Ground::new().await?;
    for point in [Point::JournalBeforeWrite, Point::JournalAfterWrite, Point::JournalAfterSync] {
        ground.field.arm_server(&format!("{0}=error@20,{0}=error:full@21", point.name()))?;
        let begun = Instant::now();
        let first = loop {
            ensure!(begun.elapsed() < REACHED, "{} was not reached", point.name());
            match ground.producer.enqueue(&Work::plain("default")).await {
                Err(Error::Server(error)) if error.code == ErrorCode::StoreFailed => break error.message,
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        ensure!(first.contains(point.name()), "the reason is not told: {first}");
        let again = ground.client.enqueue(Job::new("never", &0)?.queue("another")).await;
        let again = again.expect_err("nothing is taken any more").to_string();
        ensure!(again.contains(point.name()), "the first reason is not kept: {again}");
        ensure!(!ground.client.list_queues().await?.is_empty(), "reads do not go on");
        let problems = ground.client.overview().await?.problems;
        ensure!(!problems.is_empty(), "nobody is told that the store has failed");
        ground.field.kill_server()?;
        println!("{}: {first} (an operator sees {problems:?})", point.name());
    }
    ground.end().await
}

/// What fails beside the journal is tried again, and nobody notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_checkpoint_is_tried_again() -> Result<()> {
    let mut ground = Ground::new().await?;
    let points = [
        Point::JournalPrepare,
        Point::CheckpointBegin,
        Point::CheckpointAfterFlush,
        Point::DirectoryWrite,
        Point::CheckpointBeforeManifest,
    ];
    for action in ["error", "error:full"] {
        let armed: Vec<_> = points.iter().map(|point| format!("{}={action}@1", point.name())).collect();
        ground.field.arm_server(&armed.join(","))?;
        let done = ground.client.overview().await?.store.checkpoints;
        let begun = Instant::now();
        while ground.client.overview().await?.store.checkpoints == done {
            ensure!(begun.elapsed() < REACHED, "no checkpoint was completed after {action}");
            // On a busy machine the first jobs of a filling are done before its last have come: then it takes more than one.
            ground.fill().await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        println!("{action}: a checkpoint was completed after {:?}", begun.elapsed());
    }
    ground.end().await
}

/// A start that fails says why, and the next one finds everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_may_fail() -> Result<()> {
    let mut ground = Ground::new().await?;
    for point in Point::ALL.iter().copied().filter(|point| is_in_start(*point)) {
        for action in ["error", "error:full", "panic"] {
            let armed = ground.field.arm_server(&format!("{}={action}", point.name()));
            ensure!(armed.is_err(), "{}={action}: the server started", point.name());
            ground.field.restart_server()?;
        }
    }
    ground.end().await
}

/// Sessions that break are made again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_may_break_at_any_write() -> Result<()> {
    let mut ground = Ground::new().await?;
    for point in [Point::SessionBeforeWrite, Point::SessionAfterWrite] {
        let orders: Vec<_> = (1..40).map(|n| format!("{}=error@{}", point.name(), n * n)).collect();
        ground.field.arm_server(&orders.join(","))?;
        let before = ground.producer.losses();
        let begun = Instant::now();
        while ground.producer.losses() < before + 2 {
            ensure!(begun.elapsed() < REACHED, "{} breaks no session", point.name());
            let _ = ground.producer.enqueue(&Work::plain("default")).await;
        }
    }
    ground.end().await
}
