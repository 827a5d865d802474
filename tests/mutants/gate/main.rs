//! The mutation gate: a checker that misses its bug fails here.
//!
//! Goal: every planted bug is caught by one of those that it names, and without a bug nobody objects. Method: each plant is
//! switched on in turn; the model test and the simulator, or that of ownership, go from seed to seed until one that the plant
//! names objects. Bugs of the shell around the core are planted by the simulators themselves and judged the same way.
//!
//! `WINDLASS_MUTANT` runs the mutants whose name contains it, `WINDLASS_SEEDS` sets how far the simulator goes.

#[path = "../../simulation/model/crowds.rs"]
mod crowds;
#[path = "../../simulation/model/firings.rs"]
mod firings;
#[path = "../../simulation/model/naive.rs"]
mod naive;
#[path = "../../simulation/model/orders.rs"]
mod orders;
#[path = "../../simulation/model/rig.rs"]
mod rig;
#[path = "../../simulation/model/steps.rs"]
mod steps;
#[path = "../../simulation/model/suite.rs"]
mod suite;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use windlass_core::planted;
use windlass_core::plants::{self, MODEL};
use windlass_mutants::{Options, Planted, ownership, run};

/// Seeds of the simulator per mutant.
const SEEDS: u64 = 3_000;
/// After the first catch so many seeds are run at least, to say how often the bug shows.
const SEEDS_COUNTED: u64 = 100;
/// Cases of the model test per mutant.
const CASES: u32 = 3_000;
/// The judges of the simulator, one per file of its folder `invariants`.
const JUDGES: &[&str] = &[
    "a job runs and ends",
    "answered once",
    "attempts count up",
    "bounded memory",
    "confirmed jobs are kept",
    "conservation",
    "dead jobs stay",
    "ids are unique",
    "leases end",
    "liveness",
    "never early",
    "no resurrection",
    "one firing per nominal time",
    "one live lease",
    "order",
    "paused queues rest",
    "stale reports are refused",
    "tokens rise",
    "workers and jobs meet",
];

/// A bug, wherever it is planted.
struct Mutant {
    name: &'static str,
    caught_by: &'static [&'static str],
    simulator: Simulator,
    core: bool,
}

/// The simulator that must catch a bug, and what it plants itself.
enum Simulator {
    Server(Options),
    Ownership(ownership::Options),
}

impl Simulator {
    /// The promise that breaks in the run of this seed.
    fn broken(&self, seed: u64) -> Option<&'static str> {
        match self {
            Simulator::Server(options) => run(seed, options).violation.map(|found| found.invariant),
            Simulator::Ownership(options) => {
                ownership::run(seed, options).violation.map(|(promise, _)| promise)
            }
        }
    }
}

/// What became of a mutant.
struct Fate {
    name: &'static str,
    caught_by: Option<&'static str>,
    /// The first seed or case that showed it.
    first: u64,
    /// How many seeds of how many showed it.
    shown: (u64, u64),
    /// Everybody who objected, how often.
    objected: BTreeMap<&'static str, u64>,
    /// How often the planted place was passed.
    reached: u64,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let others: Vec<String> = self.objected.iter().map(|(who, count)| format!("{who} {count}")).collect();
        let caught_by = self.caught_by.unwrap_or("NOBODY");
        let (shown, of) = self.shown;
        let Fate { name, first, reached, .. } = self;
        write!(
            f,
            "{name:36} {caught_by:28} {first:>5} {shown:>5}/{of:<5} {reached:>8}  {}",
            others.join(", ")
        )
    }
}

