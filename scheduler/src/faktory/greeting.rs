//! The first words: what the server says, what the peer must say, and the password between them.

use serde::Deserialize;
use sha2::{Digest, Sha256};
use windlass_core::access::Caller;

use super::json::object;

/// Fewest rounds of hashing asked of a peer.
const ROUNDS_MIN: u64 = 4_000;
/// One more than the most rounds.
const ROUNDS_END: u64 = 8_096;
/// The version of the protocol, from which on a peer hashes as often as it is asked to.
const VERSION: u64 = 2;
/// Hexadecimal digits of a hash.
const HASH_DIGITS: usize = 64;
/// Longest text that is kept of what a peer says of itself.
const TEXT_BYTES_MAX: usize = 256;
/// Most labels that are kept.
const LABELS_MAX: usize = 32;

/// A password that is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// A password; `None` for an empty text, since that would guard nothing.
    #[must_use]
    pub fn new(text: &str) -> Option<Password> {
        let text = text.trim_end_matches(['\r', '\n']);
        (!text.is_empty()).then(|| Password(text.to_owned()))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

/// What a connection asks of its peer. Which passwords are good is looked up when the peer answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Challenge {
    salt: String,
    rounds: u64,
}

impl Challenge {
    /// A new challenge from two random numbers.
    pub(super) fn new(random: [u64; 2]) -> Challenge {
        let rounds = ROUNDS_MIN + random[1] % (ROUNDS_END - ROUNDS_MIN);
        Challenge { salt: format!("{:x}", random[0] >> 1), rounds }
    }

    /// Which of these passwords the peer knows. Takes as long for a wrong answer as for a right one: all are tried.
    pub(super) fn met_by<'a>(
        &self,
        hello: &Hello,
        words: impl IntoIterator<Item = (Caller, &'a str)>,
    ) -> Option<Caller> {
        let given = hello.pwdhash.as_deref().unwrap_or_default().as_bytes();
        if given.len() != HASH_DIGITS {
            // No hash at all is not worth some thousand rounds.
            return None;
        }
        let rounds = if hello.v.unwrap_or(1) < VERSION { 1 } else { self.rounds };
        let mut met = None;
        for (caller, word) in words {
            let expected = hash(word, &self.salt, rounds);
            let differ = expected.as_bytes().iter().zip(given).fold(0, |differ, (a, b)| differ | (a ^ b));
            if differ == 0 {
                met = Some(caller);
            }
        }
        met
    }
}

/// The first line, byte by byte as clients compare it.
pub(super) fn hi(challenge: Option<&Challenge>) -> String {
    match challenge {
        None => format!("+HI {{\"v\":{VERSION}}}\r\n"),
        Some(Challenge { salt, rounds, .. }) => {
            format!("+HI {{\"v\":{VERSION},\"i\":{rounds},\"s\":\"{salt}\"}}\r\n")
        }
    }
}

/// SHA-256 of password and salt, hashed again until there were `rounds` rounds, in hexadecimal.
fn hash(password: &str, salt: &str, rounds: u64) -> String {
    let mut sum = Sha256::new().chain_update(password).chain_update(salt).finalize();
    for _ in 1..rounds {
        sum = Sha256::digest(sum);
    }
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What the peer says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Hello {
    v: Option<u64>,
    pub(super) hostname: Option<String>,
    /// Of a worker process: not empty.
    pub(super) wid: Option<String>,
    pub(super) pid: Option<i64>,
    pub(super) labels: Option<Vec<String>>,
    pwdhash: Option<String>,
}

impl Hello {
    /// Reads it; `None` for anything else.
    pub(super) fn read(text: &str) -> Option<Hello> {
        let mut hello: Hello = object(text).ok()?;
        hello.wid = hello.wid.filter(|wid| !wid.is_empty());
        hello.hostname = hello.hostname.map(clipped);
        if let Some(labels) = &mut hello.labels {
            labels.truncate(LABELS_MAX);
            labels.iter_mut().for_each(|label| *label = clipped(std::mem::take(label)));
        }
        Some(hello)
    }
}

fn clipped(text: String) -> String {
    windlass_core::job::clip(text, TEXT_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use windlass_core::access::Principal;

    /// The vector that clients test themselves with.
    #[test]
    fn the_hash_is_what_clients_send() {
        let expected = "6d877f8e5544b1f2598768f817413ab8a357afffa924dedae99eb91472d4ec30";
        assert_eq!(hash("foobar", "55104dc76695721d", 1_545), expected);
    }

    #[test]
    fn a_peer_of_the_first_version_hashes_once() {
        let challenge = Challenge::new([7, 9]);
        let is_met = |hello: &Hello| {
            let somebody = |name| Caller::unlimited(Principal::Password, name);
            let met = challenge.met_by(hello, [(somebody("right"), "secret"), (somebody("wrong"), "other")]);
            met.is_some_and(|caller| caller.name == "right")
        };
        let hello = |v: &str, rounds| {
            let pwdhash = hash("secret", &challenge.salt, rounds);
            Hello::read(&format!("{{{v}\"pwdhash\":\"{pwdhash}\"}}")).expect("fine")
        };
        assert!(is_met(&hello("\"v\":2,", challenge.rounds)));
        assert!(is_met(&hello("", 1)));
        assert!(is_met(&hello("\"v\":1,", 1)));
        assert!(!is_met(&hello("\"v\":2,", 1)));
        assert!(!is_met(&hello("", challenge.rounds)));
        assert!(!is_met(&Hello::default()));
    }

    #[test]
    fn the_first_line_has_no_blanks_but_one() {
        assert_eq!(hi(None), "+HI {\"v\":2}\r\n");
        let challenge = Challenge::new([u64::MAX, 3]);
        assert_eq!(hi(Some(&challenge)), "+HI {\"v\":2,\"i\":4003,\"s\":\"7fffffffffffffff\"}\r\n");
    }

    #[test]
    fn words_of_the_wrong_type_are_no_hello() {
        assert!(Hello::read("{}").is_some());
        assert!(Hello::read(r#"{"labels":null,"username":"u","wid":""}"#).is_some_and(|h| h.wid.is_none()));
        for wrong in ["", "[]", "{\"pid\":\"1\"}", "{\"labels\":[1]}", "{\"v\":-1}", "nope"] {
            assert!(Hello::read(wrong).is_none(), "{wrong}");
        }
    }
}
