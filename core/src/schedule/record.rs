//! A schedule as the store keeps it, and how orders and firings change it.
//!
//! The first byte is the version of the layout, the rest is [`Record`] in bincode 2 standard configuration. A change of
//! the struct is a new layout with its own decoder and golden bytes; a newer server reads every older one.

use bincode::{Decode, Encode};
use bytes::Bytes;

use super::{Firing, Plan, ScheduleSpec};
use crate::api::ScheduleView;
use crate::id::JobId;
use crate::job::{BadRecord, body_of};
use crate::time::Timestamp;

const LAYOUT: u8 = 1;
/// Nominal times that a view shows.
const NEXT_SHOWN: usize = 5;

/// What the store keeps of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Record {
    /// What was asked for.
    pub spec: ScheduleSpec,
    /// When a schedule of this name was created; replacing it does not change this.
    pub created_at: Timestamp,
    /// Since when it is paused; `None` when it is not.
    pub paused_at: Option<Timestamp>,
    /// Every nominal time up to this instant is dealt with: fired, skipped, or before the schedule's time.
    pub dealt_until: Timestamp,
    /// The last nominal time that fired.
    pub last_nominal: Option<Timestamp>,
    /// The job of the last firing, manual ones included.
    pub last_job: Option<JobId>,
    /// Firings by plan since it was created.
    pub fired_total: u64,
    /// Nominal times left out by the catch-up policy since it was created.
    pub skipped_total: u64,
}

impl Record {
    /// A new schedule, which fires from `now` on.
    #[must_use]
    pub fn new(spec: ScheduleSpec, now: Timestamp) -> Record {
        Record {
            spec,
            created_at: now,
            paused_at: None,
            dealt_until: now,
            last_nominal: None,
            last_job: None,
            fired_total: 0,
            skipped_total: 0,
        }
    }

    /// The same schedule with another spec. Only another time plan starts from `now`; putting the same plan again, as
    /// applications do at every start, must not swallow a time that is due at this moment. What is dealt with stays so when
    /// the clock was set back.
    #[must_use]
    pub fn replaced(&self, spec: ScheduleSpec, now: Timestamp) -> Record {
        let same_plan = self.spec.when == spec.when && self.spec.zone == spec.zone;
        let dealt_until = if same_plan { self.dealt_until } else { self.dealt_until.max(now) };
        Record { spec, dealt_until, ..self.clone() }
    }

    /// The schedule paused since `now`; unchanged when it is already.
    #[must_use]
    pub fn paused(&self, now: Timestamp) -> Record {
        Record { paused_at: self.paused_at.or(Some(now)), ..self.clone() }
    }

    /// The schedule firing again: what was missed during the pause is not caught up, and what fired before it does not fire
    /// again when the clock was set back meanwhile. Unchanged when it is not paused.
    #[must_use]
    pub fn resumed(&self, now: Timestamp) -> Record {
        let dealt_until = if self.paused_at.is_some() { self.dealt_until.max(now) } else { self.dealt_until };
        Record { paused_at: None, dealt_until, ..self.clone() }
    }

    /// The schedule after a firing, `skipped` times before it having been left out. A manual firing leaves the plan alone.
    #[must_use]
    pub fn fired(&self, firing: &Firing, skipped: u64) -> Record {
        let last_job = Some(firing.id);
        if firing.manual {
            return Record { last_job, ..self.clone() };
        }
        Record {
            dealt_until: self.dealt_until.max(firing.nominal),
            last_nominal: Some(firing.nominal),
            last_job,
            fired_total: self.fired_total + 1,
            skipped_total: self.skipped_total.saturating_add(skipped),
            ..self.clone()
        }
    }

    /// The schedule after `skipped` times up to `until` were left out.
    #[must_use]
    pub fn skipped(&self, skipped: u64, until: Timestamp) -> Record {
        Record {
            dealt_until: self.dealt_until.max(until),
            skipped_total: self.skipped_total.saturating_add(skipped),
            ..self.clone()
        }
    }

