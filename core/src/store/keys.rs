//! The key layout, the same in every engine. One byte names the region, big-endian numbers keep the order.
//!
//! | key | value |
//! |---|---|
//! | `m` name | store-wide facts: layout version, node id |
//! | `q` queue name | [`QueueRecord`](crate::queue::QueueRecord): its number, settings, sequence block |
//! | `s` schedule name | a schedule |
//! | `r` queue, priority (highest first), seq | a ready job |
//! | `c` queue, priority (highest first), first seq | a [chunk](crate::job::Chunk): ready jobs that arrived together |
//! | `h` queue, priority (highest first), first seq | which jobs of the chunk are no longer in it |
//! | `t` queue, run_at, seq | a scheduled or retrying job |
//! | `C` queue, run_at, first seq | a chunk of scheduled jobs: those that arrived together and are due at the same time |
//! | `H` queue, run_at, first seq | which jobs of that chunk are no longer in it |
//! | `d` queue, seq | a dead job |
//! | `k` queue, until, seq | a finished job whose result is kept until then |
//! | `l` queue, id | a lease mark of one job: who runs it, with which token |
//! | `o` queue, epoch, delivery | [who runs](crate::queue::HandOut) the jobs of one hand-out; behind it, whose lease has ended |
//! | `a` token id | an [access token](crate::access::TokenRecord), hashed |
//! | `u` number | an entry of the [audit log](crate::access::AuditRecord) |
//! | `i` queue, id | the [`Place`] of the job |
//!
//! A job's record stands at its place until it is moved or done; taking a lease does not move it. A ready or scheduled job stands
//! either alone or in a chunk. Jobs in a chunk whose id carries their time have no index entry (see [`JobId::is_timed`]).

use bytes::{BufMut, Bytes, BytesMut};

use crate::access::TokenId;
use crate::id::{JobId, QueueName};
use crate::limits;
use crate::time::Timestamp;
use crate::wire::Token;

/// Number of a queue in keys, given at its creation.
pub type QueueNo = u32;

/// Region bytes.
pub mod region {
    /// Store-wide facts.
    pub const META: u8 = b'm';
    /// Queue records.
    pub const QUEUE: u8 = b'q';
    /// Schedules.
    pub const SCHEDULE: u8 = b's';
    /// Ready jobs.
    pub const READY: u8 = b'r';
    /// Chunks of ready jobs.
    pub const CHUNK: u8 = b'c';
    /// What has left the chunks.
    pub const HOLES: u8 = b'h';
    /// Scheduled and retrying jobs.
    pub const TIMER: u8 = b't';
    /// Chunks of scheduled jobs. Capitals are the regions that came with format 3; see [`is_of_format_3`](super::is_of_format_3).
    pub const TIMER_CHUNK: u8 = b'C';
    /// What has left the chunks of scheduled jobs.
    pub const TIMER_HOLES: u8 = b'H';
    /// Dead jobs.
    pub const DEAD: u8 = b'd';
    /// Finished jobs with kept results.
    pub const KEPT: u8 = b'k';
    /// Lease marks of single jobs.
    pub const LEASE: u8 = b'l';
    /// Lease marks of jobs that were handed out together.
    pub const HAND_OUT: u8 = b'o';
    /// Id to place.
    pub const INDEX: u8 = b'i';
    /// Access tokens.
    pub const TOKEN: u8 = b'a';
    /// The audit log.
    pub const AUDIT: u8 = b'u';
}

/// Where the record of a job stands in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// In the ready region.
    Ready {
        /// Priority of the job.
        priority: i8,
        /// Arrival.
        seq: u64,
    },
    /// In the timer region.
    Timer {
        /// When it is due.
        run_at: Timestamp,
        /// Tie-break: arrival.
        seq: u64,
    },
    /// Among the dead.
    Dead {
        /// Order of death.
        seq: u64,
    },
    /// Among the kept results.
    Kept {
        /// Until when.
        until: Timestamp,
        /// Tie-break.
        seq: u64,
    },
}

impl Place {
    /// The region byte of the place.
    #[must_use]
    pub fn region(self) -> u8 {
        match self {
            Place::Ready { .. } => region::READY,
            Place::Timer { .. } => region::TIMER,
            Place::Dead { .. } => region::DEAD,
            Place::Kept { .. } => region::KEPT,
        }
    }

    /// The key of the record of a job of `queue` at this place.
    #[must_use]
    pub fn key(self, queue: QueueNo) -> Bytes {
        let mut key = BytesMut::with_capacity(21);
        key.put_u8(self.region());
        key.put_u32(queue);
        self.put_tail(&mut key);
        key.freeze()
    }

