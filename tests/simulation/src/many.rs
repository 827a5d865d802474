//! Many seeds over threads. Seeds know nothing of each other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::{Options, Outcome, Stats, run};

/// Violations after which no further seeds are run.
const VIOLATIONS_MAX: u64 = 10;
/// Seeds that a thread takes at a time.
const CHUNK: u64 = 64;

/// Many runs together.
#[derive(Debug, Default)]
pub struct Sum {
    /// Seeds that were run.
    pub seeds: u64,
    /// Their figures.
    pub stats: Stats,
    /// Those that broke a promise, explained.
    pub violations: Vec<Outcome>,
}

/// Runs seeds over threads. `progress` is called now and then with the number of seeds done since the last time.
#[must_use]
pub fn run_many(first: u64, seeds: u64, threads: usize, progress: &(dyn Fn(u64) + Sync)) -> Sum {
    let next = AtomicU64::new(first);
    let found = AtomicU64::new(0);
    let sum = Mutex::new(Sum::default());
    let end = first.saturating_add(seeds);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let from = next.fetch_add(CHUNK, Ordering::Relaxed);
                    if from >= end || found.load(Ordering::Relaxed) >= VIOLATIONS_MAX {
                        break;
                    }
                    let mut mine = Sum::default();
                    for seed in from..(from + CHUNK).min(end) {
                        let outcome = run(seed, &Options { shrink: true, ..Options::default() });
                        mine.seeds += 1;
                        mine.stats.add(&outcome.stats);
                        if outcome.violation.is_some() {
                            found.fetch_add(1, Ordering::Relaxed);
                            mine.violations.push(outcome);
                        }
                    }
                    progress(mine.seeds);
                    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
                    sum.seeds += mine.seeds;
                    sum.stats.add(&mine.stats);
                    sum.violations.extend(mine.violations);
                }
            });
        }
    });
    let mut sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    sum.violations.sort_by_key(|outcome| outcome.seed);
    sum
}
