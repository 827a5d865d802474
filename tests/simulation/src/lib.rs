//! A whole Windlass in virtual time, from one seed.
//!
//! # What is simulated
//! The server ([`node`]) drives the real core, [`windlass_core::queue::Queue`] and [`windlass_core::schedule`], in the steps
//! of the real node: batches merged and sent to the store, answers held until durable, reads of the store that come late, a
//! disk that is full, sessions and leases, several queues on one store. Around it: a store that separates what is durable
//! from what is not ([`disk`]), a network ([`network`]), clocks that are set ([`clock`]), producers, workers and an operator.
//! What goes wrong is drawn from the seed ([`fault`]); what happened is judged by one file per promise ([`invariants`]).
//!
//! # What is not
//! Sockets, frames as bytes, threads, actix, the journal and sled, HTTP, gossip. Other suites have those. Several servers over
//! one database, and who of them owns, are simulated apart from all this in [`ownership`].
//!
//! # A seed again
//! ```text
//! cargo run --release -p windlass-simulation -- --seed 4711
//! ```
//! runs one seed and prints everything that happened. The same seed of the same commit gives the same run, to the byte.

pub mod clock;
pub mod disk;
pub mod facts;
pub mod fault;
pub mod history;
pub mod invariants;
pub mod many;
pub mod network;
pub mod node;
pub mod operator;
pub mod ownership;
pub mod producer;
pub mod reached;
pub mod report;
pub mod rng;
pub mod shrink;
pub mod worker;
pub mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

pub use fault::Fault;
pub use world::Planted;

/// How to run a seed.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Whether to keep everything that happened.
    pub trace: bool,
    /// Faults instead of those drawn from the seed.
    pub faults: Option<Vec<Fault>>,
    /// Whether to look for the shortest list of faults when a promise breaks.
    pub shrink: bool,
    /// A defect to plant into the server around the core.
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
    /// Commands to queues.
    pub commands: u64,
    /// Jobs.
    pub jobs: u64,
    /// Groups made durable.
    pub groups: u64,
    /// Loads from the store.
    pub loads: u64,
    /// Firings begun.
    pub firings: u64,
    /// Most batches of a queue that waited at once.
    pub in_flight_max: u64,
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
        self.commands += other.commands;
        self.jobs += other.jobs;
        self.groups += other.groups;
        self.loads += other.loads;
        self.firings += other.firings;
        self.in_flight_max = self.in_flight_max.max(other.in_flight_max);
        self.faults.iter_mut().zip(other.faults).for_each(|(sum, more)| *sum += more);
        self.reached.iter_mut().zip(other.reached).for_each(|(sum, more)| *sum += more);
    }
}

/// A broken promise.
#[derive(Debug, Clone)]
pub struct Violation {
    /// Which promise.
    pub invariant: &'static str,
    /// How it was broken.
    pub what: String,
    /// When, in milliseconds of the world's time.
    pub at_ms: u64,
    /// What happened to the job in question, or the last things that happened at all.
    pub lines: Vec<String>,
    /// The shortest list of faults found that still breaks it.
    pub faults: Vec<Fault>,
}

/// What came of a seed.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// The broken promise, if any.
    pub violation: Option<Violation>,
    /// Figures.
    pub stats: Stats,
    /// Everything that happened, when it was asked for.
    pub trace: String,
    /// The faults of this run.
    pub faults: Vec<Fault>,
}

/// Lines of a history that a violation shows at most.
const LINES_MAX: usize = 120;

/// Runs one seed.
#[must_use]
pub fn run(seed: u64, options: &Options) -> Outcome {
    let mut world = world::World::new(seed, options);
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| world.run())) {
        world.violated("no panic", panic_text(panic.as_ref()), None);
    }
    let faults = std::mem::take(&mut world.faults);
    let history = world.history.take();
    let violation = world.violation.take().map(|found| Violation {
        invariant: found.invariant,
        what: match found.key {
            Some((queue, id)) => format!("job {id} of queue {queue}: {}", found.what),
            None => found.what,
        },
        at_ms: found.at,
        lines: history
            .as_deref()
            .map(|history| report::lines(history, found.key, LINES_MAX))
            .unwrap_or_default(),
        faults: faults.clone(),
    });
    let trace = history.map(|history| report::trace(&history)).unwrap_or_default();
    let mut outcome = Outcome { seed, violation, stats: world.stats, trace, faults };
    if options.shrink {
        explain(&mut outcome, options);
    }
    outcome
}

/// What a panic said.
fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    text.unwrap_or_default()
}

/// Finds the shortest list of faults, and the lines of that run.
fn explain(outcome: &mut Outcome, options: &Options) {
    let Some(violation) = &outcome.violation else { return };
    let fails = |faults: &[Fault]| {
        let options =
            Options { faults: Some(faults.to_vec()), trace: false, shrink: false, ..options.clone() };
        let again = run(outcome.seed, &options).violation;
        again.is_some_and(|again| again.invariant == violation.invariant)
    };
    let faults = shrink::shortest(outcome.faults.clone(), fails);
    let again = Options { faults: Some(faults), trace: true, shrink: false, ..options.clone() };
    outcome.violation = run(outcome.seed, &again).violation.or_else(|| outcome.violation.take());
}
