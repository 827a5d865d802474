//! What can be done to a queue, as data that shrinks, and how a step is drawn: mostly sensible, sometimes nasty.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::naive::{Id, Naive, Worker};

/// Ids in play: few enough to come again, and enough to fill tiny windows.
const IDS: Id = 100;
const WORKERS: Worker = 3;
/// Jobs that wait for a time while the windows are tiny. More than the window holds would be delivered in an order that depends
/// on what is in memory; what becomes of them is the simulator's to check.
const TIMED_MAX: usize = 8;

/// When a new job may start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Start {
    Now,
    Past,
    After(u64),
    At(u64),
}

/// A new job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spec {
    pub(crate) id: Id,
    pub(crate) priority: i8,
    pub(crate) start: Start,
    pub(crate) max_attempts: u32,
    pub(crate) backoff_ms: u64,
    pub(crate) retention_ms: Option<u64>,
    pub(crate) expires_ms: Option<u64>,
    /// Whether it breaks a rule.
    pub(crate) bad: bool,
}

/// Jobs that are enqueued together.
#[derive(Debug, Clone)]
pub(crate) struct Batch {
    pub(crate) jobs: Vec<Spec>,
}

/// Which token a report carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// The last one that the job had, whether it still runs or not.
    Latest,
    /// The one before.
    Earlier,
    /// The last one, of another epoch.
    OtherEpoch,
    /// One that nobody has got yet.
    Next,
}

/// What a report says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    Done,
    Retry(Option<u64>),
    Snooze(u64),
    Dead,
    Cancelled,
    Released,
}

/// One step.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Enqueue(Batch),
    Fetch {
        worker: Worker,
        slots: usize,
    },
    /// A worker asks, and a job is deleted while a scan of the store that still shows it is on its way.
    Slow {
        worker: Worker,
        slots: usize,
        id: Id,
    },
    /// A worker asks between an enqueue and its commit.
    Hasty {
        batch: Batch,
        worker: Worker,
        slots: usize,
    },
    /// Jobs come and go, and nothing of it is durable until all is decided.
    Rushed(Vec<Step>),
    /// The same as a fetch, and the queue has not been told since that time has passed.
    LateFetch {
        worker: Worker,
        slots: usize,
        ms: u64,
    },
    Report(Vec<(Id, Proof, End)>),
    Renew(Worker),
    Away(Worker),
    Lost(Worker),
    /// The worker keeps those of `keeps` that it holds, and presents `stale` without a right to it.
    Resume {
        worker: Worker,
        keeps: BTreeSet<Id>,
        stale: Option<Id>,
    },
    Cancel(Id),
    Retry(Id),
    Delete(Id),
    RetryDead(usize),
    DeleteDead(usize),
    Watch(Id),
    /// The watcher of this number, counted round.
    Unwatch(usize),
    Pause(bool),
    Remember(usize),
    Pass {
        wall_ms: u64,
        mono_ms: u64,
    },
    Restart,
}

/// Whether a step keeps to what the model can foretell.
pub(crate) fn is_foreseeable(model: &Naive, step: &Step) -> bool {
    if let Step::LateFetch { ms, .. } = step {
        // Leases that end and timers that come due take effect after the command that finds them so; only expiry is judged
        // at the hand-out itself. Which of two ends came first shows in what is remembered, now or later.
        return !model.is_eventful_within(*ms) && model.expiring_within(*ms) < 2;
    }
    if let Step::Slow { slots, id, .. } = step {
        // A job that the worker gets might be running or gone, depending on the scan.
        return model.tiny && !model.available().iter().take(*slots).any(|next| next == id);
    }
    if let Step::Hasty { .. } = step {
        // With tiny windows the new jobs send others to rest before the worker asks; what became ready at this very moment
        // shares its place with them.
        return !model.tiny && !model.has_news();
    }
    if !model.tiny {
        return true;
    }
    // The expiry of a job at rest is seen when the job comes back to memory, and that is for the simulator too.
    if expires(step) {
        return false;
    }
    let mut after = model.clone();
    after.step(step);
    after.timed() <= TIMED_MAX
}

