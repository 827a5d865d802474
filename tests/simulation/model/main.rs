//! The queue of the core against a naive queue.
//!
//! Goal: whatever is asked of a queue, in whatever order, it answers, counts and hands out as the plain rules say, and every
//! index entry agrees with its record. Method: `proptest-state-machine` draws steps from what the naive queue knows, both
//! carry them out, and all that can be seen of both is compared after each; a difference is reduced to the shortest list.
//!
//! `WINDLASS_CASES` sets the number of cases, `WINDLASS_SEED` where they start.

mod crowds;
mod firings;
mod naive;
mod orders;
mod rig;
mod steps;
mod suite;

/// Cases without further orders; some 20 seconds.
const CASES: u32 = 2_000;
/// Attempts to make a failing case shorter.
const SHRINKS_MAX: u32 = 20_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn the_queue_does_what_plain_rules_say() {
    let seed = number("WINDLASS_SEED").unwrap_or(1);
    let cases = number("WINDLASS_CASES").and_then(|cases| u32::try_from(cases).ok()).unwrap_or(CASES);
    if let Some(found) = suite::check(seed, cases, SHRINKS_MAX) {
        let suite::Difference { cases, what, steps } = found;
        panic!("run again with WINDLASS_SEED={seed} WINDLASS_CASES={cases}\n{what}\n{steps}");
    }
}

#[test]
fn a_schedule_does_what_plain_rules_say() {
    let seed = number("WINDLASS_SEED").unwrap_or(1);
    let cases = number("WINDLASS_CASES").and_then(|cases| u32::try_from(cases).ok()).unwrap_or(CASES);
    if let Some((cases, what)) = firings::check(seed, cases) {
        panic!("run again with WINDLASS_SEED={seed} WINDLASS_CASES={cases}\n{what}");
    }
}