    /// What is shown of it. A paused schedule has no next times, and neither has one whose plan cannot be read.
    #[must_use]
    pub fn view(&self, plan: Option<&Plan>, now: Timestamp) -> ScheduleView {
        let from = now.max(self.dealt_until);
        let live = plan.filter(|_| self.paused_at.is_none());
        let next = live.map_or_else(Vec::new, |plan| plan.next_n(from, NEXT_SHOWN));
        ScheduleView {
            spec: self.spec.clone(),
            paused: self.paused_at.is_some(),
            last_fired: self.last_nominal,
            last_job: self.last_job,
            fired_total: self.fired_total,
            skipped_total: self.skipped_total,
            next,
        }
    }
}

/// The bytes of a schedule at rest.
#[must_use]
pub fn encode_record(record: &Record) -> Bytes {
    let mut out = vec![LAYOUT];
    crate::wire::encode_into(&mut out, record);
    out.into()
}

/// Reads a schedule back.
///
/// # Errors
/// [`BadRecord`] for bytes that are not a whole record of a known layout.
pub fn decode_record(bytes: &[u8]) -> Result<Record, BadRecord> {
    crate::wire::decode_exact(body_of(bytes, LAYOUT)?).map_err(|e| BadRecord::Damaged(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::When;
    use crate::schedule::tests::spec;

    fn record() -> Record {
        let mut record =
            Record::new(spec(When::Cron("30 2 * * *".to_owned()), "Europe/Berlin"), Timestamp(1_000_000));
        record.last_nominal = Some(Timestamp(2_000_000));
        record.last_job = Some(JobId([7; 16]));
        record.fired_total = 3;
        record
    }

    /// Golden: a server of tomorrow reads what this one has written.
    #[test]
    fn bytes_never_change() {
        let bytes = encode_record(&record());
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "01076e696768746c79000a33302032202a202a202a0d4575726f70652f4265726c696e000764656661756c740006\
             7265706f727400027b7d000000fc40420f0000fc40420f0001fc80841e0001070707070707070707070707070707070300"
        );
        assert_eq!(decode_record(&bytes), Ok(record()));
    }

    #[test]
    fn damage_and_the_future_are_told_apart() {
        let bytes = encode_record(&record());
        assert_eq!(decode_record(&[]), Err(BadRecord::Damaged("empty".to_owned())));
        assert!(matches!(decode_record(&bytes[..bytes.len() - 1]), Err(BadRecord::Damaged(_))));
        assert_eq!(decode_record(&[9, 0]), Err(BadRecord::TooNew(9)));
        assert!(matches!(decode_record(&[0]), Err(BadRecord::Damaged(_))));
    }

    #[test]
    fn only_another_plan_forgets_what_is_due() {
        let (old, now) = (record(), Timestamp(9_000_000));
        assert_eq!(old.replaced(old.spec.clone(), now), old);
        let other = spec(When::EveryMs(60_000), "UTC");
        let replaced = old.replaced(other, now);
        assert_eq!(
            (replaced.dealt_until, replaced.created_at, replaced.fired_total),
            (now, old.created_at, 3)
        );
    }

    #[test]
    fn a_pause_is_not_caught_up() {
        let (old, later) = (record(), Timestamp(9_000_000));
        assert_eq!(old.resumed(later), old, "resuming what is not paused changes nothing");
        let paused = old.paused(Timestamp(3_000_000));
        assert_eq!(paused.paused(later), paused);
        assert_eq!(paused.resumed(later).dealt_until, later);
    }

    /// Found by the simulation, seed 4582: times that had fired became due once more, and fired once more where the jobs of
    /// the first time were forgotten.
    #[test]
    fn a_clock_that_was_set_back_undoes_nothing() {
        let (old, back) = (record(), Timestamp(500_000));
        assert!(back < old.dealt_until);
        assert_eq!(old.paused(back).resumed(back).dealt_until, old.dealt_until);
        assert_eq!(old.replaced(spec(When::EveryMs(60_000), "UTC"), back).dealt_until, old.dealt_until);
    }

    #[test]
    fn a_manual_firing_leaves_the_plan_alone() {
        let old = record();
        let manual = Firing { id: JobId([1; 16]), nominal: Timestamp(5_000_000), manual: true };
        let after = old.fired(&manual, 0);
        assert_eq!(Record { last_job: old.last_job, ..after }, old);
    }
}
