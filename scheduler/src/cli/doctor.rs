//! `windlass doctor`: whether a store at rest is sound.

use std::path::PathBuf;

use super::error::{CliError, Exit};
use super::output::Output;
use crate::config::{ServerFlags, resolve};
use crate::store;

/// Arguments of `windlass doctor`.
#[derive(Debug, clap::Args)]
#[command(before_help = "\
Examples:
  windlass doctor --data-dir /var/lib/windlass
  windlass doctor --json | jq '.checks[] | select(.ok | not)'

The server of that directory must be stopped. Nothing is changed.")]
pub(crate) struct DoctorArgs {
    /// Directory of the store [default: the one a server here would use]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
}

/// Runs `windlass doctor`.
///
/// # Errors
/// Exit code 6 when a check failed, 3 when there is no store.
pub(crate) fn run(args: DoctorArgs, out: Output) -> Result<(), CliError> {
    let dir = match args.data_dir {
        Some(dir) => dir,
        None => resolve(&ServerFlags::default(), &|name| std::env::var(name).ok())?.config.data_dir,
    };
    if !dir.is_dir() {
        let text = format!("doctor: there is no directory {}; name the store with --data-dir", dir.display());
        return Err(CliError::new(Exit::NotFound, text));
    }
    let checks = store::examine(&dir);
    let failed = checks.iter().filter(|check| !check.ok).count();
    if out.json {
        let each = |c: &store::Check| serde_json::json!({ "name": c.name, "ok": c.ok, "detail": c.detail, "advice": c.advice });
        let all: Vec<_> = checks.iter().map(each).collect();
        out.json_value(&serde_json::json!({ "data_dir": dir, "ok": failed == 0, "checks": all }))?;
    } else {
        for check in &checks {
            let verdict = if check.ok { out.paint(32, "ok  ") } else { out.paint(31, "FAIL") };
            out.line(format!("{verdict}  {:<24} {}", check.name, check.detail))?;
            if !check.ok && !check.advice.is_empty() {
                out.line(format!("      {:<24} → {}", "", check.advice))?;
            }
        }
    }
    match failed {
        0 => Ok(()),
        1 => Err(failure("a check has failed", &dir)),
        more => Err(failure(&format!("{more} checks have failed"), &dir)),
    }
}

fn failure(what: &str, dir: &std::path::Path) -> CliError {
    let text = format!(
        "doctor: {what} on {}; keep a copy of the directory before you do anything else",
        dir.display()
    );
    CliError::new(Exit::CheckFailed, text)
}
