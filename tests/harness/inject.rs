//! Faults of system calls in a process that runs: `strace` is attached, makes calls fail or wait, and is taken away again.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::probe;

/// Longest wait until the faults are in force.
const ATTACHED_WITHIN: Duration = Duration::from_secs(20);

/// A fault in force; dropping it heals the process.
#[derive(Debug)]
pub struct Injected {
    strace: Child,
}

impl Injected {
    /// Makes system calls of `pid` fail as the expressions say, such as `fdatasync:error=EIO`; returns when they do.
    ///
    /// # Errors
    /// When `strace` cannot be attached; a skip when this system does not allow it.
    pub fn into(pid: u32, expressions: &[&str]) -> Result<Injected> {
        Injected::attach(&["-f", "-p", &pid.to_string()], expressions)
    }

    /// The same for one thread of `pid`, found by its name; `strace` counts the calls of each thread for itself.
    ///
    /// # Errors
    /// As [`Injected::into`], and when there is no such thread.
    pub fn into_thread(pid: u32, name: &str, expressions: &[&str]) -> Result<Injected> {
        for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?;
            if std::fs::read_to_string(task.path().join("comm"))?.trim() == name {
                return Injected::attach(&["-p", &task.file_name().to_string_lossy()], expressions);
            }
        }
        bail!("process {pid} has no thread {name}");
    }

    fn attach(to: &[&str], expressions: &[&str]) -> Result<Injected> {
        probe::tools(&[("strace", "strace")])?;
        let mut command = Command::new("strace");
        command.args(["-o", "/dev/null"]).args(to);
        for expression in expressions {
            command.args(["-e", &format!("inject={expression}")]);
        }
        let mut strace = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let errors = BufReader::new(strace.stderr.take().context("stderr is piped")?);
        let (tell, told) = std::sync::mpsc::sync_channel(16);
        std::thread::spawn(move || {
            // All of it is read, so that strace never waits for us; only the first lines matter.
            for line in errors.lines().map_while(Result::ok) {
                let _ = tell.try_send(line);
            }
        });
        let injected = Injected { strace };
        let end = Instant::now() + ATTACHED_WITHIN;
        let mut said = String::new();
        while let Ok(line) = told.recv_timeout(end.saturating_duration_since(Instant::now())) {
            if line.contains("attached") {
                return Ok(injected);
            }
            if line.contains("Operation not permitted") {
                probe::skip(format!("strace may not be attached here: {line}"))?;
            }
            said.push_str(&line);
        }
        bail!("strace was not attached: {said}");
    }

    /// Takes the faults away and waits until they are.
    ///
    /// # Errors
    /// When `strace` does not end.
    pub fn heal(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        if self.strace.try_wait()?.is_none() {
            // Asked to end it lets its processes go on; killed it might leave them stopped.
            let pid = Pid::from_raw(i32::try_from(self.strace.id())?).context("a child has a pid")?;
            kill_process(pid, Signal::TERM)?;
        }
        let end = Instant::now() + Duration::from_secs(10);
        while self.strace.try_wait()?.is_none() {
            ensure!(Instant::now() < end, "strace does not end");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Injected {
    fn drop(&mut self) {
        if self.end().is_err() {
            let _ = self.strace.kill();
            let _ = self.strace.wait();
        }
    }
}
