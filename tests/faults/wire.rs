//! Goal: a worker that cannot be reached costs seconds, one whose gossip alone is cut keeps its job, and both come back by
//! themselves. Method: server and worker in network namespaces of their own, and rules on the wire between them. Commands of
//! shell workers append to a file, which is the ledger; a second worker stands beside the server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;
use windlass_core::id::JobId;
use windlass_core::job::JobState;
use windlass_tests::namespace::{Side, Wire};
use windlass_tests::process::{Process, Server, Setting};
use windlass_worker::{Client, Job};

use crate::account::until;

/// The promise for a worker that is gone.
const REASSIGNED_WITHIN: Duration = Duration::from_secs(10);
/// Time for what is to come back by itself.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than a lease, which is 8 s by default.
const LONGER_THAN_A_LEASE: f64 = 10.0;

/// Two machines: the server and one worker on the near one, another worker on the far one.
struct Stage {
    wire: Wire,
    server: Server,
    client: Client,
    notes: PathBuf,
    _dir: TempDir,
}

impl Stage {
    async fn set(wire: Wire, listen_everywhere: bool) -> Result<Stage> {
        let dir = tempfile::tempdir()?;
        let near = Wire::address(Side::Near);
        let host = if listen_everywhere { "0.0.0.0".parse()? } else { near };
        let setting = Setting { host: Some(host), ..Setting::default() };
        let mut server = Server::start_in(setting, &dir.path().join("data"), &["--insecure-bind"])?;
        // Where both workers and this client reach it.
        server.native.set_ip(near);
        server.http.set_ip(near);
        let client = Client::connect(server.address()).await?;
        Ok(Stage { wire, server, client, notes: dir.path().join("notes"), _dir: dir })
    }

    /// With a worker on each side, of which the far one runs a job.
    async fn with_a_job_on_the_far_side(wire: Wire) -> Result<(Stage, JobId, [Process; 2])> {
        let stage = Stage::set(wire, false).await?;
        let far = stage.worker(Side::Far, "far")?;
        stage.workers(1, "alive").await?;
        let job = stage.job(3.0).await?;
        stage.begun(1, PATIENCE).await?;
        let near = stage.worker(Side::Near, "near")?;
        stage.workers(2, "alive").await?;
        Ok((stage, job, [far, near]))
    }

    fn worker(&self, side: Side, name: &str) -> Result<Process> {
        let address = self.server.address();
        let args = ["worker", "run", "--shell", "--server", &address, "--concurrency", "1", "--name", name];
        Ok(self.wire.on(side, || Process::start(&args))?.0)
    }

    /// A job that notes its begin and its end with the attempt.
    async fn job(&self, seconds: f64) -> Result<JobId> {
        let notes = self.notes.display();
        let command = format!(
            "echo begin $WINDLASS_ATTEMPT >> '{notes}'; sleep {seconds}; echo end $WINDLASS_ATTEMPT >> '{notes}'"
        );
        Ok(self.client.enqueue(Job::new("shell", &command)?).await?.id)
    }

    async fn begun(&self, count: usize, limit: Duration) -> Result<Duration> {
        until("a worker begins", limit, async || noted(&self.notes, "begin") >= count).await
    }

    /// Waits until so many workers are connected, and the gossip of each says `gossip` if that is not empty.
    async fn workers(&self, count: usize, gossip: &str) -> Result<Duration> {
        let there = async || {
            let Ok(workers) = self.client.list_workers().await else { return false };
            let well = |worker: &&windlass_core::api::WorkerView| {
                worker.status == "connected" && (gossip.is_empty() || worker.gossip == gossip)
            };
            workers.iter().filter(well).count() == count
        };
        until(&format!("{count} workers are connected {gossip}"), PATIENCE, there).await
    }

    async fn succeeded(&self, id: JobId) -> Result<()> {
        let view = self.client.wait_end(id, PATIENCE).await?;
        ensure!(view.state == JobState::Succeeded, "the job is {}: {}", view.state, view.reason);
        Ok(())
    }
}

