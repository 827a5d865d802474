//! Secrets: hashed, compared without telling by the time how much was right, never printed.

use sha2::{Digest, Sha256};
use windlass_core::access::TokenText;

/// Fewest bytes of a token that an operator chose: shorter ones can be guessed.
const ADMIN_TOKEN_BYTES_MIN: usize = 16;

/// SHA-256. A slow hash would protect words that people choose; these secrets are 256 random bits.
pub(super) fn hash(secret: &[u8]) -> [u8; 32] {
    Sha256::digest(secret).into()
}

/// Compares without telling by its duration how much was right.
pub(super) fn same(left: &[u8; 32], right: &[u8; 32]) -> bool {
    left.iter().zip(right).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

/// What a Faktory client sends a salted hash of. It follows from the secret and not the other way round, so that a store in wrong
/// hands opens no other door.
pub(super) fn faktory_password(token: &TokenText) -> String {
    let sum = Sha256::new().chain_update(b"windlass faktory door").chain_update(token.secret()).finalize();
    let digits: String = sum.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("wlf_{}_{digits}", token.id)
}

/// The token of the configuration, hashed: whoever has it may do everything.
#[derive(Clone, PartialEq, Eq)]
pub struct AdminToken([u8; 32]);

impl AdminToken {
    /// A token from its text, of which blanks around it do not count.
    ///
    /// # Errors
    /// A sentence when it is too short to be secret.
    pub fn new(text: &str) -> Result<AdminToken, String> {
        let text = text.trim();
        if text.len() < ADMIN_TOKEN_BYTES_MIN {
            return Err(format!(
                "an admin token has at least {ADMIN_TOKEN_BYTES_MIN} characters; `openssl rand -hex 32` makes a good one"
            ));
        }
        Ok(AdminToken(hash(text.as_bytes())))
    }

    pub(super) fn is(&self, text: &str) -> bool {
        same(&self.0, &hash(text.as_bytes()))
    }
}

impl std::fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_token_is_refused_and_none_is_printed() {
        assert!(AdminToken::new("  short \n").is_err());
        let token = AdminToken::new(" 0123456789abcdef\n").unwrap();
        assert!(token.is("0123456789abcdef") && !token.is("0123456789abcdeF"));
        assert!(!format!("{token:?}").contains("0123"));
    }
}
