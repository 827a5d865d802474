//! Jobs and schedules as JSON, as people and programs write them: the bodies of the HTTP API, and the lines of a batch file.
//! Read strictly, with errors that say where and what was meant.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::id::{InvalidName, JobId, QueueName};
use crate::job::{JobSpec, Payload, RunAt};
use crate::near::nearest;
use crate::retry::Backoff;
use crate::schedule::{CatchUp, ScheduleSpec, When};
use crate::time::Timestamp;

/// Milliseconds below this are a date in 1973 or before: somebody sent seconds.
const MS_PLAUSIBLE_MIN: u64 = 100_000_000_000;

/// Why a body is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// It cannot be read at all.
    #[error("{0}")]
    Malformed(String),
    /// It can be read and breaks a rule.
    #[error("{0}")]
    Invalid(String),
}

impl BodyError {
    fn malformed(text: impl Into<String>) -> BodyError {
        BodyError::Malformed(text.into())
    }

    fn invalid(text: impl Into<String>) -> BodyError {
        BodyError::Invalid(text.into())
    }
}

impl From<InvalidName> for BodyError {
    fn from(error: InvalidName) -> BodyError {
        BodyError::Invalid(error.0)
    }
}

/// What every job has, whether enqueued or scheduled.
#[derive(Debug, Default)]
struct JobFields {
    kind: Option<String>,
    payload: Option<Bytes>,
    content_type: Option<String>,
    priority: Option<i64>,
    timeout_ms: Option<u64>,
    max_attempts: Option<u32>,
    backoff: Option<BackoffBody>,
    retention_ms: Option<u64>,
    tags: Option<Vec<String>>,
    headers: Option<BTreeMap<String, String>>,
}

/// One job to enqueue.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobBody<'a> {
    queue: Option<QueueName>,
    kind: Option<String>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    content_type: Option<String>,
    id: Option<JobId>,
    priority: Option<i64>,
    delay_ms: Option<u64>,
    run_at: Option<Moment>,
    expires_in_ms: Option<u64>,
    expires_at: Option<Moment>,
    timeout_ms: Option<u64>,
    max_attempts: Option<u32>,
    backoff: Option<BackoffBody>,
    retention_ms: Option<u64>,
    tags: Option<Vec<String>>,
    headers: Option<BTreeMap<String, String>>,
}

/// A batch: a list, or an object with the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BatchBody<'a> {
    #[serde(borrow)]
    jobs: Vec<JobBody<'a>>,
}

/// A schedule with the job of each firing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleBody<'a> {
    name: Option<String>,
    cron: Option<String>,
    every_ms: Option<u64>,
    zone: Option<String>,
    catch_up: Option<CatchUp>,
    queue: Option<QueueName>,
    kind: Option<String>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    content_type: Option<String>,
    priority: Option<i64>,
    timeout_ms: Option<u64>,
    max_attempts: Option<u32>,
    backoff: Option<BackoffBody>,
    retention_ms: Option<u64>,
    tags: Option<Vec<String>>,
    headers: Option<BTreeMap<String, String>>,
}

/// An instant: milliseconds since the epoch, or RFC 3339.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Moment {
    Millis(u64),
    Text(String),
}

/// [`Backoff`] with unknown keys refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BackoffBody {
    policy: String,
    delay_ms: Option<u64>,
    base_ms: Option<u64>,
    factor_tenths: Option<u32>,
    max_ms: Option<u64>,
    delays_ms: Option<Vec<u64>>,
    #[serde(default)]
    jitter_percent: u8,
}

