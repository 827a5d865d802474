//! The promises, judged from what crossed the wire and what handlers did. Each rule is a function over the whole history.

use std::collections::{BTreeMap, BTreeSet};

use windlass_core::id::{JobId, WorkerId};
use windlass_core::job::JobState;
use windlass_core::schedule::{HEADER_NOMINAL, HEADER_SCHEDULE};
use windlass_core::wire::{ClientFrame, LeaseRef, Outcome, ReportResult, ServerFrame, Token};

use super::book::{Conn, Entry, Event};
use super::hosts::{GRACE_MS, LEASE_MS, WALL};
use super::work::Work;

/// Times are read where a message is seen, not where it is thought about.
const SLACK_MS: u64 = 20;
/// Time that a handler has to end after its lease was lost: a second by the client's rule, and the way there.
const LOST_GRACE_MS: u64 = 1_200;
/// Lost runs after which a job is buried.
const CRASHES_MAX: u32 = windlass_core::limits::CRASHES_MAX;

/// All rules.
pub(crate) fn check(work: &Work, entries: &[Entry]) -> Vec<String> {
    let mut broken = nothing_confirmed_is_lost(work, entries);
    broken.extend(Leases::default().follow(entries));
    broken.extend(tokens_grow_and_run_once(entries));
    broken.extend(lost_leases_end_handlers(entries));
    broken.extend(nothing_is_early(work, entries));
    broken.extend(schedules_fire_once(entries));
    broken
}

/// What became of one job, as far as its producer and its handlers know.
#[derive(Default)]
struct Fate {
    confirmed: bool,
    refused: bool,
    unknown: bool,
    end: Option<(JobState, u32)>,
    returned: bool,
    deliveries: u32,
}

/// Every job is confirmed, or refused with a code; every confirmed one ends, was run to its end, and succeeds, unless it was lost
/// with its worker so often that it was buried.
fn nothing_confirmed_is_lost(work: &Work, entries: &[Entry]) -> Vec<String> {
    let mut fates: BTreeMap<JobId, Fate> = work.tasks.keys().map(|job| (*job, Fate::default())).collect();
    let mut broken = Vec::new();
    for (at, event) in entries {
        match event {
            Event::Confirmed { job } => fates.entry(*job).or_default().confirmed = true,
            Event::NotTaken { job, code } => {
                fates.entry(*job).or_default().refused = true;
                if code.is_none() {
                    broken.push(format!("{at} ms: job {job} was not taken, and no code says why"));
                }
            }
            Event::Unknown { job } => fates.entry(*job).or_default().unknown = true,
            Event::Outcome { job, state, crashes } => {
                fates.entry(*job).or_default().end = Some((*state, *crashes));
            }
            Event::Ended { job, returned: true, .. } => fates.entry(*job).or_default().returned = true,
            Event::Said { frame: ServerFrame::Deliver(jobs), .. } => {
                jobs.iter().for_each(|job| fates.entry(job.id).or_default().deliveries += 1);
            }
            _ => {}
        }
    }
    for (job, fate) in fates.iter().filter(|(job, _)| work.tasks.contains_key(job)) {
        let buried = |crashes: u32| crashes >= CRASHES_MAX && fate.deliveries >= CRASHES_MAX;
        let wrong = match fate.end {
            _ if !fate.confirmed && !fate.refused => "got no answer".to_owned(),
            _ if !fate.confirmed => continue,
            _ if fate.unknown => "was confirmed and is lost".to_owned(),
            None => "was confirmed and did not end".to_owned(),
            Some((JobState::Succeeded, _)) if !fate.returned => {
                "succeeded and was never run to its end".to_owned()
            }
            Some((JobState::Succeeded, _)) => continue,
            Some((JobState::Dead, crashes)) if buried(crashes) => continue,
            Some((state, _)) => format!("was confirmed and ended as {state}"),
        };
        broken.push(format!("job {job} {wrong}"));
    }
    broken
}

/// What the server must believe about one lease, by what it has said and heard.
#[derive(Debug, Clone)]
struct Lease {
    worker: WorkerId,
    token: Token,
    delivered_at: u64,
    /// It was reported, and the report may have been taken.
    reported: bool,
    recorded: bool,
    /// The server, or the worker, has said that it is over.
    over: bool,
    /// The server may have forgotten it: its mark was not on the disk when the server fell.
    uncertain: bool,
}

/// A session as the wire shows it.
struct Session {
    worker: WorkerId,
    /// Whether the worker has said which leases it runs: until then the session keeps none alive.
    resumed: bool,
    heard_at: u64,
    reports: BTreeMap<u64, Vec<(Outcome, bool)>>,
}

/// Follows leases through the history: at most one is live per job, and only the live one proves anything.
#[derive(Default)]
struct Leases {
    /// The last lease of each job.
    last: BTreeMap<JobId, Lease>,
    sessions: BTreeMap<Conn, Session>,
    /// When the leases of a worker whose last session is gone may end, in this life of the server.
    away: BTreeMap<WorkerId, u64>,
    up_at: u64,
    broken: Vec<String>,
}

