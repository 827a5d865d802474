//! The faults of a soak: one at a time, drawn by chance, with a calm time between them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::RngExt as _;
use rand::rngs::SmallRng;
use windlass_scheduler::fault::Point;
use windlass_tests::disk::Disk;
use windlass_tests::field::Field;

/// Longest wait for a server that an armed point should kill; a point that the load does not reach is no fault.
const REACHED: Duration = Duration::from_secs(20);

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    KillServer,
    KillWorker,
    KillBoth,
    StopWorker,
    PauseServer,
    RestartServer,
    RestartWorker,
    KillAtPoint,
    PauseAtPoints,
    FillDisk,
}

/// Each with how often it is drawn.
const FAULTS: &[(Fault, &str, u32)] = &[
    (Fault::KillServer, "kill -9 of the server", 6),
    (Fault::KillWorker, "kill -9 of a worker", 6),
    (Fault::KillBoth, "kill -9 of the server and a worker", 3),
    (Fault::StopWorker, "SIGSTOP of a worker beyond its lease", 3),
    (Fault::PauseServer, "SIGSTOP of the server", 2),
    (Fault::RestartServer, "restart of the server in order", 2),
    (Fault::RestartWorker, "restart of a worker in order", 2),
    (Fault::KillAtPoint, "death of the server at a fault point", 6),
    (Fault::PauseAtPoints, "pauses at fault points", 2),
    (Fault::FillDisk, "full disk", 2),
];

/// Those after which the server is still the same process.
const MILD: &[Fault] =
    &[Fault::KillWorker, Fault::StopWorker, Fault::PauseServer, Fault::RestartWorker, Fault::FillDisk];

/// Points that a steady load reaches within seconds.
const FREQUENT: &[Point] = &[
    Point::JournalBeforeWrite,
    Point::JournalAfterWrite,
    Point::JournalAfterSync,
    Point::WriterBeforeTell,
    Point::QueueBeforeSubmit,
    Point::QueueBeforeRelease,
    Point::SessionBeforeWrite,
    Point::SessionAfterWrite,
    Point::ScheduleBeforeFire,
    Point::ScheduleAfterCommit,
];

/// Points that it reaches when a segment or the overlay is full; on a small disk within a minute.
const RARE: &[Point] = &[
    Point::JournalRotate,
    Point::JournalPrepare,
    Point::JournalRelease,
    Point::CheckpointBegin,
    Point::CheckpointAfterFlush,
    Point::DirectoryWrite,
    Point::CheckpointBeforeManifest,
    Point::CheckpointAfterManifest,
];

/// Draws faults and counts them.
pub(crate) struct Nemesis {
    rng: SmallRng,
    pub(crate) done: BTreeMap<&'static str, u64>,
    /// A point that may kill the server some time later.
    pending: bool,
    /// Whether the server is to live on, so that its memory can be watched.
    pub(crate) mild: bool,
}

impl Nemesis {
    pub(crate) fn new(rng: SmallRng) -> Nemesis {
        Nemesis { rng, done: BTreeMap::new(), pending: false, mild: false }
    }

    /// The calm time before the next fault.
    pub(crate) fn calm(&mut self) -> Duration {
        Duration::from_millis(self.rng.random_range(500..6_000))
    }

    /// Brings a server back that a point has killed after its fault was over.
    pub(crate) fn revive(&mut self, field: &mut Field) -> Result<()> {
        if field.server.process().is_running()? {
            return Ok(());
        }
        ensure!(self.pending, "the server has ended, and nobody has killed it");
        self.pending = false;
        field.recorder.nemesis("server", "kill");
        field.kills += 1;
        *self.done.entry("death of the server at a fault point").or_default() += 1;
        field.restart_server()
    }

    /// From here on one server lives to the end, and nothing armed is left.
    pub(crate) fn calm_down(&mut self, field: &mut Field) -> Result<()> {
        self.mild = true;
        self.pending = false;
        field.kill_server()
    }

