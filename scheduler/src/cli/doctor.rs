//! `windlass doctor`: whether a store at rest is sound.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::checks::Check;
use super::error::{CliError, Exit};
use super::output::{Output, bytes, count};
use crate::config::{ServerFlags, resolve};
use crate::store::{Damage, OpenError, Report, examine};

/// What is said to somebody whose store is damaged.
const ADVICE: &str = "copy the directory before anything else; then restore it from a backup";

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
/// Exit code 6 when a check failed, 3 when there is no store, 4 when a server has it open.
pub(crate) fn run(args: DoctorArgs, out: Output) -> Result<(), CliError> {
    let dir = match args.data_dir {
        Some(dir) => dir,
        None => resolve(&ServerFlags::default(), &|name| std::env::var(name).ok())?.config.data_dir,
    };
    // Without a manifest, files of a store are damage; without either there was never a store.
    if !["MANIFEST", "journal"].iter().any(|name| dir.join(name).exists()) {
        let text = format!("doctor: there is no store in {}; name one with --data-dir", dir.display());
        return Err(CliError::new(Exit::NotFound, text));
    }
    let report = examine(&dir).map_err(|e| cannot_look(&e))?;
    let checks = checks(&report);
    if out.json {
        let all: Vec<_> = checks.iter().map(Check::json).collect();
        out.json_value(&json!({ "ok": report.is_whole(), "checks": all, "report": report }))?;
    } else {
        print(&checks, &report, out)?;
    }
    match report.damage.len() {
        0 => Ok(()),
        damaged => {
            let places = if damaged == 1 {
                "one damaged place".to_owned()
            } else {
                format!("{damaged} damaged places")
            };
            Err(CliError::new(Exit::CheckFailed, format!("doctor: {} has {places}; {ADVICE}", dir.display())))
        }
    }
}

fn cannot_look(error: &OpenError) -> CliError {
    let exit = if matches!(error, OpenError::Locked { .. }) { Exit::Refused } else { Exit::CheckFailed };
    CliError::new(exit, format!("doctor: {error}"))
}

/// The report by area; a place of damage belongs to the area of its file.
fn checks(report: &Report) -> Vec<Check> {
    let areas = [
        ("manifest", format!("epoch {}, checkpoint at group {}", report.epoch, count(report.checkpoint_lsn))),
        (
            "journal",
            format!(
                "{} segments up to group {}, {} writes to apply at the next start",
                report.segments.len(),
                count(report.last_lsn),
                count(report.recent_writes)
            ),
        ),
        (
            "directory",
            format!(
                "{} keys in {} blocks, {}",
                count(report.pairs),
                count(report.blocks),
                bytes(report.block_bytes)
            ),
        ),
        ("blocks", format!("{} of {} read and whole", count(report.blocks_checked), count(report.blocks))),
    ];
    areas
        .into_iter()
        .map(|(name, sound)| {
            let places: Vec<_> = report.damage.iter().filter(|d| area(d, &report.data_dir) == name).collect();
            let ok = places.is_empty();
            let said = places.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            Check { name, ok, detail: if ok { sound } else { said }, advice: if ok { "" } else { ADVICE } }
        })
        .collect()
}

fn area(damage: &Damage, dir: &Path) -> &'static str {
    let below = damage.file.strip_prefix(dir).unwrap_or(&damage.file);
    let first = below.iter().next().and_then(|part| part.to_str()).unwrap_or_default();
    match first {
        "journal" => "journal",
        name if name.starts_with("directory") => "directory",
        name if name.starts_with("rest") => "blocks",
        _ => "manifest",
    }
}

fn print(checks: &[Check], report: &Report, out: Output) -> Result<(), CliError> {
    checks.iter().try_for_each(|check| check.print(out))?;
    report.notes.iter().try_for_each(|text| out.line(format!("note  {text}")))
}
