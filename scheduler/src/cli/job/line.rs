//! One line of a batch file: a job with the keys of the HTTP API's enqueue body.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;
use windlass_core::id::{JobId, QueueName};
use windlass_core::job::{JobSpec, Payload, RunAt};
use windlass_core::retry::Backoff;
use windlass_core::time::Timestamp;

use super::batch::Defaults;
use crate::cli::connect::new_id;
use crate::cli::value;

/// The object on one line. Whatever is missing comes from the flags.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    queue: Option<QueueName>,
    kind: Option<String>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    content_type: Option<String>,
    id: Option<JobId>,
    priority: Option<i8>,
    delay_ms: Option<u64>,
    run_at: Option<Instant>,
    expires_in_ms: Option<u64>,
    expires_at: Option<Instant>,
    timeout_ms: Option<u64>,
    max_attempts: Option<u32>,
    backoff: Option<Backoff>,
    retention_ms: Option<u64>,
    tags: Option<Vec<String>>,
    headers: Option<BTreeMap<String, String>>,
}

/// Milliseconds since the epoch, or RFC 3339.
#[derive(Deserialize)]
#[serde(untagged)]
enum Instant {
    Millis(u64),
    Text(String),
}

impl Instant {
    fn read(self) -> Result<Timestamp, String> {
        match self {
            Instant::Millis(ms) => Ok(Timestamp(ms)),
            Instant::Text(text) => value::instant(&text),
        }
    }
}

/// Reads a line. Every job gets an id here, so that sending it twice is harmless.
///
/// # Errors
/// A reason without the line's number, which the caller knows.
pub(super) fn parse(text: &str, defaults: &Defaults) -> Result<(QueueName, JobSpec), String> {
    let line: Line<'_> = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let mut spec = defaults.spec.clone();
    spec.kind = line
        .kind
        .or_else(|| defaults.kind.clone())
        .ok_or("no kind; add \"kind\" or name one on the command line")?;
    if let Some(payload) = line.payload {
        // The text is kept digit for digit: large integers must not pass through a float.
        spec.payload = Payload::json(payload.get().to_owned());
    }
    if let Some(content_type) = line.content_type {
        spec.payload.content_type = content_type;
    }
    spec.id = Some(line.id.unwrap_or_else(new_id));
    spec.priority = line.priority.unwrap_or(spec.priority);
    match (line.delay_ms, line.run_at) {
        (Some(_), Some(_)) => return Err("both delay_ms and run_at; one of them".to_owned()),
        (Some(ms), None) => spec.run_at = RunAt::AfterMs(ms),
        (None, Some(at)) => spec.run_at = RunAt::At(at.read()?),
        (None, None) => {}
    }
    let expires_at = match (line.expires_in_ms, line.expires_at) {
        (Some(_), Some(_)) => return Err("both expires_in_ms and expires_at; one of them".to_owned()),
        (Some(ms), None) => Some(value::now().plus_ms(ms)),
        (None, at) => at.map(Instant::read).transpose()?,
    };
    if expires_at.is_some() {
        spec.options_mut().expires_at = expires_at;
    }
    options(&mut spec, line.timeout_ms, line.max_attempts, line.backoff, line.retention_ms);
    if let Some(tags) = line.tags {
        spec.options_mut().tags = tags;
    }
    if let Some(headers) = line.headers {
        spec.options_mut().headers = headers.into_iter().collect();
    }
    spec.validate(value::now()).map_err(|e| e.to_string())?;
    Ok((line.queue.unwrap_or_else(|| defaults.queue.clone()), spec))
}

/// Sets only what is there, so that a job without options stays without them.
fn options(
    spec: &mut JobSpec,
    timeout_ms: Option<u64>,
    max_attempts: Option<u32>,
    backoff: Option<Backoff>,
    retention_ms: Option<u64>,
) {
    if timeout_ms.is_some() {
        spec.options_mut().timeout_ms = timeout_ms;
    }
    if max_attempts.is_some() {
        spec.options_mut().max_attempts = max_attempts;
    }
    if backoff.is_some() {
        spec.options_mut().backoff = backoff;
    }
    if retention_ms.is_some() {
        spec.options_mut().retention_ms = retention_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> Defaults {
        Defaults {
            kind: None,
            queue: QueueName::default(),
            spec: JobSpec::new("unnamed", Payload::json("null")),
        }
    }

    #[test]
    fn a_line_has_the_keys_of_the_api() {
        let text = r#"{"queue":"mail","kind":"send","payload":{"n":12345678901234567890123},"delay_ms":5,"tags":["a"]}"#;
        let (queue, spec) = parse(text, &defaults()).expect("good line");
        assert_eq!((queue.as_str(), spec.kind.as_str(), spec.run_at), ("mail", "send", RunAt::AfterMs(5)));
        assert_eq!(spec.payload.data.as_ref(), br#"{"n":12345678901234567890123}"#);
        assert!(spec.id.is_some());
    }

    #[test]
    fn mistakes_are_named() {
        let reason = |text: &str| parse(text, &defaults()).expect_err("refused");
        assert!(reason(r#"{"kind":"a","prioritty":1}"#).contains("prioritty"));
        assert!(reason(r#"{"payload":1}"#).contains("no kind"));
        assert!(reason(r#"{"kind":"a","delay_ms":1,"run_at":2}"#).contains("one of them"));
        assert!(reason(r#"{"kind":"a","max_attempts":0}"#).contains("max_attempts"));
    }
}
