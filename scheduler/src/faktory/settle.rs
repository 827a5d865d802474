//! Ends of runs: `ACK`, `FAIL`, and reservations whose time or worker is gone. Each is one report on the lease.

use windlass_core::api::ApiError;
use windlass_core::id::QueueName;
use windlass_core::time::Mono;
use windlass_core::wire::{ReportResult, Verdict};

use super::desk::Desk;
use super::failure::Report;
use super::input;
use super::reply::Reply;
use super::reservations::Reservation;
use crate::queue::Op;

/// Wait before a reservation that was over, but could not be ended, is looked at again, in milliseconds.
const AGAIN_MS: u64 = 1_000;

impl Desk {
    /// `ACK`. A jid that nobody holds is no error: the worker has nothing left to do about it.
    pub(super) async fn ack(&self, text: &str) -> Reply {
        let jid = match input::jid_of_ack(text) {
            Ok(jid) => jid,
            Err(error) => return Reply::Error(error),
        };
        let Some(held) = self.take(&jid) else { return Reply::Ok };
        match self.report(held, Verdict::Done(None)).await {
            Ok(_) => Reply::Ok,
            Err(error) => Reply::error(error),
        }
    }

    /// `FAIL`.
    pub(super) async fn fail(&self, text: &str) -> Reply {
        let report = match Report::read(text) {
            Ok(report) => report,
            Err(error) => return Reply::Error(error),
        };
        let not_found = || Reply::error(format!("Job not found {}", report.jid));
        let Some(held) = self.take(&report.jid) else { return not_found() };
        match self.report_failure(held, &report).await {
            Ok(true) => Reply::Ok,
            Ok(false) => not_found(),
            Err(error) => Reply::error(error),
        }
    }

    /// The queue of a job that is reserved.
    pub(super) fn queue_of(&self, jid: &str) -> Option<QueueName> {
        self.state().reservations.queue_of(jid).map(|queue| queue.name().clone())
    }

    fn take(&self, jid: &str) -> Option<Reservation> {
        self.state().reservations.take(jid)
    }

    /// Ends a reservation whose time is over, as if its worker had said that it failed.
    pub(super) async fn expire(&self, held: Reservation) {
        let report = Report::expired(&held.jid);
        tracing::warn!(job_id = %held.id, queue = %held.queue.name(), "reservation expired");
        // What could not be ended was put back, and is looked at again.
        let _ = self.report_failure(held, &report).await;
    }

    async fn report_failure(&self, held: Reservation, report: &Report) -> Result<bool, ApiError> {
        let verdict = report.verdict(&held.terms, self.parts().chance.u64());
        let discards = matches!(verdict, Verdict::Cancelled { .. });
        let recorded = self.report(held, verdict).await?;
        if recorded && discards {
            self.state().discarded += 1;
        }
        Ok(recorded)
    }

    /// Reports the end of a run; `false` when the lease had ended already.
    ///
    /// # Errors
    /// What the queue says. The job is reserved as before, so that the worker may say it again.
    pub(super) async fn report(&self, held: Reservation, verdict: Verdict) -> Result<bool, ApiError> {
        let outcomes = vec![(held.id, held.token, verdict)];
        match held.queue.ask(|then| Op::Report { outcomes, then }).await {
            Ok(results) => Ok(matches!(results.first(), Some(ReportResult::Recorded))),
            Err(error) => {
                let soon = self.now().mono.plus_ms(AGAIN_MS);
                let expires = Mono(held.expires.0.max(soon.0));
                self.state().put_back(Reservation { expires, ..held });
                Err(error)
            }
        }
    }

    /// Gives a job back that never reached its worker; no attempt is used.
    pub(super) fn release(&self, number: u64) {
        let Some(held) = self.state().reservations.remove(number) else { return };
        let outcomes = vec![(held.id, held.token, Verdict::Released)];
        // If the queue is too busy to hear this, the lease ends when nobody renews it.
        held.queue.post_or_refuse(Op::Report { outcomes, then: Box::new(|_| {}) });
    }
}
