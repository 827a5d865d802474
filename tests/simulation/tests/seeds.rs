//! Ten thousand seeds, and what makes them worth something: the same seed is the same run, every situation comes up, and each
//! defect that is planted into the server around the core is seen. (Those in the core itself: the mutation gate.)
//!
//! `WINDLASS_SEEDS` says how many, `WINDLASS_SEED` runs one.

use windlass_simulation::many::run_many;
use windlass_simulation::{Options, Planted, fault, reached, report, run};

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn every_promise_holds_on_every_seed() {
    let (first, seeds) = match from_environment("WINDLASS_SEED") {
        Some(seed) => (seed, 1),
        None => (0, from_environment("WINDLASS_SEEDS").unwrap_or(10_000)),
    };
    let sum = run_many(first, seeds, 2, &|_| {});
    let commit = report::commit();
    let texts: Vec<String> =
        sum.violations.iter().map(|outcome| report::violation(outcome, &commit)).collect();
    assert!(texts.is_empty(), "{}", texts.concat());
    assert_eq!(sum.seeds, seeds);
    println!("{}", report::summary(sum.seeds, &sum.stats, 0));
    if seeds >= 1_000 {
        for (kind, count) in fault::KINDS.iter().zip(sum.stats.faults) {
            assert!(count > 0, "no seed had the fault {kind:?}");
        }
        for (situation, count) in reached::SITUATIONS.iter().zip(sum.stats.reached) {
            assert!(count > 0, "no seed came into the situation {situation:?}");
        }
        assert!(sum.stats.loads > 0, "no queue had to load from the store");
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
    (Planted::AckBeforeSync, &["confirmed jobs are kept"]),
    (Planted::NoLookUp, &["ids are unique", "conservation", "no panic"]),
    (Planted::WallClockForLeases, &["one live lease", "liveness", "leases end"]),
    (Planted::CronInTwoSteps, &["one firing per nominal time"]),
    (Planted::LyingDisk, &["conservation", "recovery"]),
    (Planted::DeliverToTwo, &["one live lease"]),
    (Planted::NoNotices, &["workers and jobs meet", "liveness"]),
    (Planted::RecordedUnseen, &["a job runs and ends"]),
    (Planted::AnswerTwice, &["answered once"]),
    (Planted::NoWindows, &["bounded memory"]),
    (Planted::PauseInName, &["paused queues rest"]),
];

#[test]
fn planted_defects_are_seen() {
    for (planted, promises) in PLANTED {
        let options = Options { planted: Some(*planted), ..Options::default() };
        let found = (0..3_000).map(|seed| run(seed, &options)).find_map(|outcome| outcome.violation);
        let found = found.unwrap_or_else(|| panic!("nobody has seen {planted:?}"));
        assert!(
            promises.contains(&found.invariant),
            "{planted:?} was seen as {:?}: {}",
            found.invariant,
            found.what
        );
    }
}

/// What is shown of a failing seed is enough to see it fail again, with fewer faults.
#[test]
fn the_list_of_faults_is_shortened() {
    let options = Options { planted: Some(Planted::WallClockForLeases), shrink: true, ..Options::default() };
    let outcome = (0..3_000)
        .map(|seed| run(seed, &options))
        .find(|outcome| outcome.violation.is_some() && outcome.faults.len() > 5)
        .expect("a failing seed with many faults");
    let violation = outcome.violation.as_ref().expect("found by it");
    assert!(violation.faults.len() < outcome.faults.len(), "{:?}", violation.faults);
    assert!(!violation.lines.is_empty());
    let again =
        Options { faults: Some(violation.faults.clone()), planted: options.planted, ..Options::default() };
    let again = run(outcome.seed, &again).violation.expect("the short list fails too");
    assert_eq!(again.invariant, violation.invariant);
}