fn mutants() -> Vec<Mutant> {
    let core = plants::all().into_iter().map(|plant| Mutant {
        name: plant.name,
        caught_by: plant.caught_by,
        simulator: if plant.edits.iter().all(|edit| edit.file.starts_with("cluster")) {
            Simulator::Ownership(ownership::Options::default())
        } else {
            Simulator::Server(Options::default())
        },
        core: true,
    });
    let shell = SHELL.iter().map(|(name, planted, caught_by)| Mutant {
        name,
        caught_by,
        simulator: Simulator::Server(Options { planted: Some(*planted), ..Options::default() }),
        core: false,
    });
    let node = NODE.iter().map(|(name, planted, caught_by)| Mutant {
        name,
        caught_by,
        simulator: Simulator::Ownership(ownership::Options {
            planted: Some(*planted),
            ..ownership::Options::default()
        }),
        core: false,
    });
    core.chain(shell).chain(node).collect()
}

/// Bugs of the server around the core.
const SHELL: &[(&str, Planted, &[&str])] = &[
    ("shell-acks-before-sync", Planted::AckBeforeSync, &["confirmed jobs are kept"]),
    ("shell-asks-no-store", Planted::NoLookUp, &["ids are unique"]),
    ("shell-leases-by-wall-clock", Planted::WallClockForLeases, &["one live lease"]),
    ("shell-fires-in-two-steps", Planted::CronInTwoSteps, &["one firing per nominal time"]),
    ("shell-has-a-lying-disk", Planted::LyingDisk, &["conservation", "confirmed jobs are kept"]),
    ("shell-delivers-to-two", Planted::DeliverToTwo, &["one live lease"]),
    ("shell-tells-nobody", Planted::NoNotices, &["workers and jobs meet"]),
    ("shell-records-unseen", Planted::RecordedUnseen, &["a job runs and ends"]),
    ("shell-answers-twice", Planted::AnswerTwice, &["answered once"]),
    ("shell-holds-everything", Planted::NoWindows, &["bounded memory"]),
    ("shell-pauses-in-name", Planted::PauseInName, &["paused queues rest"]),
];

/// Bugs of the nodes and the database around those who own.
const NODE: &[(&str, ownership::Planted, &[&str])] = &[
    ("node-reuses-its-nonce", ownership::Planted::NonceReused, &["one writer"]),
    ("node-claims-unseen", ownership::Planted::ClaimUnseen, &["no haste"]),
    ("node-claims-without-the-beat", ownership::Planted::ClaimWithoutBeat, &["no haste"]),
    ("node-commits-without-the-seq", ownership::Planted::CommitWithoutSeq, &["groups once, in order"]),
    ("node-confirms-at-once", ownership::Planted::ConfirmAtOnce, &["confirmed is committed"]),
    ("node-hands-out-at-once", ownership::Planted::HandOutAtOnce, &["hand-outs are durable"]),
    ("node-owns-in-silence", ownership::Planted::SilentOwner, &["a healthy owner stays"]),
    ("node-forgets-its-drain", ownership::Planted::HoldForgotten, &["drained nodes hold off"]),
    ("node-reads-no-ends", ownership::Planted::EndsUnread, &["what ended rests"]),
    ("node-sends-the-rest-backwards", ownership::Planted::RestBackwards, &["groups once, in order"]),
    ("node-begins-before-the-rest", ownership::Planted::NewBeforeRest, &["groups once, in order"]),
    ("node-leaves-the-refused-behind", ownership::Planted::RefusedLeftBehind, &["groups once, in order"]),
    ("node-confirms-the-window", ownership::Planted::ConfirmWindow, &["confirmed is committed"]),
];

