//! **Promise.** Nothing vanishes and nothing appears: the store holds what the history says, counters equal a recount, and
//! every index entry names its record.
//!
//! **How it is judged.** After every start of the server, in the middle of the faults, at every look after them and at the
//! end: each record of the store is where the book says, with the attempts and the lease that the book says, each job of
//! the book that must have a record has one, and index and records are one to one. Queues that have nothing under way must
//! count as many jobs of each state as the store has. (Each queue is also checked against itself after every step.)
//!
//! A job whose expiry has come, and a result whose time has run out, may be gone or still be there.

use std::collections::{BTreeMap, BTreeSet};

use windlass_core::id::JobId;
use windlass_core::job::JobState;
use windlass_core::queue::{LeaseMark, Stored, read};
use windlass_core::store::keys::{self, ChunkKey, Place, QueueNo, region};
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
    let marks = read::marks(&world.disk, no).map_err(|error| Wrong {
        invariant: NAME,
        what: error.to_string(),
        key: None,
    })?;
    let marks = marks.all();
    if let Some(id) = marks.keys().find(|id| !records.contains_key(*id)) {
        return Err(broken((queue, *id), "the store has a lease mark of it, and no record".to_owned()));
    }
    let mut expired = Vec::new();
    check_index(world, queue, no, &records)?;
    for (id, stored) in &records {
        let key = (queue, *id);
        let book = world.facts.job(&key);
        expired.extend(check_record(&key, &book.solid, stored, wall)?.map(|until| (key, Some(until))));
        check_mark(marks.get(id), &key, &book.solid)?;
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
        let found = read::scan(&world.disk, &first, &end, usize::MAX).map_err(|e| e.to_string())?;
        for stored in found.stored {
            let (id, place) = (stored.job.id, stored.place);
            if let Some(twin) = records.insert(id, stored) {
                return Err(format!("job {id} has two records, at {place:?} and {:?}", twin.place));
            }
        }
    }
    check_chunks(world, no, &records)?;
    Ok(records)
}

/// No chunk stands empty, and no note of what has left one stands without it.
fn check_chunks(world: &World, no: QueueNo, records: &BTreeMap<JobId, Stored>) -> Result<(), String> {
    let keys_of = |regions: [u8; 2]| {
        let ranges = regions.map(|region| keys::queue_range(region, no)).into_iter();
        let found = ranges.flat_map(|(first, end)| world.disk.scan(&first, &end));
        found.filter_map(|(key, _)| Some(ChunkKey::from_key(key)?.1)).collect()
    };
    let chunks: BTreeSet<ChunkKey> = keys_of([region::CHUNK, region::TIMER_CHUNK]);
    let holes: BTreeSet<ChunkKey> = keys_of([region::HOLES, region::TIMER_HOLES]);
    if let Some(key) = holes.difference(&chunks).next() {
        return Err(format!("there is a note of what has left {key:?}, and no such chunk"));
    }
    let in_chunks = records.values().filter(|stored| stored.in_chunk);
    let used: BTreeSet<ChunkKey> = in_chunks
        .filter_map(|stored| chunks.range(..=ChunkKey::beginning_at(stored.place)?).next_back().copied())
        .collect();
    match chunks.difference(&used).next() {
        Some(key) => Err(format!("all have left {key:?}, and it still stands")),
        None => Ok(()),
    }
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
    let by_time = |stored: &&Stored| stored.in_chunk && stored.job.id.is_timed(stored.job.enqueued_at);
    let wanted = records.len() - records.values().filter(by_time).count();
    if entries != wanted {
        let what = format!("queue {queue} has {wanted} records to be indexed and {entries} index entries");
        return Err(Wrong { invariant: NAME, what, key: None });
    }
    look_up_all(world, queue, no, records)
}

/// Every job that is not in memory is found by its id.
fn look_up_all(
    world: &World,
    queue: usize,
    no: QueueNo,
    records: &BTreeMap<JobId, Stored>,
) -> Result<(), Wrong> {
    let Some(shell) = world.node.shells.get(queue) else { return Ok(()) };
    for (id, stored) in records.iter().filter(|(id, _)| !shell.queue.holds(id)) {
        if shell.queue.view_of(stored).is_some() && !shell.queue.may_store(id) {
            return Err(broken((queue, *id), "it rests, and is held to be in no store".to_owned()));
        }
        let found = read::by_id(&world.disk, no, &shell.queue.lookup(*id));
        let place = found.ok().flatten().map(|found| found.place);
        if place != Some(stored.place) && shell.queue.view_of(stored).is_some() {
            let what = format!("a look-up finds it at {place:?}, and it stands at {:?}", stored.place);
            return Err(broken((queue, *id), what));
        }
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

fn check_mark(mark: Option<&LeaseMark>, key: &Key, fact: &Fact) -> Verdict {
    let found = mark.map(|mark| (process_of(mark.worker), mark.token, mark.attempt, mark.cancel));
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