impl JobBody<'_> {
    /// The job, on top of `base`, which has what the body leaves out, and the queue if the body names one.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn into_spec(self, base: JobSpec, now: Timestamp) -> Result<(Option<QueueName>, JobSpec), BodyError> {
        let run_at = match (self.delay_ms, self.run_at) {
            (Some(_), Some(_)) => return Err(BodyError::invalid("give delay_ms or run_at, not both")),
            (Some(ms), None) => Some(RunAt::AfterMs(ms)),
            (None, Some(at)) => Some(RunAt::At(at.read("run_at")?)),
            (None, None) => None,
        };
        let expires_at = match (self.expires_in_ms, self.expires_at) {
            (Some(_), Some(_)) => {
                return Err(BodyError::invalid("give expires_in_ms or expires_at, not both"));
            }
            (Some(ms), None) => Some(now.plus_ms(ms)),
            (None, Some(at)) => Some(at.read("expires_at")?),
            (None, None) => None,
        };
        let fields = JobFields {
            kind: self.kind,
            payload: self.payload.map(raw),
            content_type: self.content_type,
            priority: self.priority,
            timeout_ms: self.timeout_ms,
            max_attempts: self.max_attempts,
            backoff: self.backoff,
            retention_ms: self.retention_ms,
            tags: self.tags,
            headers: self.headers,
        };
        let mut spec = fields.put_on(base)?;
        spec.id = self.id.or(spec.id);
        spec.run_at = run_at.unwrap_or(spec.run_at);
        if expires_at.is_some() {
            spec.options_mut().expires_at = expires_at;
        }
        spec.validate(now)?;
        Ok((self.queue, spec))
    }
}

/// What a job has that says nothing: no kind, and the payload `null`.
#[must_use]
pub fn blank() -> JobSpec {
    JobSpec::new("", Payload::json("null"))
}

impl ScheduleBody<'_> {
    /// The schedule; `name` is the one in the path, if there is one.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn into_spec(self, name: Option<String>, now: Timestamp) -> Result<ScheduleSpec, BodyError> {
        let name = match (name, self.name) {
            (Some(path), Some(body)) if path != body => {
                return Err(BodyError::invalid(format!("the path names {path:?} and the body {body:?}")));
            }
            (Some(name), _) | (None, Some(name)) => name,
            (None, None) => return Err(BodyError::invalid("a schedule needs a name")),
        };
        let when = read_when(self.cron, self.every_ms)?;
        let fields = JobFields {
            kind: self.kind,
            payload: self.payload.map(raw),
            content_type: self.content_type,
            priority: self.priority,
            timeout_ms: self.timeout_ms,
            max_attempts: self.max_attempts,
            backoff: self.backoff,
            retention_ms: self.retention_ms,
            tags: self.tags,
            headers: self.headers,
        };
        let job = fields.put_on(blank())?;
        job.validate(now)?;
        Ok(ScheduleSpec {
            name,
            when,
            zone: self.zone.unwrap_or_else(|| "UTC".to_owned()),
            catch_up: self.catch_up.unwrap_or_default(),
            queue: self.queue.unwrap_or_default(),
            job,
        })
    }
}

/// The one of both ways to say when a schedule fires.
///
/// # Errors
/// `Invalid` for none and for both.
pub fn read_when(cron: Option<String>, every_ms: Option<u64>) -> Result<When, BodyError> {
    match (cron, every_ms) {
        (Some(cron), None) => Ok(When::Cron(cron)),
        (None, Some(ms)) => Ok(When::EveryMs(ms)),
        (None, None) => Err(BodyError::invalid("a schedule needs cron or every_ms")),
        (Some(_), Some(_)) => Err(BodyError::invalid("give cron or every_ms, not both")),
    }
}

impl JobFields {
    /// Sets only what is there, so that a job without options stays without them.
    fn put_on(self, mut spec: JobSpec) -> Result<JobSpec, BodyError> {
        if let Some(kind) = self.kind {
            spec.kind = kind;
        } else if spec.kind.is_empty() {
            return Err(BodyError::invalid("a job needs a kind: the name of its handler"));
        }
        if let Some(data) = self.payload {
            spec.payload = Payload::json(data);
        }
        if let Some(content_type) = self.content_type {
            spec.payload.content_type = content_type;
        }
        if let Some(priority) = self.priority {
            let outside = || BodyError::invalid(format!("a priority is -128 to 127, not {priority}"));
            spec.priority = i8::try_from(priority).map_err(|_| outside())?;
        }
        if self.timeout_ms.is_some() {
            spec.options_mut().timeout_ms = self.timeout_ms;
        }
        if self.max_attempts.is_some() {
            spec.options_mut().max_attempts = self.max_attempts;
        }
        if let Some(backoff) = self.backoff {
            spec.options_mut().backoff = Some(backoff.read()?);
        }
        if self.retention_ms.is_some() {
            spec.options_mut().retention_ms = self.retention_ms;
        }
        if let Some(tags) = self.tags {
            spec.options_mut().tags = tags;
        }
        if let Some(headers) = self.headers {
            spec.options_mut().headers = headers.into_iter().collect();
        }
        Ok(spec)
    }
}

