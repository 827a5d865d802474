//! A job: what a client submits ([`JobSpec`]), what the store keeps ([`Job`]), and one run of it ([`AttemptRecord`]).

mod chunk;
mod record;
mod state;

use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

pub use chunk::{Chunk, Holes};
pub(crate) use record::body_of;
pub use record::{BadRecord, decode_job, encode_job, job_id_of};
pub use state::{JobState, TRANSITIONS};

use crate::id::{InvalidName, JobId, WorkerId};
use crate::limits;
use crate::retry::Backoff;
use crate::time::Timestamp;

/// The content type that a payload has unless it says otherwise.
pub const JSON: &str = "application/json";

/// Bytes with a content type; cheap to clone.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Payload {
    /// MIME type; empty means [`JSON`].
    pub content_type: String,
    /// The bytes, untouched by the server.
    pub data: Bytes,
}

impl Payload {
    /// A JSON payload from bytes that are already JSON.
    #[must_use]
    pub fn json(data: impl Into<Bytes>) -> Payload {
        Payload { content_type: String::new(), data: data.into() }
    }

    /// The content type, [`JSON`] when none was given.
    #[must_use]
    pub fn mime(&self) -> &str {
        if self.content_type.is_empty() { JSON } else { &self.content_type }
    }

    /// Whether the payload says it is JSON.
    #[must_use]
    pub fn is_json(&self) -> bool {
        self.content_type.is_empty() || self.content_type == JSON
    }
}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Payload({}, {} bytes)", self.mime(), self.data.len())
    }
}

impl Encode for Payload {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.content_type.encode(encoder)?;
        self.data.as_ref().encode(encoder)
    }
}

impl<C> Decode<C> for Payload {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Payload, DecodeError> {
        Ok(Payload { content_type: String::decode(decoder)?, data: Vec::<u8>::decode(decoder)?.into() })
    }
}

impl<'de, C> BorrowDecode<'de, C> for Payload {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<Payload, DecodeError> {
        Payload::decode(decoder)
    }
}

/// When a job may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode)]
pub enum RunAt {
    /// At once.
    #[default]
    Now,
    /// Not before this wall-clock instant.
    At(Timestamp),
    /// Not before this many milliseconds after the server accepted it.
    AfterMs(u64),
}

/// Options that most jobs leave at their defaults.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct JobOptions {
    /// A job that has not started by then never runs. Defaults to never.
    pub expires_at: Option<Timestamp>,
    /// Longest run of one attempt, in milliseconds; then it is cancelled and has failed. Defaults to no limit.
    pub timeout_ms: Option<u64>,
    /// Attempts, the first included. Defaults to [`limits::MAX_ATTEMPTS_DEFAULT`].
    pub max_attempts: Option<u32>,
    /// Wait before the next attempt. Defaults to [`Backoff::default`].
    pub backoff: Option<Backoff>,
    /// How long the job and its result are kept durably once it succeeded, was cancelled or expired, in milliseconds.
    /// Defaults to not at all: the queue remembers its last finished jobs in memory.
    pub retention_ms: Option<u64>,
    /// Free labels.
    pub tags: Vec<String>,
    /// Free pairs; `traceparent` and `tracestate` carry the W3C trace context.
    pub headers: Vec<(String, String)>,
}

/// What a client submits.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct JobSpec {
    /// Idempotency key: the same id again in the same queue is not a second job. Defaults to a new UUIDv7, made by
    /// the client library or, failing that, by the server.
    pub id: Option<JobId>,
    /// Which handler runs it, such as `send_email`.
    pub kind: String,
    /// The handler's argument.
    pub payload: Payload,
    /// Higher runs first, -128 to 127. Defaults to 0.
    pub priority: i8,
    /// When it may start. Defaults to at once.
    pub run_at: RunAt,
    /// The rest; `None` when all are defaults, which keeps frames and records short.
    pub options: Option<Box<JobOptions>>,
}

impl JobSpec {
    /// A job of `kind` with `payload` and every option at its default.
    #[must_use]
    pub fn new(kind: impl Into<String>, payload: Payload) -> JobSpec {
        JobSpec { id: None, kind: kind.into(), payload, priority: 0, run_at: RunAt::Now, options: None }
    }

    /// The options, made on first use.
    pub fn options_mut(&mut self) -> &mut JobOptions {
        self.options.get_or_insert_with(Box::default)
    }

    /// Checks every limit that does not need the queue.
    ///
    /// # Errors
    /// The first rule that the job breaks, as a sentence for the caller.
    pub fn validate(&self, now: Timestamp) -> Result<(), InvalidName> {
        let refuse = |text: String| Err(InvalidName(text));
        if self.kind.is_empty() || self.kind.len() > limits::KIND_BYTES_MAX {
            return refuse(format!("a job kind has 1 to {} bytes", limits::KIND_BYTES_MAX));
        }
        if self.kind.chars().any(char::is_control) {
            return refuse("the job kind has a control character".to_owned());
        }
        if self.payload.data.len() > limits::PAYLOAD_BYTES_MAX {
            return refuse(format!(
                "the payload has {} bytes, at most {} are taken; put large data elsewhere and its address here",
                self.payload.data.len(),
                limits::PAYLOAD_BYTES_MAX
            ));
        }
        if self.payload.content_type.len() > limits::CONTENT_TYPE_BYTES_MAX {
            return refuse(format!("a content type has at most {} bytes", limits::CONTENT_TYPE_BYTES_MAX));
        }
        let delay = match self.run_at {
            RunAt::Now => 0,
            RunAt::At(at) => at.since_ms(now),
            RunAt::AfterMs(ms) => ms,
        };
        if delay > limits::DELAY_MS_MAX {
            return refuse("the delay is more than ten years; delays are in milliseconds".to_owned());
        }
        self.options.as_deref().map_or(Ok(()), JobOptions::validate)
    }
}

