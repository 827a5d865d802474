//! A job before it is enqueued: a builder over the wire's [`JobSpec`].

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::de::DeserializeOwned;
use windlass_core::id::{JobId, QueueName};
use windlass_core::job::{JobSpec, Payload, RunAt};
use windlass_core::retry::Backoff;
use windlass_core::time::{Timestamp, millis};

use crate::error::Error;

/// A job to be enqueued. Every option has a default; a rule that an option breaks is reported when the job is enqueued.
///
/// ```
/// use std::time::Duration;
/// use windlass_worker::Job;
/// let job = Job::new("send_email", &serde_json::json!({"to": "ada@example.org"}))?
///     .queue("mail")
///     .priority(5)
///     .delay(Duration::from_secs(60))
///     .max_attempts(3)
///     .tag("welcome");
/// assert_eq!(job.kind(), "send_email");
/// # Ok::<(), windlass_worker::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a job does nothing until it is enqueued"]
pub struct Job {
    queue: QueueName,
    spec: JobSpec,
    /// The first thing that was wrong; builders do not fail, enqueueing does.
    problem: Option<String>,
}

impl Job {
    /// A job of `kind` with `payload` as JSON.
    ///
    /// # Errors
    /// [`Error::Encode`] when the payload cannot be written as JSON.
    pub fn new<T: Serialize + ?Sized>(kind: impl Into<String>, payload: &T) -> Result<Job, Error> {
        let data = serde_json::to_vec(payload).map_err(Error::Encode)?;
        Ok(Job::raw(kind, Payload::json(data)))
    }

    /// A job of `kind` with a payload of any content type.
    pub fn raw(kind: impl Into<String>, payload: Payload) -> Job {
        Job { queue: QueueName::default(), spec: JobSpec::new(kind, payload), problem: None }
    }

    /// Which queue it waits in. Defaults to `default`.
    pub fn queue(mut self, name: impl AsRef<str>) -> Job {
        match QueueName::new(name.as_ref()) {
            Ok(name) => self.queue = name,
            Err(e) => self.wrong(e.0),
        }
        self
    }

    /// Idempotency key: the same id again in the same queue is not a second job. Defaults to a new UUIDv7.
    pub fn id(mut self, id: JobId) -> Job {
        self.spec.id = Some(id);
        self
    }

    /// Higher runs first within the queue. Defaults to 0.
    pub fn priority(mut self, priority: i8) -> Job {
        self.spec.priority = priority;
        self
    }

    /// Starts no sooner than so long after the server took it. Defaults to no delay.
    pub fn delay(mut self, delay: Duration) -> Job {
        self.spec.run_at = RunAt::AfterMs(millis(delay));
        self
    }

    /// Starts no sooner than this. Defaults to at once.
    pub fn run_at(mut self, at: SystemTime) -> Job {
        self.spec.run_at = RunAt::At(timestamp(at));
        self
    }

    /// A job that no worker has taken by then never runs; counted from this call. Defaults to never.
    pub fn expires_in(mut self, within: Duration) -> Job {
        self.spec.options_mut().expires_at = Some(now().plus_ms(millis(within)));
        self
    }

    /// Longest run of one attempt; then it is cancelled and has failed. Defaults to no limit.
    pub fn timeout(mut self, timeout: Duration) -> Job {
        self.spec.options_mut().timeout_ms = Some(millis(timeout));
        self
    }

    /// Attempts, the first included. Defaults to 20.
    pub fn max_attempts(mut self, attempts: u32) -> Job {
        self.spec.options_mut().max_attempts = Some(attempts);
        self
    }

    /// Wait between attempts. Defaults to exponential from 2 s, doubling, at most 2 days, 20 % jitter.
    pub fn backoff(mut self, backoff: Backoff) -> Job {
        self.spec.options_mut().backoff = Some(backoff);
        self
    }

    /// Keeps the result durably for so long. Defaults to the queue's memory of its last finished jobs.
    pub fn retention(mut self, keep: Duration) -> Job {
        self.spec.options_mut().retention_ms = Some(millis(keep));
        self
    }

    /// Adds a free label.
    pub fn tag(mut self, tag: impl Into<String>) -> Job {
        self.spec.options_mut().tags.push(tag.into());
        self
    }

