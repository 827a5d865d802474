//! The history of a run: what clients asked and were told, what workers ran and reported, and what was done to the processes.
//!
//! Every process of a run appends JSON lines to the same files, stamped with `CLOCK_MONOTONIC`, which all processes of a
//! machine share. `fail` means that something definitely did not happen; whatever is not known to have failed is `info`. A line
//! begins with its line break, so that one that was cut by `kill -9` spoils no other. Lines of one job stand in one file, so that a
//! history of millions of jobs is checked a file at a time; see [`crate::life`] and [`crate::check`].

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use windlass_core::id::JobId;
use windlass_worker::{ConnectionEvent, JobCtx};

/// Events that belong to no job.
const COMMON: &str = "common.jsonl";
/// How many files the jobs are spread over.
const PARTS: &str = "parts";

/// What is known of an operation at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It begins.
    Invoke,
    /// It has happened.
    Ok,
    /// It has definitely not happened.
    Fail,
    /// It may have happened; also what nobody asked for.
    Info,
}

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// A producer enqueues a job.
    Enqueue,
    /// Somebody cancels it.
    Cancel,
    /// Somebody makes it ready again.
    Retry,
    /// Somebody deletes it.
    Delete,
    /// Somebody was told that the job has ended, and how.
    Ended,
    /// A handler begins.
    Start,
    /// A handler was told to stop: its lease is lost, its job cancelled, or its worker stops.
    Stopped,
    /// A handler has come to its end; its report leaves after this.
    End,
    /// The server has answered the report.
    Report,
    /// The connection of a process is there (`ok`) or lost (`fail`).
    Link,
    /// A schedule is made or removed.
    Schedule,
    /// A fault, or its end; `proc` is the victim and `note` says what.
    Nemesis,
}

/// One line. What does not apply is left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Microseconds of `CLOCK_MONOTONIC`.
    pub t: u64,
    /// Milliseconds since the epoch, by the recorder's clock.
    pub wall: u64,
    /// Who records it, or whom a fault has hit.
    pub proc: String,
    /// What is known.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// What it is about.
    pub f: Verb,
    /// Joins an invocation to its outcome within a process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<u64>,
    /// The job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// Its queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Epoch and number of the hand-out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<(u64, u64)>,
    /// Number of the attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// Attempts that it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Delay that was asked for, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u64>,
    /// Absolute time that was asked for, in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_at: Option<u64>,
    /// Whether its result is kept durably.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<bool>,
    /// The schedule that it comes from, or that is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<String>,
    /// The nominal time of a firing, in milliseconds since the epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nominal: Option<u64>,
    /// Interval of a schedule in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_ms: Option<u64>,
    /// A state or verdict by its name: `done`, `retry`, `dead`, `cancel`, `snooze`; `cancelled`, `succeeded`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub what: Option<String>,
    /// An error code, a fault, a reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Event {
    /// An event of now, to be filled.
    #[must_use]
    pub fn new(proc: &str, f: Verb, kind: Kind) -> Event {
        Event {
            t: now_us(),
            wall: wall_ms(),
            proc: proc.to_owned(),
            kind,
            f,
            op: None,
            job: None,
            queue: None,
            token: None,
            attempt: None,
            max_attempts: None,
            after_ms: None,
            run_at: None,
            kept: None,
            schedule: None,
            nominal: None,
            every_ms: None,
            what: None,
            note: None,
        }
    }

    /// Of this job.
    #[must_use]
    pub fn job(mut self, id: JobId) -> Event {
        self.job = Some(id);
        self
    }

    /// With a state or verdict.
    #[must_use]
    pub fn what(mut self, what: impl Into<String>) -> Event {
        self.what = Some(what.into());
        self
    }

    /// With a code, fault or reason.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Event {
        self.note = Some(note.into());
        self
    }
}

/// Microseconds of `CLOCK_MONOTONIC`, the same for all processes of this machine.
#[must_use]
pub fn now_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).expect("the monotonic clock is not negative");
    seconds * 1_000_000 + u64::try_from(now.tv_nsec).expect("below a second") / 1_000
}