/// Whether jobs come that may expire.
fn expires(step: &Step) -> bool {
    match step {
        Step::Enqueue(batch) => batch.jobs.iter().any(|spec| spec.expires_ms.is_some()),
        Step::Rushed(steps) => steps.iter().any(expires),
        _ => false,
    }
}

/// A step from here.
pub(crate) fn step(model: &Naive) -> BoxedStrategy<Step> {
    // Reports are about jobs that run, as a rule.
    let running: Vec<Id> = model
        .jobs
        .keys()
        .copied()
        .filter(|id| model.state(*id) == Some(windlass_core::job::JobState::Running))
        .collect();
    let target = match running.is_empty() {
        true => (0..IDS).boxed(),
        false => prop_oneof![9 => prop::sample::select(running), 1 => 0..IDS].boxed(),
    };
    let known: Vec<Id> = model.jobs.keys().copied().collect();
    let known = match known.is_empty() {
        true => (0..IDS).boxed(),
        false => prop_oneof![9 => prop::sample::select(known), 1 => 0..IDS].boxed(),
    };
    let id = || known.clone();
    let worker = || 0..WORKERS;
    prop_oneof![
        14 => batch(12).prop_map(Step::Enqueue),
        12 => (worker(), 0usize..24).prop_map(|(worker, slots)| Step::Fetch { worker, slots }),
        5 => (worker(), 1usize..10, id()).prop_map(|(worker, slots, id)| Step::Slow { worker, slots, id }),
        1 => (batch(4), worker(), 1usize..16)
            .prop_map(|(batch, worker, slots)| Step::Hasty { batch, worker, slots }),
        4 => prop::collection::vec(rushed(id()), 2..6).prop_map(Step::Rushed),
        2 => (worker(), 1usize..16, 1u64..3_000)
            .prop_map(|(worker, slots, ms)| Step::LateFetch { worker, slots, ms }),
        14 => prop::collection::vec((target, proof(), end()), 1..8).prop_map(Step::Report),
        3 => worker().prop_map(Step::Renew),
        2 => worker().prop_map(Step::Away),
        2 => worker().prop_map(Step::Lost),
        6 => (worker(), keeps(), prop::option::of(0..IDS))
            .prop_map(|(worker, keeps, stale)| Step::Resume { worker, keeps, stale }),
        3 => id().prop_map(Step::Cancel),
        3 => id().prop_map(Step::Retry),
        2 => id().prop_map(Step::Delete),
        1 => (0usize..4).prop_map(Step::RetryDead),
        1 => (0usize..3).prop_map(Step::DeleteDead),
        2 => id().prop_map(Step::Watch),
        1 => (0usize..8).prop_map(Step::Unwatch),
        2 => any::<bool>().prop_map(Step::Pause),
        1 => prop_oneof![Just(0), Just(2), Just(1_000)].prop_map(Step::Remember),
        8 => pass(),
        2 => Just(Step::Restart),
    ]
    .boxed()
}

/// What may be done in a rush.
fn rushed(id: BoxedStrategy<Id>) -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => batch(16).prop_map(Step::Enqueue),
        2 => id.clone().prop_map(Step::Delete),
        1 => id.clone().prop_map(Step::Cancel),
        1 => id.prop_map(Step::Retry),
    ]
}

/// Fewer jobs than `end`; now and then all start at the same time, or shortly after each other, and now and then their ids were made
/// one after the other.
fn batch(end: usize) -> impl Strategy<Value = Batch> {
    let together = prop::option::weighted(0.15, (1u64..2_000, prop_oneof![Just(1u64), 2u64..60]));
    let in_line = prop::option::weighted(0.3, 0..IDS);
    (prop::collection::vec(spec(), 1..end), together, in_line).prop_map(|(mut jobs, together, in_line)| {
        if let Some(first) = in_line {
            jobs.iter_mut().zip(first..).for_each(|(job, id)| job.id = id % IDS);
        }
        if let Some((ms, apart_ms)) = together {
            // In no order.
            let apart = |index: usize| (index as u64 * 37 + 11) % apart_ms;
            jobs.iter_mut().enumerate().for_each(|(index, job)| job.start = Start::After(ms + apart(index)));
        }
        Batch { jobs }
    })
}