/// Runs a mutant until one that it names has objected.
fn try_out(mutant: &Mutant, seeds: u64) -> Fate {
    let mut fate = Fate {
        name: mutant.name,
        caught_by: None,
        first: 0,
        shown: (0, 0),
        objected: BTreeMap::new(),
        reached: 0,
    };
    for seed in 0..seeds {
        let live = || suite::quietly(|| mutant.simulator.broken(seed));
        let broken = if mutant.core { planted::with(mutant.name, live) } else { live() };
        fate.reached += if mutant.core { planted::reached() } else { 0 };
        fate.shown.1 += 1;
        if let Some(promise) = broken {
            fate.shown.0 += 1;
            *fate.objected.entry(promise).or_default() += 1;
            if fate.caught_by.is_none() && mutant.caught_by.contains(&promise) {
                fate.caught_by = Some(promise);
                fate.first = seed;
            }
        }
        // What only the model test can see need not be looked for any longer.
        let hopeless = mutant.caught_by == [MODEL];
        if (fate.caught_by.is_some() || hopeless) && seed >= SEEDS_COUNTED {
            break;
        }
    }
    if fate.caught_by.is_none() && mutant.caught_by.contains(&MODEL) {
        try_model(mutant, &mut fate);
    }
    fate
}

fn try_model(mutant: &Mutant, fate: &mut Fate) {
    let found = planted::with(mutant.name, || {
        let schedules = firings::check(1, CASES);
        schedules.or_else(|| suite::check(1, CASES, 0).map(|found| (found.cases, found.what)))
    });
    fate.reached = planted::reached();
    if let Some((cases, _)) = found {
        fate.caught_by = Some(MODEL);
        fate.first = u64::from(cases);
        fate.shown = (1, u64::from(cases));
    }
}

/// Deals the work out to a thread per processor; every thread has its own switch.
fn all_fates(mutants: &[Mutant], seeds: u64) -> Vec<Fate> {
    let next = AtomicUsize::new(0);
    let fates = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(mutant) = mutants.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let fate = try_out(mutant, seeds);
                    println!("{fate}");
                    fates.lock().unwrap_or_else(PoisonError::into_inner).push(fate);
                }
            });
        }
    });
    fates.into_inner().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn every_planted_bug_is_caught() {
    let only = std::env::var("WINDLASS_MUTANT").unwrap_or_default();
    let seeds = std::env::var("WINDLASS_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(SEEDS);
    let mutants: Vec<Mutant> = mutants().into_iter().filter(|mutant| mutant.name.contains(&only)).collect();
    println!("{:36} {:28} {:>5} {:>11} {:>8}  objections", "mutant", "caught by", "first", "seeds", "passed");
    let fates = all_fates(&mutants, seeds);
    let missed: Vec<&str> =
        fates.iter().filter(|fate| fate.caught_by.is_none()).map(|fate| fate.name).collect();
    assert!(missed.is_empty(), "nobody who should has caught {}", missed.join(", "));
    if only.is_empty() {
        let exercised: BTreeSet<&str> = fates.iter().flat_map(|fate| fate.objected.keys().copied()).collect();
        let judges = JUDGES.iter().chain(&ownership::judges::PROMISES).copied();
        let idle: Vec<&str> = judges.filter(|judge| !exercised.contains(judge)).collect();
        assert!(idle.is_empty(), "no mutant exercises {idle:?}: plant a bug for each, or it may be blind");
    }
}

#[test]
fn without_a_bug_nobody_objects() {
    for seed in 0..SEEDS_COUNTED {
        let violation = run(seed, &Options::default()).violation;
        assert!(violation.is_none(), "seed {seed}: {violation:?}");
        let violation = ownership::run(seed, &ownership::Options::default()).violation;
        assert!(violation.is_none(), "seed {seed} of ownership: {violation:?}");
    }
    let found = suite::check(1, 100, 0);
    let steps = found.map(|found| found.steps);
    assert!(steps.is_none(), "the model test objects to the core itself: {steps:?}");
    let found = firings::check(1, 100);
    assert!(found.is_none(), "the model test objects to the core's schedules: {found:?}");
}

/// A judge that is not in the list above would need no mutant.
#[test]
fn every_judge_is_listed() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../simulation/src/invariants");
    let files = std::fs::read_dir(folder).expect("the judges' folder");
    assert_eq!(files.count(), JUDGES.len(), "judges in {folder}");
}
