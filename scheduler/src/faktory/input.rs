//! The small arguments: of `ACK` and `BEAT`.

use serde::Deserialize;

use super::json::object;

/// The jid of an `ACK`.
///
/// # Errors
/// A text for the worker.
pub(super) fn jid_of_ack(text: &str) -> Result<String, String> {
    #[derive(Deserialize)]
    struct Ack {
        jid: String,
    }
    match object::<Ack>(text) {
        Ok(Ack { jid }) if !jid.is_empty() => Ok(jid),
        _ => Err(format!("invalid ACK {text}")),
    }
}

/// The argument of `BEAT`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Beat {
    pub(super) wid: String,
    #[serde(default)]
    pub(super) current_state: Option<String>,
    #[serde(default)]
    pub(super) rss_kb: Option<i64>,
}

impl Beat {
    /// Reads it.
    ///
    /// # Errors
    /// A text for the worker.
    pub(super) fn read(text: &str) -> Result<Beat, String> {
        let beat = object::<Beat>(text).ok().filter(|beat| !beat.wid.is_empty());
        beat.ok_or_else(|| format!("invalid BEAT {text}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_arguments_are_named() {
        assert_eq!(jid_of_ack(r#"{"jid":"12345678","x":1}"#).as_deref(), Ok("12345678"));
        for wrong in ["{}", "[]", "[\"12345678\"]", "nope", r#"{"jid":1}"#, r#"{"jid":""}"#] {
            assert_eq!(jid_of_ack(wrong), Err(format!("invalid ACK {wrong}")));
        }
        let beat = Beat::read(r#"{"wid":"w","current_state":"quiet","rss_kb":12}"#).expect("fine");
        assert_eq!(
            (beat.wid.as_str(), beat.current_state.as_deref(), beat.rss_kb),
            ("w", Some("quiet"), Some(12))
        );
        assert!(Beat::read("{}").is_err());
    }
}
