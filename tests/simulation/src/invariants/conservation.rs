//! **Promise.** Nothing vanishes and nothing appears: the store holds what the history says, counters equal a recount, and
//! every index entry names its record.
//!
//! **How it is judged.** After every start of the server, in the middle of the faults, at every look after them and at the
//! end: each record of the store is where the book says, with the attempts and the lease that the book says, each job of
//! the book that must have a record has one, and index and records are one to one. Queues that have nothing under way must
//! count as many jobs of each state as the store has. (Each queue is also checked against itself after every step.)
//!
//! A job whose expiry has come, and a result whose time has run out, may be gone or still be there.

use std::collections::BTreeMap;

use windlass_core::id::JobId;
use windlass_core::job::{JobState, decode_job};
use windlass_core::queue::{LeaseMark, Stored};
use windlass_core::store::keys::{self, Place, QueueNo, region};
use windlass_core::time::Timestamp;

use super::{Verdict, Wrong};
use crate::facts::{Fact, Phase};
use crate::history::Key;
use crate::node::process_of;
use crate::world::World;

const NAME: &str = "conservation";

/// Compares the whole store with the book.
///
/// # Errors
/// The first difference.
pub fn recount(world: &mut World) -> Verdict {
    // The latest time that anybody has seen on the wall: nothing runs out before that.
    let wall = world.clock.latest();
    let mut expired = Vec::new();
    for queue in 0..world.setup.queues {
        expired.extend(recount_queue(world, queue, wall)?);
    }
    for (key, kept) in expired {
        world.facts.found_expired(&key, kept);
    }
    super::memory::look(world)
}

fn broken(key: Key, what: String) -> Wrong {
    Wrong { invariant: NAME, what, key: Some(key) }
}

type Expired = Vec<(Key, Option<Timestamp>)>;

fn recount_queue(world: &World, queue: usize, wall: Timestamp) -> Result<Expired, Wrong> {
    let no = queue as QueueNo + 1;
    let records = records(world, no).map_err(|what| Wrong { invariant: NAME, what, key: None })?;
    let mut expired = Vec::new();
    check_index(world, queue, no, &records)?;
    for (id, stored) in &records {
        let key = (queue, *id);
        let book = world.facts.job(&key);
        expired.extend(check_record(&key, &book.solid, stored, wall)?.map(|until| (key, Some(until))));
        check_mark(world, no, &key, &book.solid)?;
    }
    let of_queue = (queue, JobId([0; 16]))..=(queue, JobId([0xff; 16]));
    for (key, book) in world.facts.jobs.range(of_queue) {
        if records.contains_key(&key.1) {
            continue;
        }
        match book.solid.phase {
            Phase::Live if book.solid.may_be_expired(wall) => {
                expired.extend(book.is_settled().then_some((*key, None)));
            }
            Phase::Live | Phase::Dead => {
                return Err(broken(
                    *key,
                    format!("it is {:?}, and the store has no record of it", book.solid.phase),
                ));
            }
            Phase::Kept(_, until) if until > wall => {
                return Err(broken(
                    *key,
                    "its result is to be kept, and the store has no record of it".to_owned(),
                ));
            }
            _ => {}
        }
    }
    check_counters(world, queue, &records)?;
    Ok(expired)
}

fn records(world: &World, no: QueueNo) -> Result<BTreeMap<JobId, Stored>, String> {
    let mut records = BTreeMap::new();
    for region in [region::READY, region::TIMER, region::DEAD, region::KEPT] {
        let (first, end) = keys::queue_range(region, no);
        for (key, value) in world.disk.scan(&first, &end) {
            let place = Place::from_key(key).ok_or("a key among the jobs names no job")?.1;
            let job = decode_job(value).map_err(|e| e.to_string())?;
            let id = job.id;
            if let Some(twin) = records.insert(id, Stored { place, job }) {
                return Err(format!("job {id} has two records, at {place:?} and {:?}", twin.place));
            }
        }
    }
    Ok(records)
}

