//! What a handler says about its attempt, and how return values become that.

use std::fmt::Display;
use std::time::Duration;

use serde::Serialize;
use windlass_core::job::{Payload, clip};
use windlass_core::limits;
use windlass_core::time::millis;
use windlass_core::wire;

/// What came of an attempt. Handlers may return it directly, or as the error of a `Result`, where `?` turns any error into
/// [`Verdict::Retry`].
///
/// ```
/// use std::time::Duration;
/// use windlass_worker::Verdict;
///
/// async fn charge(order: u64) -> Result<&'static str, Verdict> {
///     let text = String::from_utf8(vec![b'4', b'2'])?; // any error: retried with the job's backoff
///     match text.parse::<u64>()? {
///         n if n == order => Ok("charged"),
///         0 => Err(Verdict::dead("there is no order 0")),
///         _ => Err(Verdict::retry_in(Duration::from_secs(30), "the bank is closed")),
///     }
/// }
/// # let runtime = tokio::runtime::Builder::new_current_thread().build()?;
/// # assert_eq!(runtime.block_on(charge(42)).ok(), Some("charged"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Done, with an optional result.
    Done(Option<Payload>),
    /// Failed: run again after the job's backoff, or after `retry_in`.
    Retry {
        /// The error, for people.
        error: String,
        /// Overrides the job's backoff.
        retry_in: Option<Duration>,
    },
    /// Run again later; no attempt is used.
    Snooze(Duration),
    /// Refused for good; the job is kept among the dead for a person.
    Dead {
        /// The error, for people.
        error: String,
    },
    /// Cancelled by the handler.
    Cancel {
        /// Why, for people.
        reason: String,
    },
}

impl Verdict {
    /// Done without a result.
    #[must_use]
    pub fn done() -> Verdict {
        Verdict::Done(None)
    }

    /// Done with a result; a result that is too large or cannot be written as JSON makes the job dead with that reason, since
    /// another attempt would do no better.
    pub fn result<T: Serialize + ?Sized>(value: &T) -> Verdict {
        match serde_json::to_vec(value) {
            Ok(data) if data == b"null" => Verdict::Done(None),
            Ok(data) => Verdict::Done(Some(Payload::json(data))),
            Err(e) => Verdict::dead(format!("the result cannot be written as JSON: {e}")),
        }
    }

    /// Failed; run again after the job's backoff.
    pub fn retry(error: impl Display) -> Verdict {
        Verdict::Retry { error: format!("{error:#}"), retry_in: None }
    }

    /// Failed; run again after `wait`.
    pub fn retry_in(wait: Duration, error: impl Display) -> Verdict {
        Verdict::Retry { error: format!("{error:#}"), retry_in: Some(wait) }
    }

    /// Refused for good.
    pub fn dead(error: impl Display) -> Verdict {
        Verdict::Dead { error: format!("{error:#}") }
    }

    /// Cancelled by the handler.
    pub fn cancel(reason: impl Display) -> Verdict {
        Verdict::Cancel { reason: format!("{reason:#}") }
    }

    /// The wire's form, within its limits.
    pub(crate) fn into_wire(self) -> wire::Verdict {
        let short = |text: String| clip(text, limits::ERROR_BYTES_MAX);
        match self {
            Verdict::Done(Some(result)) if result.data.len() > limits::RESULT_BYTES_MAX => {
                wire::Verdict::Dead {
                    error: format!(
                        "the job was done, but its result has {} bytes and at most {} are kept; put large data elsewhere and return its address",
                        result.data.len(),
                        limits::RESULT_BYTES_MAX
                    ),
                }
            }
            Verdict::Done(result) => wire::Verdict::Done(result),
            Verdict::Retry { error, retry_in } => {
                wire::Verdict::Retry { error: short(error), retry_in_ms: retry_in.map(millis) }
            }
            Verdict::Snooze(wait) => wire::Verdict::Snooze { ms: millis(wait) },
            Verdict::Dead { error } => wire::Verdict::Dead { error: short(error) },
            Verdict::Cancel { reason } => wire::Verdict::Cancelled { reason: short(reason) },
        }
    }
}

/// Any error is worth another attempt, unless the handler knows better.
impl<E: std::error::Error> From<E> for Verdict {
    fn from(error: E) -> Verdict {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let cause_text = cause.to_string();
            // Many errors repeat their cause in their own text.
            if !text.contains(&cause_text) {
                text.push_str(": ");
                text.push_str(&cause_text);
            }
            source = cause.source();
        }
        Verdict::Retry { error: text, retry_in: None }
    }
}

/// What a handler may return: `()`, [`Verdict`], `Result<T, E>` with a result that serde can write and an error that can be
/// shown, `Result<Verdict, E>`, `Result<T, Verdict>`.
///
/// `Via` only tells the implementations apart and is always inferred.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    note = "handlers return (), Verdict, Result<T, E> with T: Serialize and E: Display, Result<Verdict, E> or Result<T, Verdict>"
)]
pub trait IntoVerdict<Via> {
    /// The verdict.
    fn into_verdict(self) -> Verdict;
}

/// Marks return values that are verdicts themselves.
#[derive(Debug)]
pub struct ViaVerdict;
/// Marks return values that are results.
#[derive(Debug)]
pub struct ViaResult;
/// Marks results whose error is a verdict.
#[derive(Debug)]
pub struct ViaVerdictError;

impl IntoVerdict<ViaVerdict> for () {
    fn into_verdict(self) -> Verdict {
        Verdict::done()
    }
}

impl IntoVerdict<ViaVerdict> for Verdict {
    fn into_verdict(self) -> Verdict {
        self
    }
}

impl<E: Display> IntoVerdict<ViaVerdict> for Result<Verdict, E> {
    fn into_verdict(self) -> Verdict {
        self.unwrap_or_else(Verdict::retry)
    }
}

impl<T: Serialize, E: Display> IntoVerdict<ViaResult> for Result<T, E> {
    fn into_verdict(self) -> Verdict {
        match self {
            Ok(value) => Verdict::result(&value),
            Err(e) => Verdict::retry(e),
        }
    }
}

impl<T: Serialize> IntoVerdict<ViaVerdictError> for Result<T, Verdict> {
    fn into_verdict(self) -> Verdict {
        match self {
            Ok(value) => Verdict::result(&value),
            Err(verdict) => verdict,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("the mail was not sent")]
        struct Outer(#[source] std::num::ParseIntError);
        let cause = "x".parse::<u8>().expect_err("x is no number");
        let Verdict::Retry { error, .. } = Verdict::from(Outer(cause)) else { panic!("an error is retried") };
        assert_eq!(error, "the mail was not sent: invalid digit found in string");
    }

    #[test]
    fn results_have_a_limit_and_errors_are_cut() {
        let big = Verdict::result(&"x".repeat(limits::RESULT_BYTES_MAX));
        assert!(matches!(big.into_wire(), wire::Verdict::Dead { error } if error.contains("at most")));
        let long = Verdict::retry("é".repeat(limits::ERROR_BYTES_MAX)).into_wire();
        assert!(matches!(long, wire::Verdict::Retry { error, .. } if error.len() <= limits::ERROR_BYTES_MAX));
        assert_eq!(Verdict::result(&()), Verdict::done());
    }
}
