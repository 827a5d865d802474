//! The properties that every history must have, one file each, and the judgement over all of them.
//!
//! A checker raises no false alarm: where a worker's view lags behind the server's (a handler begins after its lease was handed out,
//! a stopped process still believes in its leases), it gives the benefit of the doubt, and where it gives none it is because the
//! server itself has confirmed something. Each has a planted violation among its tests that it alone catches.

mod attempts;
mod conservation;
mod dead_stay;
mod early;
mod ended;
mod lost;
mod one_firing;
mod one_lease;
mod resurrection;
#[cfg(test)]
mod sample;
mod stale;
mod tokens;

use std::fmt;
use std::path::Path;

use anyhow::{Result, ensure};
use windlass_core::id::JobId;
use windlass_core::job::JobState;

use crate::dump::Dump;
use crate::history::{Verb, part_files};
use crate::life::{Life, World, lives};

/// Longest way of a delivery from the server into a handler of a process that nothing disturbs, in microseconds: what begins
/// later than this after something was not under way when it happened.
pub const UNDER_WAY_US: u64 = 5_000_000;
/// Violations that are shown; more say nothing new.
const SHOWN_MAX: usize = 5;
/// Violations that are kept.
const FOUND_MAX: usize = 1_000;

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which property, by its name here.
    pub property: &'static str,
    /// Of which job.
    pub job: Option<JobId>,
    /// What happened.
    pub text: String,
}

/// Violations found so far, by one property.
#[derive(Debug)]
pub struct Found<'a> {
    property: &'static str,
    all: &'a mut Vec<Violation>,
}

impl Found<'_> {
    /// Adds one.
    pub fn add(&mut self, job: Option<JobId>, text: String) {
        if self.all.len() < FOUND_MAX {
            self.all.push(Violation { property: self.property, job, text });
        }
    }
}

/// One property.
pub trait Property {
    /// Its name: number and words.
    fn name(&self) -> &'static str;

    /// Looks at one job.
    fn life(&mut self, life: &Life, world: &World, found: &mut Found<'_>) {
        let _ = (life, world, found);
    }

    /// Looks at what all jobs together show.
    fn end(&mut self, world: &World, found: &mut Found<'_>) {
        let _ = (world, found);
    }
}

/// Every property.
#[must_use]
pub fn properties() -> Vec<Box<dyn Property>> {
    vec![
        Box::new(lost::Lost::default()),
        Box::new(ended::Ended),
        Box::new(one_lease::OneLease),
        Box::new(tokens::Tokens),
        Box::new(stale::Stale),
        Box::new(resurrection::Resurrection),
        Box::new(attempts::Attempts),
        Box::new(early::Early),
        Box::new(one_firing::OneFiring::default()),
        Box::new(dead_stay::DeadStay),
        Box::new(conservation::Conservation),
    ]
}

/// How a history is judged.
#[derive(Debug, Clone)]
pub struct Options {
    /// Time of a lease on the server under test.
    pub lease_ms: u64,
    /// Lines that may be cut: one for each process that was killed.
    pub torn_max: usize,
    /// Properties that do not apply, by the beginning of their names, such as `S8` when the wall clock was moved.
    pub without: Vec<&'static str>,
}

impl Default for Options {
    fn default() -> Options {
        Options { lease_ms: windlass_core::limits::LEASE_MS_DEFAULT, torn_max: 0, without: Vec::new() }
    }
}

/// What a history shows.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Jobs that were confirmed to a producer.
    pub confirmed: u64,
    /// Jobs that producers asked for and got no answer.
    pub unsure: u64,
    /// Jobs that a handler ran.
    pub run: u64,
    /// Runs beyond the first of a job.
    pub again: u64,
    /// Jobs that went dead.
    pub dead: u64,
    /// Firings of schedules.
    pub firings: u64,
    /// Reports that were refused.
    pub refused: u64,
    /// Lines cut by kills.
    pub torn: usize,
    /// What was broken.
    pub violations: Vec<Violation>,
    /// The events of the first jobs with violations, to be read.
    pub evidence: Vec<String>,
}

