//! What happened, as text.

use std::fmt::Write;

use crate::fault::KINDS;
use crate::history::{Event, Key};
use crate::{Outcome, Stats};

/// One line.
fn line(at: u64, event: &Event) -> String {
    format!("{:>7} ms  {event:?}", at)
}

/// Everything that happened.
#[must_use]
pub fn trace(history: &[(u64, Event)]) -> String {
    let mut text = String::new();
    for (at, event) in history {
        text.push_str(&line(*at, event));
        text.push('\n');
    }
    text
}

/// What happened to a job, or at the end of the run; the last `max` lines.
#[must_use]
pub fn lines(history: &[(u64, Event)], key: Option<Key>, max: usize) -> Vec<String> {
    let about = |event: &Event| key.is_none_or(|key| event.about(&key));
    let mut lines: Vec<_> = history
        .iter()
        .rev()
        .filter(|(_, event)| about(event))
        .take(max)
        .map(|(at, event)| line(*at, event))
        .collect();
    lines.reverse();
    lines
}

/// A violation, with what is needed to see it again.
#[must_use]
pub fn violation(outcome: &Outcome, commit: &str) -> String {
    let Some(violation) = &outcome.violation else {
        return format!("seed {}: all promises held\n", outcome.seed);
    };
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(text, "\nVIOLATION of \"{}\" at {} ms", violation.invariant, violation.at_ms);
    let _ = writeln!(text, "  {}", violation.what);
    let _ = writeln!(text, "  seed {}, commit {commit}", outcome.seed);
    let _ = writeln!(text, "  what happened:");
    violation.lines.iter().for_each(|line| {
        let _ = writeln!(text, "    {line}");
    });
    let _ = writeln!(
        text,
        "  shortest list of faults found ({} of {}):",
        violation.faults.len(),
        outcome.faults.len()
    );
    violation.faults.iter().for_each(|fault| {
        let _ = writeln!(text, "    {:>7} ms  {:?}", fault.at, fault.what);
    });
    let _ = writeln!(text, "  again: cargo run --release -p windlass-simulation -- --seed {}", outcome.seed);
    text
}

/// The figures of many runs.
#[must_use]
pub fn summary(seeds: u64, stats: &Stats, violations: u64) -> String {
    let faults: Vec<String> =
        KINDS.iter().zip(stats.faults).map(|(kind, count)| format!("{kind} {count}")).collect();
    format!(
        "{seeds} seeds, {} virtual seconds, {} events, {} commands, {} jobs, {} groups, {} loads, {} firings; faults: {}; {violations} violations",
        stats.virtual_ms / 1_000,
        stats.events,
        stats.commands,
        stats.jobs,
        stats.groups,
        stats.loads,
        stats.firings,
        faults.join(", ")
    )
}

/// The commit that is checked out, or "unknown".
#[must_use]
pub fn commit() -> String {
    let output = std::process::Command::new("git").args(["rev-parse", "HEAD"]).output();
    match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        _ => "unknown".to_owned(),
    }
}
