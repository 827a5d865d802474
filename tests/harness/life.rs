//! Histories read back: the life of one job at a time, and the world around all of them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::Result;
use windlass_core::id::JobId;

use crate::dump::Dump;
use crate::history::{self, Event, Kind, Verb};

/// One hand-out as its worker saw it.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// Epoch and number of the hand-out.
    pub token: (u64, u64),
    /// Number of the attempt.
    pub attempt: u32,
    /// Attempts that the job may use.
    pub max_attempts: u32,
    /// Whose handler ran it.
    pub proc: String,
    /// When the handler began: microseconds of the monotonic clock.
    pub start: u64,
    /// The same by the wall clock, in milliseconds.
    pub start_wall: u64,
    /// When it was told to stop.
    pub stopped: Option<u64>,
    /// When it came to its end, and with which verdict.
    pub end: Option<(u64, String)>,
    /// When the report was answered; `None` as the code when it was recorded.
    pub report: Option<(u64, Option<String>)>,
    /// How often a handler began with this token; more than once is a defect of its own.
    pub starts: u32,
}

impl Run {
    /// The verdict that the server has recorded.
    #[must_use]
    pub fn recorded(&self) -> Option<&str> {
        match (&self.end, &self.report) {
            (Some((_, verdict)), Some((_, None))) => Some(verdict),
            _ => None,
        }
    }
}

/// What somebody asked for a job, and what came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// The order.
    pub f: Verb,
    /// When it was sent.
    pub invoked: u64,
    /// When the outcome was known, and what it was; `Info` for one that never was.
    pub told: (u64, Kind),
    /// The state that the answer showed.
    pub what: String,
    /// Delay, absolute time, attempts, whether it is kept: of an enqueue.
    pub after_ms: Option<u64>,
    /// Absolute time in milliseconds since the epoch.
    pub run_at: Option<u64>,
    /// Whether the result is kept durably.
    pub kept: bool,
}

/// Everything that is known of one job, in the order of time.
#[derive(Debug, Clone, PartialEq)]
pub struct Life {
    /// The job.
    pub id: JobId,
    /// Orders of producers and operators.
    pub asked: Vec<Asked>,
    /// Runs by token.
    pub runs: Vec<Run>,
    /// When somebody was told that it had ended, and how.
    pub ended: Vec<(u64, String)>,
    /// Its schedule and nominal time.
    pub firing: Option<(String, u64)>,
    /// The events as they are, to be shown.
    pub events: Vec<Event>,
}

impl Life {
    /// Makes sense of the events of one job.
    #[must_use]
    pub fn of(id: JobId, events: Vec<Event>) -> Life {
        let mut runs: BTreeMap<(u64, u64), Run> = BTreeMap::new();
        let mut open: HashMap<(&str, u64), usize> = HashMap::new();
        let (mut asked, mut ended, mut firing): (Vec<Asked>, _, _) = (Vec::new(), Vec::new(), None);
        for event in &events {
            match (event.f, event.kind) {
                (Verb::Enqueue | Verb::Cancel | Verb::Retry | Verb::Delete, Kind::Invoke) => {
                    open.insert((&event.proc, event.op.unwrap_or(0)), asked.len());
                    asked.push(order(event));
                }
                (Verb::Enqueue | Verb::Cancel | Verb::Retry | Verb::Delete, kind) => {
                    if let Some(index) = open.remove(&(&*event.proc, event.op.unwrap_or(0))) {
                        asked[index].told = (event.t, kind);
                        asked[index].what = event.what.clone().unwrap_or_default();
                    }
                }
                (Verb::Ended, _) => ended.push((event.t, event.what.clone().unwrap_or_default())),
                (Verb::Start, _) => {
                    let Some(token) = event.token else { continue };
                    firing = event.schedule.clone().zip(event.nominal).or(firing);
                    runs.entry(token)
                        .and_modify(|run| run.starts += 1)
                        .or_insert_with(|| begun(event, token));
                }
                (Verb::Stopped | Verb::End | Verb::Report, kind) => {
                    let Some(run) = event.token.and_then(|token| runs.get_mut(&token)) else { continue };
                    match event.f {
                        Verb::Stopped => run.stopped = Some(event.t),
                        Verb::End => run.end = Some((event.t, event.what.clone().unwrap_or_default())),
                        _ => {
                            let code = event.note.clone().unwrap_or_default();
                            run.report = Some((event.t, (kind != Kind::Ok).then_some(code)));
                        }
                    }
                }
                (Verb::Link | Verb::Schedule | Verb::Nemesis, _) => {}
            }
        }
        let runs = runs.into_values().collect();
        Life { id, asked, runs, ended, firing, events }
    }

