//! A worker's books: slots, credit, leases, reports. Pure: no socket, no clock of its own.
//!
//! Credit is what the server may still deliver. After any event the server should hold `slots − running` of it, so nothing is
//! counted twice and nothing leaks: [`Ledger::credit_due`] is the difference to what it holds.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;
use windlass_core::id::{JobId, QueueName};
use windlass_core::wire::{
    ClientFrame, Delivery, LeaseRef, Outcome, Report, ReportResult, Token, Verdict, encode_frame,
};

use crate::client::{ConnectionEvent, EventSink};
use crate::context::{JobCtx, StopReason, lease_of};
use crate::executor::Finished;

/// Most outcomes in one report.
const REPORT_JOBS_MAX: usize = 1_000;
/// Most bytes of results and errors in one report; a single larger outcome travels alone.
const REPORT_BYTES_MAX: usize = 1024 * 1024;
/// Outcomes that the server has not taken yet, for workers of few slots; above it no credit is given.
const BACKLOG_JOBS_MIN: usize = 4_096;
/// The same in bytes.
const BACKLOG_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Wait before an outcome is sent again that the server was too busy to record.
const BUSY_WAIT: Duration = Duration::from_millis(250);

/// Identifies a lease in maps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct LeaseKey {
    queue: QueueName,
    id: JobId,
    token: Token,
}

impl From<LeaseRef> for LeaseKey {
    fn from(lease: LeaseRef) -> LeaseKey {
        LeaseKey { queue: lease.queue, id: lease.id, token: lease.token }
    }
}

#[derive(Debug)]
pub(crate) struct Ledger {
    slots: u32,
    /// Credit that the server holds.
    granted: u32,
    /// Whether new jobs are wanted.
    taking: bool,
    running: HashMap<LeaseKey, JobCtx, foldhash::fast::RandomState>,
    /// Ended and not in a report yet.
    finished: VecDeque<Outcome>,
    /// Reported and not answered yet.
    unanswered: BTreeMap<u64, Vec<Outcome>>,
    /// Refused as busy, to be reported again; in order of time, since the wait is always the same.
    delayed: VecDeque<(Instant, Outcome)>,
    last_report: u64,
    /// Outcomes in the three lists above, and their bytes.
    backlog: (usize, usize),
}

impl Ledger {
    pub(crate) fn new(slots: u32) -> Ledger {
        Ledger {
            slots,
            granted: 0,
            taking: true,
            running: HashMap::default(),
            finished: VecDeque::new(),
            unanswered: BTreeMap::new(),
            delayed: VecDeque::new(),
            last_report: 0,
            backlog: (0, 0),
        }
    }

    /// Takes deliveries: those to run, made into jobs by `admit`; what came unasked is given back.
    pub(crate) fn deliver(&mut self, jobs: Vec<Delivery>, admit: impl Fn(Delivery) -> JobCtx) -> Vec<JobCtx> {
        let mut admitted = Vec::with_capacity(jobs.len());
        for delivery in jobs {
            let lease = lease_of(&delivery);
            if !self.taking || self.granted == 0 {
                // After Quiet a few may still be on their way. Anything else is a defect of the server, and harmless.
                tracing::debug!(id = %delivery.id, "a job came without credit and is given back");
                self.push(Outcome {
                    queue: lease.queue,
                    id: lease.id,
                    token: lease.token,
                    verdict: Verdict::Released,
                });
                continue;
            }
            self.granted -= 1;
            let job = admit(delivery);
            self.running.insert(lease.into(), job.clone());
            admitted.push(job);
        }
        admitted
    }

    /// A job has ended in this process; its slot is free.
    pub(crate) fn finish(&mut self, finished: Finished) {
        let lease = lease_of(&finished.job.running().delivery);
        if self.running.remove(&lease.clone().into()).is_some()
            && let Some(verdict) = finished.verdict
        {
            self.push(Outcome { queue: lease.queue, id: lease.id, token: lease.token, verdict });
        }
    }

    fn push(&mut self, outcome: Outcome) {
        self.backlog.0 += 1;
        self.backlog.1 += outcome_bytes(&outcome);
        self.finished.push_back(outcome);
    }

    /// Encodes reports until `out` holds `bytes_high` or nothing is left.
    pub(crate) fn write_reports(&mut self, out: &mut BytesMut, bytes_high: usize) {
        while out.len() < bytes_high && !self.finished.is_empty() {
            let (mut outcomes, mut bytes) = (Vec::new(), 0);
            while let Some(next) = self.finished.front() {
                let more = outcome_bytes(next);
                if outcomes.len() == REPORT_JOBS_MAX
                    || (!outcomes.is_empty() && bytes + more > REPORT_BYTES_MAX)
                {
                    break;
                }
                bytes += more;
                outcomes.extend(self.finished.pop_front());
            }
            self.last_report += 1;
            // The frame owns its outcomes while it is encoded; then they wait for the answer.
            let frame = ClientFrame::Report(Report { request: self.last_report, outcomes });
            encode_frame(out, &frame);
            if let ClientFrame::Report(report) = frame {
                self.unanswered.insert(report.request, report.outcomes);
            }
        }
    }