    /// The value of the id index: region byte and the key's tail.
    #[must_use]
    pub fn to_value(self) -> Bytes {
        let mut value = BytesMut::with_capacity(17);
        value.put_u8(self.region());
        self.put_tail(&mut value);
        value.freeze()
    }

    fn put_tail(self, out: &mut BytesMut) {
        match self {
            Place::Ready { priority, seq } => {
                out.put_u8(flip(priority));
                out.put_u64(seq);
            }
            Place::Timer { run_at, seq } => {
                out.put_u64(run_at.0);
                out.put_u64(seq);
            }
            Place::Dead { seq } => out.put_u64(seq),
            Place::Kept { until, seq } => {
                out.put_u64(until.0);
                out.put_u64(seq);
            }
        }
    }

    /// Reads an index value back; `None` for bytes that are none.
    #[must_use]
    pub fn from_value(value: &[u8]) -> Option<Place> {
        let (region, tail) = value.split_first()?;
        Place::from_tail(*region, tail)
    }

    /// Reads the place from a record's key; `None` for keys that name no job record.
    #[must_use]
    pub fn from_key(key: &[u8]) -> Option<(QueueNo, Place)> {
        let (region, rest) = key.split_first()?;
        let queue = QueueNo::from_be_bytes(rest.get(..4)?.try_into().ok()?);
        Some((queue, Place::from_tail(*region, &rest[4..])?))
    }

    fn from_tail(region: u8, tail: &[u8]) -> Option<Place> {
        let number = |from: usize| Some(u64::from_be_bytes(tail.get(from..from + 8)?.try_into().ok()?));
        let exact = |len: usize| (tail.len() == len).then_some(());
        match region {
            region::READY => {
                exact(9)?;
                Some(Place::Ready { priority: unflip(tail[0]), seq: number(1)? })
            }
            region::TIMER => {
                exact(16)?;
                Some(Place::Timer { run_at: Timestamp(number(0)?), seq: number(8)? })
            }
            region::DEAD => {
                exact(8)?;
                Some(Place::Dead { seq: number(0)? })
            }
            region::KEPT => {
                exact(16)?;
                Some(Place::Kept { until: Timestamp(number(0)?), seq: number(8)? })
            }
            _ => None,
        }
    }
}

/// What the jobs of a chunk have in common, so that their places follow each other in the order of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Row {
    /// They are ready, with this priority.
    Ready {
        /// Priority of the jobs.
        priority: i8,
    },
    /// They are due at this time.
    Timer {
        /// When the jobs are due.
        run_at: Timestamp,
    },
}

impl Row {
    /// The place of the job with this sequence number.
    #[must_use]
    pub fn place(self, seq: u64) -> Place {
        match self {
            Row::Ready { priority } => Place::Ready { priority, seq },
            Row::Timer { run_at } => Place::Timer { run_at, seq },
        }
    }
}

/// Names a chunk of jobs within its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkKey {
    /// What its jobs have in common.
    pub row: Row,
    /// Sequence number of its first job; the others follow without a gap.
    pub first: u64,
}

impl ChunkKey {
    /// The chunk that would begin with the job at this place; `None` for jobs that never stand in one.
    #[must_use]
    pub fn beginning_at(place: Place) -> Option<ChunkKey> {
        match place {
            Place::Ready { priority, seq } => Some(ChunkKey { row: Row::Ready { priority }, first: seq }),
            Place::Timer { run_at, seq } => Some(ChunkKey { row: Row::Timer { run_at }, first: seq }),
            Place::Dead { .. } | Place::Kept { .. } => None,
        }
    }

    /// The key of the chunk itself.
    #[must_use]
    pub fn key(self, queue: QueueNo) -> Bytes {
        self.in_region([region::CHUNK, region::TIMER_CHUNK], queue)
    }

    /// The key of what has left the chunk.
    #[must_use]
    pub fn holes_key(self, queue: QueueNo) -> Bytes {
        self.in_region([region::HOLES, region::TIMER_HOLES], queue)
    }

    /// The place of a job in it, the first being 0.
    #[must_use]
    pub fn place(self, index: usize) -> Place {
        self.row.place(self.first.saturating_add(index as u64))
    }

    /// In the one of two regions that is for ready jobs, or in that for scheduled ones.
    fn in_region(self, [ready, timer]: [u8; 2], queue: QueueNo) -> Bytes {
        let mut key = BytesMut::with_capacity(21);
        key.put_u8(match self.row {
            Row::Ready { .. } => ready,
            Row::Timer { .. } => timer,
        });
        key.put_u32(queue);
        self.place(0).put_tail(&mut key);
        key.freeze()
    }

