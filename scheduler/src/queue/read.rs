//! Reads of the store for a queue: one job by its id, and the ranges that a queue wants to see.

use windlass_core::id::JobId;
use windlass_core::job::decode_job;
use windlass_core::limits;
use windlass_core::queue::{LoadFrom, Stored};
use windlass_core::store::keys::{self, Place, QueueNo, region};
use windlass_core::store::{ReadError, Store};
use windlass_core::time::Timestamp;

/// What a scan found.
pub(super) struct Found {
    pub stored: Vec<Stored>,
    /// Whether the end of the range was reached.
    pub exhausted: bool,
}

/// The job with this id, where the index says it is.
pub(super) fn by_id(store: &dyn Store, queue: QueueNo, id: &JobId) -> Result<Option<Box<Stored>>, ReadError> {
    let Some(value) = store.get(&keys::index_key(queue, id))? else { return Ok(None) };
    let place = Place::from_value(&value)
        .ok_or_else(|| ReadError::Damaged(format!("the index entry of job {id} names no place")))?;
    // Between both reads the job may have moved; whoever moved it is the queue that asks now, and it waits for us.
    let Some(record) = store.get(&place.key(queue))? else { return Ok(None) };
    let job = decode_job(&record).map_err(|e| ReadError::Damaged(format!("the record of job {id}: {e}")))?;
    Ok(Some(Box::new(Stored { place, job })))
}

/// Which of these ids the store knows, sorted.
pub(super) fn known(store: &dyn Store, queue: QueueNo, ids: &[JobId]) -> Result<Vec<JobId>, ReadError> {
    let mut known = Vec::new();
    for id in ids {
        if store.get(&keys::index_key(queue, id))?.is_some() {
            known.push(*id);
        }
    }
    known.sort_unstable();
    Ok(known)
}

/// The records a queue asked for.
pub(super) fn load(store: &dyn Store, queue: QueueNo, from: LoadFrom) -> Result<Found, ReadError> {
    let (first, end, limit) = match from {
        LoadFrom::Ready { priority, seq, limit } => {
            let (first, end) = keys::level_range(queue, priority, seq);
            (first, end, limit)
        }
        LoadFrom::Timers { run_at, seq, limit } => {
            let end = keys::queue_range(region::TIMER, queue).1;
            (Place::Timer { run_at, seq }.key(queue), end, limit)
        }
        LoadFrom::Kept { until, limit } => {
            let first = keys::queue_range(region::KEPT, queue).0;
            (first, Place::Kept { until: Timestamp(until.0.saturating_add(1)), seq: 0 }.key(queue), limit)
        }
    };
    scan(store, &first, &end, limit)
}

/// At most `limit` records of a range, and at most [`limits::LOAD_BYTES_MAX`] bytes of them, but at least one.
pub(super) fn scan(store: &dyn Store, first: &[u8], end: &[u8], limit: usize) -> Result<Found, ReadError> {
    let mut found = Found { stored: Vec::new(), exhausted: true };
    let mut bytes = 0;
    let mut bad = None;
    store.scan(first, end, &mut |key, value| {
        if found.stored.len() >= limit || bytes >= limits::LOAD_BYTES_MAX {
            found.exhausted = false;
            return false;
        }
        bytes += value.len();
        match (Place::from_key(key), decode_job(&value)) {
            (Some((_, place)), Ok(job)) => found.stored.push(Stored { place, job }),
            (None, _) => bad = Some("a key among the jobs names no job".to_owned()),
            (_, Err(error)) => bad = Some(format!("a job record: {error}")),
        }
        bad.is_none()
    })?;
    bad.map_or(Ok(found), |text| Err(ReadError::Damaged(text)))
}
