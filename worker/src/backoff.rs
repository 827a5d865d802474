//! Waits between attempts to reach a server: exponential with full jitter, so that a thousand clients of a server that
//! comes back do not come back together.

use std::time::Duration;

/// Upper end of the first wait.
const FIRST: Duration = Duration::from_millis(50);
/// Upper end of every late wait. Short, since a worker has to be back within the grace time of its leases.
const LONGEST: Duration = Duration::from_millis(1_000);

/// Counts failed attempts and says how long to wait.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait before the next attempt; `random` is uniform in 0..1.
    pub(crate) fn next(&mut self, random: f64) -> Duration {
        let ceiling = LONGEST.min(FIRST.saturating_mul(1 << self.failures.min(16)));
        self.failures = self.failures.saturating_add(1);
        ceiling.mul_f64(random.clamp(0.0, 1.0))
    }

    /// Failed attempts so far.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_ceiling_and_jitter_fills_the_whole_span() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..7).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(backoff.next(0.0), Duration::ZERO);
        assert_eq!(backoff.failures(), 8);
    }
}
