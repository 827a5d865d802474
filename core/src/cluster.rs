//! Who owns a shard of a store that several nodes share.
//!
//! One node owns a shard and runs everything in it; the others stand by. The database is the judge: it holds one row per
//! shard, the seat, and whoever writes proves with every statement that the seat is still its own. Gossip and a closed port
//! only make a change quicker, they never cause one.
//!
//! ```text
//!            reads the seat                               commits, several in flight, each on the one before
//!   standby ───────────────► Standby ── Claim ─► seat ◄─────────────────────────────── Fence ◄── owner
//!                              ▲                 epoch, nonce, seq, beat, owner
//!                  gossip ─────┘
//! ```
//!
//! [`Standby`] decides when to claim, [`rank`] whose turn it is, [`Fence`] what an owner may believe of its statements.
//! All are pure: the shell sends the statements and says what came back, and when. What the statements are in SQL is the
//! engine's affair; what each must do is written at [`Statement`] and [`Decision::Claim`].

mod fence;
mod rank;
mod standby;

pub use fence::{Answer, Fence, Statement, Step};
pub use rank::rank;
pub use standby::{Decision, Signs, Standby, Timing};

use std::fmt;

use crate::id::NodeName;
use crate::store::Epoch;

/// The number of a shard. This version has one, 0; every table and view carries the number so that more can follow.
pub type ShardNo = u16;

/// 128 random bits, fresh for every claim. An epoch may come again after a database lost its newest commits; a nonce may not,
/// so that a node whose claim was lost or superseded can never match the seat again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce(pub u128);

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Nonce {
    /// By how much a claim with this nonce raises the epoch: 1 to 2^20, at random. If every claim raised it by one, a claim
    /// that a database lost and the next one would have the same epoch, and the tokens of one owner would prove leases of the
    /// other.
    #[must_use]
    pub fn leap(self) -> Epoch {
        1 + (self.0 & 0xf_ffff) as Epoch
    }
}

/// What a standby reads of the row of a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// Goes up with every claim, and with every statement of an owner that settles what became of another.
    pub epoch: Epoch,
    /// Goes up with every commit and every sign of life.
    pub beat: u64,
    /// Who sits there; `None` when nobody ever did, or the last owner gave it up in order.
    pub owner: Option<NodeName>,
}
