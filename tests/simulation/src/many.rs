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
    let one = |seed: u64, sum: &mut Sum| {
        let outcome = run(seed, &Options { shrink: true, ..Options::default() });
        sum.seeds += 1;
        sum.stats.add(&outcome.stats);
        let failed = outcome.violation.is_some();
        sum.violations.extend(failed.then_some(outcome));
        failed
    };
    let merge = |sum: &mut Sum, mine: Sum| {
        sum.seeds += mine.seeds;
        sum.stats.add(&mine.stats);
        sum.violations.extend(mine.violations);
    };
    let mut sum = spread(first, seeds, threads, progress, &one, &merge);
    sum.violations.sort_by_key(|outcome| outcome.seed);
    sum
}

/// Deals seeds out to threads. `one` runs a seed, adds what came of it to a sum and says whether it failed; `merge` adds one
/// sum to another.
pub fn spread<S: Default + Send>(
    first: u64,
    seeds: u64,
    threads: usize,
    progress: &(dyn Fn(u64) + Sync),
    one: &(dyn Fn(u64, &mut S) -> bool + Sync),
    merge: &(dyn Fn(&mut S, S) + Sync),
) -> S {
    let next = AtomicU64::new(first);
    let found = AtomicU64::new(0);
    let sum = Mutex::new(S::default());
    let end = first.saturating_add(seeds);
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let from = next.fetch_add(CHUNK, Ordering::Relaxed);
                    if from >= end || found.load(Ordering::Relaxed) >= VIOLATIONS_MAX {
                        break;
                    }
                    let mut mine = S::default();
                    let to = (from + CHUNK).min(end);
                    let failed = (from..to).filter(|seed| one(*seed, &mut mine)).count();
                    found.fetch_add(failed as u64, Ordering::Relaxed);
                    progress(to - from);
                    merge(&mut sum.lock().unwrap_or_else(PoisonError::into_inner), mine);
                }
            });
        }
    });
    sum.into_inner().unwrap_or_else(PoisonError::into_inner)
}