impl JobOptions {
    fn validate(&self) -> Result<(), InvalidName> {
        let refuse = |text: String| Err(InvalidName(text));
        if self.max_attempts.is_some_and(|n| n == 0 || n > limits::ATTEMPTS_MAX) {
            return refuse(format!("max_attempts is 1 to {}", limits::ATTEMPTS_MAX));
        }
        if self.timeout_ms == Some(0) {
            return refuse("a timeout of 0 ms lets no attempt succeed; leave it out for no limit".to_owned());
        }
        if self.tags.len() > limits::TAGS_MAX || self.tags.iter().any(|t| t.len() > limits::TAG_BYTES_MAX) {
            return refuse(format!("at most {} tags of {} bytes", limits::TAGS_MAX, limits::TAG_BYTES_MAX));
        }
        let header_bytes: usize = self.headers.iter().map(|(k, v)| k.len() + v.len()).sum();
        if self.headers.len() > limits::HEADERS_MAX || header_bytes > limits::HEADERS_BYTES_MAX {
            return refuse(format!(
                "at most {} headers of {} bytes together",
                limits::HEADERS_MAX,
                limits::HEADERS_BYTES_MAX
            ));
        }
        self.backoff.as_ref().map_or(Ok(()), Backoff::validate)
    }
}

/// How one attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttemptOutcome {
    /// The handler finished.
    Succeeded,
    /// The handler returned an error, panicked or ran out of time.
    Failed,
    /// The handler asked to be run later; no attempt was used.
    Snoozed,
    /// The worker gave the job back unfinished; no attempt was used.
    Released,
    /// The worker was lost, or its lease ran out.
    Lost,
    /// Somebody cancelled the job while it ran, or the handler said so.
    Cancelled,
}

/// One run of a job, in its history.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct AttemptRecord {
    /// Number of the attempt, from 1. Runs that used no attempt carry the number they would have used.
    pub attempt: u32,
    /// The worker process.
    pub worker: WorkerId,
    /// When it was handed to the worker.
    pub started_at: Timestamp,
    /// When its end was recorded.
    pub ended_at: Timestamp,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// The error text, empty without one.
    pub error: String,
}

/// A job as a queue holds it: the spec, resolved at enqueue, and what has happened to it since.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// Which handler runs it.
    pub kind: String,
    /// The handler's argument.
    pub payload: Payload,
    /// Higher runs first.
    pub priority: i8,
    /// When the server accepted it.
    pub enqueued_at: Timestamp,
    /// When it may start (again); equal to `enqueued_at` for a job without delay.
    pub run_at: Timestamp,
    /// Options other than the defaults.
    pub options: Option<Box<JobOptions>>,
    /// What has happened so far; `None` before the first attempt ended.
    pub past: Option<Box<Past>>,
}

/// What has happened to a job so far.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode)]
pub struct Past {
    /// Attempts used.
    pub attempts: u32,
    /// Times its worker was lost with it.
    pub crashes: u32,
    /// The last attempts, oldest first, at most [`limits::ATTEMPT_HISTORY_MAX`].
    pub history: Vec<AttemptRecord>,
    /// Why it is in its final state, when that needs saying ("killed its worker 3 times").
    pub reason: String,
    /// How a job at rest ended; `None` while it is still to run.
    pub ended: Option<(JobState, Timestamp)>,
    /// The result of a job whose result is kept.
    pub result: Option<Payload>,
}

impl Job {
    /// Attempts used so far.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.past.as_ref().map_or(0, |p| p.attempts)
    }

    /// Attempts that it may use.
    #[must_use]
    pub fn max_attempts(&self) -> u32 {
        self.options.as_ref().and_then(|o| o.max_attempts).unwrap_or(limits::MAX_ATTEMPTS_DEFAULT)
    }

    /// When it expires, if it does.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.options.as_ref().and_then(|o| o.expires_at)
    }

    /// Whether its expiry has come.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at().is_some_and(|at| at <= now)
    }

    /// Its history, made on first use.
    pub fn past_mut(&mut self) -> &mut Past {
        self.past.get_or_insert_with(Box::default)
    }

    /// Roughly the bytes it takes in memory, for the windows' budgets.
    #[must_use]
    pub fn weight(&self) -> usize {
        let options = self.options.as_ref().map_or(0, |o| {
            std::mem::size_of::<JobOptions>()
                + o.tags.iter().map(|t| t.len() + 24).sum::<usize>()
                + o.headers.iter().map(|(k, v)| k.len() + v.len() + 48).sum::<usize>()
        });
        let past = self.past.as_ref().map_or(0, |p| {
            std::mem::size_of::<Past>()
                + p.history.iter().map(|a| a.error.len() + 72).sum::<usize>()
                + p.result.as_ref().map_or(0, |r| r.data.len())
        });
        std::mem::size_of::<Job>() + self.kind.len() + self.payload.data.len() + options + past + 64
    }
}

/// Cuts `text` to at most `max` bytes at a character border and says that it was cut.
#[must_use]
pub fn clip(mut text: String, max: usize) -> String {
    const MARK: &str = " … (cut)";
    if text.len() > max {
        let mut end = max.saturating_sub(MARK.len());
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str(MARK);
    }
    text
}
