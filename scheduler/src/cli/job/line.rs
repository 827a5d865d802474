//! One line of a batch file: a job with the keys of the HTTP API's enqueue body.

use windlass_core::api::body;
use windlass_core::id::QueueName;
use windlass_core::job::JobSpec;

use super::batch::Defaults;
use crate::cli::connect::new_id;
use crate::cli::value;

/// Reads a line. Every job gets an id here, so that sending it twice is harmless.
///
/// # Errors
/// A reason without the line's number, which the caller knows.
pub(super) fn parse(text: &str, defaults: &Defaults) -> Result<(QueueName, JobSpec), String> {
    let mut base = defaults.spec.clone();
    base.kind = defaults.kind.clone().unwrap_or_default();
    base.id = Some(new_id());
    let line = body::one(text.as_bytes()).map_err(|e| e.to_string())?;
    let (queue, spec) = line.into_spec(base, value::now()).map_err(|e| e.to_string())?;
    Ok((queue.unwrap_or_else(|| defaults.queue.clone()), spec))
}

#[cfg(test)]
mod tests {
    use windlass_core::job::{Payload, RunAt};

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
        assert!(reason(r#"{"kind":"a","prioritty":1}"#).contains("did you mean \"priority\""));
        assert!(reason(r#"{"payload":1}"#).contains("needs a kind"));
        assert!(reason(r#"{"kind":"a","delay_ms":1,"run_at":2}"#).contains("not both"));
        assert!(reason(r#"{"kind":"a","max_attempts":0}"#).contains("max_attempts"));
    }
}
