//! Reads of the store for a queue, as the node does them.

use windlass_core::id::JobId;
use windlass_core::job::decode_job;
use windlass_core::queue::{LoadFrom, Stored};
use windlass_core::store::keys::{self, Place, QueueNo, region};
use windlass_core::time::Timestamp;

use crate::disk::Disk;

/// The job with this id, where the index says it is.
pub fn by_id(disk: &Disk, no: QueueNo, id: &JobId) -> Option<Box<Stored>> {
    let place = Place::from_value(&disk.get(&keys::index_key(no, id))?)?;
    let job = decode_job(&disk.get(&place.key(no))?).ok()?;
    Some(Box::new(Stored { place, job }))
}

/// Which of these ids the store knows, sorted.
pub fn known(disk: &Disk, no: QueueNo, ids: &[JobId]) -> Vec<JobId> {
    let mut known: Vec<_> =
        ids.iter().filter(|id| disk.get(&keys::index_key(no, id)).is_some()).copied().collect();
    known.sort_unstable();
    known
}

/// The records that a queue asked for, and whether the end of the range was reached.
pub fn load(disk: &Disk, no: QueueNo, from: LoadFrom) -> (Vec<Stored>, bool) {
    match from {
        LoadFrom::Ready { priority, seq, limit } => {
            let (first, end) = keys::level_range(no, priority, seq);
            scan(disk, &first, &end, limit)
        }
        LoadFrom::Timers { run_at, seq, limit } => {
            let end = keys::queue_range(region::TIMER, no).1;
            scan(disk, &Place::Timer { run_at, seq }.key(no), &end, limit)
        }
        LoadFrom::Kept { until, limit } => {
            let first = keys::queue_range(region::KEPT, no).0;
            let end = Place::Kept { until: Timestamp(until.0 + 1), seq: 0 }.key(no);
            scan(disk, &first, &end, limit)
        }
    }
}

/// At most `limit` records of a range.
pub fn scan(disk: &Disk, first: &[u8], end: &[u8], limit: usize) -> (Vec<Stored>, bool) {
    let mut found = Vec::new();
    for (key, value) in disk.scan(first, end) {
        if found.len() >= limit {
            return (found, false);
        }
        if let (Some((_, place)), Ok(job)) = (Place::from_key(key), decode_job(value)) {
            found.push(Stored { place, job });
        }
    }
    (found, true)
}