impl Leases {
    fn follow(mut self, entries: &[Entry]) -> Vec<String> {
        for (at, event) in entries {
            match event {
                Event::Up { .. } => self.up_at = *at,
                Event::Down { durable_through } => self.down(*at, *durable_through),
                Event::Heard { conn, frame } => self.heard(*at, *conn, frame),
                Event::Said { conn, frame } => self.said(*at, *conn, frame),
                Event::Closed { conn } => self.closed(*at, *conn),
                _ => {}
            }
        }
        self.broken
    }

    fn down(&mut self, at: u64, durable_through: u64) {
        let workers: BTreeSet<_> = self.last.values().map(|lease| lease.worker).collect();
        workers.into_iter().for_each(|worker| self.doubt(at, worker));
        self.last.values_mut().for_each(|lease| lease.uncertain |= lease.delivered_at >= durable_through);
        self.sessions.clear();
        self.away.clear();
    }

    /// The leases of a worker may have ended by now: to be asked before something hides that.
    fn doubt(&mut self, at: u64, worker: WorkerId) {
        if self.why_held(at, worker).is_none() {
            let theirs = self.last.values_mut().filter(|lease| lease.worker == worker);
            theirs.for_each(|lease| lease.uncertain = true);
        }
    }

    fn closed(&mut self, at: u64, conn: Conn) {
        let Some(worker) = self.sessions.get(&conn).map(|session| session.worker) else { return };
        self.doubt(at, worker);
        if let Some(session) = self.sessions.remove(&conn) {
            self.away.insert(session.worker, at + GRACE_MS);
        }
    }

    fn heard(&mut self, at: u64, conn: Conn, frame: &ClientFrame) {
        if let ClientFrame::Hello(hello) = frame
            && let Some(worker) = &hello.worker
        {
            self.doubt(at, worker.id);
            let session =
                Session { worker: worker.id, resumed: false, heard_at: at, reports: BTreeMap::new() };
            self.sessions.insert(conn, session);
        }
        let Some(worker) = self.sessions.get(&conn).map(|session| session.worker) else { return };
        self.doubt(at, worker);
        let Some(session) = self.sessions.get_mut(&conn) else { return };
        session.heard_at = at;
        match frame {
            ClientFrame::Resume(leases) => {
                session.resumed = true;
                self.presented(worker, leases);
            }
            ClientFrame::Subscribe(_) if !session.resumed => {
                session.resumed = true;
                self.presented(worker, &[]);
            }
            ClientFrame::Goodbye => self.presented(worker, &[]),
            ClientFrame::Report(report) => {
                let judge = |outcome: &Outcome| {
                    let lease = self.last.get_mut(&outcome.id).filter(|lease| lease.token == outcome.token);
                    let proves = lease.as_ref().is_some_and(|lease| !lease.over && !lease.recorded);
                    lease.into_iter().for_each(|lease| lease.reported = true);
                    (outcome.clone(), proves)
                };
                session.reports.insert(report.request, report.outcomes.iter().map(judge).collect());
            }
            _ => {}
        }
    }

    /// What a worker does not present it does not run.
    fn presented(&mut self, worker: WorkerId, leases: &[LeaseRef]) {
        let named = |id: &JobId, token| leases.iter().any(|lease| lease.id == *id && lease.token == token);
        for (id, lease) in self.last.iter_mut().filter(|(_, lease)| lease.worker == worker) {
            lease.over |= !named(id, lease.token);
        }
    }

    fn said(&mut self, at: u64, conn: Conn, frame: &ServerFrame) {
        match frame {
            ServerFrame::Deliver(jobs) => {
                let Some(worker) = self.sessions.get(&conn).map(|session| session.worker) else {
                    return self
                        .broken
                        .push(format!("{at} ms: jobs were delivered to somebody who is no worker"));
                };
                jobs.iter().for_each(|job| self.delivered(at, worker, job.id, job.token));
            }
            ServerFrame::LeaseLost(lease) => self.over(lease),
            ServerFrame::Resumed { lost, .. } => lost.iter().for_each(|lease| self.over(lease)),
            ServerFrame::Reported { request, results } => {
                let Some(session) = self.sessions.get_mut(&conn) else { return };
                let outcomes = session.reports.remove(request).unwrap_or_default();
                if outcomes.len() != results.len() {
                    self.broken.push(format!(
                        "{at} ms: a report of {} ends has {} answers",
                        outcomes.len(),
                        results.len()
                    ));
                }
                for ((outcome, proves), result) in outcomes.into_iter().zip(results) {
                    self.reported(at, &outcome, proves, *result);
                }
            }
            _ => {}
        }
    }

    fn over(&mut self, lost: &LeaseRef) {
        if let Some(lease) = self.last.get_mut(&lost.id).filter(|lease| lease.token == lost.token) {
            lease.over = true;
        }
    }

