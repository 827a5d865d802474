//! Jobs that arrived together, in one record, and the note of which of them have left it.
//!
//! | chunk | bytes | | holes | bytes |
//! |---|---|---|---|---|
//! | layout, 3 | 1 | | layout, 1 | 1 |
//! | layout of the jobs, 1 | 1 | | a bit per job, set when it is gone | n |
//! | number of jobs, little-endian | 4 | | | |
//! | where each job ends, little-endian | 4 each | | | |
//! | jobs, each as in its own record without the layout | | | | |

use bytes::Bytes;

use super::{BadRecord, Job};
use crate::id::JobId;
use crate::limits;

const LAYOUT: u8 = 3;
const JOB_LAYOUT: u8 = 1;
const HEAD: usize = 6;
const ID_BYTES: usize = 16;
const HOLES_LAYOUT: u8 = 1;

/// A chunk as read from the store; its jobs are decoded one by one when they are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    record: Bytes,
    jobs: usize,
}

impl Chunk {
    /// The record of jobs that stand in a row.
    #[must_use]
    pub fn encode<'a>(jobs: impl ExactSizeIterator<Item = &'a Job>) -> Bytes {
        let count = jobs.len();
        let bodies = HEAD + 4 * count;
        let mut out = Vec::with_capacity(bodies + count * 192);
        out.extend_from_slice(&[LAYOUT, JOB_LAYOUT]);
        out.extend_from_slice(&number(count));
        out.resize(bodies, 0);
        for (index, job) in jobs.enumerate() {
            crate::wire::encode_into(&mut out, job);
            let end = number(out.len() - bodies);
            out[HEAD + 4 * index..HEAD + 4 * index + 4].copy_from_slice(&end);
        }
        out.into()
    }

    /// Takes a record, after a look at its shape.
    ///
    /// # Errors
    /// [`BadRecord`] for bytes that are no chunk of a known layout.
    pub fn decode(record: Bytes) -> Result<Chunk, BadRecord> {
        let damaged = |text: &str| BadRecord::Damaged(text.to_owned());
        match record.first() {
            Some(&LAYOUT) if record.get(1) == Some(&JOB_LAYOUT) => {}
            Some(&newer) if newer >= LAYOUT => return Err(BadRecord::TooNew(newer)),
            _ => return Err(damaged("no chunk")),
        }
        let head = record.get(2..HEAD).ok_or_else(|| damaged("a chunk without a number of jobs"))?;
        let jobs = head.iter().rev().fold(0, |number, byte| (number << 8) | usize::from(*byte));
        if jobs == 0 || jobs > limits::CHUNK_JOBS_MAX || record.len() < HEAD + 4 * jobs {
            return Err(damaged("a chunk with an impossible number of jobs"));
        }
        let chunk = Chunk { record, jobs };
        let mut end = 0;
        for index in 0..jobs {
            let next = chunk.end(index);
            if next < end + ID_BYTES {
                return Err(damaged("a chunk whose jobs overlap"));
            }
            end = next;
        }
        if HEAD + 4 * jobs + end != chunk.record.len() {
            return Err(damaged("a chunk of another length than its jobs"));
        }
        Ok(chunk)
    }

    /// Jobs in it, those that have left included.
    #[must_use]
    pub fn jobs(&self) -> usize {
        self.jobs
    }

    fn end(&self, index: usize) -> usize {
        let at = HEAD + 4 * index;
        self.record[at..at + 4].iter().rev().fold(0, |number, byte| (number << 8) | usize::from(*byte))
    }

    /// The bytes of a job, which begin with its id.
    fn body(&self, index: usize) -> &[u8] {
        let bodies = HEAD + 4 * self.jobs;
        let begin = if index == 0 { 0 } else { self.end(index - 1) };
        &self.record[bodies + begin..bodies + self.end(index)]
    }

    /// Bytes of a job.
    #[must_use]
    pub fn job_bytes(&self, index: usize) -> usize {
        self.body(index).len()
    }

    /// The id of a job, without decoding it.
    #[must_use]
    pub fn id(&self, index: usize) -> JobId {
        let mut id = [0; ID_BYTES];
        id.copy_from_slice(&self.body(index)[..ID_BYTES]);
        JobId(id)
    }

    /// The place of the job with this id, from 0.
    #[must_use]
    pub fn find(&self, id: &JobId) -> Option<usize> {
        (0..self.jobs).find(|index| self.body(*index)[..ID_BYTES] == id.0)
    }

    /// A job.
    ///
    /// # Errors
    /// [`BadRecord`] when its bytes are no job.
    pub fn job(&self, index: usize) -> Result<Job, BadRecord> {
        crate::wire::decode_exact(self.body(index)).map_err(|e| BadRecord::Damaged(e.to_string()))
    }
}