impl Report {
    fn count(&mut self, life: &Life, dump: &Dump) {
        self.confirmed += u64::from(life.is_confirmed());
        self.unsure += u64::from(!life.is_confirmed() && life.had(Verb::Enqueue));
        self.run += u64::from(!life.runs.is_empty());
        self.again += (life.runs.len() as u64).saturating_sub(1);
        self.dead += u64::from(dump.jobs.get(&life.id).is_some_and(|job| job.state == JobState::Dead));
        self.firings += u64::from(life.firing.is_some());
        let refused = life.runs.iter().filter(|run| matches!(run.report, Some((_, Some(_)))));
        self.refused += refused.count() as u64;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} jobs confirmed, {} unsure, {} run, {} runs again, {} dead, {} firings, {} reports refused, {} violations",
            self.confirmed,
            self.unsure,
            self.run,
            self.again,
            self.dead,
            self.firings,
            self.refused,
            self.violations.len()
        )
    }
}

/// Judges the history in `dir` against what the server says it has at rest.
///
/// # Errors
/// When the history cannot be read.
pub fn check(dir: &Path, dump: Dump, options: &Options) -> Result<Report> {
    let (world, torn) = World::read(dir, options.lease_ms, dump)?;
    let mut report = Report { torn, ..Report::default() };
    let mut properties = properties();
    properties.retain(|property| !options.without.iter().any(|name| property.name().starts_with(name)));
    for part in part_files(dir)? {
        let (lives, torn) = lives(&part)?;
        report.torn += torn;
        for life in lives {
            report.count(&life, &world.dump);
            let before = report.violations.len();
            for property in &mut properties {
                let name = property.name();
                property.life(&life, &world, &mut Found { property: name, all: &mut report.violations });
            }
            if report.violations.len() > before && report.evidence.len() < SHOWN_MAX {
                report.evidence.push(evidence(&life, &world));
            }
        }
    }
    for property in &mut properties {
        let name = property.name();
        property.end(&world, &mut Found { property: name, all: &mut report.violations });
    }
    ensure!(
        report.torn <= options.torn_max,
        "{} lines of the history are cut, and only {} processes were killed: the recorder is broken",
        report.torn,
        options.torn_max
    );
    Ok(report)
}

/// The same, and an error with the evidence when a property does not hold. The history stays for whoever wants to know.
///
/// # Errors
/// What was broken, and where the history is.
pub fn must_hold(dir: tempfile::TempDir, dump: Dump, options: &Options) -> Result<Report> {
    let report = match check(dir.path(), dump, options) {
        Ok(report) if report.violations.is_empty() => return Ok(report),
        Ok(report) => report,
        Err(error) => return Err(error.context(format!("the history is kept in {}", dir.keep().display()))),
    };
    let shown: Vec<String> = report.violations.iter().take(SHOWN_MAX).map(ToString::to_string).collect();
    anyhow::bail!(
        "{report}\n{}\n{}\nthe history is kept in {}",
        shown.join("\n"),
        report.evidence.join("\n"),
        dir.keep().display()
    )
}

/// The events of a job with the faults among them.
fn evidence(life: &Life, world: &World) -> String {
    let (first, last) = match (life.events.first(), life.events.last()) {
        (Some(first), Some(last)) => (first.t, last.t),
        _ => return String::new(),
    };
    let around = world.events.iter().filter(|event| event.t >= first && event.t <= last);
    let mut events: Vec<_> = life.events.iter().chain(around).collect();
    events.sort_by_key(|event| event.t);
    let lines = events.iter().take(60).map(|event| serde_json::to_string(event).unwrap_or_default());
    let kept = world.dump.jobs.get(&life.id).map_or("not in the dump".to_owned(), |job| format!("{job:?}"));
    format!("job {}: {kept}\n  {}", life.id, lines.collect::<Vec<_>>().join("\n  "))
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let job = self.job.map_or(String::new(), |id| format!(" job {id}:"));
        write!(f, "{}:{job} {}", self.property, self.text)
    }
}