    /// One fault, from its beginning to its end.
    pub(crate) async fn strike(&mut self, field: &mut Field, disk: Option<&Disk>) -> Result<&'static str> {
        self.revive(field)?;
        let open = || FAULTS.iter().filter(|(fault, ..)| !self.mild || MILD.contains(fault));
        let total: u32 = open().map(|(.., weight)| weight).sum();
        let mut dice = self.rng.random_range(0..total);
        let drawn = open().find(|(.., weight)| {
            let hit = dice < *weight;
            dice = dice.saturating_sub(*weight);
            hit
        });
        let (fault, name, _) = *drawn.context("the dice fall on one of them")?;
        match self.act(fault, field, disk).await {
            Ok(true) => *self.done.entry(name).or_default() += 1,
            Ok(false) => {}
            // A point that was armed earlier may strike in the middle of another fault.
            Err(error) if self.pending && !field.server.process().is_running()? => {
                println!("a fault point struck meanwhile: {error:#}");
                self.revive(field)?;
            }
            Err(error) => return Err(error.context(name)),
        }
        Ok(name)
    }

    /// Whether it counts.
    async fn act(&mut self, fault: Fault, field: &mut Field, disk: Option<&Disk>) -> Result<bool> {
        let worker = self.rng.random_range(0..field.workers.len());
        match fault {
            Fault::KillServer => {
                self.pending = false;
                field.kill_server()?;
            }
            Fault::KillWorker => field.kill_worker(worker)?,
            Fault::KillBoth => {
                self.pending = false;
                field.kill_worker(worker)?;
                field.kill_server()?;
            }
            Fault::StopWorker => {
                field.workers[worker].halt()?;
                tokio::time::sleep(Duration::from_millis(self.rng.random_range(9_000..14_000))).await;
                field.workers[worker].resume()?;
            }
            Fault::PauseServer => {
                field.pause_server(Duration::from_millis(self.rng.random_range(200..6_000))).await?;
            }
            Fault::RestartServer => {
                field.cycle_server()?;
                self.pending = false;
            }
            Fault::RestartWorker => {
                field.workers[worker].stop()?;
                field.workers[worker].restart()?;
            }
            Fault::KillAtPoint => return self.kill_at_point(field).await,
            Fault::PauseAtPoints => return self.pause_at_points(field),
            Fault::FillDisk => return fill(disk).await,
        }
        Ok(true)
    }

    async fn kill_at_point(&mut self, field: &mut Field) -> Result<bool> {
        self.pending = false;
        if self.rng.random_bool(0.4) {
            let point = RARE[self.rng.random_range(0..RARE.len())];
            if !field.arm_server(&format!("{}=kill", point.name()))? {
                return field.restart_server().map(|()| true);
            }
            // It may take a while, and the soak does not wait for it.
            self.pending = true;
            return Ok(false);
        }
        let point = FREQUENT[self.rng.random_range(0..FREQUENT.len())];
        let at = self.rng.random_range(1..if point.name().starts_with("schedule") { 5 } else { 300 });
        if !field.arm_server(&format!("{}=kill@{at}", point.name()))? {
            return field.restart_server().map(|()| true);
        }
        let begun = Instant::now();
        while field.server.process().is_running()? {
            if begun.elapsed() > REACHED {
                self.pending = true;
                return Ok(false);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        field.server_died(Duration::ZERO).await?;
        field.restart_server().map(|()| true)
    }

    fn pause_at_points(&mut self, field: &mut Field) -> Result<bool> {
        self.pending = false;
        let points = FREQUENT.iter().chain(RARE);
        let orders: Vec<String> = points
            .map(|point| {
                let (ms, at) = (self.rng.random_range(10..800), self.rng.random_range(1..200));
                format!("{}=pause:{ms}@{at}", point.name())
            })
            .collect();
        field.arm_server(&orders.join(","))
    }
}

/// Fills the disk for a while.
async fn fill(disk: Option<&Disk>) -> Result<bool> {
    let Some(disk) = disk else { return Ok(false) };
    disk.fill()?;
    tokio::time::sleep(Duration::from_secs(4)).await;
    disk.free().map(|()| true)
}
