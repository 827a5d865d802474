//! One firing: its job, and the id of that job.

use crate::id::JobId;
use crate::job::{JobSpec, RunAt};
use crate::schedule::ScheduleSpec;
use crate::time::Timestamp;

/// Header of a firing's job: the schedule's name.
pub const HEADER_SCHEDULE: &str = "windlass-schedule";
/// Header of a firing's job: its nominal time in milliseconds since the epoch; of a manual one the time of the order.
pub const HEADER_NOMINAL: &str = "windlass-nominal-ms";
/// Header of a firing's job: `plan`, or `manual` when somebody ordered it.
pub const HEADER_TRIGGER: &str = "windlass-trigger";

/// One firing of a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Firing {
    /// Id of its job: [`firing_id`] for a planned one, random for a manual one.
    pub id: JobId,
    /// The nominal time; of a manual one the time of the order.
    pub nominal: Timestamp,
    /// Whether somebody ordered it, beside the plan.
    pub manual: bool,
}

impl Firing {
    /// The planned firing of a schedule for a nominal time.
    #[must_use]
    pub fn planned(name: &str, created_at: Timestamp, nominal: Timestamp) -> Firing {
        Firing { id: firing_id(name, created_at, nominal), nominal, manual: false }
    }

    /// The job to enqueue: the schedule's, with the firing's id and headers that say where it comes from.
    #[must_use]
    pub fn job(&self, spec: &ScheduleSpec) -> JobSpec {
        let mut job = JobSpec { id: Some(self.id), run_at: RunAt::Now, ..spec.job.clone() };
        let trigger = if self.manual { "manual" } else { "plan" };
        let ours = [
            (HEADER_SCHEDULE, spec.name.clone()),
            (HEADER_NOMINAL, self.nominal.0.to_string()),
            (HEADER_TRIGGER, trigger.to_owned()),
        ];
        let headers = &mut job.options_mut().headers;
        headers.retain(|(name, _)| ours.iter().all(|(own, _)| own != name));
        headers.extend(ours.map(|(name, value)| (name.to_owned(), value)));
        job
    }
}

/// FNV-1a with 128 bits: offset basis and prime.
const BASIS: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

/// The id of the job that the schedule `name`, created at `created_at`, enqueues for the nominal time `nominal`.
///
/// A UUID version 8 (RFC 9562 §5.8). The same firing has the same id for ever, so that a repeat after a crash is a
/// duplicate and not a second job; this is part of the stored format and must not change. It is FNV-1a (128 bits) over:
/// the name, a zero byte, `created_at` and `nominal` as big-endian milliseconds; then one multiply-and-fold, which brings
/// the last bytes, where two firings differ, into every bit.
///
/// ```
/// use windlass_core::schedule::firing_id;
/// use windlass_core::time::Timestamp;
/// let id = firing_id("nightly", Timestamp(1_780_000_000_000), Timestamp(1_780_012_800_000));
/// assert_eq!(id, firing_id("nightly", Timestamp(1_780_000_000_000), Timestamp(1_780_012_800_000)));
/// assert_ne!(id, firing_id("nightly", Timestamp(1_780_000_000_000), Timestamp(1_780_099_200_000)));
/// ```
#[must_use]
pub fn firing_id(name: &str, created_at: Timestamp, nominal: Timestamp) -> JobId {
    let numbers = [created_at.0.to_be_bytes(), nominal.0.to_be_bytes()];
    let bytes = name.bytes().chain([0]).chain(numbers.into_iter().flatten());
    let hash = bytes.fold(BASIS, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(PRIME));
    // The odd constant is the golden ratio in 128 bits.
    let spread = (hash ^ (hash >> 64)).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let mut id = (spread ^ (spread >> 64)).to_be_bytes();
    id[6] = (id[6] & 0x0f) | 0x80;
    id[8] = (id[8] & 0x3f) | 0x80;
    JobId(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Golden: a change of the hash would fire twice what an older server has fired.
    #[test]
    fn ids_never_change() {
        let id = |name: &str, created: u64, nominal: u64| {
            firing_id(name, Timestamp(created), Timestamp(nominal)).to_string()
        };
        assert_eq!(
            id("nightly", 1_780_000_000_000, 1_780_012_800_000),
            "18d75b5b-f576-8e2e-84d4-19dc0717c065"
        );
        assert_eq!(id("a", 0, 0), "65a4cec2-b52a-8d65-a551-c5b40a28cc93");
    }

    #[test]
    fn neighbours_differ_and_are_valid() {
        let mut seen = BTreeSet::new();
        for name in ["a", "b", "ab", "nightly"] {
            for created in 0..5 {
                for minute in 0..2_000 {
                    let id = firing_id(name, Timestamp(created), Timestamp(minute * 60_000));
                    assert_eq!((id.0[6] >> 4, id.0[8] >> 6), (8, 2), "version and variant");
                    assert!(seen.insert(id), "two firings share {id}");
                }
            }
        }
    }
}