fn spec() -> impl Strategy<Value = Spec> {
    let start = prop_oneof![
        9 => Just(Start::Now),
        1 => Just(Start::Past),
        1 => (1u64..2_000).prop_map(Start::After),
        1 => (1u64..2_000).prop_map(Start::At),
    ];
    let options =
        (1u32..5, 0u64..1_500, rarely(1_u64..3_000), rarely(0_u64..3_000), prop::bool::weighted(0.01));
    (0..IDS, prop_oneof![9 => Just(0i8), 1 => Just(5), 1 => Just(-128), 1 => Just(127)], start, options)
        .prop_map(|(id, priority, start, (max_attempts, backoff_ms, retention_ms, expires_ms, bad))| Spec {
            id,
            priority,
            start,
            max_attempts,
            backoff_ms,
            retention_ms,
            expires_ms,
            bad,
        })
}

/// A worker that comes back with nothing gives a whole load of jobs back at once.
fn keeps() -> impl Strategy<Value = BTreeSet<Id>> {
    prop_oneof![2 => Just(BTreeSet::new()), 1 => prop::collection::btree_set(0..IDS, 0..60)]
}

fn rarely(ms: std::ops::Range<u64>) -> impl Strategy<Value = Option<u64>> {
    prop::option::weighted(0.2, ms)
}

fn proof() -> impl Strategy<Value = Proof> {
    prop_oneof![
        8 => Just(Proof::Latest),
        1 => Just(Proof::Earlier),
        1 => Just(Proof::OtherEpoch),
        1 => Just(Proof::Next),
    ]
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![
        3 => Just(End::Done),
        3 => prop::option::weighted(0.3, 0u64..1_000).prop_map(End::Retry),
        1 => (0u64..1_000).prop_map(End::Snooze),
        1 => Just(End::Dead),
        1 => Just(End::Cancelled),
        2 => Just(End::Released),
    ]
}

/// Time passes; now and then the wall clock jumps ahead alone, or stands.
fn pass() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u64..1_500).prop_map(|ms| Step::Pass { wall_ms: ms, mono_ms: ms }),
        1 => (1u64..20_000).prop_map(|ms| Step::Pass { wall_ms: ms, mono_ms: 0 }),
        1 => (1u64..6_000).prop_map(|ms| Step::Pass { wall_ms: 0, mono_ms: ms }),
    ]
}

/// Jobs of the plainest kind come together.
fn enqueue(ids: std::ops::RangeInclusive<Id>) -> Step {
    let spec = |id| Spec {
        id,
        priority: 0,
        start: Start::Now,
        max_attempts: 3,
        backoff_ms: 0,
        retention_ms: None,
        expires_ms: None,
        bad: false,
    };
    Step::Enqueue(Batch { jobs: ids.map(spec).collect() })
}

/// A script of what is rarely drawn: the window is full in the middle of a chunk, so that the end of it goes to rest at once; one of these
/// is deleted, comes again, and is deleted again, before anything of it is durable. The same with the last of a chunk, and with one that
/// stood alone before.
pub(crate) fn rushed_to_rest() -> Vec<Step> {
    vec![
        enqueue(40..=40),
        enqueue(51..=56),
        Step::Rushed(vec![enqueue(61..=63), Step::Delete(62), enqueue(61..=63), Step::Delete(62)]),
        Step::Rushed(vec![enqueue(66..=68), Step::Delete(68), enqueue(66..=68)]),
        Step::Rushed(vec![Step::Delete(40), enqueue(64..=64), enqueue(40..=42), Step::Delete(40)]),
        Step::Fetch { worker: 0, slots: 20 },
    ]
}

/// A script that once showed a bug and is rarely drawn: a job is given back after jobs before it have gone to rest.
pub(crate) fn given_back() -> Vec<Step> {
    let give_back = |id| Step::Report(vec![(id, Proof::Latest, End::Released)]);
    let fetch = |worker, slots| Step::Fetch { worker, slots };
    let mut steps = vec![enqueue(1..=8), fetch(0, 8), enqueue(9..=16), fetch(0, 8)];
    steps.extend((1..=13).map(give_back));
    steps.extend([fetch(1, 3), give_back(15), fetch(1, 10)]);
    steps
}
