//! When a standby claims a seat.

use std::collections::BTreeSet;

use super::{Seat, ShardNo, rank};
use crate::id::NodeName;
use crate::limits;
use crate::store::Epoch;
use crate::time::Mono;

/// Signs of life that an owner with this node's own name has to miss before it is taken for an earlier life of this node.
const NAMESAKE_BEATS: u64 = 3;

/// The times of a change of owner, in milliseconds. They default to the constants of the same names in [`limits`]; tests
/// have shorter ones. All nodes of a shard must have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Between two signs of life of an owner.
    pub beat_ms: u64,
    /// Between two readings of a standby.
    pub read_ms: u64,
    /// Silence of an owner that gossip calls dead, or whose port is closed.
    pub dead_silence_ms: u64,
    /// Silence of any other owner.
    pub silence_ms: u64,
    /// Head start of each standby over the next.
    pub turn_ms: u64,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            beat_ms: limits::BEAT_MS,
            read_ms: limits::SEAT_READ_MS,
            dead_silence_ms: limits::DEAD_SILENCE_MS,
            silence_ms: limits::SILENCE_MS,
            turn_ms: limits::TURN_MS,
        }
    }
}

/// What a standby knows of the others otherwise than by the seat. It hurries a claim and never causes one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Signs {
    /// The servers that gossip calls alive and that may own the shard, with or without this node.
    pub alive: BTreeSet<NodeName>,
    /// The owner's machine has just refused a connection to the owner's port, so that no process listens there. Unlike silence
    /// this is an answer, and whoever gets it is not cut off.
    pub refused: bool,
}

/// What a standby does after a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// It reads again in [`Timing::read_ms`].
    Wait,
    /// It claims the seat, if that is still as it was read: in one atomic statement, if the row has this epoch **and** this
    /// beat, the epoch goes up by [`Nonce::leap`](super::Nonce::leap), the owner is this node, and the nonce is fresh. If no row
    /// matched, it reads again; if no answer came, it does so after [`Standby::unreadable`]: a claim that went through
    /// unnoticed shows in the seat.
    ///
    /// Without the beat, a claim that waited behind a slow commit of the owner, or on the way, would unseat an owner
    /// that has just proved its life.
    Claim {
        /// The epoch that was read.
        seen: Epoch,
        /// The beat that was read.
        beat: u64,
    },
}

/// A node that watches a seat.
#[derive(Debug, Clone)]
pub struct Standby {
    me: NodeName,
    shard: ShardNo,
    timing: Timing,
    /// `None` before the first reading and after one that failed.
    watch: Option<Watch>,
    /// No claim before this time.
    held_until: Mono,
}

/// A seat that has not changed over some readings.
#[derive(Debug, Clone)]
struct Watch {
    seat: Seat,
    since: Mono,
    /// When the last reading was sent.
    last_asked: Mono,
}

impl Standby {
    /// Begins to watch. The silence of the owner is what this watch itself sees, so a node that has just started knows of none.
    #[must_use]
    pub fn new(me: NodeName, shard: ShardNo, timing: Timing) -> Standby {
        Standby { me, shard, timing, watch: None, held_until: Mono::default() }
    }

    /// Takes a reading that was sent at `asked` and whose answer came by `answered`.
    ///
    /// Silence is counted from the answer of the first reading to the question of the last: only in between has the
    /// seat surely stood still. Otherwise a reading that was long under way, or a standby that was stopped between
    /// an answer and its clock, would find silence where there was none. And no two readings may be sent further apart than two
    /// beats, nor be under way for longer: who slept, or waited long for an answer, cannot know that the database was there all
    /// the time. Such a reading begins the watch anew.
    pub fn observe(&mut self, asked: Mono, answered: Mono, seat: &Seat, signs: &Signs) -> Decision {
        let since = match &self.watch {
            Some(watch) if watch.seat == *seat && !self.has_hole(watch, asked, answered) => watch.since,
            _ => answered,
        };
        self.watch = Some(Watch { seat: seat.clone(), since, last_asked: asked });
        let waited_ms = asked.0.saturating_sub(since.0);
        if answered < self.held_until || waited_ms < self.wait_ms(seat, signs) {
            return Decision::Wait;
        }
        Decision::Claim { seen: seat.epoch, beat: seat.beat }
    }

    /// A reading failed, or no answer came to a claim. The watch begins again with the next reading that works: while the database
    /// was away, its owner could not prove its life either.
    pub fn unreadable(&mut self) {
        self.watch = None;
    }

    /// Claims nothing before `until`, for a node that was just drained. A later time replaces an earlier one, also to lift it.
    pub fn hold_until(&mut self, until: Mono) {
        self.held_until = until;
    }

    /// For how long the seat has stood still as far as this node has watched, in milliseconds; for views.
    #[must_use]
    pub fn silence_ms(&self, now: Mono) -> u64 {
        self.watch.as_ref().map_or(0, |watch| now.0.saturating_sub(watch.since.0))
    }

    /// Whether the seat has stood still for so long that it is worth asking after its owner: two signs of life are missing.
    #[must_use]
    pub fn doubts(&self, now: Mono) -> bool {
        self.silence_ms(now) >= 2 * self.timing.beat_ms
    }

    /// Whether so much time has passed since the last reading, or with this one, that the database may have been away in between.
    fn has_hole(&self, watch: &Watch, asked: Mono, answered: Mono) -> bool {
        let hole_ms = 2 * self.timing.beat_ms;
        let apart_ms = asked.0.saturating_sub(watch.last_asked.0);
        apart_ms > hole_ms || answered.0.saturating_sub(asked.0) > hole_ms
    }

    /// Silence after which this node claims: what the owner is granted, and this node's turn.
    fn wait_ms(&self, seat: &Seat, Signs { alive, refused }: &Signs) -> u64 {
        let owner = seat.owner.as_ref();
        if owner == Some(&self.me) {
            // An earlier life of this node, whose place nobody has a better right to; or another one that was given the same name,
            // which shows by living.
            return NAMESAKE_BEATS * self.timing.beat_ms;
        }
        let sees_others = alive.iter().any(|name| *name != self.me);
        let granted_ms = match owner {
            None => 0,
            Some(_) if *refused => self.timing.dead_silence_ms,
            // Who sees nobody at all may be the one who is cut off.
            Some(owner) if sees_others && !alive.contains(owner) => self.timing.dead_silence_ms,
            Some(_) => self.timing.silence_ms,
        };
        let before_me = rank(self.shard, &self.me, alive.iter().filter(|name| Some(*name) != owner));
        granted_ms.saturating_add(self.timing.turn_ms.saturating_mul(before_me as u64))
    }
}

#[cfg(test)]
#[path = "standby_test.rs"]
mod tests;
