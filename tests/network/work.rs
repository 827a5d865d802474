//! What there is to do in a run: drawn from its seed before anything begins, so that rules can look it up.

use std::collections::BTreeMap;
use std::time::Duration;

use windlass_core::id::JobId;
use windlass_core::retry::mix;
use windlass_core::time::Timestamp;
use windlass_core::wire::Token;
use windlass_scheduler::chance::Chance;

use super::hosts::WALL;

/// The producers' hosts.
pub(crate) const PRODUCERS: [&str; 2] = ["producer-1", "producer-2"];
/// The workers' hosts.
pub(crate) const WORKERS: [&str; 2] = ["worker-1", "worker-2"];
/// The server's host.
pub(crate) const SERVER: &str = "server";
/// Jobs of a schedule have no task; they take so long.
const TICK_TAKES: Duration = Duration::from_millis(20);

/// One job.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub producer: &'static str,
    pub queue: &'static str,
    /// When it is enqueued.
    pub at: Duration,
    pub delay: Duration,
    pub priority: i8,
    pub payload: String,
    /// Its first attempts, so many, fail.
    pub failures: u32,
    /// Its longest run.
    pub longest: Duration,
}

impl Task {
    /// How long one hand-out of it runs.
    pub(crate) fn takes(&self, seed: u64, token: Token) -> Duration {
        let longest = u64::try_from(self.longest.as_millis()).unwrap_or(1).max(1);
        Duration::from_millis(mix(seed ^ mix(token.epoch ^ (token.delivery << 16))) % longest)
    }
}

/// All jobs of a run, by id.
#[derive(Debug, Clone)]
pub(crate) struct Work {
    pub tasks: BTreeMap<JobId, Task>,
    /// A schedule, and its interval.
    pub every: Option<Duration>,
    tick: Task,
}

impl Work {
    /// `jobs` jobs within `span`.
    pub(crate) fn draw(chance: &Chance, jobs: u64, span: Duration) -> Work {
        let below = |bound: u64| chance.u64() % bound;
        let millis = u64::try_from(span.as_millis()).unwrap_or(1);
        let mut tasks = BTreeMap::new();
        for number in 0..jobs {
            let id = JobId::v7(Timestamp(WALL + number), chance.u128());
            let task = Task {
                producer: PRODUCERS[usize::from(below(2) == 0)],
                queue: if below(3) == 0 { "reports" } else { "mail" },
                at: Duration::from_millis(below(millis)),
                delay: Duration::from_millis(if below(4) == 0 { below(2_000) } else { 0 }),
                priority: if below(5) == 0 { 3 } else { 0 },
                payload: format!("job {number}"),
                failures: if below(5) == 0 { 1 } else { 0 },
                longest: Duration::from_millis(if below(5) == 0 { 6_000 } else { 150 }),
            };
            tasks.insert(id, task);
        }
        let tick = Task {
            producer: "",
            queue: "reports",
            at: Duration::ZERO,
            delay: Duration::ZERO,
            priority: 0,
            payload: String::new(),
            failures: 0,
            longest: TICK_TAKES,
        };
        let every = (below(2) == 0).then(|| Duration::from_millis(1_000 + below(500)));
        Work { tasks, every, tick }
    }

    /// The task of a job; jobs of a schedule share one.
    pub(crate) fn task(&self, id: &JobId) -> &Task {
        self.tasks.get(id).unwrap_or(&self.tick)
    }
}
