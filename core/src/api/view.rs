//! What is shown of things: plain snapshots for API, pages and CLI.

use bincode::{Decode, Encode};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::StateCounts;
use crate::id::{JobId, QueueName, WorkerId};
use crate::job::{AttemptOutcome, JobState, Payload};
use crate::retry::Backoff;
use crate::schedule::ScheduleSpec;
use crate::store::StoreStats;
use crate::time::Timestamp;
use crate::wire::Token;

/// Payload bytes in JSON: a JSON payload as itself, digit for digit; anything else as `{"content_type", "base64"}`.
fn payload_json<S: Serializer>(payload: &Payload, s: S) -> Result<S::Ok, S::Error> {
    if payload.is_json()
        && let Ok(text) = std::str::from_utf8(&payload.data)
        && let Ok(raw) = serde_json::from_str::<&serde_json::value::RawValue>(text)
    {
        return raw.serialize(s);
    }
    let mut map = s.serialize_map(Some(2))?;
    map.serialize_entry("content_type", payload.mime())?;
    map.serialize_entry("base64", &base64(&payload.data))?;
    map.end()
}

#[expect(clippy::ref_option, reason = "serde hands the field over by reference")]
fn optional_payload_json<S: Serializer>(payload: &Option<Payload>, s: S) -> Result<S::Ok, S::Error> {
    match payload {
        Some(payload) => payload_json(payload, s),
        None => s.serialize_none(),
    }
}

/// A payload as the API shows it: JSON as itself, digit for digit; anything else as `{"content_type", "base64"}`.
pub struct PayloadJson<'a>(pub &'a Payload);

impl Serialize for PayloadJson<'_> {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        payload_json(self.0, s)
    }
}

/// Bytes as text, by RFC 4648 §4, with padding: how payloads that are no JSON stand in JSON.
#[must_use]
pub fn base64(data: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(data.len().div_ceil(3) * 4);
    for chunk in data.chunks(3) {
        let word =
            chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for position in 0..4 {
            let symbol = ALPHABET[(word >> (18 - 6 * position)) as usize & 63];
            out.push(if position <= chunk.len() { char::from(symbol) } else { '=' });
        }
    }
    out
}

/// One job with its history.
#[derive(Debug, Clone, PartialEq, Encode, Decode, Serialize)]
pub struct JobView {
    /// Its id.
    pub id: JobId,
    /// Its queue.
    pub queue: QueueName,
    /// Which handler runs it.
    pub kind: String,
    /// Where it stands.
    pub state: JobState,
    /// Higher runs first.
    pub priority: i8,
    /// The handler's argument.
    #[serde(serialize_with = "payload_json")]
    pub payload: Payload,
    /// When it was accepted.
    pub enqueued_at: Timestamp,
    /// When it may start (again).
    pub run_at: Timestamp,
    /// When it ended, in a final state.
    pub ended_at: Option<Timestamp>,
    /// When it expires if no worker took it.
    pub expires_at: Option<Timestamp>,
    /// Longest run of one attempt.
    pub timeout_ms: Option<u64>,
    /// Attempts used, the running one included.
    pub attempt: u32,
    /// Attempts it may use.
    pub max_attempts: u32,
    /// Wait between attempts.
    pub backoff: Backoff,
    /// How long its result is kept durably.
    pub retention_ms: Option<u64>,
    /// Times its worker was lost with it.
    pub crashes: u32,
    /// The last attempts, oldest first; the running one last, without an end.
    pub attempts: Vec<AttemptView>,
    /// The result, while it is remembered.
    #[serde(serialize_with = "optional_payload_json")]
    pub result: Option<Payload>,
    /// Why it is where it is: the last error, who cancelled.
    pub reason: String,
    /// Progress of the running attempt: percent and message.
    pub progress: Option<(u8, String)>,
    /// Whether a running job was asked to stop.
    pub cancel_requested: bool,
    /// Labels.
    pub tags: Vec<String>,
    /// Headers.
    pub headers: Vec<(String, String)>,
}

/// One attempt in a job's history.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct AttemptView {
    /// Number, from 1.
    pub attempt: u32,
    /// The worker process.
    pub worker: WorkerId,
    /// The worker's name, when it is still known.
    pub worker_name: String,
    /// When it started.
    pub started_at: Timestamp,
    /// When it ended; `None` while it runs.
    pub ended_at: Option<Timestamp>,
    /// How it ended; `None` while it runs.
    pub outcome: Option<AttemptOutcome>,
    /// The error text.
    pub error: String,
    /// The lease's token while it runs.
    pub token: Option<Token>,
}

