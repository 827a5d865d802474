//! Values as people type them: durations, instants, backoffs, headers, payloads.

use std::io::Read;
use std::time::Duration;

use windlass_core::job::{JSON, Payload};
use windlass_core::limits;
use windlass_core::retry::Backoff;
use windlass_core::time::{Timestamp, millis};

use super::error::CliError;

/// The wall clock.
#[must_use]
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(millis(since))
}

/// `5m`, `1h 30m`, `250ms`; a bare number counts seconds.
///
/// # Errors
/// A sentence for clap, with examples.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    humantime::parse_duration(text).map_err(|_| "write a duration such as 250ms, 30s, 5m or 1h30m".to_owned())
}

/// An instant in RFC 3339, with `Z` or an offset.
///
/// # Errors
/// A sentence for clap, with an example.
pub(crate) fn instant(text: &str) -> Result<Timestamp, String> {
    let parsed = chrono::DateTime::parse_from_rfc3339(text).map_err(|_| {
        "write an instant such as 2026-12-24T18:00:00Z or 2026-12-24T19:00:00+01:00".to_owned()
    })?;
    u64::try_from(parsed.timestamp_millis())
        .map(Timestamp)
        .map_err(|_| "the instant is before 1970".to_owned())
}

/// `fixed:5s`, `exp:1s:2:1h` (first wait, factor, longest wait), `list:1s,5s,1m`; `~20` at the end adds up to 20 % jitter.
///
/// # Errors
/// A sentence for clap, with examples.
pub(crate) fn backoff(text: &str) -> Result<Backoff, String> {
    const FORMS: &str = "write fixed:5s, exp:1s:2:1h or list:1s,5s,1m, with ~20 behind it for 20 % jitter";
    let (shape, jitter_percent) = match text.split_once('~') {
        Some((shape, jitter)) => {
            let percent = jitter.trim_end_matches('%').parse::<u8>().ok().filter(|p| *p <= 100);
            (shape, percent.ok_or("the jitter is 0 to 100 percent")?)
        }
        None => (text, 0),
    };
    let wait = |text: &str| duration(text).map(millis);
    match shape.split_once(':').ok_or(FORMS)? {
        ("fixed", delay) => Ok(Backoff::Fixed { delay_ms: wait(delay)?, jitter_percent }),
        ("exp", rest) => {
            let parts: Vec<_> = rest.split(':').collect();
            let [base, factor, max] = parts[..] else { return Err(FORMS.to_owned()) };
            let factor = factor.parse::<f64>().ok().filter(|f| (1.0..=100.0).contains(f));
            let factor = factor.ok_or("the factor of exp: is 1 to 100, such as 2 or 1.5")?;
            // The range check above keeps the product small and positive.
            let factor_tenths = (factor * 10.0).round() as u32;
            Ok(Backoff::Exponential {
                base_ms: wait(base)?,
                factor_tenths,
                max_ms: wait(max)?,
                jitter_percent,
            })
        }
        ("list", rest) => {
            let delays_ms = rest.split(',').map(wait).collect::<Result<Vec<_>, _>>()?;
            Ok(Backoff::List { delays_ms, jitter_percent })
        }
        _ => Err(FORMS.to_owned()),
    }
}

/// `name=value`.
///
/// # Errors
/// A sentence for clap.
pub(crate) fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write a header as name=value".to_owned()),
    }
}

/// The payload of a job: JSON in place, `@file`, or `-` for stdin.
///
/// # Errors
/// Usage: the file cannot be read, the bytes are not JSON though the content type says so, or there are too many.
pub(crate) fn payload(argument: &str, content_type: Option<&str>) -> Result<Payload, CliError> {
    let data = match argument {
        "-" => read_limited(std::io::stdin().lock(), "stdin")?,
        file if file.starts_with('@') => {
            let path = &file[1..];
            let opened = std::fs::File::open(path).map_err(|e| {
                CliError::usage(format!("--payload @{path}: {e}; name a file that can be read"))
            })?;
            read_limited(opened, path)?
        }
        text => text.as_bytes().to_vec(),
    };
    let content_type = content_type.filter(|t| *t != JSON).unwrap_or_default();
    if content_type.is_empty() {
        check_json(&data)?;
    }
    Ok(Payload { content_type: content_type.to_owned(), data: data.into() })
}

/// Refuses bytes that are not one JSON value, with the two ways out.
fn check_json(data: &[u8]) -> Result<(), CliError> {
    match serde_json::from_slice::<serde::de::IgnoredAny>(data) {
        Ok(_) => Ok(()),
        Err(why) => Err(CliError::usage(format!(
            "--payload: not JSON: {why}; write a text as '\"…\"' with both quotes, or name another --content-type"
        ))),
    }
}

/// Reads at most one byte more than a payload may have, so that a huge file costs no memory.
fn read_limited(source: impl Read, name: &str) -> Result<Vec<u8>, CliError> {
    let mut data = Vec::new();
    let most = limits::PAYLOAD_BYTES_MAX as u64 + 1;
    source
        .take(most)
        .read_to_end(&mut data)
        .map_err(|e| CliError::usage(format!("--payload {name}: {e}; name a file that can be read")))?;
    if data.len() as u64 == most {
        let max = super::output::bytes(limits::PAYLOAD_BYTES_MAX as u64);
        return Err(CliError::usage(format!(
            "--payload {name}: larger than {max}; put large data elsewhere and its address into the payload"
        )));
    }
    Ok(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoffs_are_written_in_three_forms() {
        assert_eq!(backoff("fixed:5s"), Ok(Backoff::Fixed { delay_ms: 5_000, jitter_percent: 0 }));
        let doubling =
            Backoff::Exponential { base_ms: 1_000, factor_tenths: 20, max_ms: 3_600_000, jitter_percent: 20 };
        assert_eq!(backoff("exp:1s:2:1h~20"), Ok(doubling));
        let list = Backoff::List { delays_ms: vec![1_000, 5_000, 60_000], jitter_percent: 0 };
        assert_eq!(backoff("list:1s,5s,1m"), Ok(list));
        for bad in ["", "5s", "exp:1s:2", "exp:1s:0.5:1h", "list:", "fixed:x", "fixed:1s~200", "other:1s"] {
            assert!(backoff(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_and_instants() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_secs(5_400)));
        assert!(duration("soon").is_err());
        assert_eq!(instant("1970-01-01T01:00:01+01:00"), Ok(Timestamp(1_000)));
        assert!(instant("tomorrow").is_err());
    }

    #[test]
    fn a_payload_is_json_unless_it_says_otherwise() {
        assert!(payload("{\"a\":1}", None).is_ok());
        let text = payload("echo hi", None).expect_err("not JSON").text;
        assert!(text.contains("both quotes"), "{text}");
        assert_eq!(payload("echo hi", Some("text/plain")).expect("text").mime(), "text/plain");
        assert_eq!(payload("@/nowhere", None).expect_err("absent").exit, super::super::error::Exit::Usage);
    }
}
