//! Records at rest, keys and names.

use windlass_core::id::{JobId, QueueName};
use windlass_core::job::{Chunk, Holes, JobState, decode_job, encode_job, job_id_of};
use windlass_core::queue::{HandOut, LeaseMark, QueueRecord};
use windlass_core::schedule::{CatchUp, Firing, Plan, decode_record, encode_record};
use windlass_core::store::keys::{self, ChunkKey, Place};
use windlass_core::time::Timestamp;

/// A job that is read is the same after it was written and read again, and its id is found without reading it.
pub fn job_record(data: &[u8]) {
    let id = job_id_of(data);
    let Ok(job) = decode_job(data) else { return };
    assert_eq!(id, Ok(job.id));
    let bytes = encode_job(&job);
    assert!(bytes.len() <= data.len());
    assert_eq!(decode_job(&bytes).as_ref(), Ok(&job));
    // Everybody who shows or weighs a job must bear any that can be read.
    assert!(job.weight() > job.payload.data.len());
    assert!(job.attempts() == job.past.as_ref().map_or(0, |past| past.attempts));
}

/// A chunk that is read has the jobs that it says, by number and by id; whole ones are the same after they were written and read again. So
/// is the note of what has left one.
pub fn chunk(data: &[u8]) {
    if let Ok(chunk) = Chunk::decode(bytes::Bytes::copy_from_slice(data)) {
        let numbers = 0..chunk.jobs();
        let held: usize = numbers.clone().map(|index| chunk.job_bytes(index)).sum();
        assert!(held < data.len());
        for index in numbers.clone() {
            let id = chunk.id(index);
            assert!(chunk.find(&id).is_some_and(|first| first <= index && chunk.id(first) == id));
            assert!(chunk.job(index).is_ok_and(|job| job.id == id) || chunk.job(index).is_err());
        }
        let jobs: Result<Vec<_>, _> = numbers.map(|index| chunk.job(index)).collect();
        if let Ok(jobs) = jobs {
            let again =
                Chunk::decode(Chunk::encode(jobs.iter())).expect("jobs that were read can be written");
            let same: Result<Vec<_>, _> = (0..again.jobs()).map(|index| again.job(index)).collect();
            assert_eq!(same.as_ref(), Ok(&jobs));
        }
    }
    if let Ok(mut holes) = Holes::decode(data) {
        assert_eq!(Holes::decode(&holes.encode()).as_ref(), Ok(&holes));
        let (count, index) = (holes.count(), data.len() * 7 % windlass_core::limits::CHUNK_JOBS_MAX);
        let was_there = holes.has(index);
        assert_eq!(holes.add(index), !was_there);
        assert_eq!(holes.count(), count + usize::from(!was_there));
    }
}

/// Lease marks, hand-outs and queue records likewise.
pub fn small_records(data: &[u8]) {
    if let Ok(mark) = LeaseMark::from_bytes(data) {
        assert_eq!(LeaseMark::from_bytes(&mark.to_bytes()), Ok(mark));
    }
    if let Ok(record) = HandOut::from_bytes(data) {
        assert_eq!(HandOut::from_bytes(&record.to_bytes()), Ok(record));
    }
    if let Ok(record) = QueueRecord::from_bytes(data) {
        assert_eq!(QueueRecord::from_bytes(&record.to_bytes()), Ok(record));
    }
}

/// A schedule likewise; and whatever it says, it can be planned, shown, fired and left out, or is refused.
pub fn schedule_record(data: &[u8]) {
    let Ok(record) = decode_record(data) else { return };
    assert_eq!(decode_record(&encode_record(&record)).as_ref(), Ok(&record));
    let plan = Plan::parse(&record.spec, record.created_at).ok();
    for now in [record.dealt_until, record.created_at, Timestamp(1_767_225_600_000), Timestamp::MAX] {
        let view = record.view(plan.as_ref(), now);
        assert!(view.next.windows(2).all(|pair| pair[0] < pair[1]), "{:?}", view.next);
        let Some(plan) = &plan else { continue };
        let due = plan.due(record.dealt_until, now, now, record.spec.catch_up);
        assert!(due.fire.is_none_or(|fire| record.dealt_until < fire && fire <= now), "{due:?} at {now:?}");
        assert!(
            record.spec.catch_up == CatchUp::Latest
                || due.fire.is_none()
                || due.until == due.fire.unwrap_or(now)
        );
        if let Some(nominal) = due.fire {
            let firing = Firing::planned(&record.spec.name, record.created_at, nominal);
            assert_eq!(firing.job(&record.spec).id, Some(firing.id));
            assert!(record.fired(&firing, due.skipped).dealt_until >= nominal);
        }
        assert!(record.skipped(due.skipped, due.until).dealt_until >= record.dealt_until);
    }
}

/// A key that is read is the key of what was read.
pub fn keys(data: &[u8]) {
    if let Some((queue, place)) = Place::from_key(data) {
        assert_eq!(place.key(queue), data);
        let (from, to) = keys::queue_range(place.region(), queue);
        assert!(from[..] <= *data && *data < to[..], "outside its queue's part");
    }
    if let Some((queue, chunk)) = ChunkKey::from_key(data) {
        assert!(data == chunk.key(queue) || data == chunk.holes_key(queue));
        assert_eq!(ChunkKey::beginning_at(chunk.place(0)), Some(chunk));
    }
    if let Some((token, is_note)) = keys::hand_out_of(data) {
        let queue = u32::from_be_bytes(data[1..5].try_into().expect("four bytes"));
        assert!(
            data == if is_note { keys::ended_key(queue, token) } else { keys::hand_out_key(queue, token) }
        );
    }
    if let Some(place) = Place::from_value(data) {
        assert_eq!(place.to_value(), data);
    }
    if let Some(id) = keys::id_of(data) {
        assert_eq!(id.0, data[5..]);
    }
}

/// Names, ids and states that are taken are written as they were meant; the others are refused in a short sentence.
pub fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let short = |error: &dyn std::fmt::Display| {
        let said = error.to_string();
        assert!(said.len() <= 400 + text.len().min(200), "{} bytes of refusal", said.len());
    };
    match text.parse::<QueueName>() {
        Ok(name) => assert_eq!(name.as_str(), text),
        Err(error) => short(&error),
    }
    match text.parse::<JobId>() {
        Ok(id) => assert_eq!(id.to_string().parse(), Ok(id)),
        Err(error) => short(&error),
    }
    match text.parse::<JobState>() {
        Ok(state) => assert_eq!(state.to_string(), text),
        Err(error) => short(&error),
    }
}
