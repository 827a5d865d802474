//! The small records a queue keeps beside its jobs: itself, and who runs what.

use bincode::{Decode, Encode};
use bytes::Bytes;

use crate::id::{JobId, WorkerId};
use crate::job::BadRecord;
use crate::store::keys::QueueNo;
use crate::time::Timestamp;
use crate::wire::Token;

const LAYOUT: u8 = 1;

/// What the store keeps of a queue itself.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct QueueRecord {
    /// Its number in keys.
    pub no: QueueNo,
    /// Since when it is paused; `None` when it is not.
    pub paused_at: Option<Timestamp>,
    /// Finished jobs it remembers in memory.
    pub finished_max: u32,
    /// Sequence numbers below this one may be in use; a restart goes on from here.
    pub seq_reserved: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Who runs a job. Written with the next group after the hand-out, but nobody waits for it: after a crash of the
/// process it is there, so that the worker can come back with its lease; after a power cut it may be missing, and the
/// job runs again.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct LeaseMark {
    /// The worker.
    pub worker: WorkerId,
    /// The lease.
    pub token: Token,
    /// Number of the attempt.
    pub attempt: u32,
    /// When it was handed out.
    pub started_at: Timestamp,
    /// Whether somebody asked for its end.
    pub cancel: bool,
}

/// Who runs the jobs of one hand-out. The token of the first is in the key, those of the others are the next ones. Written and
/// believed like a [`LeaseMark`].
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct HandOut {
    /// The worker.
    pub worker: WorkerId,
    /// When they were handed out.
    pub started_at: Timestamp,
    /// The jobs with the numbers of their attempts; at most [`limits::HAND_OUT_JOBS_MAX`](crate::limits::HAND_OUT_JOBS_MAX).
    pub jobs: Vec<(JobId, u32)>,
}

macro_rules! record_bytes {
    ($type:ty) => {
        impl $type {
            /// The bytes at rest: one byte of layout version, then bincode.
            #[must_use]
            pub fn to_bytes(&self) -> Bytes {
                let mut out = Vec::with_capacity(48);
                out.push(LAYOUT);
                crate::wire::encode_into(&mut out, self);
                out.into()
            }

            /// Reads the bytes back.
            ///
            /// # Errors
            /// [`BadRecord`] for other bytes.
            pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadRecord> {
                match bytes.split_first() {
                    Some((&LAYOUT, body)) => {
                        crate::wire::decode_exact(body).map_err(|e| BadRecord::Damaged(e.to_string()))
                    }
                    Some((&newer, _)) if newer > LAYOUT => Err(BadRecord::TooNew(newer)),
                    _ => Err(BadRecord::Damaged("no layout byte".to_owned())),
                }
            }
        }
    };
}

record_bytes!(QueueRecord);
record_bytes!(LeaseMark);
record_bytes!(HandOut);
