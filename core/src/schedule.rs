//! Schedules: what a user asks for, and when it fires next.
//!
//! ```text
//!   ScheduleSpec ──parse──► Plan ──next_after(t)──► the next instant, strictly later
//!   Record (stored) + Plan + now ──due──► the nominal time to fire, and how many were skipped
//!   name, created_at, nominal ──firing_id──► the id of the firing's job: a repeat is a duplicate
//! ```
//!
//! Cron text is read as crontab reads it (numeric weekdays from Sunday = 0, the "or" of day of month and day of week);
//! the `cron` crate then searches the calendar. It searches in *nominal* time, the time that the clock on the wall of
//! the zone would show if nobody ever moved it; [`Plan`] turns nominal times into instants by this rule:
//!
//! # When clocks are moved
//! - **Forward** (a gap): a nominal time that the clock never shows fires once, at the first instant after the gap.
//!   Several such times of one schedule are one firing, and so are they together with a nominal time at that very
//!   instant. A schedule of every hour is exempt: the clock did not show the time, and its next one is at most an hour
//!   away.
//! - **Back** (a repeated hour): a schedule whose second, minute and hour are all fixed ("02:30 every day") fires once,
//!   at the first of both. A schedule with a wildcard (`*` or `*/n`) in one of these fields follows the clock and fires
//!   both times, since it means a rhythm and not a time of day.
//! - Intervals count elapsed time and do not look at any clock on a wall.

mod crontab;
mod due;
mod every;
mod firing;
mod plan;
mod record;
mod zone;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

pub use due::{Due, LATE_MS_MAX, MISSED_COUNT_MAX};
pub use firing::{Firing, HEADER_NOMINAL, HEADER_SCHEDULE, HEADER_TRIGGER, firing_id};
pub use plan::Plan;
pub use record::{Record, decode_record, encode_record};

use crate::api::{ApiError, ErrorCode};
use crate::id::{JobId, QueueName};
use crate::job::JobSpec;
use crate::limits;
use crate::time::Timestamp;

/// Shortest interval, in milliseconds: anything faster is a loop in a worker, not a schedule.
pub const EVERY_MS_MIN: u64 = 1_000;
/// Longest interval, in milliseconds: as long as the longest delay of a job.
pub const EVERY_MS_MAX: u64 = limits::DELAY_MS_MAX;

/// What a schedule does with nominal times that passed while no server ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// Fires once, for the latest missed time.
    #[default]
    Latest,
    /// Fires for none of them.
    Skip,
}

/// When a schedule fires.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// A cron expression of five, six or seven fields, or `@daily` and its kin, read in the zone.
    Cron(String),
    /// Every so many milliseconds, counted from the schedule's creation; at least 1,000.
    EveryMs(u64),
}

/// What a user asks for.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct ScheduleSpec {
    /// Its name: 1 to [`crate::limits::SCHEDULE_NAME_BYTES_MAX`] bytes, same characters as a queue name.
    pub name: String,
    /// When it fires.
    #[serde(flatten)]
    pub when: When,
    /// IANA zone in which a cron expression is read. Defaults to `UTC`.
    pub zone: String,
    /// What happens to missed times. Defaults to the latest.
    pub catch_up: CatchUp,
    /// Queue of the jobs.
    pub queue: QueueName,
    /// The job of each firing; its id is made from schedule and nominal time, and `run_at` does not count.
    #[serde(skip)]
    pub job: JobSpec,
}

impl ScheduleSpec {
    /// Checks everything that can be known before the schedule is stored: its name, its plan, its job.
    ///
    /// # Errors
    /// The first rule that it breaks, as a sentence for the caller.
    pub fn validate(&self, now: Timestamp) -> Result<(), BadSchedule> {
        check_name(&self.name)?;
        let plan = Plan::parse(self, now)?;
        if plan.next_after(now).is_none() {
            return Err(BadSchedule::Never);
        }
        if self.job.options.as_ref().is_some_and(|options| options.expires_at.is_some()) {
            return Err(BadSchedule::Job(
                "it has a fixed expiry, after which no firing could run".to_owned(),
            ));
        }
        // Checked as it will be enqueued, with the headers that a firing adds.
        let firing = Firing { id: JobId([0; 16]), nominal: now, manual: true };
        firing.job(self).validate(now).map_err(|e| BadSchedule::Job(e.0))
    }
}

