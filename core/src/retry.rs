//! The wait before the next attempt: a pure function of the policy, the attempt and a seed.

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::id::InvalidName;
use crate::limits;

/// The shape of the waits between attempts. All times are milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "policy")]
pub enum Backoff {
    /// The same wait each time.
    Fixed {
        /// The wait.
        delay_ms: u64,
        /// Added at random, in percent of the wait.
        #[serde(default)]
        jitter_percent: u8,
    },
    /// `base · factor^(attempt − 1)`, at most `max_ms`. The factor is in tenths, so 20 doubles.
    Exponential {
        /// The wait after the first attempt.
        base_ms: u64,
        /// Growth per attempt in tenths; 20 doubles.
        factor_tenths: u32,
        /// The longest wait.
        max_ms: u64,
        /// Added at random, in percent of the wait.
        #[serde(default)]
        jitter_percent: u8,
    },
    /// One wait per attempt; the last one repeats.
    List {
        /// The waits.
        delays_ms: Vec<u64>,
        /// Added at random, in percent of the wait.
        #[serde(default)]
        jitter_percent: u8,
    },
}

impl Default for Backoff {
    /// Exponential from 2 s, doubling, at most 2 days, 20 % jitter.
    fn default() -> Backoff {
        Backoff::Exponential {
            base_ms: 2_000,
            factor_tenths: 20,
            max_ms: 2 * 24 * 3600 * 1000,
            jitter_percent: 20,
        }
    }
}

impl Backoff {
    /// Milliseconds to wait after attempt number `attempt` (from 1) failed. `seed` decides the jitter, which only adds.
    ///
    /// ```
    /// use windlass_core::retry::Backoff;
    /// let policy = Backoff::Exponential { base_ms: 100, factor_tenths: 20, max_ms: 1_000, jitter_percent: 0 };
    /// let waits: Vec<u64> = (1..=5).map(|attempt| policy.delay_ms(attempt, 7)).collect();
    /// assert_eq!(waits, [100, 200, 400, 800, 1_000]);
    /// ```
    #[must_use]
    pub fn delay_ms(&self, attempt: u32, seed: u64) -> u64 {
        let (wait, jitter) = match self {
            Backoff::Fixed { delay_ms, jitter_percent } => (*delay_ms, *jitter_percent),
            Backoff::Exponential { base_ms, factor_tenths, max_ms, jitter_percent } => {
                let mut wait = *base_ms;
                for _ in 1..attempt {
                    if wait >= *max_ms {
                        break;
                    }
                    wait = wait.saturating_mul(u64::from(*factor_tenths)) / 10;
                }
                (wait.min(*max_ms), *jitter_percent)
            }
            Backoff::List { delays_ms, jitter_percent } => {
                let index = (attempt.max(1) as usize - 1).min(delays_ms.len().saturating_sub(1));
                (delays_ms.get(index).copied().unwrap_or(0), *jitter_percent)
            }
        };
        let span = u128::from(wait) * u128::from(jitter) / 100;
        let extra = (span * u128::from(mix(seed ^ u64::from(attempt)) >> 32)) >> 32;
        wait.saturating_add(u64::try_from(extra).unwrap_or(u64::MAX)).min(limits::DELAY_MS_MAX)
    }

    pub(crate) fn validate(&self) -> Result<(), InvalidName> {
        match self {
            Backoff::List { delays_ms, .. }
                if delays_ms.is_empty() || delays_ms.len() > limits::BACKOFF_LIST_MAX =>
            {
                Err(InvalidName(format!("a list backoff has 1 to {} waits", limits::BACKOFF_LIST_MAX)))
            }
            Backoff::Exponential { factor_tenths, .. } if *factor_tenths < 10 => Err(InvalidName(
                "the factor of an exponential backoff is at least 1.0 (10 tenths)".to_owned(),
            )),
            _ => Ok(()),
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): spreads a seed over 64 bits.
#[must_use]
pub fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Jitter only adds, and never more than it says; no input overflows.
        #[test]
        fn jitter_stays_in_its_bound(base in 0u64..1 << 40, jitter in 0u8..=100, attempt in 0u32..5_000, seed: u64) {
            let policy = Backoff::Fixed { delay_ms: base, jitter_percent: jitter };
            let wait = policy.delay_ms(attempt, seed);
            let most = base + base * u64::from(jitter) / 100;
            prop_assert!(wait >= base.min(limits::DELAY_MS_MAX) && wait <= most.min(limits::DELAY_MS_MAX));
            let _ = Backoff::default().delay_ms(attempt, seed);
        }
    }

    #[test]
    fn a_list_repeats_its_last_wait() {
        let policy = Backoff::List { delays_ms: vec![1, 5], jitter_percent: 0 };
        assert_eq!([1, 2, 3, 9].map(|n| policy.delay_ms(n, 0)), [1, 5, 5, 5]);
    }
}