/// One queue.
#[derive(Debug, Clone, PartialEq, Encode, Decode, Serialize)]
pub struct QueueView {
    /// Its name.
    pub name: QueueName,
    /// Whether it hands out no jobs.
    pub paused: bool,
    /// Since when it is paused.
    pub paused_at: Option<Timestamp>,
    /// Jobs by state. Final states other than dead count what is remembered.
    pub counts: StateCounts,
    /// Age of the oldest ready job in milliseconds: how far behind the workers are.
    pub oldest_wait_ms: u64,
    /// Jobs enqueued since the start of the server.
    pub enqueued_total: u64,
    /// Jobs succeeded since the start.
    pub succeeded_total: u64,
    /// Attempts failed or lost since the start.
    pub failed_total: u64,
    /// Jobs gone dead since the start.
    pub dead_total: u64,
    /// Enqueued per second, over the last ten seconds.
    pub enqueue_rate: f64,
    /// Succeeded per second, over the last ten seconds.
    pub done_rate: f64,
    /// Workers that take jobs from it.
    pub workers: u32,
    /// Finished jobs it remembers at most.
    pub finished_max: u32,
}

/// A job that a worker runs.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct WorkerJob {
    /// Its queue.
    pub queue: QueueName,
    /// Its id.
    pub id: JobId,
    /// Its kind.
    pub kind: String,
    /// Number of the attempt.
    pub attempt: u32,
    /// When it was handed out.
    pub started_at: Timestamp,
}

/// One worker process.
#[derive(Debug, Clone, PartialEq, Encode, Decode, Serialize)]
pub struct WorkerView {
    /// The process.
    pub id: WorkerId,
    /// A name for people.
    pub name: String,
    /// Its host.
    pub host: String,
    /// Its process id.
    pub pid: u32,
    /// Name and version of the library.
    pub client: String,
    /// Its queues with weights.
    pub queues: Vec<(QueueName, u32)>,
    /// Whether queue order is strict.
    pub strict: bool,
    /// Kinds it has handlers for.
    pub kinds: Vec<String>,
    /// Free slots it has stated.
    pub free_slots: u32,
    /// Jobs it runs (at most 100 are listed).
    pub running: Vec<WorkerJob>,
    /// How many jobs it runs.
    pub running_count: u32,
    /// When it connected.
    pub connected_at: Timestamp,
    /// Milliseconds since its last sign of life.
    pub heartbeat_age_ms: u64,
    /// `connected`, `away` (lost, may come back within the grace time) or `quiet`.
    pub status: String,
    /// What the gossip says: `alive`, `dead`, or `unknown` for one that does not gossip.
    pub gossip: String,
}

/// One sample of the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode, Serialize)]
pub struct HistoryPoint {
    /// Begin of the interval.
    pub at: Timestamp,
    /// Jobs enqueued in it.
    pub enqueued: u64,
    /// Jobs succeeded in it.
    pub succeeded: u64,
    /// Attempts failed in it.
    pub failed: u64,
    /// Ready jobs at its end.
    pub ready: u64,
}

/// The node that answers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode, Serialize)]
pub struct NodeView {
    /// Stable id.
    pub id: String,
    /// Program version.
    pub version: String,
    /// When it started.
    pub started_at: Timestamp,
    /// Epoch of its store.
    pub epoch: u64,
    /// Resident memory in bytes, 0 where unknown.
    pub rss_bytes: u64,
    /// Open native connections.
    pub connections: u32,
    /// Live members in the gossip, this one included: `(id, role, address)`.
    pub members: Vec<(String, String, String)>,
}

/// Totals, rates and history.
#[derive(Debug, Clone, PartialEq, Encode, Decode, Serialize)]
pub struct Overview {
    /// The node.
    pub node: NodeView,
    /// Its store.
    pub store: StoreStats,
    /// Jobs by state over all queues.
    pub counts: StateCounts,
    /// Number of queues.
    pub queues: u32,
    /// Number of connected workers.
    pub workers: u32,
    /// Oldest ready job over all queues, in milliseconds.
    pub oldest_wait_ms: u64,
    /// Enqueued per second, over the last ten seconds.
    pub enqueue_rate: f64,
    /// Succeeded per second, over the last ten seconds.
    pub done_rate: f64,
    /// Failed attempts per second, over the last ten seconds.
    pub fail_rate: f64,
    /// Since the start: enqueued, succeeded, failed attempts, gone dead.
    pub totals: [u64; 4],
    /// One point per interval, oldest first.
    pub history: Vec<HistoryPoint>,
    /// Length of an interval in milliseconds.
    pub history_step_ms: u64,
    /// What an operator should look at, as sentences ("the disk is nearly full").
    pub problems: Vec<String>,
}

/// One schedule.
#[derive(Debug, Clone, PartialEq, Encode, Decode, Serialize)]
pub struct ScheduleView {
    /// What was asked for.
    #[serde(flatten)]
    pub spec: ScheduleSpec,
    /// Whether it does not fire.
    pub paused: bool,
    /// The last nominal time that fired.
    pub last_fired: Option<Timestamp>,
    /// Job of the last firing.
    pub last_job: Option<JobId>,
    /// Firings since it was created, manual ones not counted.
    pub fired_total: u64,
    /// Nominal times that were skipped by the catch-up policy.
    pub skipped_total: u64,
    /// The next nominal times, at most five.
    pub next: Vec<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::base64;

    /// The vectors of RFC 4648 §10.
    #[test]
    fn base64_follows_the_rfc() {
        let cases = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, coded) in cases {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
