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

/// Longest uninterrupted sleep towards a wall-clock instant: a wall clock that was set forward is noticed after this.
const WALL_NAP_MS_MAX: u64 = 5_000;

/// A cheap handle of the node's clock. Defaults to the system's.
#[derive(Clone)]
pub struct Clock {
    inner: Arc<Inner>,
}

struct Inner {
    origin: Instant,
    /// The latest wall time that was given out, in milliseconds: the wall clock of a process never goes back.
    floor: AtomicU64,
    source: Source,
}

enum Source {
    System,
    Manual(Manual),
    Given(Box<dyn Fn() -> Now + Send + Sync>),
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
        Clock { inner: Arc::new(Inner { origin: Instant::now(), floor: AtomicU64::new(0), source }) }
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
        let elapsed = || millis(self.inner.origin.elapsed());
        match &self.inner.source {
            Source::Given(now) => now(),
            Source::Manual(manual) => {
                let moved = *manual.moved.borrow();
                Now { wall: moved.wall, mono: Mono(elapsed().saturating_add(moved.mono_extra_ms)) }
            }
            Source::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis);
                let floor = self.inner.floor.fetch_max(since, Ordering::Relaxed);
                Now { wall: Timestamp(since.max(floor)), mono: Mono(elapsed()) }
            }
        }
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