fn check_name(name: &str) -> Result<(), BadSchedule> {
    if name.is_empty() || name.len() > limits::SCHEDULE_NAME_BYTES_MAX {
        return Err(BadSchedule::Name(format!(
            "a schedule name has 1 to {} bytes",
            limits::SCHEDULE_NAME_BYTES_MAX
        )));
    }
    match name.chars().find(|c| !(c.is_ascii_alphanumeric() || "_-.:/@".contains(*c))) {
        Some(bad) => Err(BadSchedule::Name(format!(
            "the schedule name has the character {bad:?}; letters, digits and _ - . : / @ are allowed"
        ))),
        None => Ok(()),
    }
}

/// Why a schedule cannot be taken, as a sentence for the caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSchedule {
    /// The name breaks a rule.
    #[error("{0}")]
    Name(String),
    /// The cron expression as a whole is not one.
    #[error("{0}")]
    Expression(String),
    /// One field of the cron expression is wrong.
    #[error("{field} field {text:?}: {problem}")]
    Field {
        /// Which field.
        field: &'static str,
        /// What stands there, clipped.
        text: String,
        /// What is wrong and what is allowed.
        problem: String,
    },
    /// The interval is out of its bounds, or cannot be read.
    #[error("{0}")]
    Every(String),
    /// There is no such zone.
    #[error("there is no time zone {name:?} in the IANA database{hint}")]
    Zone {
        /// What was asked for, clipped.
        name: String,
        /// The nearest match as a clause, empty when nothing is near.
        hint: String,
    },
    /// No time in the calendar matches.
    #[error("the schedule never fires: no day up to the year 2100 matches it")]
    Never,
    /// The job breaks a rule.
    #[error("the job of the schedule: {0}")]
    Job(String),
}

impl From<BadSchedule> for ApiError {
    fn from(bad: BadSchedule) -> ApiError {
        ApiError::new(ErrorCode::Invalid, bad.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::Payload;

    pub(super) fn spec(when: When, zone: &str) -> ScheduleSpec {
        ScheduleSpec {
            name: "nightly".to_owned(),
            when,
            zone: zone.to_owned(),
            catch_up: CatchUp::Latest,
            queue: QueueName::default(),
            job: JobSpec::new("report", Payload::json("{}")),
        }
    }

    #[test]
    fn a_schedule_is_checked_as_a_whole() {
        let now = Timestamp(1_780_000_000_000);
        let good = spec(When::Cron("0 3 * * *".to_owned()), "Europe/Berlin");
        assert_eq!(good.validate(now), Ok(()));

        let refused = |change: fn(&mut ScheduleSpec)| {
            let mut bad = good.clone();
            change(&mut bad);
            bad.validate(now).expect_err("must be refused").to_string()
        };
        assert!(refused(|s| s.name.clear()).contains("1 to 128 bytes"));
        assert!(refused(|s| s.name = "two words".to_owned()).contains("' '"));
        assert!(refused(|s| s.zone = "Europe/Belrin".to_owned()).contains("Europe/Berlin"));
        assert!(refused(|s| s.job.kind.clear()).contains("job kind"));
        assert!(refused(|s| s.when = When::EveryMs(999)).contains("1 s"));
        assert!(refused(|s| s.when = When::EveryMs(u64::MAX)).contains("ten years"));
        assert!(refused(|s| s.when = When::Cron("0 0 30 2 *".to_owned())).contains("never fires"));
        assert!(refused(|s| s.when = When::Cron("0 0 0 1 1 * 2020".to_owned())).contains("never fires"));
        assert!(
            refused(|s| s.job.options_mut().headers = vec![("a".to_owned(), String::new()); 30])
                .contains("32 headers")
        );
    }
}
