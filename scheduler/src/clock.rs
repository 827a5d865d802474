//! The clock of a node: the system's, or one that a test moves.
//!
//! Actors read it once per message and pass [`Now`] into the pure core; their timers sleep through
//! [`Clock::sleep_until`], so that moving a manual clock wakes whoever waits for that time.

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use windlass_core::time::{Mono, Now, Timestamp, millis};

/// How often a node that follows its own pace notes that it runs.
const BEAT: Duration = Duration::from_millis(100);
/// What the monotonic clock counts of a time in which the node stood still, in milliseconds; more than a busy node is ever late.
const STALL_MS_MAX: u64 = 400;

/// Longest uninterrupted sleep towards a wall-clock instant: a wall clock that was set forward is noticed after this.
const WALL_NAP_MS_MAX: u64 = 5_000;

/// Steps back of the system's clock that are waited out, so that corrections by the network change no order. After a larger
/// one the clock follows: standing still for hours would hold up every delay and every retry.
const STEP_BACK_MS_MAX: u64 = 10_000;

/// A cheap handle of the node's clock. Defaults to the system's.
#[derive(Clone)]
pub struct Clock {
    inner: Arc<Inner>,
}

struct Inner {
    origin: Instant,
    /// The latest wall time that was given out, in milliseconds: the wall clock of a process does not take small steps back.
    floor: AtomicU64,
    source: Source,
    pace: Mutex<Pace>,
}

enum Source {
    System,
    Manual(Manual),
    Given(Box<dyn Fn() -> Now + Send + Sync>),
}

/// When the node last noted that it runs, and what it has slept through. Behind a lock because both count together; it is held for
/// two additions.
#[derive(Debug, Clone, Copy, Default)]
struct Pace {
    /// In milliseconds since the origin; `None` while nobody notes anything.
    beat: Option<u64>,
    skipped_ms: u64,
    /// When the last stall ended, on the clock that leaves stalls out.
    woke: Option<Mono>,
}

impl Pace {
    /// The monotonic clock without the times in which the node stood still.
    fn mono(self, elapsed: u64) -> u64 {
        elapsed - self.skipped_ms - self.stalled(elapsed)
    }

    fn stalled(self, elapsed: u64) -> u64 {
        self.beat.map_or(0, |beat| elapsed.saturating_sub(beat.saturating_add(STALL_MS_MAX)))
    }

    fn note(&mut self, elapsed: u64) {
        let stalled = self.stalled(elapsed);
        if stalled > 0 {
            self.skipped_ms += stalled;
            self.woke = Some(Mono(elapsed - self.skipped_ms));
        }
        self.beat = Some(elapsed);
    }
}

struct Manual {
    moved: watch::Sender<Moved>,
}

#[derive(Clone, Copy)]
struct Moved {
    wall: Timestamp,
    mono_extra_ms: u64,
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::system()
    }
}

impl std::fmt::Debug for Clock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.inner.source {
            Source::System => "Clock(system)",
            Source::Manual(_) => "Clock(manual)",
            Source::Given(_) => "Clock(given)",
        })
    }
}

impl Clock {
    /// The clock of the machine.
    #[must_use]
    pub fn system() -> Clock {
        Clock::with(Source::System)
    }

    /// A clock that shows what `now` says, for simulations. Neither time may go back, and both must pass as tokio's time does,
    /// or sleeps take more than one nap.
    #[must_use]
    pub fn given(now: impl Fn() -> Now + Send + Sync + 'static) -> Clock {
        Clock::with(Source::Given(Box::new(now)))
    }

    fn with(source: Source) -> Clock {
        let pace = Mutex::new(Pace::default());
        Clock { inner: Arc::new(Inner { origin: Instant::now(), floor: AtomicU64::new(0), source, pace }) }
    }

    fn manual(&self) -> Option<&Manual> {
        match &self.inner.source {
            Source::Manual(manual) => Some(manual),
            Source::System | Source::Given(_) => None,
        }
    }

    /// Both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        let elapsed = || self.pace().mono(millis(self.inner.origin.elapsed()));
        match &self.inner.source {
            Source::Given(now) => now(),
            Source::Manual(manual) => {
                let moved = *manual.moved.borrow();
                Now { wall: moved.wall, mono: Mono(elapsed().saturating_add(moved.mono_extra_ms)) }
            }
            Source::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis);
                Now { wall: Timestamp(self.inner.floored(since)), mono: Mono(elapsed()) }
            }
        }
    }

    /// Notes that the node runs; returns for how long it has stood still.
    fn note_pace(&self) -> u64 {
        let elapsed = millis(self.inner.origin.elapsed());
        let mut pace = self.inner.pace.lock().unwrap_or_else(PoisonError::into_inner);
        let stalled = pace.stalled(elapsed);
        pace.note(elapsed);
        stalled
    }

    fn pace(&self) -> Pace {
        *self.inner.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves stalls out of the monotonic clock from now on, for as long as the future runs; it belongs on the thread of the
    /// actors. A node that stood still (SIGSTOP, a suspended machine) has heard of nobody meanwhile: silence that nobody could
    /// break must not end a lease.
    pub async fn keep_pace(self) {
        if matches!(self.inner.source, Source::Given(_)) {
            // Who gives the time knows when nothing runs.
            return;
        }
        loop {
            let stalled = self.note_pace();
            if stalled > 0 {
                tracing::warn!(
                    ms = stalled + STALL_MS_MAX,
                    "the node stood still; leases do not count that time"
                );
            }
            tokio::time::sleep(BEAT).await;
        }
    }

    /// Milliseconds since the node last stood still, as far as anybody noted it.
    #[must_use]
    pub fn awake_ms(&self, now: Mono) -> u64 {
        self.pace().woke.map_or(u64::MAX, |woke| now.0.saturating_sub(woke.0))
    }

    /// The wall clock of the machine, also when this clock is a manual one: for what other machines compare.
    #[must_use]
    pub fn system_wall(&self) -> Timestamp {
        Timestamp(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis))
    }

    /// Sleeps until the earlier of both instants has come; for ever when there is neither. Never ends early.
    pub fn sleep_until(
        &self,
        wall: Option<Timestamp>,
        mono: Option<Mono>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let clock = self.clone();
        async move {
            let mut moved = clock.manual().map(|manual| manual.moved.subscribe());
            loop {
                let now = clock.now();
                let wall_in = wall.map(|at| at.since_ms(now.wall));
                let mono_in = mono.map(|at| at.0.saturating_sub(now.mono.0));
                if wall_in == Some(0) || mono_in == Some(0) {
                    return;
                }
                match &mut moved {
                    Some(moved) => tokio::select! {
                        biased;
                        // The sender lives in this very clock.
                        _ = moved.changed() => {}
                        () = nap(mono_in) => {}
                    },
                    None => {
                        nap(mono_in.into_iter().chain(wall_in.map(|ms| ms.min(WALL_NAP_MS_MAX))).min()).await;
                    }
                }
            }
        }
    }
}

