//! Schedules: what a user asks for, and when it fires next.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::id::QueueName;
use crate::job::JobSpec;

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