    /// Reads a key of a chunk or of its holes back; `None` for other keys.
    #[must_use]
    pub fn from_key(key: &[u8]) -> Option<(QueueNo, ChunkKey)> {
        let jobs = match *key.first()? {
            region::CHUNK | region::HOLES => region::READY,
            region::TIMER_CHUNK | region::TIMER_HOLES => region::TIMER,
            _ => return None,
        };
        let queue = QueueNo::from_be_bytes(key.get(1..5)?.try_into().ok()?);
        Some((queue, ChunkKey::beginning_at(Place::from_tail(jobs, &key[5..])?)?))
    }
}

/// Whether a version that knows formats up to 2 would not see what stands under this key. Such keys come before all others.
#[must_use]
pub fn is_of_format_3(key: &[u8]) -> bool {
    key.first().is_some_and(u8::is_ascii_uppercase)
}

/// Key of a hand-out, which is named by the token of its first job.
#[must_use]
pub fn hand_out_key(queue: QueueNo, first: Token) -> Bytes {
    by_token(queue, first).freeze()
}

/// Key of the note whose leases of a hand-out have ended; it comes right behind the hand-out.
#[must_use]
pub fn ended_key(queue: QueueNo, first: Token) -> Bytes {
    let mut key = by_token(queue, first);
    key.put_u8(1);
    key.freeze()
}

fn by_token(queue: QueueNo, token: Token) -> BytesMut {
    let mut key = BytesMut::with_capacity(22);
    key.put_u8(region::HAND_OUT);
    key.put_u32(queue);
    key.put_u64(token.epoch);
    key.put_u64(token.delivery);
    key
}

/// Reads a key of the hand-out region back, with whether it is that of the note; `None` for other keys.
#[must_use]
pub fn hand_out_of(key: &[u8]) -> Option<(Token, bool)> {
    let number = |from: usize| Some(u64::from_be_bytes(key.get(from..from + 8)?.try_into().ok()?));
    let ended = match key.get(21..)? {
        [] => false,
        [1] => true,
        _ => return None,
    };
    (key[0] == region::HAND_OUT).then_some((Token { epoch: number(5)?, delivery: number(13)? }, ended))
}

/// The range of keys in which the chunks stand that may hold jobs of a range of a region; `None` when jobs of that region never
/// stand in chunks.
#[must_use]
pub fn chunk_range(from: &[u8], to: &[u8]) -> Option<(Bytes, Bytes)> {
    // Region, queue, what the jobs of a chunk have in common.
    let (chunks, row_bytes) = match *from.first()? {
        region::READY => (region::CHUNK, 1 + 4 + 1),
        region::TIMER => (region::TIMER_CHUNK, 1 + 4 + 8),
        _ => return None,
    };
    let mut first = from.to_vec();
    let mut end = to.to_vec();
    first[0] = chunks;
    end[0] = if end.len() == 1 { chunks + 1 } else { chunks };
    if let Some(seq) = first.get(row_bytes..row_bytes + 8).and_then(|seq| <[u8; 8]>::try_from(seq).ok()) {
        // A chunk that begins before the range may reach into it.
        let earliest = u64::from_be_bytes(seq).saturating_sub(limits::CHUNK_JOBS_MAX as u64 - 1);
        first.truncate(row_bytes);
        first.extend_from_slice(&earliest.to_be_bytes());
    }
    Some((first.into(), end.into()))
}

/// Priorities ascend in keys from the highest to the lowest.
fn flip(priority: i8) -> u8 {
    (127_i16 - i16::from(priority)) as u8
}

fn unflip(byte: u8) -> i8 {
    (127_i16 - i16::from(byte)) as i8
}

/// Key of a queue's record.
#[must_use]
pub fn queue_key(name: &QueueName) -> Bytes {
    named(region::QUEUE, name.as_str())
}

/// Key of a schedule.
#[must_use]
pub fn schedule_key(name: &str) -> Bytes {
    named(region::SCHEDULE, name)
}

/// Key of a store-wide fact.
#[must_use]
pub fn meta_key(name: &str) -> Bytes {
    named(region::META, name)
}

/// Key of an access token.
#[must_use]
pub fn token_key(id: TokenId) -> Bytes {
    numbered(region::TOKEN, id.0)
}

/// Key of an entry of the audit log.
#[must_use]
pub fn audit_key(seq: u64) -> Bytes {
    numbered(region::AUDIT, seq)
}

/// The number in a key of the audit log; `None` for other keys.
#[must_use]
pub fn audit_seq(key: &[u8]) -> Option<u64> {
    let number = key.strip_prefix(&[region::AUDIT])?;
    number.try_into().ok().map(u64::from_be_bytes)
}

fn numbered(region: u8, number: u64) -> Bytes {
    let mut key = BytesMut::with_capacity(9);
    key.put_u8(region);
    key.put_u64(number);
    key.freeze()
}