    /// Credit to give now; it counts as given.
    pub(crate) fn credit_due(&mut self) -> u32 {
        let (jobs, bytes) = self.backlog;
        let full = jobs >= BACKLOG_JOBS_MIN.max(4 * self.slots as usize) || bytes >= BACKLOG_BYTES_MAX;
        if !self.taking || full {
            return 0;
        }
        let free = self.slots.saturating_sub(u32::try_from(self.running.len()).unwrap_or(u32::MAX));
        let add = free.saturating_sub(self.granted);
        self.granted += add;
        add
    }

    /// The server's answer to a report.
    pub(crate) fn answered(
        &mut self,
        request: u64,
        results: &[ReportResult],
        now: Instant,
        events: &EventSink,
    ) {
        let Some(outcomes) = self.unanswered.remove(&request) else {
            tracing::debug!(request, "an answer to no report");
            return;
        };
        if outcomes.len() != results.len() {
            tracing::error!(
                sent = outcomes.len(),
                answered = results.len(),
                "the server's answer does not fit its report"
            );
        }
        for (outcome, result) in outcomes.into_iter().zip(results) {
            match result {
                ReportResult::Refused(code) if code.is_retryable() => {
                    self.delayed.push_back((now + BUSY_WAIT, outcome));
                    continue;
                }
                ReportResult::Refused(code) => tracing::warn!(
                    id = %outcome.id, queue = %outcome.queue, code = code.name(),
                    "the server did not take the end of a job; the job runs again if it was not taken over already"
                ),
                ReportResult::Recorded => {}
            }
            self.backlog.0 -= 1;
            self.backlog.1 -= outcome_bytes(&outcome);
            events.emit_with(|| ConnectionEvent::Reported {
                queue: outcome.queue.clone(),
                id: outcome.id,
                token: outcome.token,
                refused: match result {
                    ReportResult::Refused(code) => Some(*code),
                    ReportResult::Recorded => None,
                },
            });
        }
    }

    /// When outcomes that the server was too busy for are to be sent again.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        self.delayed.front().map(|(at, _)| *at)
    }

    /// Makes those whose wait is over reportable.
    pub(crate) fn wake(&mut self, now: Instant) {
        while let Some((at, _)) = self.delayed.front()
            && *at <= now
        {
            self.finished.extend(self.delayed.pop_front().map(|(_, outcome)| outcome));
        }
    }

    /// The connection is gone: no credit is out, and what was not answered is reported again.
    pub(crate) fn disconnected(&mut self) {
        self.granted = 0;
        let mut again: VecDeque<Outcome> =
            std::mem::take(&mut self.unanswered).into_values().flatten().collect();
        again.append(&mut self.finished);
        self.finished = again;
    }

    /// Leases to present after a reconnect: those that run, and those whose end the server has not recorded yet.
    pub(crate) fn leases(&self) -> Vec<LeaseRef> {
        let running = self.in_order().into_iter();
        let running = running.filter(|(_, job)| job.running().stop.reason() != Some(StopReason::LeaseLost));
        let running =
            running.map(|(key, _)| LeaseRef { queue: key.queue.clone(), id: key.id, token: key.token });
        let ended = self.finished.iter().chain(self.delayed.iter().map(|(_, outcome)| outcome));
        let ended = ended.map(|o| LeaseRef { queue: o.queue.clone(), id: o.id, token: o.token });
        running.chain(ended).collect()
    }

    /// Tells one handler to stop.
    pub(crate) fn stop(&self, lease: LeaseRef, reason: StopReason) {
        if let Some(job) = self.running.get(&lease.into()) {
            job.running().stop.raise(reason);
        }
    }

    /// Tells every handler to stop.
    pub(crate) fn stop_all(&self, reason: StopReason) {
        self.in_order().into_iter().for_each(|(_, job)| job.running().stop.raise(reason));
    }

    /// What runs, in an order that does not change from one process to the next.
    fn in_order(&self) -> Vec<(&LeaseKey, &JobCtx)> {
        let mut running: Vec<_> = self.running.iter().collect();
        running.sort_unstable_by_key(|(key, _)| *key);
        running
    }

    /// Wants no new jobs; the credit that the server holds is void.
    pub(crate) fn quiet(&mut self) {
        self.taking = false;
        self.granted = 0;
    }

    /// Jobs that run.
    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// Ends that are ready to be reported.
    pub(crate) fn reportable(&self) -> usize {
        self.finished.len()
    }

    /// Ends that the server has not recorded yet.
    pub(crate) fn unrecorded(&self) -> usize {
        self.backlog.0
    }

    /// Whether the server has answered every report.
    pub(crate) fn is_answered(&self) -> bool {
        self.unanswered.is_empty()
    }

    /// Whether nothing runs and every end is recorded.
    pub(crate) fn is_settled(&self) -> bool {
        self.running.is_empty() && self.backlog.0 == 0
    }
}

/// Roughly the bytes of an outcome.
fn outcome_bytes(outcome: &Outcome) -> usize {
    64 + match &outcome.verdict {
        Verdict::Done(Some(result)) => result.data.len(),
        Verdict::Retry { error: text, .. }
        | Verdict::Dead { error: text }
        | Verdict::Cancelled { reason: text } => text.len(),
        Verdict::Done(None) | Verdict::Snooze { .. } | Verdict::Released => 0,
    }
}

#[cfg(test)]
#[path = "ledger_test.rs"]
mod tests;
