//! The queue: a state machine that takes commands and returns effects.
//!
//! ```text
//!     Command + now ──► Queue::apply ──► Effects { writes, outs }
//!                                          │        │
//!                      store (one group) ◄─┘        └─► replies, deliveries, notices:
//!                      durable up to n ──► Durable(n)    at once, or when their commit is durable
//! ```

mod command;
mod effect;

pub use command::{Command, Known, NewJobs, Stored};
pub use effect::{Effects, LoadFrom, Out, Refusal, Release, Reply, Ticket};

use bincode::{Decode, Encode};

use crate::store::keys::QueueNo;
use crate::time::Timestamp;

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
