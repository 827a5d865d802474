//! A server and workers as real processes with a history: what the suites of faults and the soak stand on.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use windlass_core::job::JobState;
use windlass_scheduler::fault;
use windlass_worker::{Client, Job, Schedule};

use crate::check::{self, Options, Report};
use crate::dump::Dump;
use crate::fleet::{WorkerPlan, WorkerProcess};
use crate::history::{Kind, Recorder, Verb};
use crate::process::{Server, Setting};
use crate::script::{KIND, Work};

/// How often counters are looked at while everything comes to rest.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// The queue of schedules.
pub const TICKS: &str = "ticks";

/// How a field is set up.
#[derive(Debug, Clone)]
pub struct FieldPlan {
    /// Queues of the load.
    pub queues: Vec<String>,
    /// Worker processes.
    pub workers: usize,
    /// Jobs that each runs at the same time.
    pub concurrency: u32,
    /// Lease in milliseconds; a heartbeat is an eighth of it.
    pub lease_ms: u64,
    /// Where the data is; a directory of its own unless it is set.
    pub data_dir: Option<PathBuf>,
    /// Files of the history.
    pub parts: usize,
}

impl Default for FieldPlan {
    fn default() -> FieldPlan {
        let queues = vec!["default".to_owned()];
        FieldPlan { queues, workers: 2, concurrency: 32, lease_ms: 8_000, data_dir: None, parts: 1 }
    }
}

/// Server, workers, history.
#[derive(Debug)]
pub struct Field {
    /// Workers, to be killed and stopped. First, so that they end first.
    pub workers: Vec<WorkerProcess>,
    /// The server.
    pub server: Server,
    /// What is recorded.
    pub recorder: Recorder,
    history: tempfile::TempDir,
    data: tempfile::TempDir,
    plan: FieldPlan,
    /// Processes that were killed.
    pub kills: usize,
}

