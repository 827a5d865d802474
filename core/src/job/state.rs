//! The states of a job and every transition between them, in one place. `docs/job-lifecycle.md` draws the same picture.
//!
//! ```text
//!   enqueue ──► scheduled ──due──► ready ──lease──► running ──ack──► succeeded
//!      └───────────────────────────►│ ▲               │ │ └─fail──► retrying ──due──► ready
//!                                   │ └──snooze, give back, worker lost (attempts left)
//!                                   │                 ├─out of attempts, poison, refused──► dead ──retry──► ready
//!                 expires ◄─────────┴── cancel ──► cancelled ◄──────┘
//! ```

use std::fmt;
use std::str::FromStr;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::id::InvalidName;

/// Where a job stands in its life.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Waits for its time, before its first attempt.
    Scheduled,
    /// Waits for a worker.
    Ready,
    /// Blocked by a group, a limit, a dependency or a pause.
    Held,
    /// Leased to a worker.
    Running,
    /// Failed, and waits for its next attempt.
    Retrying,
    /// Done.
    Succeeded,
    /// Out of attempts, or refused for good; kept for a person.
    Dead,
    /// Cancelled before it was done.
    Cancelled,
    /// Its expiry came before a worker did.
    Expired,
}

impl JobState {
    /// All states, in the order of a life.
    pub const ALL: [JobState; 9] = [
        JobState::Scheduled,
        JobState::Ready,
        JobState::Held,
        JobState::Running,
        JobState::Retrying,
        JobState::Succeeded,
        JobState::Dead,
        JobState::Cancelled,
        JobState::Expired,
    ];

    /// The state's name, the same on the wire, in the CLI and on pages.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            JobState::Scheduled => "scheduled",
            JobState::Ready => "ready",
            JobState::Held => "held",
            JobState::Running => "running",
            JobState::Retrying => "retrying",
            JobState::Succeeded => "succeeded",
            JobState::Dead => "dead",
            JobState::Cancelled => "cancelled",
            JobState::Expired => "expired",
        }
    }

    /// Whether the job has come to an end: nothing happens to it any more unless somebody asks.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, JobState::Succeeded | JobState::Dead | JobState::Cancelled | JobState::Expired)
    }

    /// Whether a job may go from this state to `next` in one step.
    #[must_use]
    pub fn may_become(self, next: JobState) -> bool {
        TRANSITIONS.contains(&(self, next))
    }
}

/// Every legal step of a life; anything else is a defect.
pub const TRANSITIONS: &[(JobState, JobState)] = {
    use JobState::{Cancelled, Dead, Expired, Held, Ready, Retrying, Running, Scheduled, Succeeded};
    &[
        (Scheduled, Ready),
        (Scheduled, Cancelled),
        (Scheduled, Expired),
        (Scheduled, Dead),
        (Ready, Running),
        (Ready, Held),
        (Ready, Cancelled),
        (Ready, Expired),
        (Held, Ready),
        (Held, Cancelled),
        (Held, Expired),
        (Running, Succeeded),
        (Running, Retrying),
        (Running, Ready),
        (Running, Scheduled),
        (Running, Dead),
        (Running, Cancelled),
        (Retrying, Ready),
        (Retrying, Cancelled),
        (Retrying, Expired),
        (Retrying, Dead),
        (Dead, Ready),
        (Cancelled, Ready),
        (Expired, Ready),
    ]
};

impl fmt::Display for JobState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for JobState {
    type Err = InvalidName;

    fn from_str(s: &str) -> Result<JobState, InvalidName> {
        JobState::ALL.into_iter().find(|state| state.name() == s).ok_or_else(|| {
            let names: Vec<_> = JobState::ALL.iter().map(|state| state.name()).collect();
            let said = super::clip(s.to_owned(), 32);
            InvalidName(format!("there is no state {said:?}; the states are {}", names.join(", ")))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every state but the first is reached, and every state that is not final is left: no dead ends, no orphans.
    #[test]
    fn the_diagram_has_no_orphan() {
        for state in JobState::ALL {
            let reached = TRANSITIONS.iter().any(|(_, to)| *to == state);
            let left = TRANSITIONS.iter().any(|(from, _)| *from == state);
            assert!(reached, "{state} is never reached");
            assert!(left || state == JobState::Succeeded, "{state} is never left");
            assert_eq!(state.name().parse::<JobState>(), Ok(state));
        }
    }
}