fn named(region: u8, name: &str) -> Bytes {
    let mut key = BytesMut::with_capacity(1 + name.len());
    key.put_u8(region);
    key.put_slice(name.as_bytes());
    key.freeze()
}

/// Key of the lease mark of a job.
#[must_use]
pub fn lease_key(queue: QueueNo, id: &JobId) -> Bytes {
    by_id(region::LEASE, queue, id)
}

/// Key of the id index entry of a job.
#[must_use]
pub fn index_key(queue: QueueNo, id: &JobId) -> Bytes {
    by_id(region::INDEX, queue, id)
}

fn by_id(region: u8, queue: QueueNo, id: &JobId) -> Bytes {
    let mut key = BytesMut::with_capacity(21);
    key.put_u8(region);
    key.put_u32(queue);
    key.put_slice(&id.0);
    key.freeze()
}

/// First and one-past-last key of a whole region.
#[must_use]
pub fn region_range(region: u8) -> (Bytes, Bytes) {
    (Bytes::copy_from_slice(&[region]), Bytes::copy_from_slice(&[region + 1]))
}

/// First and one-past-last key of a queue's part of a region.
#[must_use]
pub fn queue_range(region: u8, queue: QueueNo) -> (Bytes, Bytes) {
    let bound = |queue: QueueNo| {
        let mut key = BytesMut::with_capacity(5);
        key.put_u8(region);
        key.put_u32(queue);
        key.freeze()
    };
    let end = queue.checked_add(1).map_or_else(|| region_range(region).1, bound);
    (bound(queue), end)
}

/// First and one-past-last key of one priority level of a queue's ready region, from sequence number `seq`.
#[must_use]
pub fn level_range(queue: QueueNo, priority: i8, seq: u64) -> (Bytes, Bytes) {
    let from = Place::Ready { priority, seq }.key(queue);
    let to = match priority.checked_sub(1) {
        Some(lower) => Place::Ready { priority: lower, seq: 0 }.key(queue),
        None => queue_range(region::READY, queue).1,
    };
    (from, to)
}

/// The id in a lease or index key; `None` for other keys.
#[must_use]
pub fn id_of(key: &[u8]) -> Option<JobId> {
    Some(JobId(key.get(5..)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn place() -> impl Strategy<Value = Place> {
        prop_oneof![
            (any::<i8>(), any::<u64>()).prop_map(|(priority, seq)| Place::Ready { priority, seq }),
            (any::<u64>(), any::<u64>()).prop_map(|(at, seq)| Place::Timer { run_at: Timestamp(at), seq }),
            any::<u64>().prop_map(|seq| Place::Dead { seq }),
            (any::<u64>(), any::<u64>()).prop_map(|(at, seq)| Place::Kept { until: Timestamp(at), seq }),
        ]
    }

    proptest! {
        #[test]
        fn keys_round_trip(queue: QueueNo, place in place()) {
            prop_assert_eq!(Place::from_key(&place.key(queue)), Some((queue, place)));
            prop_assert_eq!(Place::from_value(&place.to_value()), Some(place));
            prop_assert!(!is_of_format_3(&place.key(queue)));
            if let Some(chunk) = ChunkKey::beginning_at(place) {
                prop_assert_eq!(chunk.place(0), place);
                prop_assert_eq!(ChunkKey::from_key(&chunk.key(queue)), Some((queue, chunk)));
                prop_assert_eq!(ChunkKey::from_key(&chunk.holes_key(queue)), Some((queue, chunk)));
                let is_timer = matches!(place, Place::Timer { .. });
                prop_assert_eq!(is_of_format_3(&chunk.key(queue)), is_timer);
                prop_assert_eq!(is_of_format_3(&chunk.holes_key(queue)), is_timer);
                let (first, end) = chunk_range(&place.key(queue), &region_range(place.region()).1).unwrap();
                prop_assert!(first <= chunk.key(queue) && chunk.key(queue) < end);
            }
        }

        /// The order of keys is the order of delivery: higher priority, then arrival.
        #[test]
        fn key_order_is_delivery_order(queue: QueueNo, a: (i8, u64), b: (i8, u64)) {
            let key = |(priority, seq): (i8, u64)| Place::Ready { priority, seq }.key(queue);
            let order = b.0.cmp(&a.0).then(a.1.cmp(&b.1));
            prop_assert_eq!(key(a).cmp(&key(b)), order);
            let (from, to) = level_range(queue, a.0, 0);
            prop_assert!(from <= key(a) && key(a) < to);
            prop_assert!(a.0 == b.0 || key(b) < from || key(b) >= to);
        }
    }
}