fn number(length: usize) -> [u8; 4] {
    // A chunk ends long before its length does not fit.
    u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes()
}

/// Which jobs of a chunk are no longer in it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holes(Vec<u64>);

impl Holes {
    /// Whether the job is gone.
    #[must_use]
    pub fn has(&self, index: usize) -> bool {
        self.0.get(index / 64).is_some_and(|word| (word >> (index % 64)) & 1 == 1)
    }

    /// Notes that the job is gone; `false` when it was before.
    pub fn add(&mut self, index: usize) -> bool {
        if self.has(index) {
            return false;
        }
        if self.0.len() <= index / 64 {
            self.0.resize(index / 64 + 1, 0);
        }
        self.0[index / 64] |= 1 << (index % 64);
        true
    }

    /// How many are gone.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The bytes at rest.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(1 + 8 * self.0.len());
        out.push(HOLES_LAYOUT);
        self.0.iter().for_each(|word| out.extend_from_slice(&word.to_le_bytes()));
        out.into()
    }

    /// Reads the bytes back.
    ///
    /// # Errors
    /// [`BadRecord`] for other bytes.
    pub fn decode(record: &[u8]) -> Result<Holes, BadRecord> {
        let damaged = || BadRecord::Damaged("no note of what has left a chunk".to_owned());
        match record.split_first() {
            Some((&HOLES_LAYOUT, words)) => {
                let (words, rest) = words.as_chunks::<8>();
                if !rest.is_empty() || words.len() > limits::CHUNK_JOBS_MAX / 64 {
                    return Err(damaged());
                }
                Ok(Holes(words.iter().map(|word| u64::from_le_bytes(*word)).collect()))
            }
            Some((&newer, _)) if newer > HOLES_LAYOUT => Err(BadRecord::TooNew(newer)),
            _ => Err(damaged()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{JobSpec, Payload};
    use crate::time::Timestamp;

    fn job(n: u8) -> Job {
        let spec = JobSpec::new("work", Payload::json(vec![b'1'; usize::from(n)]));
        Job {
            id: JobId([n; 16]),
            kind: spec.kind,
            payload: spec.payload,
            priority: 0,
            enqueued_at: Timestamp(7),
            run_at: Timestamp(7),
            options: None,
            past: None,
        }
    }

    #[test]
    fn jobs_are_found_again_one_by_one() {
        let jobs: Vec<_> = (1..=20).map(job).collect();
        let chunk = Chunk::decode(Chunk::encode(jobs.iter())).unwrap();
        assert_eq!(chunk.jobs(), 20);
        for (index, job) in jobs.iter().enumerate() {
            assert_eq!(chunk.id(index), job.id);
            assert_eq!(chunk.find(&job.id), Some(index));
            assert_eq!(chunk.job(index).as_ref(), Ok(job));
        }
        assert_eq!(chunk.find(&JobId([99; 16])), None);
    }

    #[test]
    fn every_cut_and_every_turned_head_is_refused() {
        let jobs: Vec<_> = (1..=3).map(job).collect();
        let whole = Chunk::encode(jobs.iter());
        for length in 0..whole.len() {
            assert!(Chunk::decode(whole.slice(..length)).is_err(), "{length} bytes");
        }
        for at in 0..HEAD + 4 * 3 {
            for bit in 0..8 {
                let mut bad = whole.to_vec();
                bad[at] ^= 1 << bit;
                let Ok(chunk) = Chunk::decode(bad.into()) else { continue };
                // A turned end moves a border: then the jobs beside it are no jobs.
                assert!((0..chunk.jobs()).any(|index| chunk.job(index).is_err()), "byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn holes_survive_their_bytes() {
        let mut holes = Holes::default();
        for index in [0, 63, 64, 1_023] {
            assert!(holes.add(index));
            assert!(!holes.add(index));
        }
        assert_eq!(holes.count(), 4);
        assert_eq!(Holes::decode(&holes.encode()), Ok(holes.clone()));
        assert!(holes.has(64) && !holes.has(65) && !holes.has(5_000));
        assert!(Holes::decode(&[1, 2]).is_err() && Holes::decode(&[]).is_err());
        assert_eq!(Holes::decode(&[2]), Err(BadRecord::TooNew(2)));
    }
}
