//! The clocks of the server's machine: a wall clock that is set forward and back, and a monotonic one that begins anew with
//! every process. Both are functions of the world's true time, read by the rules of the node's clock: small steps back of
//! the wall clock are waited out, large ones followed; a time in which the server stood still hardly counts for leases.

use windlass_core::time::{Mono, Now, Timestamp};

/// What the wall clock shows when a world begins: a moment in 2026.
pub const WALL_START_MS: u64 = 1_780_000_000_000;
/// Longest uninterrupted sleep towards a wall-clock instant, as the node's clock naps: a clock that was set forward is
/// noticed after this.
pub const WALL_NAP_MS_MAX: u64 = 5_000;

/// Steps back that are waited out.
const STEP_BACK_MS_MAX: u64 = 10_000;
/// What the monotonic clock counts of a time in which the server stood still.
const STALL_MS_MAX: u64 = 400;

/// The clocks of the server.
#[derive(Debug, Clone)]
pub struct Clock {
    /// How far the wall clock is from the truth.
    offset_ms: i64,
    /// The latest wall time that this process has seen; small steps back are waited out.
    floor: u64,
    /// The latest wall time that any process has seen.
    latest: u64,
    /// True time at which this process began.
    born: u64,
}

impl Clock {
    /// A true clock, at true time 0.
    #[must_use]
    pub fn new() -> Clock {
        Clock { offset_ms: 0, floor: 0, latest: WALL_START_MS, born: 0 }
    }

    /// Both clocks as this process reads them.
    pub fn now(&mut self, at: u64) -> Now {
        let wall = self.shown(at);
        self.floor = wall;
        self.latest = self.latest.max(wall);
        Now { wall: Timestamp(wall), mono: Mono(at.saturating_sub(self.born)) }
    }

    fn shown(&self, at: u64) -> u64 {
        let raw = self.raw(at);
        if self.floor.saturating_sub(raw) <= STEP_BACK_MS_MAX { raw.max(self.floor) } else { raw }
    }

    /// The process has stood still for so long: nobody could break the silence meanwhile.
    pub fn stood_still(&mut self, ms: u64) {
        self.born += ms.saturating_sub(STALL_MS_MAX);
    }

    /// The latest wall time that any process of the server has seen.
    #[must_use]
    pub fn latest(&self) -> Timestamp {
        Timestamp(self.latest)
    }

    fn raw(&self, at: u64) -> u64 {
        (WALL_START_MS + at).saturating_add_signed(self.offset_ms)
    }

    /// Somebody sets the wall clock.
    pub fn jump(&mut self, ms: i64) {
        self.offset_ms += ms;
    }

    /// A new process: its monotonic clock begins at 0, and it has seen no wall time yet.
    pub fn restart(&mut self, at: u64) {
        self.born = at;
        self.floor = 0;
    }

    /// The clock is put right: it never shows less again than it has shown before, or what was due then would wait for
    /// the wall clock to catch up.
    pub fn heal(&mut self, at: u64) {
        let behind = self.latest.saturating_sub(self.raw(at));
        self.offset_ms += i64::try_from(behind).unwrap_or(i64::MAX);
    }

    /// True time at which a sleep until the earlier of both instants looks at the clock again.
    #[must_use]
    pub fn wakes_at(&self, at: u64, wall: Option<Timestamp>, mono: Option<Mono>) -> Option<u64> {
        let shown = self.shown(at);
        let wall_in = wall.map(|until| until.0.saturating_sub(shown).min(WALL_NAP_MS_MAX));
        let mono_in = mono.map(|until| (until.0 + self.born).saturating_sub(at));
        wall_in.into_iter().chain(mono_in).min().map(|ms| at + ms)
    }
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::new()
    }
}
