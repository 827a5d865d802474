//! A job as a client gets it: what it pushed, with what has happened since; or a job of another door in the same clothes.

use std::borrow::Cow;

use serde_json::value::RawValue;
use windlass_core::api::JobView;
use windlass_core::id::{JobId, QueueName};
use windlass_core::job::{AttemptOutcome, Job, JobState, Payload};
use windlass_core::time::Timestamp;

use super::failure::{Failed, from_error};
use super::json::{Fields, Object, quote};
use super::pushed::{ENVELOPE, WHOLE};
use super::reservations::{RESERVE_MS_DEFAULT, RESERVE_MS_MIN, RETRY_DEFAULT, Terms};

/// A job, wherever it was read.
pub(super) struct Shown<'a> {
    id: JobId,
    queue: &'a QueueName,
    kind: &'a str,
    payload: &'a Payload,
    headers: &'a [(String, String)],
    enqueued_at: Timestamp,
    run_at: Timestamp,
    max_attempts: u32,
    timeout_ms: Option<u64>,
    /// Attempts that have failed or were lost.
    failures: u32,
    first_failed_at: Option<Timestamp>,
    last_error: Option<(AttemptOutcome, &'a str)>,
    waits: bool,
}

/// A job for a worker, with what its reservation needs to know.
pub(super) struct HandedOut {
    pub(super) json: String,
    pub(super) jid: String,
    pub(super) terms: Terms,
}

