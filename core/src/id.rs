//! Names and numbers that identify things. Each is its own type, so that they cannot be mixed up.

use std::borrow::Borrow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::str::FromStr;
use std::sync::Arc;

use bincode::de::read::Reader;
use bincode::de::{BorrowDecoder, Decoder};
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
use bincode::{BorrowDecode, Decode, Encode};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits;
use crate::time::Timestamp;

/// A 128-bit job id, written as a UUID. Given by the client or made by [`JobId::v7`]; unique within its queue, where
/// enqueueing the same id again is not a second job.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub struct JobId(pub [u8; 16]);

/// As one number: hashers take that in one step, and bytes one by one or with their length.
impl Hash for JobId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(u128::from_ne_bytes(self.0));
    }
}

impl JobId {
    /// A UUID version 7 (RFC 9562 §5.7): 48 bits of milliseconds, then 74 bits taken from `random`.
    #[must_use]
    pub fn v7(at: Timestamp, random: u128) -> JobId {
        let mut bytes = random.to_be_bytes();
        bytes[..6].copy_from_slice(&at.0.to_be_bytes()[2..]);
        bytes[6] = (bytes[6] & 0x0f) | 0x70;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        JobId(bytes)
    }

    /// The time in a UUID version 7; `None` for an id of another kind.
    #[must_use]
    pub fn time(&self) -> Option<Timestamp> {
        let mut ms = [0; 8];
        ms[2..].copy_from_slice(&self.0[..6]);
        (self.0[6] >> 4 == 7).then_some(Timestamp(u64::from_be_bytes(ms)))
    }

    /// Whether the id carries about the time of its job's arrival. Such a job is found by its time; every other needs an
    /// index entry in the store.
    #[must_use]
    pub fn is_timed(&self, enqueued_at: Timestamp) -> bool {
        self.time().is_some_and(|time| time.0.abs_diff(enqueued_at.0) <= limits::ID_SKEW_MS_MAX)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&uuid::Uuid::from_bytes(self.0), f)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for JobId {
    type Err = InvalidName;

    fn from_str(s: &str) -> Result<JobId, InvalidName> {
        uuid::Uuid::parse_str(s).map(|u| JobId(*u.as_bytes())).map_err(|_| {
            InvalidName("a job id is a UUID such as 01890a5d-ac96-774b-bcce-b302099a8057".to_owned())
        })
    }
}

impl Serialize for JobId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<JobId, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A worker process: 128 random bits made when it starts, kept across its reconnects.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct WorkerId(pub [u8; 16]);

impl fmt::Display for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in &self.0[..6] {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for WorkerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for WorkerId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// Correlates a request with its reply inside one process; made by the door that received the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A name that does not follow the rules, with the rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidName(pub String);

/// The name of a queue: 1 to 128 bytes of letters, digits and `_ - . : / @`.
///
/// ```
/// use windlass_core::id::QueueName;
/// assert!("mail.eu/high".parse::<QueueName>().is_ok());
/// assert!("two words".parse::<QueueName>().is_err());
/// assert!("..".parse::<QueueName>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueName(Arc<str>);

impl QueueName {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// [`InvalidName`] says which rule the name breaks.
    pub fn new(name: &str) -> Result<QueueName, InvalidName> {
        if name.is_empty() || name.len() > limits::QUEUE_NAME_BYTES_MAX {
            return Err(InvalidName(format!("a queue name has 1 to {} bytes", limits::QUEUE_NAME_BYTES_MAX)));
        }
        if name == "." || name == ".." {
            return Err(InvalidName(
                "a queue name is not . or .., which URLs take for something else".to_owned(),
            ));
        }
        let legal = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-.:/@".contains(byte);
        if !name.as_bytes().iter().all(legal)
            && let Some(bad) = name.chars().find(|c| !(c.is_ascii_alphanumeric() || "_-.:/@".contains(*c)))
        {
            return Err(InvalidName(format!(
                "the queue name has the character {bad:?}; letters, digits and _ - . : / @ are allowed"
            )));
        }
        Ok(QueueName(Arc::from(name)))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for QueueName {
    /// The queue called `default`.
    fn default() -> QueueName {
        QueueName(Arc::from("default"))
    }
}

impl Borrow<str> for QueueName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl FromStr for QueueName {
    type Err = InvalidName;

    fn from_str(s: &str) -> Result<QueueName, InvalidName> {
        QueueName::new(s)
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for QueueName {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for QueueName {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<QueueName, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Encode for QueueName {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.0.as_bytes().encode(encoder)
    }
}

impl<C> Decode<C> for QueueName {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<QueueName, DecodeError> {
        // Names come with every job of a frame: they are read without a detour through a string of their own.
        let length = usize::try_from(u64::decode(decoder)?).unwrap_or(usize::MAX);
        let mut bytes = [0; limits::QUEUE_NAME_BYTES_MAX];
        let Some(name) = bytes.get_mut(..length) else {
            let text = format!("a queue name has 1 to {} bytes", limits::QUEUE_NAME_BYTES_MAX);
            return Err(DecodeError::OtherString(text));
        };
        decoder.claim_bytes_read(length)?;
        decoder.reader().read(name)?;
        let name = std::str::from_utf8(name).map_err(|inner| DecodeError::Utf8 { inner })?;
        QueueName::new(name).map_err(|e| DecodeError::OtherString(e.0))
    }
}

impl<'de, C> BorrowDecode<'de, C> for QueueName {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<QueueName, DecodeError> {
        QueueName::decode(decoder)
    }
}

/// The name of a node: 1 to 64 bytes of letters, digits and `. _ : -`, so that an address with its port is one.
///
/// ```
/// use windlass_core::id::NodeName;
/// assert!("10.0.0.7:7911".parse::<NodeName>().is_ok());
/// assert!("two words".parse::<NodeName>().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(Arc<str>);

impl NodeName {
    /// Checks and takes a name.
    ///
    /// # Errors
    /// [`InvalidName`] says which rule the name breaks.
    pub fn new(name: &str) -> Result<NodeName, InvalidName> {
        if name.is_empty() || name.len() > limits::NODE_NAME_BYTES_MAX {
            return Err(InvalidName(format!("a node's name has 1 to {} bytes", limits::NODE_NAME_BYTES_MAX)));
        }
        match name.chars().find(|c| !(c.is_ascii_alphanumeric() || "._:-".contains(*c))) {
            Some(bad) => Err(InvalidName(format!(
                "the node's name has the character {bad:?}; letters, digits and . _ : - are allowed"
            ))),
            None => Ok(NodeName(Arc::from(name))),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = InvalidName;

    fn from_str(s: &str) -> Result<NodeName, InvalidName> {
        NodeName::new(s)
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for NodeName {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for NodeName {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<NodeName, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Encode for NodeName {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.as_str().encode(encoder)
    }
}

impl<C> Decode<C> for NodeName {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<NodeName, DecodeError> {
        NodeName::new(&String::decode(decoder)?).map_err(|e| DecodeError::OtherString(e.0))
    }
}

impl<'de, C> BorrowDecode<'de, C> for NodeName {
    fn borrow_decode<D: BorrowDecoder<'de, Context = C>>(decoder: &mut D) -> Result<NodeName, DecodeError> {
        NodeName::decode(decoder)
    }
}
