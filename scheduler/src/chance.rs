//! Where a node's random numbers come from: the system, or a seed, so that a run can be repeated number by number.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use windlass_core::retry::mix;

/// Distance between two states of the seeded generator; odd, so that all of them come up.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// A cheap handle of a source of random numbers; clones draw from the same one. Defaults to the system's.
#[derive(Debug, Clone, Default)]
pub struct Chance {
    seeded: Option<Arc<AtomicU64>>,
}

impl Chance {
    /// The system's randomness.
    #[must_use]
    pub fn system() -> Chance {
        Chance::default()
    }

    /// Numbers that depend on nothing but the seed and the order of the draws. Not for secrets.
    #[must_use]
    pub fn seeded(seed: u64) -> Chance {
        Chance { seeded: Some(Arc::new(AtomicU64::new(seed))) }
    }

    /// The next number.
    #[must_use]
    pub fn u64(&self) -> u64 {
        match &self.seeded {
            None => rand::random(),
            Some(state) => mix(state.fetch_add(STEP, Ordering::Relaxed)),
        }
    }

    /// The next number, twice as long.
    #[must_use]
    pub fn u128(&self) -> u128 {
        u128::from(self.u64()) << 64 | u128::from(self.u64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_again_and_clones_share_them() {
        let draw = |chance: &Chance| [chance.u64(), chance.clone().u64(), chance.u64()];
        let first = draw(&Chance::seeded(7));
        assert_eq!(first, draw(&Chance::seeded(7)));
        assert_ne!(first, draw(&Chance::seeded(8)));
        assert!(first[0] != first[1] && first[1] != first[2]);
        assert_ne!(Chance::system().u128(), Chance::system().u128());
    }
}
