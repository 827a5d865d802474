//! What a test needs of the machine, asked before it begins: a tool, root, a kernel feature. What is missing skips the test
//! aloud; in CI, where the tools are installed by `.ci/run`, a missing tool is a failure.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// The reason why a test was not run; passed up as an error, and counted by the [runner](crate::runner).
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Skip(pub String);

/// Where tools of the system stand that a plain user's `PATH` leaves out.
const SYSTEM_DIRS: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Whether this is a run in CI.
#[must_use]
pub fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false" && value != "0")
}

/// Ends the test as skipped.
///
/// # Errors
/// Always: the skip.
pub fn skip(reason: impl Into<String>) -> Result<()> {
    Err(Skip(reason.into()).into())
}

/// Whether a command is there.
#[must_use]
pub fn has(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let listed = std::env::split_paths(&path).any(|dir| dir.join(tool).is_file());
    listed || SYSTEM_DIRS.iter().any(|dir| Path::new(dir).join(tool).is_file())
}

/// Asks for tools, each with the package that brings it.
///
/// # Errors
/// A skip, or a failure in CI.
pub fn tools(wanted: &[(&str, &str)]) -> Result<()> {
    for (tool, package) in wanted {
        if !has(tool) {
            let text = format!("{tool} is missing; install {package}");
            if in_ci() {
                bail!("{text}, or let .ci/run do it");
            }
            skip(text)?;
        }
    }
    Ok(())
}

/// Asks for root.
///
/// # Errors
/// A skip.
pub fn root() -> Result<()> {
    if rustix::process::geteuid().is_root() { Ok(()) } else { skip("this needs root") }
}

/// Runs a program to its end.
///
/// # Errors
/// What it says when it fails.
pub fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let place = SYSTEM_DIRS.iter().map(|dir| Path::new(dir).join(program)).find(|place| place.is_file());
    let place = place.unwrap_or_else(|| program.into());
    let output = Command::new(place).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| anyhow::anyhow!("{program}: {error}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} {}: {}", arguments.join(" "), said.trim());
    }
    Ok(())
}