impl Field {
    /// Starts server and workers.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(plan: FieldPlan) -> Result<Field> {
        let history = tempfile::Builder::new().prefix("windlass-history-").tempdir()?;
        let data = tempfile::tempdir()?;
        let recorder = Recorder::create(history.path(), "test", plan.parts)?;
        let lease = format!("{}ms", plan.lease_ms);
        let heartbeat = format!("{}ms", (plan.lease_ms / 8).max(50));
        let dir = plan.data_dir.clone().unwrap_or_else(|| data.path().join("data"));
        let extra = ["--lease", &lease, "--heartbeat", &heartbeat];
        let server = Server::start_in(Setting::default(), &dir, &extra)?;
        recorder.nemesis("server", "start");
        let mut field = Field { workers: Vec::new(), server, recorder, history, data, plan, kills: 0 };
        for _ in 0..field.plan.workers {
            field.add_worker()?;
        }
        Ok(field)
    }

    /// Starts one worker more.
    ///
    /// # Errors
    /// What the system says.
    pub fn add_worker(&mut self) -> Result<()> {
        let mut queues = self.plan.queues.clone();
        queues.push(TICKS.to_owned());
        let number = self.workers.len() + 1;
        let plan = WorkerPlan {
            server: self.server.address(),
            history: self.history.path().to_owned(),
            name: format!("worker-{number}"),
            queues,
            concurrency: self.plan.concurrency,
            // One in three is watched by heartbeats alone.
            gossip: !number.is_multiple_of(3),
        };
        self.workers.push(WorkerProcess::start(plan, &self.recorder)?);
        Ok(())
    }

    /// Where the server keeps its data.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.plan.data_dir.clone().unwrap_or_else(|| self.data.path().join("data"))
    }

    /// Where the history is.
    #[must_use]
    pub fn history_dir(&self) -> &Path {
        self.history.path()
    }

    /// `kill -9` of the server, and a start on the same addresses.
    ///
    /// # Errors
    /// When it does not start.
    pub fn kill_server(&mut self) -> Result<()> {
        self.recorder.nemesis("server", "kill");
        self.kills += 1;
        self.server.kill()?;
        self.restart_server()
    }

    /// An orderly stop of the server, and a start.
    ///
    /// # Errors
    /// When it does not stop or start.
    pub fn cycle_server(&mut self) -> Result<()> {
        self.recorder.nemesis("server", "term");
        self.server.stop()?;
        self.restart_server()
    }

    /// Starts the server again, after it has ended.
    ///
    /// # Errors
    /// When it does not start.
    pub fn restart_server(&mut self) -> Result<()> {
        self.server.restart()?;
        self.recorder.nemesis("server", "start");
        Ok(())
    }

    /// Kills the server and starts it with fault points armed. `false`: one of them has killed it before it was ready.
    ///
    /// # Errors
    /// When it does not start for another reason, such as an error that was ordered.
    pub fn arm_server(&mut self, points: &str) -> Result<bool> {
        self.recorder.nemesis("server", "kill");
        self.kills += 1;
        self.server.kill()?;
        self.recorder.nemesis("server", &format!("fault {points}"));
        self.server.setting.env = vec![(fault::VARIABLE.to_owned(), points.to_owned())];
        let restarted = self.restart_server();
        self.server.setting.env.clear();
        match restarted {
            Err(error) if points.contains("=kill") && error.to_string().contains("SIGKILL") => {
                self.recorder.nemesis("server", "kill");
                self.kills += 1;
                Ok(false)
            }
            restarted => restarted.map(|()| true),
        }
    }

    /// Waits until the server has ended by itself, as an armed point makes it, and says whether a signal did it.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub async fn server_died(&mut self, limit: Duration) -> Result<Option<i32>> {
        use std::os::unix::process::ExitStatusExt as _;
        let end = Instant::now() + limit;
        while self.server.process().is_running()? {
            ensure!(Instant::now() < end, "the server did not reach the point within {limit:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.recorder.nemesis("server", "kill");
        self.kills += 1;
        Ok(self.server.process().wait(Duration::ZERO)?.signal())
    }

    /// SIGSTOP of the server for a while.
    ///
    /// # Errors
    /// When it is gone.
    pub async fn pause_server(&mut self, time: Duration) -> Result<()> {
        self.recorder.nemesis("server", "stop");
        self.server.process().signal(Signal::STOP)?;
        tokio::time::sleep(time).await;
        self.recorder.nemesis("server", "cont");
        self.server.process().signal(Signal::CONT)
    }

    /// `kill -9` of a worker, and a new one of the same name.
    ///
    /// # Errors
    /// What the system says.
    pub fn kill_worker(&mut self, index: usize) -> Result<()> {
        self.kills += 1;
        self.workers[index].kill()?;
        self.workers[index].restart()
    }

    /// Makes schedules that fire often.
    ///
    /// # Errors
    /// When the server refuses them.
    pub async fn schedule(&self, client: &Client, seconds: &[u64]) -> Result<()> {
        for every in seconds {
            let work = Work::plain(TICKS);
            let payload = serde_json::to_value(&work.script)?;
            let name = format!("every-{every}s");
            let schedule =
                Schedule::every(&name, Duration::from_secs(*every), Job::new(KIND, &payload)?.queue(TICKS));
            client.put_schedule(schedule).await?;
            let mut event = self.recorder.event(Verb::Schedule, Kind::Ok);
            (event.schedule, event.every_ms) = (Some(name), Some(every * 1_000));
            self.recorder.record(&event);
        }
        Ok(())
    }

    /// Lets everything come to rest: schedules pause, what is there ends. The producers must have ended before.
    ///
    /// # Errors
    /// When something has not ended within `limit`.
    pub async fn rest(&mut self, client: &Client, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        client.connected().await;
        for schedule in client.list_schedules().await? {
            client.pause_schedule(&schedule.spec.name).await?;
        }
        let mut calm = 0;
        while calm < 2 {
            let queues = client.list_queues().await.context("the server's queues")?;
            let open = |(state, count): (&JobState, &u64)| if state.is_final() { 0 } else { *count };
            let left: u64 = queues.iter().flat_map(|queue| queue.counts.iter()).map(open).sum();
            calm = if left == 0 { calm + 1 } else { 0 };
            ensure!(Instant::now() < end, "{left} jobs have not ended within {limit:?}: {queues:?}");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// Judges what has happened, everything being at rest, and ends the processes in order.
    ///
    /// # Errors
    /// What was broken, with the evidence; the history is kept then.
    pub async fn judge(mut self, client: &Client, options: Options) -> Result<Report> {
        let dump = Dump::take(client).await?;
        let mut ended = Ok(());
        for worker in &mut self.workers {
            ended = ended.and(worker.stop());
        }
        ended = ended.and(self.server.stop());
        let options =
            Options { lease_ms: self.plan.lease_ms, torn_max: options.torn_max + self.kills, ..options };
        let report = check::must_hold(self.history, dump, &options)?;
        ended.map(|()| report)
    }

    /// Keeps the history although nothing was judged, and says where it is.
    #[must_use]
    pub fn keep_history(self) -> PathBuf {
        self.history.keep()
    }
}
