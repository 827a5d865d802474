//! Log lines that strangers can bring about: a few pass, the rest is counted, so that nobody fills a disk with them.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines that pass in a window.
const LINES_MAX: u32 = 10;
/// Length of a window.
const WINDOW: Duration = Duration::from_secs(10);

/// Counts what is said and what is not.
#[derive(Debug, Default)]
pub(crate) struct Hush {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    began: Option<Instant>,
    said: u32,
    left_out: u64,
}

impl Hush {
    /// Whether a line may be written now; the number says how many were left out since the last one.
    pub(crate) fn pass(&self) -> Option<u64> {
        self.pass_at(Instant::now())
    }

    fn pass_at(&self, now: Instant) -> Option<u64> {
        // Counts alone are in it, whole after every step.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.began.is_none_or(|began| now.duration_since(began) >= WINDOW) {
            state.began = Some(now);
            state.said = 0;
        }
        if state.said >= LINES_MAX {
            state.left_out += 1;
            return None;
        }
        state.said += 1;
        Some(std::mem::take(&mut state.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_costs_a_few_lines_and_is_counted() {
        let hush = Hush::default();
        let start = Instant::now();
        let said = (0..1_000).filter(|_| hush.pass_at(start).is_some()).count();
        assert_eq!(said, LINES_MAX as usize);
        assert_eq!(hush.pass_at(start + WINDOW), Some(1_000 - u64::from(LINES_MAX)));
        assert_eq!(hush.pass_at(start + WINDOW), Some(0));
    }
}
