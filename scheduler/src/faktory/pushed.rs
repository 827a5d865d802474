//! A job as a client pushes it, and what becomes of it here.
//!
//! The arguments are the payload, so that a worker of any door can run the job. Everything else that the client said rests in
//! the header [`ENVELOPE`], as it was written. Where that is too much for a header, the payload is the whole job instead and its
//! content type [`WHOLE`] says so.

use serde_json::value::RawValue;
use windlass_core::id::QueueName;
use windlass_core::job::{JobSpec, Payload, RunAt};
use windlass_core::limits;
use windlass_core::time::Timestamp;

use super::failure::Failed;
use super::jid::{JID_BYTES_MAX, JID_BYTES_MIN, job_id};
use super::json::{Fields, Object, compact};
use super::reservations::{RETRY_DEFAULT, attempts};

/// The header that carries what a client said of a job beside queue, type and arguments.
pub(super) const ENVELOPE: &str = "faktory";
/// The content type of a payload that is a whole Faktory job.
pub(super) const WHOLE: &str = "application/vnd.faktory.job+json";
/// Longest envelope that travels as a header; the rest of the headers' room is for the trace context.
const ENVELOPE_BYTES_MAX: usize = limits::HEADERS_BYTES_MAX - 1_024;
/// Longest reservation, in seconds.
const RESERVE_FOR_MAX: i64 = 86_400;
/// Shortest reservation, in seconds.
const RESERVE_FOR_MIN: i64 = 60;
/// Keys of the trace context (W3C), which our workers look for among the headers.
const TRACE_HEADERS: [&str; 2] = ["traceparent", "tracestate"];
/// Longest value of one of them that is copied.
const TRACE_BYTES_MAX: usize = 256;

/// A job that can be enqueued.
#[derive(Debug)]
pub(super) struct Pushed {
    pub(super) jid: String,
    pub(super) queue: QueueName,
    pub(super) spec: JobSpec,
}

/// A job that is not taken, and why.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotTaken {
    /// As far as it has one.
    pub(super) jid: String,
    pub(super) text: String,
}

/// Reads the array of a `PUSHB`.
///
/// # Errors
/// What is wrong with the array; a wrong job in it is an entry.
pub(super) fn read_many(text: &str, now: Timestamp) -> Result<Vec<Result<Pushed, NotTaken>>, String> {
    let jobs: Vec<&RawValue> =
        serde_json::from_str(text).map_err(|error| format!("invalid JSON: {error}"))?;
    if jobs.len() > super::PUSH_JOBS_MAX {
        return Err(format!("{} jobs in one PUSHB, at most {} are taken", jobs.len(), super::PUSH_JOBS_MAX));
    }
    Ok(jobs.into_iter().map(|job| Pushed::read(job.get(), now)).collect())
}

impl Pushed {
    /// Reads one job.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub(super) fn read(text: &str, now: Timestamp) -> Result<Pushed, NotTaken> {
        let fields: Fields<'_> = serde_json::from_str(text)
            .map_err(|error| NotTaken { jid: String::new(), text: format!("invalid JSON: {error}") })?;
        let jid = fields.read::<String>("jid").ok().flatten().unwrap_or_default();
        Pushed::from_fields(&fields, &jid, now).map_err(|text| NotTaken { jid, text })
    }

    fn from_fields(fields: &Fields<'_>, jid: &str, now: Timestamp) -> Result<Pushed, String> {
        let terms = Said::read(fields)?;
        if jid.len() < JID_BYTES_MIN {
            return Err("jobs must have a reasonable jid parameter".to_owned());
        }
        if jid.len() > JID_BYTES_MAX {
            return Err(format!("a jid has at most {JID_BYTES_MAX} bytes"));
        }
        if terms.jobtype.is_empty() {
            return Err("jobs must have a jobtype parameter".to_owned());
        }
        let args = terms.args.ok_or("jobs must have an args parameter")?;
        if terms.reserve_for > RESERVE_FOR_MAX {
            return Err("jobs cannot be reserved for more than one day".to_owned());
        }
        let queue = queue_name(terms.queue.as_deref().filter(|name| !name.is_empty()).unwrap_or("default"))?;
        let mut spec = JobSpec::new(terms.jobtype, Payload::default());
        spec.id = Some(job_id(jid, 0));
        spec.run_at = run_at(terms.at.as_deref(), now)?;
        spec.priority = priority(fields.get("priority"));
        let earlier = Failed::read(fields.get("failure")).map_or(0, |failed| failed.count());
        let envelope = envelope(jid, fields);
        let custom = fields.read::<Fields<'_>>("custom").ok().flatten();
        let options = spec.options_mut();
        options.max_attempts = Some(attempts(terms.retry, earlier));
        options.timeout_ms = reserve_ms(terms.reserve_for);
        options.expires_at = custom.as_ref().map_or(Ok(None), |custom| expiry(custom, now))?;
        if let Some(custom) = &custom {
            options.headers = trace_context(custom);
        }
        let args = compact(args.get()).into_owned();
        if envelope.len() <= ENVELOPE_BYTES_MAX {
            options.headers.push((ENVELOPE.to_owned(), envelope));
            spec.payload = Payload::json(args);
        } else {
            let mut whole = envelope;
            whole.pop();
            whole.push_str(",\"args\":");
            whole.push_str(&args);
            whole.push('}');
            spec.payload = Payload { content_type: WHOLE.to_owned(), data: whole.into() };
        }
        spec.validate(now).map_err(|error| error.0)?;
        Ok(Pushed { jid: jid.to_owned(), queue, spec })
    }

    /// The job as a `FETCH` would hand it out if it were enqueued at `now`.
    pub(super) fn round_trip(self, now: Timestamp) -> String {
        let job = windlass_core::job::Job {
            id: job_id(&self.jid, 0),
            kind: self.spec.kind,
            payload: self.spec.payload,
            priority: self.spec.priority,
            enqueued_at: now,
            run_at: now,
            options: self.spec.options,
            past: None,
        };
        super::fetched::Shown::of_job(&self.queue, &job).hand_out().json
    }
}

