//! Operations on many jobs as things of their own: counted first, then carried out at a pace, watched and cancelled.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::job::JobState;
use crate::time::Timestamp;

/// What is done to each job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BulkAct {
    /// Make it ready at once.
    Retry,
    /// Cancel it; a running one is asked to stop.
    Cancel,
    /// Remove it with its history.
    Delete,
}

impl BulkAct {
    /// All of them.
    pub const ALL: [BulkAct; 3] = [BulkAct::Retry, BulkAct::Cancel, BulkAct::Delete];

    /// Its name, the same everywhere.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            BulkAct::Retry => "retry",
            BulkAct::Cancel => "cancel",
            BulkAct::Delete => "delete",
        }
    }

    /// Whether a job in this state is touched. A ready job needs no retry, and one that would come back to where the
    /// operation looks must not keep it going for ever.
    #[must_use]
    pub fn touches(self, state: JobState) -> bool {
        match self {
            BulkAct::Retry => matches!(
                state,
                JobState::Dead
                    | JobState::Cancelled
                    | JobState::Expired
                    | JobState::Retrying
                    | JobState::Scheduled
            ),
            BulkAct::Cancel => !state.is_final(),
            BulkAct::Delete => state != JobState::Running,
        }
    }
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BulkSpec {
    /// What to do.
    pub act: BulkAct,
    /// To which jobs, in the language of [`crate::filter`]; not empty.
    pub filter: String,
    /// Why, for whoever reads the log or the list later. Defaults to nothing.
    #[serde(default)]
    pub reason: String,
    /// Jobs per second at most. Defaults to as fast as the store takes them.
    #[serde(default)]
    pub pace: Option<u32>,
    /// Only count. Defaults to no.
    #[serde(default)]
    pub dry_run: bool,
}

/// How far an operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BulkState {
    /// It counts.
    Counting,
    /// It is carried out.
    Running,
    /// It is through; after a dry run, it has counted.
    Done,
    /// Somebody stopped it; what was done stays done.
    Cancelled,
    /// It could not go on.
    Failed,
}

impl BulkState {
    /// Its name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            BulkState::Counting => "counting",
            BulkState::Running => "running",
            BulkState::Done => "done",
            BulkState::Cancelled => "cancelled",
            BulkState::Failed => "failed",
        }
    }

    /// Whether nothing more will happen.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, BulkState::Done | BulkState::Cancelled | BulkState::Failed)
    }
}

/// An operation, as it stands.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize)]
pub struct BulkView {
    /// Its number, from 1 since the start of the server.
    pub id: u64,
    /// What is done.
    pub act: BulkAct,
    /// To which jobs.
    pub filter: String,
    /// Why.
    pub reason: String,
    /// Jobs per second at most.
    pub pace: Option<u32>,
    /// Whether it only counts.
    pub dry_run: bool,
    /// How far it is.
    pub state: BulkState,
    /// Jobs looked at while counting.
    pub scanned: u64,
    /// Jobs found while counting.
    pub matched: u64,
    /// Jobs to which it was done.
    pub done: u64,
    /// Jobs that had changed before their turn came, and were left alone.
    pub skipped: u64,
    /// Why it failed.
    pub error: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
}
