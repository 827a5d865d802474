//! Worker processes that run scripted jobs: real ones, to be killed and stopped.
//!
//! The program is the `soak` binary of this package under the name of `worker`; cargo builds it before any test of this package.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Signal, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};
use windlass_worker::Worker;

use crate::history::Recorder;
use crate::process::Process;
use crate::script;

/// Longest wait for an orderly end of a worker.
const STOP_MAX: Duration = Duration::from_secs(40);

/// How a worker process is set up.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkerPlan {
    /// Where the server is.
    pub server: String,
    /// Where the history is.
    pub history: PathBuf,
    /// Under which name it records, and the server knows it.
    pub name: String,
    /// Its queues.
    pub queues: Vec<String>,
    /// Jobs at the same time.
    pub concurrency: u32,
    /// Whether it joins the gossip.
    pub gossip: bool,
}

/// A worker process; killed when it goes out of scope.
#[derive(Debug)]
pub struct WorkerProcess {
    program: PathBuf,
    process: Process,
    plan: WorkerPlan,
    recorder: Recorder,
    stopped: bool,
}

impl WorkerProcess {
    /// Starts one.
    ///
    /// # Errors
    /// What the system says.
    pub fn start(plan: WorkerPlan, recorder: &Recorder) -> Result<WorkerProcess> {
        WorkerProcess::of(&program()?, plan, recorder)
    }

    /// Starts one of this program, such as one of another version.
    ///
    /// # Errors
    /// What the system says.
    pub fn of(program: &Path, plan: WorkerPlan, recorder: &Recorder) -> Result<WorkerProcess> {
        recorder.nemesis(&plan.name, "start");
        let mut command = Command::new(program);
        command.arg("worker").arg(serde_json::to_string(&plan)?).stdin(Stdio::null());
        let process = Process::spawn(&mut command)?;
        let (program, recorder) = (program.to_owned(), recorder.clone());
        Ok(WorkerProcess { program, process, plan, recorder, stopped: false })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.plan.name
    }

    /// The process.
    #[must_use]
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// What the system says.
    pub fn kill(&mut self) -> Result<()> {
        self.recorder.nemesis(&self.plan.name, "kill");
        self.process.kill()
    }

    /// SIGSTOP.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn halt(&mut self) -> Result<()> {
        self.recorder.nemesis(&self.plan.name, "stop");
        self.stopped = true;
        self.process.signal(Signal::STOP)
    }

    /// SIGCONT.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn resume(&mut self) -> Result<()> {
        self.recorder.nemesis(&self.plan.name, "cont");
        self.stopped = false;
        self.process.signal(Signal::CONT)
    }

    /// SIGTERM, and waits for the end in order.
    ///
    /// # Errors
    /// When it takes too long or ends with an error.
    pub fn stop(&mut self) -> Result<()> {
        if self.stopped {
            self.resume()?;
        }
        self.recorder.nemesis(&self.plan.name, "term");
        self.process.signal(Signal::TERM)?;
        let status = self.process.wait(STOP_MAX)?;
        ensure!(status.success(), "{} ended with {status}", self.plan.name);
        Ok(())
    }

    /// Starts a process of the same name again.
    ///
    /// # Errors
    /// What the system says.
    pub fn restart(&mut self) -> Result<()> {
        *self = WorkerProcess::of(&self.program.clone(), self.plan.clone(), &self.recorder.clone())?;
        Ok(())
    }
}

/// The program of worker processes.
fn program() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    if own.file_name().is_some_and(|name| name.to_string_lossy().starts_with("soak")) {
        // Not by its path: a build may have put another one there meanwhile.
        return Ok(PathBuf::from("/proc/self/exe"));
    }
    let profile = own.ancestors().nth(2).context("tests stand in target/<profile>/deps")?;
    let program = profile.join("soak");
    ensure!(program.exists(), "{} is not built: cargo build -p windlass-tests --bin soak", program.display());
    Ok(program)
}

/// What a worker process does: runs scripted jobs until it is told to stop.
///
/// # Errors
/// When the plan cannot be read, or the worker ends with an error.
pub fn worker_main(plan: &str) -> Result<()> {
    // A run that is killed leaves no workers behind.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The only panics here are those that scripts order.
    std::panic::set_hook(Box::new(|_| {}));
    let plan: WorkerPlan = serde_json::from_str(plan).context("the plan of a worker")?;
    let recorder = Recorder::join(Path::new(&plan.history), &plan.name)?;
    let events = recorder.clone();
    let worker = Worker::builder(plan.server)
        .name(plan.name)
        .queues(plan.queues)
        .concurrency(plan.concurrency)
        .gossip(plan.gossip)
        .stop_deadline(Duration::from_secs(10))
        .cancel_grace(Duration::from_millis(100))
        .on_event(move |event| events.connection(event))
        .state(recorder)
        .handle(script::KIND, script::run)
        .build();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(worker.run())?;
    Ok(())
}