fn noted(notes: &Path, word: &str) -> usize {
    let text = std::fs::read_to_string(notes).unwrap_or_default();
    text.lines().filter(|line| line.split(' ').next() == Some(word)).count()
}

/// Runs a trial on the near machine, on a thread that lives there: clients and processes of the trial are there too.
fn near(trial: impl AsyncFnOnce(Wire) -> Result<()> + Send) -> Result<()> {
    let wire = Wire::lay()?;
    std::thread::scope(|scope| {
        let there = scope.spawn(|| {
            wire.enter(Side::Near)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let result = runtime.block_on(trial(wire));
            runtime.shutdown_timeout(Duration::from_secs(2));
            result
        });
        there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// The far worker runs a job when the wire fails: the near one has to take over in time, the far one's late report changes
/// nothing, and it is back when the wire is.
async fn cut_off(
    wire: Wire,
    what: &str,
    cut: impl Fn(&Wire) -> Result<()>,
    heal: impl Fn(&Wire) -> Result<()>,
) -> Result<()> {
    let (mut stage, job, _workers) = Stage::with_a_job_on_the_far_side(wire).await?;
    cut(&stage.wire)?;
    let took = stage.begun(2, REASSIGNED_WITHIN).await?;
    stage.succeeded(job).await?;
    heal(&stage.wire)?;
    let back = stage.workers(2, "alive").await?;
    // Time for the report that the far worker has kept.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let view = stage.client.status(job).await?.context("remembered")?;
    ensure!(view.attempt == 2 && view.state == JobState::Succeeded, "the straggler changed it: {view:?}");
    ensure!(noted(&stage.notes, "begin") == 2, "the job ran a third time");
    println!("{what}: the job ran elsewhere after {took:?}; both workers are back {back:?} after the end");
    stage.server.stop()
}

pub(crate) fn a_partition_costs_seconds() -> Result<()> {
    near(async |wire| {
        let cut = |wire: &Wire| wire.drop_in("").and_then(|()| wire.drop_out(""));
        cut_off(wire, "full partition", cut, Wire::heal).await
    })
}

pub(crate) fn a_worker_that_is_not_heard_costs_seconds() -> Result<()> {
    near(async |wire| cut_off(wire, "worker not heard", |wire| wire.drop_in(""), Wire::heal).await)
}

pub(crate) fn a_link_that_goes_down_costs_seconds() -> Result<()> {
    near(async |wire| cut_off(wire, "link down", |wire| wire.link(false), |wire| wire.link(true)).await)
}

/// The server's words do not reach the worker, the worker's reach the server: whether the job moves or stays, it must come to
/// an end, and its report count once.
async fn deaf(
    wire: Wire,
    what: &str,
    cut: impl Fn(&Wire) -> Result<()>,
    heal: impl Fn(&Wire) -> Result<()>,
) -> Result<()> {
    let (mut stage, job, _workers) = Stage::with_a_job_on_the_far_side(wire).await?;
    cut(&stage.wire)?;
    stage.succeeded(job).await?;
    heal(&stage.wire)?;
    let back = stage.workers(2, "alive").await?;
    let begun = noted(&stage.notes, "begin");
    ensure!(begun <= 2, "the job ran {begun} times");
    println!("{what}: the job ran {begun} times; both workers are back {back:?} after the end");
    stage.server.stop()
}

pub(crate) fn a_worker_that_does_not_hear_ends_its_job() -> Result<()> {
    near(async |wire| deaf(wire, "worker deaf", |wire| wire.drop_out(""), Wire::heal).await)
}

/// Unlike dropped packets, a blackhole tells the sender at once: every send of the server fails, also the gossip's.
pub(crate) fn a_blackhole_is_survived() -> Result<()> {
    near(async |wire| {
        deaf(wire, "blackhole", |wire| wire.blackhole(true), |wire| wire.blackhole(false)).await
    })
}

/// A live worker whose gossip is cut keeps its job for longer than a lease; and its gossip comes back.
async fn without_gossip(
    wire: Wire,
    what: &str,
    everywhere: bool,
    cut: impl Fn(&Wire) -> Result<()>,
) -> Result<()> {
    let mut stage = Stage::set(wire, everywhere).await?;
    let _far = stage.worker(Side::Far, "far")?;
    stage.workers(1, "alive").await?;
    let job = stage.job(LONGER_THAN_A_LEASE).await?;
    stage.begun(1, PATIENCE).await?;
    let _near = stage.worker(Side::Near, "near")?;
    stage.workers(2, "alive").await?;
    cut(&stage.wire)?;
    stage.workers(1, "dead").await?;
    stage.succeeded(job).await?;
    ensure!(noted(&stage.notes, "begin") == 1, "a live worker lost its job because its gossip was cut");
    stage.wire.heal()?;
    let back = stage.workers(2, "alive").await?;
    println!("{what}: nothing ran twice, the gossip is back {back:?} after the end");
    stage.server.stop()
}

pub(crate) fn a_worker_without_gossip_keeps_its_job() -> Result<()> {
    near(async |wire| {
        let cut =
            |wire: &Wire| wire.drop_in("meta l4proto udp").and_then(|()| wire.drop_out("meta l4proto udp"));
        without_gossip(wire, "UDP dropped", false, cut).await
    })
}

/// A closed port answers, and a server that listens everywhere is reached by its workers all the same.
pub(crate) fn a_closed_gossip_port_is_survived() -> Result<()> {
    near(async |wire| {
        let cut = |wire: &Wire| wire.reject("meta l4proto udp");
        without_gossip(wire, "UDP rejected, server on 0.0.0.0", true, cut).await
    })
}

/// Three packets of ten get lost in each direction: slower, and nothing else.
pub(crate) fn a_lossy_wire_only_slows_down() -> Result<()> {
    near(async |wire| {
        let mut stage = Stage::set(wire, false).await?;
        let _far = stage.worker(Side::Far, "far")?;
        stage.workers(1, "alive").await?;
        let third = "numgen random mod 100 < 30";
        stage.wire.drop_in(third)?;
        stage.wire.drop_out(third)?;
        let mut jobs = Vec::new();
        for _ in 0..20 {
            jobs.push(stage.job(0.0).await?);
        }
        for job in &jobs {
            stage.succeeded(*job).await?;
        }
        let begun = noted(&stage.notes, "begin");
        stage.wire.heal()?;
        stage.workers(1, "alive").await?;
        println!("30 % loss: {} jobs, {} runs again", jobs.len(), begun - jobs.len());
        stage.server.stop()
    })
}

/// Large jobs fill a slow wire for longer than a lease; heartbeats share it, and the worker counts as alive.
pub(crate) fn a_slow_wire_ends_no_lease() -> Result<()> {
    near(async |wire| {
        let mut stage = Stage::set(wire, false).await?;
        stage.wire.slow("1mbit")?;
        let far = stage.worker(Side::Far, "far")?;
        stage.workers(1, "").await?;
        // About a megabyte and a quarter: ten seconds on this wire.
        let notes = stage.notes.display().to_string();
        let padding = "x".repeat(120_000);
        let mut jobs = Vec::new();
        for _ in 0..10 {
            let command = serde_json::json!({
                "command": format!("echo begin $WINDLASS_ATTEMPT >> '{notes}'"),
                "env": { "PADDING": padding },
            });
            jobs.push(stage.client.enqueue(Job::new("shell", &command)?).await?.id);
        }
        for job in &jobs {
            stage.succeeded(*job).await?;
        }
        let begun = noted(&stage.notes, "begin");
        ensure!(begun == jobs.len(), "{begun} runs of {} jobs", jobs.len());
        println!("1 Mbit/s: {} large jobs, none ran twice", jobs.len());
        drop(far);
        stage.server.stop()
    })
}