impl BackoffBody {
    fn read(self) -> Result<Backoff, BodyError> {
        let jitter_percent = self.jitter_percent;
        let missing = |key: &str| BodyError::invalid(format!("the backoff {:?} needs {key}", self.policy));
        match self.policy.as_str() {
            "fixed" => {
                let delay_ms = self.delay_ms.ok_or_else(|| missing("delay_ms"))?;
                Ok(Backoff::Fixed { delay_ms, jitter_percent })
            }
            "exponential" => Ok(Backoff::Exponential {
                base_ms: self.base_ms.ok_or_else(|| missing("base_ms"))?,
                factor_tenths: self.factor_tenths.unwrap_or(20),
                max_ms: self.max_ms.unwrap_or(2 * 24 * 3600 * 1000),
                jitter_percent,
            }),
            "list" => {
                let delays_ms = self.delays_ms.clone().ok_or_else(|| missing("delays_ms"))?;
                Ok(Backoff::List { delays_ms, jitter_percent })
            }
            other => Err(BodyError::invalid(format!(
                "there is no backoff policy {other:?}; the policies are fixed, exponential and list"
            ))),
        }
    }
}

impl Moment {
    fn read(self, key: &str) -> Result<Timestamp, BodyError> {
        match self {
            Moment::Millis(ms) if ms < MS_PLAUSIBLE_MIN => Err(BodyError::invalid(format!(
                "{key} is in milliseconds since 1970; {ms} looks like seconds"
            ))),
            Moment::Millis(ms) => Ok(Timestamp(ms)),
            Moment::Text(text) => read_time(&text).ok_or_else(|| {
                BodyError::invalid(format!("{key} is RFC 3339, such as 2030-01-31T09:30:00Z, not {text:?}"))
            }),
        }
    }
}

/// An instant as RFC 3339; `None` for other text and for times before 1970.
fn read_time(text: &str) -> Option<Timestamp> {
    let at = chrono::DateTime::parse_from_rfc3339(text).ok()?;
    u64::try_from(at.timestamp_millis()).ok().map(Timestamp)
}

/// The bytes of a value, digit for digit.
fn raw(value: &RawValue) -> Bytes {
    Bytes::copy_from_slice(value.get().as_bytes())
}

/// Reads one job.
///
/// # Errors
/// [`BodyError`].
pub fn one(bytes: &[u8]) -> Result<JobBody<'_>, BodyError> {
    read(bytes)
}

/// Reads a batch: a list, or an object with the list.
///
/// # Errors
/// [`BodyError`].
pub fn many(bytes: &[u8]) -> Result<Vec<JobBody<'_>>, BodyError> {
    if bytes.trim_ascii_start().first() == Some(&b'[') {
        read(bytes)
    } else {
        Ok(read::<BatchBody<'_>>(bytes)?.jobs)
    }
}

/// Reads a schedule.
///
/// # Errors
/// [`BodyError`].
pub fn schedule(bytes: &[u8]) -> Result<ScheduleBody<'_>, BodyError> {
    read(bytes)
}

/// Reads any body whose type refuses unknown keys.
///
/// # Errors
/// [`BodyError`].
pub fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, BodyError> {
    let text = std::str::from_utf8(bytes).map_err(|e| {
        BodyError::malformed(format!("the body is not UTF-8: byte {} is broken", e.valid_up_to()))
    })?;
    serde_json::from_str(text).map_err(|e| match e.classify() {
        serde_json::error::Category::Data => BodyError::invalid(explain(&e.to_string())),
        _ if text.trim().is_empty() => BodyError::malformed("the body is empty; it should be JSON"),
        _ => BodyError::malformed(format!("the body is not JSON: {e}")),
    })
}

