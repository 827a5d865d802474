//! Runs both queues side by side and compares all that can be seen.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Once};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest};
use windlass_core::job::JobState;
use windlass_core::queue::{LeaseMark, QueueRecord, read};
use windlass_core::store::Store;
use windlass_core::store::keys::{self, Place, region};

use crate::naive::{Answer, Id, Naive, Stand};
use crate::rig::{self, NO, Rig};
use crate::steps::{self, Step};

/// Steps of one case.
const STEPS: std::ops::Range<usize> = 1..80;

/// A difference between the two.
#[derive(Debug)]
pub(crate) struct Difference {
    /// How many cases it took.
    pub(crate) cases: u32,
    /// What differs.
    pub(crate) what: String,
    /// The steps that lead there, one a line.
    pub(crate) steps: String,
}

/// Runs `cases` random cases from `seed`; the steps of a failing one are made fewer in at most `shrinks_max` tries.
pub(crate) fn check(seed: u64, cases: u32, shrinks_max: u32) -> Option<Difference> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = Model::sequential_strategy(STEPS);
    for script in [steps::given_back(), steps::rushed_to_rest()] {
        if let Err((what, _, steps)) = attempt((Naive::new(true), script, None)) {
            return Some(Difference { cases: 0, what, steps: format!("{steps:?}") });
        }
    }
    (1..=cases).find_map(|case| {
        let mut tree = strategy.new_tree(&mut runner).expect("every model has steps");
        let mut found = attempt(tree.current()).err()?;
        let mut more = shrinks_max > 0 && tree.simplify();
        for _ in 0..shrinks_max {
            if !more {
                break;
            }
            more = match attempt(tree.current()) {
                Ok(()) => tree.complicate(),
                Err(shorter) => {
                    found = shorter;
                    tree.simplify()
                }
            };
        }
        let (what, tiny, steps) = found;
        let list: Vec<String> = steps.iter().map(|step| format!("  {step:?}")).collect();
        let steps = format!("tiny windows: {tiny}, steps:\n{}", list.join("\n"));
        Some(Difference { cases: case, what, steps })
    })
}

/// Runs one case. Its error is what differs, whether the windows were tiny, and the steps.
fn attempt((model, steps, seen): Case) -> Result<(), (String, bool, Vec<Step>)> {
    let case = (model.tiny, steps.clone());
    let ran = quietly(|| {
        let run = || Comparison::test_sequential(Config::default(), model, steps, seen);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
    });
    ran.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        (text.unwrap_or_default(), case.0, case.1)
    })
}

type Case = (Naive, Vec<Step>, Option<Arc<AtomicUsize>>);

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Differences are panics, and thousands of them while a case is made shorter: only the last one is for people.
pub(crate) fn quietly<T>(body: impl FnOnce() -> T) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                loud(panic);
            }
        }));
    });
    // The body catches the panics that it provokes.
    QUIET.set(true);
    let value = body();
    QUIET.set(false);
    value
}

/// The naive queue, as the one that foretells.
struct Model;

impl ReferenceStateMachine for Model {
    type State = Naive;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Naive> {
        any::<bool>().prop_map(Naive::new).boxed()
    }

    fn transitions(model: &Naive) -> BoxedStrategy<Step> {
        steps::step(model)
    }

    fn apply(mut model: Naive, step: &Step) -> Naive {
        model.step(step);
        model
    }

    fn preconditions(model: &Naive, step: &Step) -> bool {
        steps::is_foreseeable(model, step)
    }
}

/// Both, side by side.
struct Comparison;

impl StateMachineTest for Comparison {
    type SystemUnderTest = (Rig, BTreeSet<(u64, Id)>);
    type Reference = Model;

    fn init_test(model: &Naive) -> Self::SystemUnderTest {
        (Rig::new(model), BTreeSet::new())
    }

    fn apply((mut rig, watchers): Self::SystemUnderTest, model: &Naive, step: Step) -> Self::SystemUnderTest {
        rig.step(&step, model);
        if let Step::Unwatch(_) = step {
            watchers.difference(&model.watchers).for_each(|gone| rig.unwatch(*gone));
        }
        let (seen, foretold) = (sorted(&rig.answers), sorted(&model.answers));
        assert_eq!(seen, foretold, "answers (left: the queue's, right: the model's)");
        (rig, model.watchers.clone())
    }

    fn check_invariants((rig, _): &Self::SystemUnderTest, model: &Naive) {
        jobs_agree(rig, model);
        counters_agree(rig, model);
        records_agree(rig, model);
        let idle = model.paused || model.available().is_empty() || rig.waiting.is_empty();
        assert!(idle || !rig.told.is_empty(), "workers wait while jobs do, and nobody was told");
    }
}

fn sorted(answers: &[Answer]) -> Vec<Answer> {
    let mut sorted = answers.to_vec();
    sorted.sort();
    sorted
}