impl<'a> Shown<'a> {
    pub(super) fn of_job(queue: &'a QueueName, job: &'a Job) -> Shown<'a> {
        let options = job.options.as_deref();
        let history = job.past.as_deref().map_or(&[][..], |past| &past.history);
        let failed = || history.iter().filter(|record| is_failure(record.outcome));
        Shown {
            id: job.id,
            queue,
            kind: &job.kind,
            payload: &job.payload,
            headers: options.map_or(&[], |options| &options.headers),
            enqueued_at: job.enqueued_at,
            run_at: job.run_at,
            max_attempts: job.max_attempts(),
            timeout_ms: options.and_then(|options| options.timeout_ms),
            failures: job.attempts(),
            first_failed_at: failed().next().map(|record| record.ended_at),
            last_error: failed().next_back().map(|record| (record.outcome, record.error.as_str())),
            waits: true,
        }
    }

    pub(super) fn of_view(job: &'a JobView) -> Shown<'a> {
        let failed = || job.attempts.iter().filter(|attempt| attempt.outcome.is_some_and(is_failure));
        let last = failed().next_back();
        Shown {
            id: job.id,
            queue: &job.queue,
            kind: &job.kind,
            payload: &job.payload,
            headers: &job.headers,
            enqueued_at: job.enqueued_at,
            run_at: job.run_at,
            max_attempts: job.max_attempts,
            timeout_ms: job.timeout_ms,
            failures: job.attempt.saturating_sub(u32::from(job.state == JobState::Running)),
            first_failed_at: failed().next().and_then(|attempt| attempt.ended_at),
            last_error: last.and_then(|attempt| Some((attempt.outcome?, attempt.error.as_str()))),
            waits: job.state != JobState::Dead,
        }
    }

    /// Writes the job.
    pub(super) fn hand_out(&self) -> HandedOut {
        match self.envelope() {
            Some((fields, args)) => self.as_pushed(&fields, &args),
            None => self.as_foreign(),
        }
    }

    /// What the client said when it pushed the job, and its arguments.
    fn envelope(&self) -> Option<(Fields<'a>, Cow<'a, str>)> {
        let payload = std::str::from_utf8(&self.payload.data).ok()?;
        let (fields, args) = if self.payload.content_type == WHOLE {
            let fields: Fields<'a> = serde_json::from_str(payload).ok()?;
            let args = fields.get("args")?.get();
            (fields, Cow::Borrowed(args))
        } else {
            let (_, envelope) = self.headers.iter().find(|(name, _)| name == ENVELOPE)?;
            (serde_json::from_str(envelope).ok()?, arguments(self.payload))
        };
        fields.read::<String>("jid").ok().flatten()?;
        Some((fields, args))
    }

    fn as_pushed(&self, fields: &Fields<'_>, args: &str) -> HandedOut {
        let jid = fields.read::<String>("jid").ok().flatten().unwrap_or_default();
        let retry = fields.read("retry").ok().flatten();
        let earlier = Failed::read(fields.get("failure"));
        let terms = Terms {
            retry: retry.unwrap_or(RETRY_DEFAULT),
            failures: earlier.as_ref().map_or(0, Failed::count).saturating_add(self.failures),
            reserve_ms: self.timeout_ms.unwrap_or(RESERVE_MS_DEFAULT),
        };
        let mut out = self.head(&jid, args);
        for (name, value) in &fields.0 {
            // A failure of our own has more to say than the one that was brought along.
            let said = matches!(name.as_str(), "jid" | "args") || (name == "failure" && self.failures > 0);
            if !said {
                out.raw(name, value.get());
            }
        }
        if retry.is_none() {
            out.raw("retry", &RETRY_DEFAULT.to_string());
        }
        if fields.get("created_at").is_none() {
            out.text("created_at", &self.enqueued_at.to_rfc3339());
        }
        self.tail(out, jid, terms, earlier.and_then(|failed| failed.failed_at))
    }

    fn as_foreign(&self) -> HandedOut {
        let jid = self.id.to_string();
        let terms = Terms {
            retry: match i64::from(self.max_attempts) - 1 {
                0 => -1,
                retry => retry,
            },
            failures: self.failures,
            reserve_ms: self.timeout_ms.map_or(RESERVE_MS_DEFAULT, |ms| ms.max(RESERVE_MS_MIN)),
        };
        let mut out = self.head(&jid, &arguments(self.payload));
        out.raw("retry", &terms.retry.to_string());
        out.raw("reserve_for", &terms.reserve_ms.div_ceil(1_000).to_string());
        out.text("created_at", &self.enqueued_at.to_rfc3339());
        if !self.headers.is_empty() {
            let mut custom = Object::new();
            for (name, value) in self.headers {
                custom.text(name, value);
            }
            out.raw("custom", &custom.end());
        }
        self.tail(out, jid, terms, None)
    }

    fn head(&self, jid: &str, args: &str) -> Object {
        let mut out = Object::new();
        out.text("jid", jid).text("queue", self.queue.as_str()).text("jobtype", self.kind).raw("args", args);
        out
    }

    fn tail(&self, mut out: Object, jid: String, terms: Terms, failed_at: Option<String>) -> HandedOut {
        out.text("enqueued_at", &self.run_at.max(self.enqueued_at).to_rfc3339());
        if self.failures > 0 {
            out.raw("failure", &self.failure(&terms, failed_at));
        }
        HandedOut { json: out.end(), jid, terms }
    }

    fn failure(&self, terms: &Terms, failed_at: Option<String>) -> String {
        let (outcome, error) = self.last_error.unwrap_or((AttemptOutcome::Failed, ""));
        let (errtype, message, backtrace) = match outcome {
            AttemptOutcome::Lost => ("WorkerLost", error, Vec::new()),
            _ => from_error(error),
        };
        let retry_count = terms.failures.saturating_sub(1);
        // Clients read an unsigned number.
        let remaining = (terms.retry - i64::from(retry_count)).max(0);
        let ours = || self.first_failed_at.unwrap_or(self.enqueued_at).to_rfc3339();
        let mut out = Object::new();
        out.raw("retry_count", &retry_count.to_string()).raw("remaining", &remaining.to_string());
        out.text("failed_at", &failed_at.unwrap_or_else(ours));
        if self.waits {
            out.text("next_at", &self.run_at.to_rfc3339());
        }
        out.text("message", message).text("errtype", errtype);
        if !backtrace.is_empty() {
            let lines: Vec<_> = backtrace.into_iter().map(quote).collect();
            out.raw("backtrace", &format!("[{}]", lines.join(",")));
        }
        out.end()
    }

    /// The id that clients know the job by.
    pub(super) fn jid(&self) -> String {
        let pushed = self.envelope().and_then(|(fields, _)| fields.read("jid").ok().flatten());
        pushed.unwrap_or_else(|| self.id.to_string())
    }
}

fn is_failure(outcome: AttemptOutcome) -> bool {
    matches!(outcome, AttemptOutcome::Failed | AttemptOutcome::Lost)
}

/// A payload as arguments: an array as it is, any other JSON as the only one, other bytes as the HTTP API shows them.
fn arguments(payload: &Payload) -> Cow<'_, str> {
    let text = std::str::from_utf8(&payload.data).ok().filter(|_| payload.is_json());
    let is_json = |text: &&str| serde_json::from_str::<&RawValue>(text).is_ok();
    match text.map(str::trim).filter(is_json) {
        Some(array) if array.starts_with('[') => Cow::Borrowed(array),
        Some(value) => Cow::Owned(format!("[{value}]")),
        None if payload.data.is_empty() && payload.is_json() => Cow::Borrowed("[]"),
        None => {
            let base64 = windlass_core::api::base64(&payload.data);
            Cow::Owned(format!("[{{\"content_type\":{},\"base64\":\"{base64}\"}}]", quote(payload.mime())))
        }
    }
}

#[cfg(test)]
#[path = "fetched_test.rs"]
mod tests;