/// Milliseconds since the epoch.
#[must_use]
pub fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock shows a time after 1970");
    u64::try_from(since.as_millis()).expect("a time of this age")
}

/// Appends events to a history; cheap to clone.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    proc: String,
    parts: Vec<File>,
    common: File,
    ops: AtomicU64,
}

impl Recorder {
    /// Begins a history in `dir`, its jobs spread over so many files: 1 for a test, 64 for millions of jobs.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(dir: &Path, proc: &str, parts: usize) -> Result<Recorder> {
        fs::create_dir_all(dir)?;
        fs::write(dir.join(PARTS), parts.max(1).to_string())?;
        Recorder::join(dir, proc)
    }

    /// Takes part in a history that another process has begun.
    ///
    /// # Errors
    /// When there is none.
    pub fn join(dir: &Path, proc: &str) -> Result<Recorder> {
        let open = |path: PathBuf| OpenOptions::new().create(true).append(true).open(path);
        let parts = part_files(dir)?.into_iter().map(open).collect::<io::Result<Vec<_>>>()?;
        let common = open(dir.join(COMMON))?;
        let inner =
            Inner { dir: dir.to_owned(), proc: proc.to_owned(), parts, common, ops: AtomicU64::new(1) };
        Ok(Recorder(Arc::new(inner)))
    }

    /// The same history under another name, for one of several parts of a process.
    ///
    /// # Errors
    /// As [`Recorder::join`].
    pub fn named(&self, proc: &str) -> Result<Recorder> {
        Recorder::join(&self.0.dir, proc)
    }

    /// Where the history is.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.0.dir
    }

    /// Under which name this process records.
    #[must_use]
    pub fn proc(&self) -> &str {
        &self.0.proc
    }

    /// An event of this process, of now.
    #[must_use]
    pub fn event(&self, f: Verb, kind: Kind) -> Event {
        Event::new(&self.0.proc, f, kind)
    }

    /// A number that joins an invocation to its outcome.
    #[must_use]
    pub fn next_op(&self) -> u64 {
        self.0.ops.fetch_add(1, Ordering::Relaxed)
    }

    /// Appends an event.
    ///
    /// # Panics
    /// When the history cannot be written: a run that cannot be judged is worth nothing.
    pub fn record(&self, event: &Event) {
        let mut line = vec![b'\n'];
        serde_json::to_writer(&mut line, event).expect("an event is plain data");
        let mut file = match &event.job {
            Some(id) => &self.0.parts[usize::from(id.0[15]) % self.0.parts.len()],
            None => &self.0.common,
        };
        file.write_all(&line).expect("the history can be written");
    }

    /// Appends the invocation of an operation on a job, and returns its number.
    pub fn invoke(&self, f: Verb, id: JobId) -> u64 {
        let op = self.next_op();
        self.record(&Event { op: Some(op), ..self.event(f, Kind::Invoke).job(id) });
        op
    }

    /// Appends the outcome of an operation on a job.
    pub fn outcome(&self, f: Verb, id: JobId, op: u64, kind: Kind, what: &str) {
        self.record(&Event { op: Some(op), ..self.event(f, kind).job(id).what(what) });
    }

    /// Appends a fault, or its end: `kill`, `term`, `stop`, `cont`, `start`, `fault <points>`, …
    pub fn nemesis(&self, victim: &str, what: &str) {
        self.record(&Event::new(victim, Verb::Nemesis, Kind::Info).what(what));
    }

    /// Appends that a handler begins, was told to stop, or ends.
    pub fn run(&self, f: Verb, job: &JobCtx, verdict: Option<&str>) {
        use windlass_core::schedule::{HEADER_NOMINAL, HEADER_SCHEDULE};
        let kind = if f == Verb::End { Kind::Invoke } else { Kind::Ok };
        let mut event = self.event(f, kind).job(job.id());
        event.token = Some((job.token().epoch, job.token().delivery));
        event.attempt = Some(job.attempt());
        event.what = verdict.map(str::to_owned);
        if f == Verb::Start {
            event.queue = Some(job.queue().to_string());
            event.max_attempts = Some(job.max_attempts());
            event.schedule = job.header(HEADER_SCHEDULE).map(str::to_owned);
            event.nominal = job.header(HEADER_NOMINAL).and_then(|text| text.parse().ok());
        }
        self.record(&event);
    }

    /// Appends what a client's or worker's connection tells; for `on_event`.
    pub fn connection(&self, event: &ConnectionEvent) {
        match event {
            ConnectionEvent::Connected { server, .. } => {
                self.record(&self.event(Verb::Link, Kind::Ok).note(server));
            }
            ConnectionEvent::Lost { reason } => {
                self.record(&self.event(Verb::Link, Kind::Fail).note(reason));
            }
            ConnectionEvent::Reported { id, token, refused, .. } => {
                let kind = if refused.is_some() { Kind::Fail } else { Kind::Ok };
                let mut event = self.event(Verb::Report, kind).job(*id);
                event.token = Some((token.epoch, token.delivery));
                event.note = refused.map(|code| code.name().to_owned());
                self.record(&event);
            }
            _ => {}
        }
    }
}