/// Every job is where the model has it, and no other is known.
fn jobs_agree(rig: &Rig, model: &Naive) {
    for id in 0..=Id::MAX {
        let view = rig::look(rig, id);
        let (Some(view), Some(job)) = (&view, model.jobs.get(&id)) else {
            assert_eq!(view.map(|view| view.state), model.state(id), "state of job {id}");
            continue;
        };
        assert_eq!(Some(view.state), model.state(id), "state of job {id}");
        let runs = u32::from(view.state == JobState::Running);
        let seen = (view.attempt, view.max_attempts, view.crashes, view.run_at.0, view.enqueued_at.0);
        let foretold = (job.attempts + runs, job.max_attempts, job.crashes, job.run_at, job.enqueued_at);
        assert_eq!(seen, foretold, "attempts, attempts allowed, crashes, run_at, enqueued_at of job {id}");
        let seen = (view.ended_at.map(|at| at.0), view.expires_at.map(|at| at.0), view.priority);
        assert_eq!(
            seen,
            (job.ended_at, job.expires_at, job.spec.priority),
            "end, expiry, priority of job {id}"
        );
        let cancel = matches!(&job.stand, Stand::Running(lease) if lease.cancel);
        assert_eq!(view.cancel_requested, cancel, "cancel of job {id}");
    }
}

fn counters_agree(rig: &Rig, model: &Naive) {
    let mut counts: BTreeMap<JobState, u64> = BTreeMap::new();
    for id in model.jobs.keys() {
        *counts.entry(model.state(*id).expect("a job has a state")).or_default() += 1;
    }
    let view = rig.queue.snapshot(rig.now);
    for state in JobState::ALL {
        let seen = view.counts.get(&state).copied().unwrap_or(0);
        assert_eq!(seen, counts.get(&state).copied().unwrap_or(0), "number of {state} jobs");
    }
    let totals = [view.enqueued_total, view.succeeded_total, view.failed_total, view.dead_total];
    let foretold = &model.totals;
    let foretold = [foretold.enqueued, foretold.succeeded, foretold.failed, foretold.dead];
    assert_eq!(totals, foretold, "totals: enqueued, succeeded, failed, dead");
    assert_eq!(view.paused, model.paused, "pause");
}

/// Each record belongs to a job of the model, stands in the right region and is found by its index entry; there is no entry
/// and no lease mark beside them.
fn records_agree(rig: &Rig, model: &Naive) {
    let mut found = BTreeSet::new();
    let mut indexed = BTreeSet::new();
    for region in [region::READY, region::TIMER, region::DEAD, region::KEPT] {
        for stored in rig.region(region, usize::MAX - 1).0 {
            let id = rig::number(&stored.job.id);
            let place = stored.place;
            assert!(found.insert(id), "job {id} has two records, one at {place:?}");
            let looked_up = rig.stored(&stored.job.id).map(|known| known.place);
            assert_eq!(looked_up, Some(place), "place by a look-up of job {id}");
            if !(stored.in_chunk && stored.job.id.is_timed(stored.job.enqueued_at)) {
                indexed.insert(id);
            }
            let stand = model.jobs.get(&id).map(|job| &job.stand);
            let right = match (place, stand) {
                (Place::Ready { .. } | Place::Timer { .. }, Some(Stand::Waiting | Stand::Running(_)))
                | (Place::Dead { .. }, Some(Stand::Dead(_))) => true,
                (Place::Kept { until, .. }, Some(Stand::Kept(_, at))) => until.0 == *at,
                _ => false,
            };
            assert!(right, "the record of job {id} is at {place:?}, the job is {stand:?}");
        }
    }
    let kept = model.jobs.iter().filter(|(_, job)| !matches!(job.stand, Stand::Remembered(_)));
    assert_eq!(found, kept.map(|(id, _)| *id).collect(), "jobs with records");
    assert_eq!(keys_of(rig, region::INDEX).into_keys().collect::<BTreeSet<_>>(), indexed, "index entries");
    let running = |(id, job): (&Id, &crate::naive::Job)| match &job.stand {
        Stand::Running(lease) => Some((*id, (lease.worker, lease.token, lease.cancel))),
        _ => None,
    };
    let marks = read::marks(&rig.store, NO).expect("marks that were just written").all();
    let mark = |(id, mark): (windlass_core::id::JobId, LeaseMark)| {
        (rig::number(&id), (mark.worker.0[0], mark.token, mark.cancel))
    };
    let marks: BTreeMap<_, _> = marks.into_iter().map(mark).collect();
    assert_eq!(marks, model.jobs.iter().filter_map(running).collect(), "lease marks");
    let record = rig.store.get(&keys::queue_key(rig.queue.name())).expect("the memory store can be read");
    let record =
        QueueRecord::from_bytes(&record.expect("a queue writes itself down")).expect("a whole record");
    assert_eq!(record.paused_at.is_some(), model.paused, "pause in the queue's record");
}

fn keys_of(rig: &Rig, region: u8) -> BTreeMap<Id, bytes::Bytes> {
    let (low, high) = keys::queue_range(region, NO);
    let mut found = BTreeMap::new();
    let each = &mut |key: &[u8], value: bytes::Bytes| {
        found.insert(rig::number(&keys::id_of(key).expect("a key with an id")), value);
        true
    };
    rig.store.scan(&low, &high, each).expect("the memory store can be read");
    found
}