/// What the client said in fields that have a meaning.
struct Said<'a> {
    jobtype: String,
    queue: Option<String>,
    args: Option<&'a RawValue>,
    at: Option<String>,
    retry: i64,
    reserve_for: i64,
}

impl<'a> Said<'a> {
    /// The types of all fields are checked, also of those that nothing follows from.
    fn read(fields: &Fields<'a>) -> Result<Said<'a>, String> {
        for name in ["jid", "created_at", "enqueued_at"] {
            fields.read::<String>(name)?;
        }
        fields.read::<i64>("backtrace")?;
        for name in ["custom", "failure"] {
            fields.read::<Fields<'_>>(name)?;
        }
        let args = fields.get("args").filter(|args| args.get() != "null");
        if let Some(other) = args.filter(|args| !args.get().starts_with('[')) {
            let shown: String = other.get().chars().take(20).collect();
            return Err(format!("invalid JSON: field args: {shown} is no array"));
        }
        Ok(Said {
            jobtype: fields.read("jobtype")?.unwrap_or_default(),
            queue: fields.read("queue")?,
            args,
            at: fields.read("at")?,
            retry: fields.read("retry")?.unwrap_or(RETRY_DEFAULT),
            reserve_for: fields.read("reserve_for")?.unwrap_or(0),
        })
    }
}

/// A queue's name by the rules of the protocol, which are narrower than ours.
///
/// # Errors
/// The rule.
pub(super) fn queue_name(name: &str) -> Result<QueueName, String> {
    let refuse = |rule: &str| Err(format!("cannot get \"{name}\" queue: {rule}"));
    if name.is_empty() || name.contains(|c: char| !(c.is_ascii_alphanumeric() || "._-".contains(c))) {
        return refuse("queue names must match [a-zA-Z0-9._-]+");
    }
    QueueName::new(name).or_else(|error| refuse(&error.0))
}

fn run_at(at: Option<&str>, now: Timestamp) -> Result<RunAt, String> {
    match at {
        None | Some("") => Ok(RunAt::Now),
        Some(text) => {
            let at = timestamp(text).ok_or_else(|| format!("invalid timestamp for 'at': '{text}'"))?;
            Ok(if at > now { RunAt::At(at) } else { RunAt::Now })
        }
    }
}

/// An RFC 3339 time, rounded up to a millisecond: never early. Times before 1970 are 0.
pub(super) fn timestamp(text: &str) -> Option<Timestamp> {
    let at = chrono::DateTime::parse_from_rfc3339(text).ok()?;
    let over = i64::from(at.timestamp_subsec_nanos() % 1_000_000 > 0);
    Some(Timestamp(u64::try_from(at.timestamp_millis() + over).unwrap_or(0)))
}

/// 1 to 9 with 5 in the middle, as old servers had it, onto ours with 0 in the middle. New servers ignore the field, so that
/// nothing in it is an error.
fn priority(field: Option<&RawValue>) -> i8 {
    match field.and_then(|value| value.get().parse::<i64>().ok()) {
        Some(value @ 1..=9) => i8::try_from(value - 5).unwrap_or(0),
        _ => 0,
    }
}

/// A reservation that was asked for, in milliseconds; it also limits the run on a worker of another door.
fn reserve_ms(seconds: i64) -> Option<u64> {
    let asked = (seconds != 0).then_some(seconds.max(RESERVE_FOR_MIN))?;
    u64::try_from(asked).ok().map(|seconds| seconds * 1_000)
}

/// `expires_at` and `expires_in` of a job's `custom`.
fn expiry(custom: &Fields<'_>, now: Timestamp) -> Result<Option<Timestamp>, String> {
    if let Ok(Some(text)) = custom.read::<String>("expires_at") {
        let at = timestamp(&text).ok_or_else(|| format!("invalid timestamp for 'expires_at': '{text}'"))?;
        return Ok(Some(at));
    }
    let Ok(Some(seconds)) = custom.read::<f64>("expires_in") else { return Ok(None) };
    let ms = (seconds * 1_000.0).max(0.0);
    // Converting to an integer saturates, so that an absurd number means never.
    Ok(Some(now.plus_ms(ms as u64)))
}

fn trace_context(custom: &Fields<'_>) -> Vec<(String, String)> {
    let read = |name: &str| custom.read::<String>(name).ok().flatten();
    let short = |value: &String| value.len() <= TRACE_BYTES_MAX;
    TRACE_HEADERS.iter().filter_map(|name| Some(((*name).to_owned(), read(name).filter(short)?))).collect()
}

/// What the client said beside queue, type and arguments. Fields that say nothing, or that are ours to say, are left out.
fn envelope(jid: &str, fields: &Fields<'_>) -> String {
    let mut out = Object::new();
    out.text("jid", jid);
    for (name, value) in &fields.0 {
        let text = value.get();
        let empty = match name.as_str() {
            "jid" | "queue" | "jobtype" | "args" | "enqueued_at" => true,
            "at" | "created_at" => text == "null" || text == "\"\"",
            "retry" | "reserve_for" | "backtrace" | "custom" | "failure" | "priority" => text == "null",
            _ => false,
        };
        if !empty {
            out.raw(name, text);
        }
    }
    out.end()
}

#[cfg(test)]
#[path = "pushed_test.rs"]
mod tests;