/// Adds the nearest match to serde's sentence about an unknown key.
#[must_use]
pub fn explain(message: &str) -> String {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let (true, Some((unknown, known))) = (message.contains("unknown field"), quoted.split_first()) else {
        return message.to_owned();
    };
    let place =
        message.rsplit_once(" at line ").map_or(String::new(), |(_, place)| format!(" (line {place})"));
    match nearest(unknown, known.iter().copied()) {
        Some(near) => format!("there is no key {unknown:?}{place}; did you mean {near:?}?"),
        None => format!("there is no key {unknown:?}{place}; the keys are {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    fn spec(text: &str) -> Result<(Option<QueueName>, JobSpec), BodyError> {
        one(text.as_bytes()).and_then(|body| body.into_spec(blank(), NOW))
    }

    fn refusal(text: &str) -> String {
        spec(text).unwrap_err().to_string()
    }

    #[test]
    fn a_payload_keeps_every_digit() {
        let text = r#"{"kind":"k","payload":{"n": 12345678901234567890, "x":1.10,  "s":"\u00e9"}}"#;
        let (queue, spec) = spec(text).unwrap();
        assert_eq!(queue, None);
        assert_eq!(spec.payload.data, r#"{"n": 12345678901234567890, "x":1.10,  "s":"\u00e9"}"#);
        assert!(spec.options.is_none());
    }

    #[test]
    fn unknown_keys_are_refused_with_the_nearest() {
        assert_eq!(
            refusal(r#"{"kind":"k","max_attemps":3}"#),
            "there is no key \"max_attemps\" (line 1 column 25); did you mean \"max_attempts\"?"
        );
        assert!(refusal(r#"{"kind":"k","zzzzzz":3}"#).contains("the keys are queue, kind"));
        assert!(refusal(r#"{"kind":"k","backoff":{"policy":"fixed","delay":3}}"#).contains("\"delay"));
    }

    #[test]
    fn times_come_in_two_forms_and_seconds_are_noticed() {
        for at in ["\"2030-01-31T09:30:00.250+01:00\"", "1896078600250"] {
            let (_, spec) = spec(&format!(r#"{{"kind":"k","run_at":{at}}}"#)).unwrap();
            assert_eq!(spec.run_at, RunAt::At(Timestamp(1_896_078_600_250)));
        }
        assert!(refusal(r#"{"kind":"k","run_at":1896078600}"#).contains("looks like seconds"));
        assert!(refusal(r#"{"kind":"k","run_at":"tomorrow"}"#).contains("RFC 3339"));
        assert!(refusal(r#"{"kind":"k","run_at":1896078600250,"delay_ms":1}"#).contains("not both"));
        let (_, expires) = spec(r#"{"kind":"k","expires_in_ms":5}"#).unwrap();
        assert_eq!(expires.options.unwrap().expires_at, Some(NOW.plus_ms(5)));
    }

    #[test]
    fn rules_are_told_apart_from_broken_text() {
        let malformed = |text: &str| matches!(spec(text), Err(BodyError::Malformed(_)));
        assert!(malformed("{") && malformed("") && !malformed("{}"));
        assert_eq!(refusal(r#"{"kind":"k","priority":300}"#), "a priority is -128 to 127, not 300");
        assert!(!malformed(r#"{"kind":"k","queue":"two words"}"#));
        assert!(refusal("{\n  \"kind\": tru\n}").contains("at line "));
    }

    #[test]
    fn what_is_left_out_comes_from_the_base() {
        let mut base = JobSpec::new("shell", Payload::json("1"));
        base.priority = 3;
        base.options_mut().max_attempts = Some(5);
        let (_, spec) = one(br#"{"tags":["a"],"payload":2}"#).unwrap().into_spec(base, NOW).unwrap();
        let options = spec.options.clone().unwrap();
        assert_eq!((spec.kind.as_str(), spec.priority, &spec.payload.data[..]), ("shell", 3, &b"2"[..]));
        assert_eq!((options.max_attempts, options.tags), (Some(5), vec!["a".to_owned()]));
    }

    #[test]
    fn every_backoff_is_read() {
        for text in [
            r#"{"policy":"fixed","delay_ms":5}"#,
            r#"{"policy":"exponential","base_ms":5,"factor_tenths":15,"max_ms":100,"jitter_percent":10}"#,
            r#"{"policy":"list","delays_ms":[1,2,3]}"#,
        ] {
            let body = format!(r#"{{"kind":"k","backoff":{text}}}"#);
            let expected: Backoff = serde_json::from_str(text).unwrap();
            assert_eq!(spec(&body).unwrap().1.options.unwrap().backoff, Some(expected));
        }
    }
}
