//! Thousands of seeds of several nodes over one database, and what makes them worth something, as in `seeds.rs`.
//!
//! `WINDLASS_SEEDS` says how many, `WINDLASS_SEED` runs one.

use windlass_simulation::ownership::{self, Options, Planted, explain, fault, reached, run};
use windlass_simulation::report;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn every_promise_holds_on_every_seed() {
    let (first, seeds) = match from_environment("WINDLASS_SEED") {
        Some(seed) => (seed, 1),
        None => (0, from_environment("WINDLASS_SEEDS").unwrap_or(3_000)),
    };
    let sum = ownership::run_many(first, seeds, 2, &|_| {});
    let commit = report::commit();
    let texts: Vec<String> =
        sum.violations.iter().map(|outcome| explain(outcome, &Options::default(), &commit)).collect();
    assert!(texts.is_empty(), "{}", texts.concat());
    assert_eq!(sum.seeds, seeds);
    println!("{}", ownership::summary(&sum));
    if seeds >= 1_000 {
        for (kind, count) in fault::KINDS.iter().zip(sum.stats.faults) {
            assert!(count > 0, "no seed had the fault {kind:?}");
        }
        for (situation, count) in reached::SITUATIONS.iter().zip(sum.stats.reached) {
            assert!(count > 0, "no seed came into the situation {situation:?}");
        }
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..20 {
        let options = Options { trace: true, ..Options::default() };
        let (one, two) = (run(seed, &options), run(seed, &options));
        assert!(one.trace.lines().count() > 20, "seed {seed} did nothing");
        assert_eq!(one.trace, two.trace, "seed {seed}");
        assert_eq!(one.stats, two.stats, "seed {seed}");
    }
}

/// Every defect with the promises of which one must break.
const PLANTED: &[(Planted, &[&str])] = &[
    (Planted::NonceReused, &["one writer"]),
    (Planted::ClaimUnseen, &["no haste", "a healthy owner stays"]),
    (Planted::ClaimWithoutBeat, &["no haste"]),
    (Planted::CommitWithoutSeq, &["groups once, in order"]),
    (Planted::ConfirmAtOnce, &["confirmed is committed"]),
    (Planted::HandOutAtOnce, &["hand-outs are durable"]),
    (Planted::SilentOwner, &["a healthy owner stays"]),
    (Planted::HoldForgotten, &["drained nodes hold off"]),
    (Planted::EndsUnread, &["what ended rests"]),
    (Planted::RestBackwards, &["groups once, in order"]),
    (Planted::NewBeforeRest, &["groups once, in order"]),
    (Planted::RefusedLeftBehind, &["groups once, in order"]),
    (Planted::ConfirmWindow, &["confirmed is committed", "hand-outs are durable"]),
];

#[test]
fn planted_defects_are_seen() {
    for (planted, promises) in PLANTED {
        let options = Options { planted: Some(*planted), ..Options::default() };
        let found = (0..3_000).map(|seed| run(seed, &options)).find_map(|outcome| outcome.violation);
        let (promise, what) = found.unwrap_or_else(|| panic!("nobody has seen {planted:?}"));
        assert!(promises.contains(&promise), "{planted:?} was seen as {promise:?}: {what}");
    }
}
