//! The native protocol: frames, handshake, codec. `docs/protocol.md` describes the same for somebody who writes a
//! client in another language.
//!
//! A frame is a little-endian `u32` length, then that many bytes: one [`ClientFrame`] or [`ServerFrame`] in bincode 2
//! standard configuration (variable-length integers, little-endian). This file is the only one that knows bincode.

mod message;

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bytes::{Buf, BufMut, Bytes, BytesMut};

pub use message::{
    ClientFrame, Delivery, Hello, LeaseRef, NodeAt, Nodes, Outcome, PROTOCOL, PROTOCOL_NODES,
    PROTOCOL_OLDEST, Report, ReportResult, ServerFrame, Subscription, Token, Verdict, Welcome, WorkerHello,
};

use crate::limits;

/// Bytes before a frame's body.
pub const PREFIX_BYTES: usize = 4;

/// A frame that cannot be read; the connection is closed after saying so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than allowed at this point of the conversation.
    #[error("a frame of {bytes} bytes was announced, at most {bytes_max} are taken here")]
    TooLong {
        /// What the prefix says.
        bytes: usize,
        /// What is allowed.
        bytes_max: usize,
    },
    /// The body is not the message it should be.
    #[error("the frame cannot be decoded: {0}")]
    Garbled(String),
}

/// Bodies up to this size may announce [`SMALL_MEMORY_MAX`] bytes of values, so that a stranger's few bytes cost no more.
const SMALL_BODY_MAX: usize = limits::FRAME_BYTES_MAX_UNGREETED;
/// Several times what any value takes that fits into a small body: the worst are lists of pairs of empty texts.
const SMALL_MEMORY_MAX: usize = 64 * SMALL_BODY_MAX;

/// Decoding refuses lengths that announce more than `MEMORY_MAX` bytes of values, before it allocates for them.
fn config<const MEMORY_MAX: usize>() -> Configuration<LittleEndian, Varint, Limit<MEMORY_MAX>> {
    bincode::config::standard().with_limit::<MEMORY_MAX>()
}

/// Appends the encoding of `value`, without a length prefix.
pub fn encode_into<T: bincode::Encode>(out: &mut Vec<u8>, value: &T) {
    // Writing to memory fails only for types that refuse to be encoded; ours do not.
    bincode::encode_into_std_write(value, out, bincode::config::standard()).expect("plain data encodes");
}

/// Appends one frame with its length prefix.
pub fn encode_frame<T: bincode::Encode>(out: &mut BytesMut, frame: &T) {
    let start = out.len();
    out.put_u32_le(0);
    bincode::encode_into_std_write(frame, &mut out.writer(), bincode::config::standard())
        .expect("plain data encodes");
    let length = out.len() - start - PREFIX_BYTES;
    // Senders keep batches below the frame limit, which is far below u32::MAX.
    let prefix = u32::try_from(length).unwrap_or(u32::MAX);
    out[start..start + PREFIX_BYTES].copy_from_slice(&prefix.to_le_bytes());
}

/// Takes the next whole frame body off the buffer; `None` when more bytes are needed.
///
/// # Errors
/// [`FrameError::TooLong`] as soon as the prefix is there, before anything is allocated for the body.
pub fn next_frame(buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<Bytes>, FrameError> {
    let Some(prefix) = buffer.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    let bytes = u32::from_le_bytes(*prefix) as usize;
    if bytes > bytes_max {
        return Err(FrameError::TooLong { bytes, bytes_max });
    }
    if buffer.len() < PREFIX_BYTES + bytes {
        // A bounded reservation: large frames grow with what has really arrived.
        buffer.reserve((PREFIX_BYTES + bytes - buffer.len()).min(256 * 1024));
        return Ok(None);
    }
    buffer.advance(PREFIX_BYTES);
    Ok(Some(buffer.split_to(bytes).freeze()))
}

/// Decodes a whole body; left-over bytes are an error.
///
/// # Errors
/// [`FrameError::Garbled`] for bytes that are not exactly one `T`.
pub fn decode_exact<T: bincode::Decode<()>>(body: &[u8]) -> Result<T, FrameError> {
    let decoded = if body.len() <= SMALL_BODY_MAX {
        bincode::decode_from_slice(body, config::<SMALL_MEMORY_MAX>())
    } else {
        bincode::decode_from_slice(body, config::<{ limits::FRAME_BYTES_MAX }>())
    };
    let (value, used) = decoded.map_err(|e| FrameError::Garbled(e.to_string()))?;
    if used == body.len() {
        Ok(value)
    } else {
        Err(FrameError::Garbled(format!("{} bytes are left over", body.len() - used)))
    }
}
