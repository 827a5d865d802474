//! Failures: what a worker reports, how it is kept in the error text of an attempt, and what follows from it.

use std::fmt::Write as _;

use serde::Deserialize;
use serde_json::value::RawValue;
use windlass_core::wire::Verdict;

use super::json::{Fields, object};
use super::reservations::Terms;

/// Longest type of an error that is kept, in bytes.
const ERRTYPE_BYTES_MAX: usize = 100;
/// Longest message that is kept, in bytes.
const MESSAGE_BYTES_MAX: usize = 1_000;
/// Lines of a backtrace that are kept.
const BACKTRACE_LINES_MAX: usize = 50;
/// What stands for a type or message that is empty.
const UNKNOWN: &str = "unknown";
/// Between the message and the backtrace in the error text of an attempt.
const BACKTRACE: &str = "\n\nbacktrace:\n";

/// The argument of `FAIL`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) jid: String,
    pub(super) errtype: String,
    pub(super) message: String,
    pub(super) backtrace: Vec<String>,
}

impl Report {
    /// Reads it; everything but the jid may be missing.
    ///
    /// # Errors
    /// A text for the worker.
    pub(super) fn read(text: &str) -> Result<Report, String> {
        #[derive(Deserialize)]
        struct Read {
            jid: Option<String>,
            errtype: Option<String>,
            message: Option<String>,
            backtrace: Option<Vec<String>>,
        }
        let read: Read = object(text).map_err(|_| format!("invalid FAIL {text}"))?;
        let jid = read.jid.filter(|jid| !jid.is_empty()).ok_or("missing JID")?;
        let mut backtrace = read.backtrace.unwrap_or_default();
        backtrace.truncate(BACKTRACE_LINES_MAX);
        Ok(Report {
            jid,
            errtype: trimmed(read.errtype, ERRTYPE_BYTES_MAX),
            message: trimmed(read.message, MESSAGE_BYTES_MAX),
            backtrace,
        })
    }

    /// The report of a reservation whose time was over.
    pub(super) fn expired(jid: &str) -> Report {
        Report {
            jid: jid.to_owned(),
            errtype: "ReservationExpired".to_owned(),
            message: "Faktory job reservation expired".to_owned(),
            backtrace: Vec::new(),
        }
    }

    /// The error text of the attempt.
    pub(super) fn to_error(&self) -> String {
        let mut text = format!("{}: {}", self.errtype, self.message);
        if !self.backtrace.is_empty() {
            // Writing to a string does not fail.
            let _ = write!(text, "{BACKTRACE}{}", self.backtrace.join("\n"));
        }
        text
    }

    /// What follows for a job under these terms whose attempt has failed. `roll` is a random number.
    pub(super) fn verdict(&self, terms: &Terms, roll: u64) -> Verdict {
        let error = self.to_error();
        let before = u64::from(terms.failures);
        match u64::try_from(terms.retry) {
            Ok(0) => Verdict::Cancelled { reason: format!("failed, and is not to be retried: {error}") },
            Ok(retry) if before < retry => {
                Verdict::Retry { error, retry_in_ms: Some(delay_s(before, roll).saturating_mul(1_000)) }
            }
            _ => Verdict::Dead { error },
        }
    }
}

/// The wait before the next run, in seconds, after `before` failures before this one: their fourth power and a quarter of a minute,
/// with a spread that grows with them.
fn delay_s(before: u64, roll: u64) -> u64 {
    let n = before.min(10_000);
    n.pow(4) + 15 + (roll % 30) * (n + 1)
}

/// Cut at the border of a character; never empty.
fn trimmed(text: Option<String>, max: usize) -> String {
    let text = text.unwrap_or_default();
    let text = text.trim();
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    if end == 0 { UNKNOWN.to_owned() } else { text[..end].to_owned() }
}

/// Type, message and backtrace from the error text of an attempt, whoever wrote it.
pub(super) fn from_error(error: &str) -> (&str, &str, Vec<&str>) {
    let (head, backtrace) = error.split_once(BACKTRACE).unwrap_or((error, ""));
    let (errtype, message) = head.split_once(": ").unwrap_or((UNKNOWN, head));
    (errtype, message, backtrace.lines().collect())
}

/// A failure that a job brought along when it was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    retry_count: u32,
    /// Since when it fails, as it was written.
    pub(super) failed_at: Option<String>,
}

impl Failed {
    pub(super) fn read(failure: Option<&RawValue>) -> Option<Failed> {
        let fields: Fields<'_> = serde_json::from_str(failure?.get()).ok()?;
        Some(Failed {
            retry_count: fields.read("retry_count").ok().flatten().unwrap_or(0),
            failed_at: fields.read("failed_at").ok().flatten(),
        })
    }

    /// How often it has failed.
    pub(super) fn count(&self) -> u32 {
        self.retry_count.saturating_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(retry: i64, failures: u32) -> Terms {
        Terms { retry, failures, ..Terms::default() }
    }

    #[test]
    fn only_the_jid_is_needed() {
        let report = Report::read(r#"{"jid":"12345678","backtrace":null}"#).expect("enough");
        assert_eq!((report.errtype.as_str(), report.message.as_str()), ("unknown", "unknown"));
        assert_eq!(Report::read("{}").expect_err("no jid"), "missing JID");
        assert!(Report::read(r#"{"jid":12345678}"#).expect_err("no text").starts_with("invalid FAIL "));
    }

    #[test]
    fn long_texts_are_cut_at_characters() {
        let long = "é".repeat(600);
        let lines: Vec<_> = (0..70).map(|n| n.to_string()).collect();
        let text =
            serde_json::json!({ "jid": "12345678", "errtype": long, "message": long, "backtrace": lines });
        let report = Report::read(&text.to_string()).expect("fine");
        assert_eq!((report.errtype.len(), report.message.len(), report.backtrace.len()), (100, 1_000, 50));
    }

    #[test]
    fn the_error_text_gives_back_what_was_said() {
        let report = Report {
            jid: "12345678".to_owned(),
            errtype: "Foo::Bar".to_owned(),
            message: "no: such\nthing".to_owned(),
            backtrace: vec!["a:1".to_owned(), "b: 2".to_owned()],
        };
        let error = report.to_error();
        assert_eq!(from_error(&error), ("Foo::Bar", "no: such\nthing", vec!["a:1", "b: 2"]));
        assert_eq!(from_error("boom"), ("unknown", "boom", vec![]));
    }

    #[test]
    fn a_retry_of_n_gives_n_retries() {
        let report = Report::expired("12345678");
        let what = |retry, failures| match report.verdict(&terms(retry, failures), 29) {
            Verdict::Retry { retry_in_ms, .. } => retry_in_ms,
            Verdict::Dead { .. } => Some(1),
            Verdict::Cancelled { .. } => Some(0),
            other => panic!("{other:?}"),
        };
        assert_eq!(what(0, 0), Some(0));
        assert_eq!((what(-1, 0), what(-7, 3)), (Some(1), Some(1)));
        assert_eq!(what(2, 0), Some((15 + 29) * 1_000));
        assert_eq!(what(2, 1), Some((1 + 15 + 29 * 2) * 1_000));
        assert_eq!(what(2, 2), Some(1));
    }
}
