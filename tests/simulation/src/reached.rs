//! Situations that a run came into, counted: seeds that never see a stale report say nothing about stale reports. A test holds
//! that every one of them comes up.

use windlass_core::job::JobState;
use windlass_core::wire::Verdict;

use crate::history::{Act, Acted, Event};

/// Names of the situations.
pub const SITUATIONS: [&str; 20] = [
    "duplicate enqueue",
    "enqueue with unknown outcome",
    "enqueue refused",
    "lease run out",
    "lease ended by word",
    "worker back with leases",
    "stale report",
    "report recorded",
    "retry",
    "snooze",
    "release",
    "death",
    "cancel while waiting",
    "cancel while running",
    "retry by the operator",
    "delete",
    "dead retried or removed",
    "pause",
    "firing",
    "batches lost in a crash",
];

/// Which situation an event shows.
#[must_use]
pub fn situation(event: &Event, undurable: bool) -> Option<usize> {
    Some(match event {
        Event::Accepted { duplicate: true, .. } => 0,
        Event::EnqueueUnknown { .. } => 1,
        Event::EnqueueRefused { .. } => 2,
        Event::LeaseEnded { told: false, .. } => 3,
        Event::LeaseEnded { told: true, .. } => 4,
        Event::Resumed { kept, .. } if !kept.is_empty() => 5,
        Event::Judged { recorded: false, .. } => 6,
        Event::Judged { recorded: true, verdict, .. } => match verdict {
            Verdict::Retry { .. } => 8,
            Verdict::Snooze { .. } => 9,
            Verdict::Released => 10,
            Verdict::Dead { .. } => 11,
            Verdict::Done(_) | Verdict::Cancelled { .. } => 7,
        },
        Event::ActedOn { act: Act::Cancel, acted: Acted::Job(JobState::Cancelled), .. } => 12,
        Event::ActedOn { act: Act::Cancel, acted: Acted::Job(JobState::Running), .. } => 13,
        Event::ActedOn { act: Act::Retry, acted: Acted::Job(_), .. } => 14,
        Event::ActedOn { act: Act::Delete, acted: Acted::Done, .. } => 15,
        Event::DeadActed { count, .. } if *count > 0 => 16,
        Event::Paused { paused: true, .. } => 17,
        Event::Accepted { wish, duplicate: false, .. } if wish.firing.is_some() => 18,
        Event::ServerDied if undurable => 19,
        _ => return None,
    })
}
