//! One schedule in memory.

use std::collections::VecDeque;

use windlass_core::api::ScheduleView;
use windlass_core::schedule::{BadSchedule, Plan, Record, encode_record};
use windlass_core::time::{Mono, Now, Timestamp};

use super::order::{Change, Order, Reply};

/// Wait after the first refused firing; it doubles up to the longest.
const RETRY_MS_FIRST: u64 = 100;
const RETRY_MS_MAX: u64 = 5_000;

/// One schedule: what is durable of it, and the change that is under way.
#[derive(Default)]
pub(super) struct Entry {
    /// What is durable; `None` while the first commit is under way.
    pub(super) record: Option<Record>,
    /// The plan in the record; `None` when this version cannot read it.
    pub(super) plan: Option<Plan>,
    /// The change under way; while there is one, nothing else happens.
    pub(super) change: Option<Change>,
    /// Bytes of the record, and of the one that is under way.
    bytes: [usize; 2],
    /// What waits for it.
    pub(super) waiting: VecDeque<(Order, Reply)>,
    /// Firings refused in a row.
    failures: u32,
    /// When a refused firing is tried again.
    pub(super) retry_at: Option<Mono>,
}

impl Entry {
    /// Takes a record that has become durable.
    ///
    /// # Errors
    /// When its plan cannot be read; the schedule is kept and does not fire.
    pub(super) fn set(&mut self, record: Record) -> Result<(), BadSchedule> {
        self.bytes[0] = encode_record(&record).len();
        let same_plan = self.record.as_ref().is_some_and(|old| {
            old.spec.when == record.spec.when
                && old.spec.zone == record.spec.zone
                && old.created_at == record.created_at
        });
        let read = if same_plan {
            Ok(self.plan.take())
        } else {
            Plan::parse(&record.spec, record.created_at).map(Some)
        };
        self.record = Some(record);
        match read {
            Ok(plan) => {
                self.plan = plan;
                Ok(())
            }
            Err(bad) => {
                self.plan = None;
                Err(bad)
            }
        }
    }

    /// Takes a change that goes to the disk now.
    pub(super) fn begin(&mut self, change: Change) {
        self.bytes[1] = change.next.as_ref().map_or(0, |next| encode_record(next).len());
        self.change = Some(change);
    }

    /// Gives the change back that has come to its end.
    pub(super) fn end(&mut self) -> Option<Change> {
        self.bytes[1] = 0;
        self.change.take()
    }

    /// Bytes that it takes, or will take in a moment.
    pub(super) fn bytes(&self) -> usize {
        self.bytes[0].max(self.bytes[1])
    }

    /// When it is due next; `None` while it is paused, under change, backing off, or at the end of its calendar.
    pub(super) fn due_at(&self) -> Option<Timestamp> {
        let record = self.record.as_ref().filter(|record| record.paused_at.is_none())?;
        if self.change.is_some() || self.retry_at.is_some() {
            return None;
        }
        self.plan.as_ref()?.next_after(record.dealt_until)
    }

    /// Remembers a refused firing and when to try again.
    pub(super) fn back_off(&mut self, now: Now) {
        let wait_ms = RETRY_MS_FIRST.saturating_mul(1 << self.failures.min(10)).min(RETRY_MS_MAX);
        self.failures = self.failures.saturating_add(1);
        self.retry_at = Some(now.mono.plus_ms(wait_ms));
    }

    /// Whether this is the first refusal in a row, which is worth a line in the log.
    pub(super) fn fails_anew(&self) -> bool {
        self.failures == 0
    }

    /// Forgets refusals.
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
        self.retry_at = None;
    }

    /// What is shown of it; `None` before it exists.
    pub(super) fn view(&self, now: Timestamp) -> Option<ScheduleView> {
        let record = self.record.as_ref()?;
        Some(record.view(self.plan.as_ref(), now))
    }
}