    /// Adds a header; `traceparent` and `tracestate` carry the W3C trace context.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Job {
        self.spec.options_mut().headers.push((name.into(), value.into()));
        self
    }

    /// Which handler runs it.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.spec.kind
    }

    /// Its id, when one was given.
    #[must_use]
    pub fn given_id(&self) -> Option<JobId> {
        self.spec.id
    }

    /// Queue and wire form, checked.
    ///
    /// # Errors
    /// [`Error::Invalid`] with the first rule that the job breaks.
    pub fn into_parts(self) -> Result<(QueueName, JobSpec), Error> {
        if let Some(problem) = self.problem {
            return Err(Error::Invalid(problem));
        }
        self.spec.validate(now())?;
        Ok((self.queue, self.spec))
    }

    fn wrong(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }
}

/// A payload type that knows its kind, so that producers and handlers cannot disagree.
///
/// ```
/// use windlass_worker::JobKind;
/// #[derive(serde::Serialize, serde::Deserialize)]
/// struct SendEmail { to: String }
///
/// impl JobKind for SendEmail {
///     const KIND: &'static str = "send_email";
///     const QUEUE: &'static str = "mail";
/// }
///
/// let job = SendEmail { to: "ada@example.org".into() }.job().priority(3);
/// assert_eq!(job.kind(), "send_email");
/// ```
pub trait JobKind: Serialize + DeserializeOwned {
    /// Which handler runs it.
    const KIND: &'static str;
    /// The queue it waits in.
    const QUEUE: &'static str = "default";

    /// A job with this payload. A payload that cannot be written as JSON is reported when the job is enqueued.
    fn job(&self) -> Job {
        let job = match Job::new(Self::KIND, self) {
            Ok(job) => job,
            Err(e) => {
                let mut job = Job::raw(Self::KIND, Payload::default());
                job.wrong(e.to_string());
                job
            }
        };
        job.queue(Self::QUEUE)
    }
}

/// What can be enqueued: a [`Job`], or the result of [`Job::new`] without a question mark in between.
pub trait IntoJob {
    /// The job.
    ///
    /// # Errors
    /// What went wrong while it was made.
    fn into_job(self) -> Result<Job, Error>;
}

impl IntoJob for Job {
    fn into_job(self) -> Result<Job, Error> {
        Ok(self)
    }
}

impl IntoJob for Result<Job, Error> {
    fn into_job(self) -> Result<Job, Error> {
        self
    }
}

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    timestamp(SystemTime::now())
}

/// A new id, ordered by time.
pub(crate) fn new_id() -> JobId {
    JobId::v7(now(), rand::random())
}

fn timestamp(at: SystemTime) -> Timestamp {
    Timestamp(at.duration_since(UNIX_EPOCH).map_or(0, millis))
}

/// Roughly the bytes that a job takes on the wire.
pub(crate) fn wire_bytes(spec: &JobSpec) -> usize {
    let options = spec.options.as_ref().map_or(0, |o| {
        32 + o.tags.iter().map(|t| t.len() + 4).sum::<usize>()
            + o.headers.iter().map(|(k, v)| k.len() + v.len() + 8).sum::<usize>()
    });
    40 + spec.kind.len() + spec.payload.content_type.len() + spec.payload.data.len() + options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_rule_is_told_when_the_job_is_enqueued() {
        let job = Job::new("k", &1).expect("a number is JSON").queue("two words").queue("fine");
        let error = job.into_parts().expect_err("the first queue name was bad");
        assert!(error.to_string().contains("' '"), "{error}");

        let job = Job::new("", &1).expect("a number is JSON");
        assert!(matches!(job.into_parts(), Err(Error::Invalid(_))), "an empty kind was taken");
    }

    #[test]
    fn options_reach_the_wire_form() {
        let job = Job::new("k", &1)
            .expect("a number is JSON")
            .queue("mail")
            .delay(Duration::from_millis(1_500))
            .timeout(Duration::from_secs(2))
            .header("traceparent", "00-1-2-01");
        let (queue, spec) = job.into_parts().expect("a good job");
        let options = spec.options.expect("options were set");
        assert_eq!((queue.as_str(), spec.run_at), ("mail", RunAt::AfterMs(1_500)));
        assert_eq!((options.timeout_ms, options.headers.len()), (Some(2_000), 1));
    }
}
