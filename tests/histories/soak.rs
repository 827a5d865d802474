//! Goal: the soak does not rot. Method: half a minute of it, and its verdict.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use windlass_tests::process::{Process, binary};

/// Longest time for half a minute of soak on a machine with other work.
const LIMIT: Duration = Duration::from_secs(400);

#[test]
fn a_short_soak_holds() -> Result<()> {
    let out = tempfile::tempdir()?;
    let program = env!("CARGO_BIN_EXE_soak");
    let mut command = Command::new(program);
    command.args(["--minutes", "0.4", "--rate", "150", "--out"]).arg(out.path());
    command.env("WINDLASS_BINARY", binary()).stdin(Stdio::null());
    let status = Process::spawn(&mut command)?.wait(LIMIT)?;
    let verdict = std::fs::read(out.path().join("verdict.json")).context("there is no verdict")?;
    let verdict: serde_json::Value = serde_json::from_slice(&verdict)?;
    ensure!(status.success(), "the soak ended with {status}: {:#}", verdict["complaints"]);
    ensure!(verdict["holds"] == true && verdict["jobs"]["confirmed"].as_u64() > Some(100), "{verdict:#}");
    let faults = verdict["faults"].as_object().context("no faults are counted")?;
    ensure!(!faults.is_empty(), "no fault has come");
    Ok(())
}
