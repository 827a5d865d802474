//! Points in time as plain numbers. Nothing here reads a clock: the outside passes [`Now`] in.

use std::time::Duration;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// A wall-clock instant in milliseconds since the Unix epoch, UTC. For `run_at`, schedules and history.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The latest representable instant; used as "never".
    pub const MAX: Timestamp = Timestamp(u64::MAX);

    /// This instant plus `ms` milliseconds, saturating.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Timestamp {
        Timestamp(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to this instant, zero when the clock went backwards.
    #[must_use]
    pub fn since_ms(self, earlier: Timestamp) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The instant as a `chrono` UTC time, for printing and cron arithmetic; `None` beyond chrono's range.
    #[must_use]
    pub fn to_utc(self) -> Option<chrono::DateTime<chrono::Utc>> {
        chrono::DateTime::from_timestamp_millis(i64::try_from(self.0).ok()?)
    }

    /// RFC 3339 with milliseconds, as the API prints it; `"-"` beyond the calendar's range.
    #[must_use]
    pub fn to_rfc3339(self) -> String {
        self.to_utc()
            .map_or_else(|| "-".to_owned(), |t| t.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
    }
}

/// A monotonic instant in milliseconds since the process started. For leases, which must not follow a wall clock that jumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Mono(pub u64);

impl Mono {
    /// This instant plus `ms` milliseconds, saturating.
    #[must_use]
    pub fn plus_ms(self, ms: u64) -> Mono {
        Mono(self.0.saturating_add(ms))
    }
}

/// Both clocks, read once per message by the outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Wall clock. Within one process it does not take small steps back; a large one, by somebody who set the clock, it does.
    pub wall: Timestamp,
    /// Monotonic clock.
    pub mono: Mono,
}

/// A duration as whole milliseconds, saturating at `u64::MAX`.
#[must_use]
pub fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX)
}
