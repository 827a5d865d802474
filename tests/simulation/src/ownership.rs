//! Several nodes, one database, one owner: who may own, write and hand out, in virtual time from a seed.
//!
//! # What is simulated
//! Nodes with the real [`Standby`](windlass_core::cluster::Standby) and, once they own, the real
//! [`Fence`](windlass_core::cluster::Fence) ([`node`], [`owner`]), around a small ledger of jobs ([`ledger`]). Between them and the
//! [`database`] a wire on which statements and answers are late, get lost, or are executed after their sender has given up ([`wire`]).
//! Nodes die, come back under the same name, stand still, and in some worlds two have one name; gossip is late, wrong and cut; the database is away, slow, and comes
//! back younger than it was ([`fault`]). What happened ([`fact`]) is judged promise by promise ([`judges`]).
//!
//! # What is not
//! SQL, sockets, the queue (which has the simulation beside this one), and the loading of a large store. Clocks run evenly: a
//! standby whose clock runs fast counts more silence than there was.
//!
//! # A seed again
//! ```text
//! cargo run --release -p windlass-simulation -- --ownership --seed 4711
//! ```

pub mod database;
pub mod fact;
pub mod fault;
pub mod judges;
pub mod ledger;
pub mod node;
pub mod owner;
pub mod reached;
pub mod wire;
pub mod world;

use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use fault::Fault;

use crate::{many, shrink};

/// A defect that is planted around the core, to prove that the judges see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// A node has one nonce for all its claims.
    NonceReused,
    /// Claims look neither at the epoch nor at the beat.
    ClaimUnseen,
    /// Claims do not look at the beat.
    ClaimWithoutBeat,
    /// Commits do not look at the seq.
    CommitWithoutSeq,
    /// Clients are told before the answer to the commit.
    ConfirmAtOnce,
    /// Jobs are handed out before the answer to the commit.
    HandOutAtOnce,
    /// An owner with nothing to commit gives no sign of life.
    SilentOwner,
    /// A node forgets with its seat that it was drained.
    HoldForgotten,
    /// A new owner does not read the ends of jobs.
    EndsUnread,
    /// What has to be sent again is sent in the wrong order.
    RestBackwards,
    /// A new group is sent before those that have to be sent again.
    NewBeforeRest,
    /// A group without room is taken back, and those begun after it are not.
    RefusedLeftBehind,
    /// The answer to the oldest commit in flight confirms those behind it as well.
    ConfirmWindow,
}

/// How to run a seed.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether to keep everything that happened.
    pub trace: bool,
    /// Faults instead of those drawn from the seed.
    pub faults: Option<Vec<Fault>>,
    /// A defect to plant.
    pub planted: Option<Planted>,
}

/// Figures of one run, or the sum of many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Virtual time in milliseconds.
    pub virtual_ms: u64,
    /// Events of the world.
    pub events: u64,
    /// Events put on the heap.
    pub scheduled: u64,
    /// Claims that applied.
    pub claims: u64,
    /// Groups in the journal.
    pub groups: u64,
    /// Jobs.
    pub jobs: u64,
    /// Faults, by kind; see [`fault::KINDS`].
    pub faults: [u64; fault::KINDS.len()],
    /// Situations that came up, by kind; see [`reached::SITUATIONS`].
    pub reached: [u64; reached::SITUATIONS.len()],
}

impl Stats {
    /// Adds another run's figures.
    pub fn add(&mut self, other: &Stats) {
        self.virtual_ms += other.virtual_ms;
        self.events += other.events;
        self.scheduled += other.scheduled;
        self.claims += other.claims;
        self.groups += other.groups;
        self.jobs += other.jobs;
        self.faults.iter_mut().zip(other.faults).for_each(|(sum, more)| *sum += more);
        self.reached.iter_mut().zip(other.reached).for_each(|(sum, more)| *sum += more);
    }
}

/// What came of a seed.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The broken promise and how it was broken, if one was.
    pub violation: Option<(&'static str, String)>,
    /// Figures.
    pub stats: Stats,
    /// Everything that happened, when it was asked for.
    pub trace: String,
    /// The faults of this run.
    pub faults: Vec<Fault>,
}