impl Inner {
    /// The time to give out when the system's clock shows `since`.
    fn floored(&self, since: u64) -> u64 {
        let floor = self.floor.fetch_max(since, Ordering::Relaxed);
        let back = floor.saturating_sub(since);
        if back <= STEP_BACK_MS_MAX {
            return since.max(floor);
        }
        // One thread follows and says so; the others find it done.
        if self.floor.compare_exchange(floor, since, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            tracing::warn!(
                ms = back,
                "the system's clock was set back; what is due by it waits for its time"
            );
        }
        since
    }
}

async fn nap(ms: Option<u64>) {
    match ms {
        Some(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
        None => std::future::pending().await,
    }
}

/// A wall clock that stands still until a test moves it. Leases and heartbeats go on in real time, so that moving the
/// clock by a day makes a delayed job due without making every worker look dead.
pub struct ManualClock {
    clock: Clock,
    // Two moves at once must not lose one.
    moving: Mutex<()>,
}

impl ManualClock {
    /// A clock that shows `wall`.
    #[must_use]
    pub fn new(wall: Timestamp) -> ManualClock {
        let (moved, _) = watch::channel(Moved { wall, mono_extra_ms: 0 });
        ManualClock { clock: Clock::with(Source::Manual(Manual { moved })), moving: Mutex::new(()) }
    }

    /// The clock to give to a node.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Moves the wall clock forward.
    pub fn advance_ms(&self, ms: u64) {
        self.change(|moved| moved.wall = moved.wall.plus_ms(ms));
    }

    /// Moves the clock of leases forward, as if nobody had been heard of for this long.
    pub fn advance_leases_ms(&self, ms: u64) {
        self.change(|moved| moved.mono_extra_ms = moved.mono_extra_ms.saturating_add(ms));
    }

    fn change(&self, change: impl FnOnce(&mut Moved)) {
        let _one = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(manual) = self.clock.manual() {
            manual.moved.send_modify(change);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_wakes_who_waits_for_it_and_nobody_earlier() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let manual = ManualClock::new(Timestamp(1_000));
            let clock = manual.clock();
            let waiter = tokio::spawn(clock.sleep_until(Some(Timestamp(61_000)), None));
            manual.advance_ms(59_999);
            tokio::task::yield_now().await;
            assert!(!waiter.is_finished());
            manual.advance_ms(1);
            waiter.await.unwrap();
            assert_eq!(clock.now().wall, Timestamp(61_000));
        });
    }

    #[test]
    fn small_steps_back_are_waited_out_and_large_ones_followed() {
        let clock = Clock::system();
        let at = |ms| clock.inner.floored(ms);
        assert_eq!(at(100_000), 100_000);
        assert_eq!(at(99_000), 100_000);
        assert_eq!(at(100_001), 100_001);
        assert_eq!(at(100_001 - STEP_BACK_MS_MAX), 100_001);
        assert_eq!(at(80_000), 80_000);
        assert_eq!(at(80_500), 80_500);
        assert_eq!(at(80_400), 80_500);
    }

    #[test]
    fn stalls_do_not_count_and_time_never_goes_back() {
        let mut pace = Pace::default();
        assert_eq!(pace.mono(50_000), 50_000);
        pace.note(50_000);
        assert_eq!(pace.mono(50_000 + STALL_MS_MAX), 50_000 + STALL_MS_MAX);
        // Whoever reads the clock before the stall is noted sees the same.
        assert_eq!(pace.mono(60_000), 50_000 + STALL_MS_MAX);
        pace.note(60_000);
        assert_eq!(pace.mono(60_000), 50_000 + STALL_MS_MAX);
        assert_eq!(pace.woke, Some(Mono(50_000 + STALL_MS_MAX)));
        pace.note(60_100);
        assert_eq!(pace.mono(60_150), 50_150 + STALL_MS_MAX);
    }

    #[test]
    fn the_system_clock_is_never_early() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let clock = Clock::system();
            for ms in [1, 7, 20] {
                let until = clock.now().wall.plus_ms(ms);
                clock.sleep_until(Some(until), None).await;
                assert!(clock.now().wall >= until);
            }
        });
    }
}