fn check_index(
    world: &World,
    queue: usize,
    no: QueueNo,
    records: &BTreeMap<JobId, Stored>,
) -> Result<(), Wrong> {
    let (first, end) = keys::queue_range(region::INDEX, no);
    let mut entries = 0;
    for (key, value) in world.disk.scan(&first, &end) {
        let Some(id) = keys::id_of(key) else { continue };
        entries += 1;
        let place = Place::from_value(value);
        if place.is_none() || records.get(&id).map(|stored| stored.place) != place {
            let what = format!(
                "the index names {place:?}, the record is at {:?}",
                records.get(&id).map(|s| s.place)
            );
            return Err(broken((queue, id), what));
        }
    }
    if entries != records.len() {
        let what = format!("queue {queue} has {} records and {entries} index entries", records.len());
        return Err(Wrong { invariant: NAME, what, key: None });
    }
    Ok(())
}

/// Checks a record; returns until when it is kept if it turns out to have expired.
fn check_record(
    key: &Key,
    fact: &Fact,
    stored: &Stored,
    wall: Timestamp,
) -> Result<Option<Timestamp>, Wrong> {
    let fits = match (fact.phase, stored.place) {
        (Phase::Live, Place::Ready { .. } | Place::Timer { .. })
        | (Phase::Dead, Place::Dead { .. })
        | (Phase::Kept(..), Place::Kept { .. }) => true,
        (Phase::Live, Place::Kept { until, .. }) if fact.may_be_expired(wall) => return Ok(Some(until)),
        _ => false,
    };
    if !fits {
        return Err(broken(
            *key,
            format!("it is {:?}, and the store has it at {:?}", fact.phase, stored.place),
        ));
    }
    if stored.job.attempts() != fact.attempts {
        let what =
            format!("it has used {} attempts, and the store says {}", fact.attempts, stored.job.attempts());
        return Err(broken(*key, what));
    }
    if let Place::Timer { run_at, .. } = stored.place
        && run_at < fact.not_before
        && fact.lease.is_none()
    {
        return Err(broken(*key, format!("it is due at {run_at:?}, which is too early by the history")));
    }
    Ok(None)
}

fn check_mark(world: &World, no: QueueNo, key: &Key, fact: &Fact) -> Verdict {
    let bytes = world.disk.get(&keys::lease_key(no, &key.1));
    let mark = bytes.and_then(|bytes| LeaseMark::from_bytes(&bytes).ok());
    let found = mark.as_ref().map(|mark| (process_of(mark.worker), mark.token, mark.attempt, mark.cancel));
    let wanted = fact.lease.map(|lease| (lease.of, lease.token, lease.attempt, lease.cancel));
    if found != wanted {
        return Err(broken(*key, format!("its lease is {wanted:?}, and the store says {found:?}")));
    }
    Ok(())
}

/// With nothing under way the counters of a queue are what the store has.
fn check_counters(world: &World, queue: usize, records: &BTreeMap<JobId, Stored>) -> Verdict {
    let Some(shell) = world.node.shells.get(queue) else { return Ok(()) };
    let (written, durable) = shell.queue.tickets();
    if written != durable || !shell.is_idle() {
        return Ok(());
    }
    let mut seen: BTreeMap<JobState, u64> = BTreeMap::new();
    for stored in records.values() {
        let state = match shell.queue.view_of(stored) {
            Some(view) => view.state,
            None => {
                let what = "the store has a record that the queue says is gone".to_owned();
                return Err(broken((queue, stored.job.id), what));
            }
        };
        *seen.entry(state).or_default() += 1;
    }
    let now = windlass_core::time::Now::default();
    let counts = shell.queue.snapshot(now).counts;
    for state in [JobState::Ready, JobState::Running, JobState::Scheduled, JobState::Retrying, JobState::Dead]
    {
        let (counted, found) = (counts.get(&state).unwrap_or(&0), seen.get(&state).unwrap_or(&0));
        if counted != found {
            let what = format!("queue {queue} counts {counted} jobs as {state}, the store has {found}");
            return Err(Wrong { invariant: NAME, what, key: None });
        }
    }
    Ok(())
}
