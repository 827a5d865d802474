//! Tokens and audit entries as the store keeps them: one byte of layout, then bincode 2 standard configuration. A change of a
//! struct is a new layout with its own decoder and golden bytes.

use bincode::{Decode, Encode};
use bytes::Bytes;

use super::{Grant, QueuePattern, Role, TokenId};
use crate::api::TokenView;
use crate::job::{BadRecord, body_of};
use crate::time::Timestamp;

const LAYOUT: u8 = 1;

/// What the store keeps of a token: nothing from which the token could be made.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
pub struct TokenRecord {
    /// Which.
    pub id: TokenId,
    /// Its name, unique among tokens.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// To which queues; empty for all.
    pub queues: Vec<QueuePattern>,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when it is good for nothing.
    pub expires_at: Option<Timestamp>,
    /// SHA-256 of the secret.
    pub hash: [u8; 32],
    /// The password that Faktory clients send a salted hash of, when the token is for that door. The protocol leaves no choice:
    /// whoever checks such a hash must know what went into it.
    pub faktory: Option<String>,
}

impl TokenRecord {
    /// What it grants.
    #[must_use]
    pub fn grant(&self) -> Grant {
        Grant { role: self.role, queues: self.queues.clone() }
    }

    /// What is shown of it.
    #[must_use]
    pub fn view(&self) -> TokenView {
        TokenView {
            id: self.id,
            name: self.name.clone(),
            role: self.role,
            queues: self.queues.clone(),
            created_at: self.created_at,
            expires_at: self.expires_at,
            faktory: self.faktory.is_some(),
        }
    }
}

impl std::fmt::Debug for TokenRecord {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenRecord({} {} {})", self.id, self.name, self.role)
    }
}

/// One thing that an operator or admin did.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct AuditRecord {
    /// When.
    pub at: Timestamp,
    /// The token's name, or what stands for one.
    pub who: String,
    /// The token.
    pub token: Option<TokenId>,
    /// From which address; empty within the process.
    pub from: String,
    /// What, by the name of the operation.
    pub operation: String,
    /// To what.
    pub target: String,
    /// How many things it was done to.
    pub count: u64,
    /// Why it did not happen.
    pub error: Option<String>,
}

fn encode<T: Encode>(value: &T) -> Bytes {
    let mut out = vec![LAYOUT];
    crate::wire::encode_into(&mut out, value);
    out.into()
}

fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, BadRecord> {
    crate::wire::decode_exact(body_of(bytes, LAYOUT)?).map_err(|e| BadRecord::Damaged(e.to_string()))
}

/// The bytes of a token at rest.
#[must_use]
pub fn encode_token(record: &TokenRecord) -> Bytes {
    encode(record)
}

/// Reads a token back.
///
/// # Errors
/// [`BadRecord`] for bytes that are not a whole record of a known layout.
pub fn decode_token(bytes: &[u8]) -> Result<TokenRecord, BadRecord> {
    decode(bytes)
}

/// The bytes of an audit entry at rest.
#[must_use]
pub fn encode_audit(record: &AuditRecord) -> Bytes {
    encode(record)
}

/// Reads an audit entry back.
///
/// # Errors
/// As [`decode_token`].
pub fn decode_audit(bytes: &[u8]) -> Result<AuditRecord, BadRecord> {
    decode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> TokenRecord {
        TokenRecord {
            id: TokenId(0x0123),
            name: "ci".to_owned(),
            role: Role::Worker,
            queues: vec!["mail*".parse().unwrap()],
            created_at: Timestamp(1_000_000),
            expires_at: Some(Timestamp(2_000_000)),
            hash: [7; 32],
            faktory: None,
        }
    }

    fn entry() -> AuditRecord {
        AuditRecord {
            at: Timestamp(1_000_000),
            who: "ops".to_owned(),
            token: Some(TokenId(1)),
            from: "127.0.0.1:9".to_owned(),
            operation: "queue.pause".to_owned(),
            target: "queue mail".to_owned(),
            count: 1,
            error: None,
        }
    }

    /// Golden: a server of tomorrow reads what this one has written.
    #[test]
    fn bytes_never_change() {
        let hex = |bytes: Bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let hash = "07".repeat(32);
        assert_eq!(
            hex(encode_token(&token())),
            format!("01fb23010263690101056d61696c2afc40420f0001fc80841e00{hash}00")
        );
        assert_eq!(
            hex(encode_audit(&entry())),
            "01fc40420f00036f707301010b3132372e302e302e313a390b71756575652e70617573650a7175657565206d61696c0100"
        );
        assert_eq!(decode_token(&encode_token(&token())), Ok(token()));
        assert_eq!(decode_audit(&encode_audit(&entry())), Ok(entry()));
    }

    #[test]
    fn damage_and_the_future_are_told_apart_and_hashes_are_not_printed() {
        let bytes = encode_token(&token());
        assert!(matches!(decode_token(&bytes[..bytes.len() - 1]), Err(BadRecord::Damaged(_))));
        assert_eq!(decode_token(&[9, 0]), Err(BadRecord::TooNew(9)));
        assert!(matches!(decode_token(&[]), Err(BadRecord::Damaged(_))));
        assert_eq!(format!("{:?}", token()), "TokenRecord(0000000000000123 ci worker)");
    }
}