    fn reported(&mut self, at: u64, outcome: &Outcome, proves: bool, result: ReportResult) {
        let Outcome { id, token, .. } = outcome;
        if result != ReportResult::Recorded {
            return;
        }
        if !proves {
            self.broken
                .push(format!("{at} ms: a report of job {id} with the stale token {token:?} was recorded"));
        }
        if let Some(lease) = self.last.get_mut(id).filter(|lease| lease.token == *token) {
            lease.recorded = true;
        }
    }

    fn delivered(&mut self, at: u64, worker: WorkerId, id: JobId, token: Token) {
        let lease = Lease {
            worker,
            token,
            delivered_at: at,
            reported: false,
            recorded: false,
            over: false,
            uncertain: false,
        };
        let Some(before) = self.last.insert(id, lease) else { return };
        if before.token >= token {
            self.broken.push(format!("{at} ms: job {id} got {token:?} after {:?}", before.token));
        }
        if let Some(live) = self.why_live(at, &before) {
            let text =
                format!("{at} ms: job {id} was leased to {worker} although {} has it: {live}", before.worker);
            self.broken.push(text);
        }
    }

    /// Why a lease is still live; `None` when it may have ended.
    fn why_live(&self, at: u64, lease: &Lease) -> Option<String> {
        let open = !(lease.over || lease.reported || lease.uncertain);
        open.then(|| self.why_held(at, lease.worker)).flatten()
    }

    /// Why a worker may keep its leases; `None` when they may end.
    fn why_held(&self, at: u64, worker: WorkerId) -> Option<String> {
        let sessions = self.sessions.values().filter(|session| session.worker == worker && session.resumed);
        // A worker may have an old session that the server has not yet given up, and the one that counts.
        if let Some(session) = sessions.max_by_key(|session| session.heard_at) {
            let silent_ms = at.saturating_sub(session.heard_at);
            return (silent_ms + SLACK_MS < LEASE_MS).then(|| format!("it was heard {silent_ms} ms ago"));
        }
        let ends_at = self.away.get(&worker).copied().unwrap_or(self.up_at + GRACE_MS);
        (at + SLACK_MS < ends_at).then(|| format!("it may come back for {} ms more", ends_at - at))
    }
}

/// A token is handed to one handler, once; tokens of a job grow.
fn tokens_grow_and_run_once(entries: &[Entry]) -> Vec<String> {
    let mut begun = BTreeSet::new();
    let mut broken = Vec::new();
    for (at, event) in entries {
        if let Event::Began { host, job, token, .. } = event
            && !begun.insert((*job, *token))
        {
            broken.push(format!("{at} ms: {host} runs job {job} with {token:?}, which has run already"));
        }
    }
    broken
}

/// A handler ends soon after its worker was told that the lease is lost.
fn lost_leases_end_handlers(entries: &[Entry]) -> Vec<String> {
    let mut running = BTreeMap::new();
    let mut learned = Vec::new();
    let mut broken = Vec::new();
    for (at, event) in entries {
        match event {
            Event::Began { host, job, token, .. } => _ = running.insert((*host, *job, *token), None),
            Event::Learned { host, job, token } => learned.push((*at, (*host, *job, *token))),
            Event::Ended { host, job, token, .. } => {
                running.insert((*host, *job, *token), Some(*at));
            }
            _ => {}
        }
    }
    let last = entries.last().map_or(0, |(at, _)| *at);
    for (at, run) in learned {
        let Some(ended) = running.get(&run) else { continue };
        let ended = ended.unwrap_or(last);
        if ended > at + LOST_GRACE_MS {
            let (host, job, token) = run;
            broken
                .push(format!("{host} ran job {job} with {token:?} for {} ms after it was lost", ended - at));
        }
    }
    broken
}

/// No job is delivered before its time.
fn nothing_is_early(work: &Work, entries: &[Entry]) -> Vec<String> {
    let mut broken = Vec::new();
    for (at, event) in entries {
        let Event::Said { frame: ServerFrame::Deliver(jobs), .. } = event else { continue };
        for job in jobs {
            let delay = u64::try_from(work.task(&job.id).delay.as_millis()).unwrap_or(u64::MAX);
            let due = job.enqueued_at.0.saturating_add(delay);
            if WALL + at < due {
                broken.push(format!("{at} ms: job {} was delivered {} ms early", job.id, due - WALL - at));
            }
        }
    }
    broken
}

/// Each nominal time of a schedule has one job, and each such job one nominal time.
fn schedules_fire_once(entries: &[Entry]) -> Vec<String> {
    let mut fired: BTreeMap<(String, String), JobId> = BTreeMap::new();
    let mut broken = Vec::new();
    for (at, event) in entries {
        let Event::Said { frame: ServerFrame::Deliver(jobs), .. } = event else { continue };
        for job in jobs {
            let header =
                |name| job.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
            let (Some(schedule), Some(nominal)) = (header(HEADER_SCHEDULE), header(HEADER_NOMINAL)) else {
                continue;
            };
            let known = *fired.entry((schedule, nominal.clone())).or_insert(job.id);
            if known != job.id {
                broken.push(format!("{at} ms: the firing at {nominal} has two jobs, {known} and {}", job.id));
            }
        }
    }
    broken
}