    /// Whether somebody was promised that the job exists.
    #[must_use]
    pub fn is_confirmed(&self) -> bool {
        self.asked.iter().any(|asked| asked.f == Verb::Enqueue && asked.told.1 == Kind::Ok)
    }

    /// Orders of this kind that happened or may have.
    pub fn orders(&self, f: Verb) -> impl Iterator<Item = &Asked> {
        self.asked.iter().filter(move |asked| asked.f == f && asked.told.1 != Kind::Fail)
    }

    /// Whether an enqueue of it was answered only after this moment. The client asks again after a loss, and a server that was
    /// started again does not remember what has succeeded before: then it is a new job with the same id, and runs once more.
    #[must_use]
    pub fn may_be_new_after(&self, at: u64) -> bool {
        self.orders(Verb::Enqueue).any(|asked| asked.invoked < at && asked.told.0 > at)
    }

    /// Whether an order of this kind happened or may have.
    #[must_use]
    pub fn had(&self, f: Verb) -> bool {
        self.orders(f).next().is_some()
    }
}

fn order(event: &Event) -> Asked {
    Asked {
        f: event.f,
        invoked: event.t,
        told: (u64::MAX, Kind::Info),
        what: String::new(),
        after_ms: event.after_ms,
        run_at: event.run_at,
        kept: event.kept == Some(true),
    }
}

fn begun(event: &Event, token: (u64, u64)) -> Run {
    Run {
        token,
        attempt: event.attempt.unwrap_or(0),
        max_attempts: event.max_attempts.unwrap_or(u32::MAX),
        proc: event.proc.clone(),
        start: event.t,
        start_wall: event.wall,
        stopped: None,
        end: None,
        report: None,
        starts: 1,
    }
}

/// What happened around the jobs.
#[derive(Debug, Default)]
pub struct World {
    /// Faults, schedules and connections, in the order of time.
    pub events: Vec<Event>,
    /// Time of a lease on the server under test, in microseconds.
    pub lease_us: u64,
    /// What the server said it had at the end.
    pub dump: Dump,
}

impl World {
    /// Reads what belongs to no job.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(dir: &Path, lease_ms: u64, dump: Dump) -> Result<(World, usize)> {
        let (events, torn) = history::read(&history::common_file(dir))?;
        Ok((World { events, lease_us: lease_ms * 1_000, dump }, torn))
    }

    /// Faults of a process between two moments.
    pub fn faults<'a>(&'a self, victim: &'a str, from: u64, to: u64) -> impl Iterator<Item = &'a Event> {
        let begin = self.events.partition_point(|event| event.t < from);
        let near = self.events[begin..].iter().take_while(move |event| event.t <= to);
        near.filter(move |event| event.f == Verb::Nemesis && event.proc == victim)
    }

    /// Whether a process was killed, stopped or otherwise disturbed between two moments.
    #[must_use]
    pub fn disturbed(&self, victim: &str, from: u64, to: u64) -> bool {
        self.faults(victim, from, to).next().is_some() || self.is_stopped(victim, from)
    }

    /// Whether SIGSTOP holds the process at this moment.
    #[must_use]
    pub fn is_stopped(&self, victim: &str, at: u64) -> bool {
        let before = self.events[..self.events.partition_point(|event| event.t <= at)].iter().rev();
        let mut told = before.filter(|event| event.f == Verb::Nemesis && event.proc == victim);
        told.next().is_some_and(|event| event.what.as_deref() == Some("stop"))
    }

    /// When the connection of a process was first lost within a time.
    #[must_use]
    pub fn cut(&self, proc: &str, from: u64, to: u64) -> Option<u64> {
        let begin = self.events.partition_point(|event| event.t < from);
        let near = self.events[begin..].iter().take_while(|event| event.t <= to);
        near.filter(|event| event.f == Verb::Link && event.kind == Kind::Fail)
            .find(|event| event.proc == proc)
            .map(|event| event.t)
    }
}

/// Reads the jobs of one file.
///
/// # Errors
/// When it cannot be read.
pub fn lives(part: &Path) -> Result<(Vec<Life>, usize)> {
    let (events, torn) = history::read(part)?;
    let mut by_job: BTreeMap<JobId, Vec<Event>> = BTreeMap::new();
    for event in events {
        if let Some(id) = event.job {
            by_job.entry(id).or_default().push(event);
        }
    }
    Ok((by_job.into_iter().map(|(id, events)| Life::of(id, events)).collect(), torn))
}