/// The files that jobs are spread over.
///
/// # Errors
/// When no history is there.
pub fn part_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let text = fs::read_to_string(dir.join(PARTS))
        .with_context(|| format!("there is no history in {}", dir.display()))?;
    let parts: usize = text.parse().context("the number of parts")?;
    Ok((0..parts).map(|part| dir.join(format!("jobs-{part:03}.jsonl"))).collect())
}

/// The file with what belongs to no job.
#[must_use]
pub fn common_file(dir: &Path) -> PathBuf {
    dir.join(COMMON)
}

/// Reads a file of events in the order of time, and the number of lines that were cut by a kill.
///
/// # Errors
/// When the file cannot be read.
pub fn read(path: &Path) -> Result<(Vec<Event>, usize)> {
    let text = match fs::read(path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => String::new(),
        Err(e) => return Err(e).with_context(|| path.display().to_string()),
    };
    let (mut events, mut torn) = (Vec::new(), 0);
    for line in text.lines().filter(|line| !line.is_empty()) {
        match serde_json::from_str(line) {
            Ok(event) => events.push(event),
            Err(_) => torn += 1,
        }
    }
    events.sort_by_key(|event: &Event| event.t);
    Ok((events, torn))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(last: u8) -> JobId {
        let mut bytes = [7; 16];
        bytes[15] = last;
        JobId(bytes)
    }

    #[test]
    fn events_of_two_processes_come_back_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let one = Recorder::create(dir.path(), "one", 2).unwrap();
        let two = Recorder::join(dir.path(), "two").unwrap();
        let op = one.invoke(Verb::Enqueue, id(0));
        two.record(&two.event(Verb::Start, Kind::Ok).job(id(0)));
        one.outcome(Verb::Enqueue, id(0), op, Kind::Ok, "");
        one.invoke(Verb::Enqueue, id(1));
        one.nemesis("server", "kill");
        let parts = part_files(dir.path()).unwrap();
        let (events, torn) = read(&parts[0]).unwrap();
        assert_eq!(
            events.iter().map(|e| (&*e.proc, e.f, e.kind)).collect::<Vec<_>>(),
            [
                ("one", Verb::Enqueue, Kind::Invoke),
                ("two", Verb::Start, Kind::Ok),
                ("one", Verb::Enqueue, Kind::Ok)
            ]
        );
        assert_eq!((torn, read(&parts[1]).unwrap().0.len()), (0, 1));
        assert_eq!(read(&common_file(dir.path())).unwrap().0[0].what.as_deref(), Some("kill"));
    }

    #[test]
    fn a_cut_line_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let recorder = Recorder::create(dir.path(), "one", 1).unwrap();
        recorder.invoke(Verb::Enqueue, id(0));
        let path = &part_files(dir.path()).unwrap()[0];
        OpenOptions::new().append(true).open(path).unwrap().write_all(b"\n{\"t\":12,\"wa").unwrap();
        recorder.invoke(Verb::Enqueue, id(0));
        let (events, torn) = read(path).unwrap();
        assert_eq!((events.len(), torn), (2, 1));
    }
}
