//! A temporary server as a child process, in a directory on the current file system.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::cli::error::CliError;

/// Time that the server has to come up, and to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the server prints when it is up.
#[derive(Deserialize)]
struct Ready {
    native: String,
}

/// A server of our own; killed when dropped.
pub(super) struct OwnServer {
    child: Child,
    pid: u32,
    native: String,
    dir: TempDir,
}

impl OwnServer {
    /// Starts `windlass server` from this very binary and waits until it is up.
    ///
    /// # Errors
    /// When it cannot be started or ends at once, with its own words.
    pub(super) async fn start(store: &str) -> Result<OwnServer, CliError> {
        let failed = |what: &str, why: String| {
            CliError::failure(format!("bench: {what}: {why}; name a running server with --server"))
        };
        let dir = tempfile::Builder::new()
            .prefix("windlass-bench-")
            .tempdir_in(".")
            .map_err(|e| failed("no temporary directory here", e.to_string()))?;
        let program = std::env::current_exe()
            .map_err(|e| failed("this program does not find itself", e.to_string()))?;
        // What the server says stays beside its data, and is shown only when it does not come up.
        let log = dir.path().join("server.log");
        let stderr = std::fs::File::create(&log).map_err(|e| failed("no log file", e.to_string()))?;
        let mut child = Command::new(program)
            .args([
                "server",
                "--json",
                "--http",
                "off",
                "--gossip",
                "off",
                "--faktory",
                "off",
                "--native",
                "127.0.0.1:0",
                "--log",
                "warn",
            ])
            .arg("--data-dir")
            .arg(dir.path())
            .args(["--store", store])
            // A signal from the keyboard is for the benchmark, which then stops the server itself.
            .process_group(0)
            .kill_on_drop(true)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .spawn()
            .map_err(|e| failed("the server was not started", e.to_string()))?;
        let pid = child.id().unwrap_or_default();
        let stdout = child.stdout.take().ok_or_else(|| failed("the server", "has no stdout".to_owned()))?;
        let mut line = String::new();
        let mut reader = BufReader::new(stdout);
        match tokio::time::timeout(PATIENCE, reader.read_line(&mut line)).await {
            Ok(Ok(1..)) => {}
            _ => {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                return Err(failed("the server did not come up", said.trim().replace('\n', " / ")));
            }
        }
        let ready: Ready =
            serde_json::from_str(&line).map_err(|e| failed("the server's first line", e.to_string()))?;
        Ok(OwnServer { child, pid, native: ready.native, dir })
    }

    /// Its address.
    pub(super) fn native(&self) -> &str {
        &self.native
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Its directory.
    pub(super) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Ends it in order; one that does not listen is killed when this is dropped.
    pub(super) async fn stop(mut self) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = tokio::time::timeout(PATIENCE, self.child.wait()).await;
    }
}