/// Many runs together.
#[derive(Debug, Default)]
pub struct Sum {
    /// Seeds that were run.
    pub seeds: u64,
    /// Their figures.
    pub stats: Stats,
    /// Those that broke a promise.
    pub violations: Vec<Outcome>,
}

/// Runs one seed.
#[must_use]
pub fn run(seed: u64, options: &Options) -> Outcome {
    let mut world = world::World::new(seed, options);
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| world.run())) {
        world.violated("no panic", crate::panic_text(panic.as_ref()));
    }
    let mut trace = String::new();
    for (at, fact) in world.history.iter().flatten() {
        // Writing to a string does not fail.
        let _ = writeln!(trace, "{at:>7} ms  {fact:?}");
    }
    let violation = world.violation.map(|(at, wrong)| (wrong.0, format!("at {at} ms: {}", wrong.1)));
    Outcome { seed, violation, stats: world.stats, trace, faults: world.faults }
}

/// Runs seeds over threads. `progress` is called now and then with the number of seeds done since the last time.
#[must_use]
pub fn run_many(first: u64, seeds: u64, threads: usize, progress: &(dyn Fn(u64) + Sync)) -> Sum {
    let one = |seed: u64, sum: &mut Sum| {
        let outcome = run(seed, &Options::default());
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
    let mut sum = many::spread(first, seeds, threads, progress, &one, &merge);
    sum.violations.sort_by_key(|outcome| outcome.seed);
    sum
}

/// Lines of a history that a violation shows at most.
const LINES_MAX: usize = 60;

/// A violation, with what is needed to see it again: the shortest list of faults that still breaks the promise, and the last
/// things that happened.
#[must_use]
pub fn explain(outcome: &Outcome, options: &Options, commit: &str) -> String {
    let Some((promise, _)) = outcome.violation else {
        return format!("seed {}: all promises held\n", outcome.seed);
    };
    let again = |faults: &[Fault], trace| {
        run(outcome.seed, &Options { faults: Some(faults.to_vec()), trace, ..options.clone() })
    };
    let fails =
        |faults: &[Fault]| again(faults, false).violation.is_some_and(|(broken, _)| broken == promise);
    let faults = shrink::shortest(outcome.faults.clone(), fails);
    let shortest = again(&faults, true);
    let what = shortest.violation.map(|(_, what)| what).unwrap_or_default();
    let mut text = format!("\nVIOLATION of \"{promise}\" {what}\n  seed {}, commit {commit}\n", outcome.seed);
    let lines: Vec<&str> = shortest.trace.lines().collect();
    for line in lines.iter().skip(lines.len().saturating_sub(LINES_MAX)) {
        let _ = writeln!(text, "    {line}");
    }
    let _ = writeln!(text, "  shortest list of faults found ({} of {}):", faults.len(), outcome.faults.len());
    for fault in &faults {
        let _ = writeln!(text, "    {:>7} ms  {:?}", fault.at, fault.what);
    }
    let _ = writeln!(
        text,
        "  again: cargo run --release -p windlass-simulation -- --ownership --seed {}",
        outcome.seed
    );
    text
}

/// The figures of many runs.
#[must_use]
pub fn summary(sum: &Sum) -> String {
    let list = |names: &[&str], counts: &[u64]| {
        let each: Vec<String> =
            names.iter().zip(counts).map(|(name, count)| format!("{name} {count}")).collect();
        each.join(", ")
    };
    let stats = &sum.stats;
    format!(
        "ownership: {} seeds, {} virtual seconds, {} events, {} claims, {} groups, {} jobs; faults: {}; situations: {}; {} violations",
        sum.seeds,
        stats.virtual_ms / 1_000,
        stats.events,
        stats.claims,
        stats.groups,
        stats.jobs,
        list(&fault::KINDS, &stats.faults),
        list(&reached::SITUATIONS, &stats.reached),
        sum.violations.len()
    )
}
