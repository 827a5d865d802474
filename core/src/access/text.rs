//! A token as text: `wl_<id>_<secret>`. The id is looked up, so that one comparison with one hash decides; the beginning lets
//! scanners recognise a token that has leaked into a repository or a log.

use std::fmt;

use bincode::{Decode, Encode};
use serde::{Serialize, Serializer};

/// How every token begins.
const MARK: &str = "wl_";
/// Hexadecimal digits of an id.
const ID_DIGITS: usize = 16;
/// Bytes of a secret: 256 random bits cannot be guessed, so no slow hash is needed to keep them.
const SECRET_BYTES: usize = 32;

/// Names a token; not secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct TokenId(pub u64);

impl TokenId {
    /// Reads an id; `None` for other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<TokenId> {
        hex(text, ID_DIGITS)?;
        u64::from_str_radix(text, 16).ok().map(TokenId)
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for TokenId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A token in plain text. Its `Debug` does not tell the secret.
///
/// ```
/// use windlass_core::access::TokenText;
/// let token = TokenText::new(0x1234, [7; 32]);
/// assert!(token.to_text().starts_with("wl_0000000000001234_0707"));
/// assert_eq!(TokenText::parse(&token.to_text()), Some(token));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct TokenText {
    /// Which token.
    pub id: TokenId,
    secret: [u8; SECRET_BYTES],
}

impl TokenText {
    /// A token from random numbers.
    #[must_use]
    pub fn new(id: u64, secret: [u8; SECRET_BYTES]) -> TokenText {
        TokenText { id: TokenId(id), secret }
    }

    /// Reads a token; `None` for other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<TokenText> {
        let (id, secret) = text.trim().strip_prefix(MARK)?.split_once('_')?;
        let id = TokenId::parse(id)?;
        hex(secret, 2 * SECRET_BYTES)?;
        let mut bytes = [0; SECRET_BYTES];
        for (byte, digits) in bytes.iter_mut().zip(secret.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(TokenText { id, secret: bytes })
    }

    /// The secret half, to be hashed.
    #[must_use]
    pub fn secret(&self) -> &[u8; SECRET_BYTES] {
        &self.secret
    }

    /// The whole text, for the one who was granted it.
    #[must_use]
    pub fn to_text(&self) -> String {
        let secret: String = self.secret.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{MARK}{}_{secret}", self.id)
    }
}

impl fmt::Debug for TokenText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{MARK}{}_…", self.id)
    }
}

/// `Some` for exactly so many small hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<()> {
    let good = text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    good.then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_text_is_no_token() {
        let good = TokenText::new(1, [0xAB; 32]).to_text();
        assert!(TokenText::parse(&format!("{good}\n")).is_some());
        for bad in [
            "",
            "wl_",
            "wl__",
            &good[1..],
            &good[..good.len() - 1],
            &good.to_uppercase(),
            &format!("{good}0"),
        ] {
            assert!(TokenText::parse(bad).is_none(), "{bad}");
        }
        assert!(!format!("{:?}", TokenText::parse(&good)).contains("abab"));
    }
}
