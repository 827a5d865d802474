//! What is shown of the node as a whole: queues, workers, totals, and what an operator should look at.

use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use windlass_core::api::{ApiError, NodeView, Overview, QueueView, WorkerView};
use windlass_core::job::JobState;

use super::ApiParts;
use super::history::{STEP_MS, Sample};
use crate::queue::Op;

/// Running jobs that are listed of one worker.
const RUNNING_LISTED_MAX: usize = 100;
/// Age of the oldest ready job that an operator should know of.
const OLD_WAIT_MS: u64 = 5 * 60 * 1_000;
/// Problems of one kind that are named; more are counted.
const NAMED_MAX: usize = 5;

impl ApiParts {
    pub(super) async fn list_queues(&self) -> Result<Vec<QueueView>, ApiError> {
        let parts = self;
        let queues = parts.registry.all();
        let views = join_all(queues.iter().map(|queue| queue.ask(|then| Op::Snapshot { then }))).await;
        let mut workers = parts.hub.subscribers().await;
        for (queue, count) in parts.faktory.subscribers() {
            *workers.entry(queue).or_default() += count;
        }
        let now = parts.clock.now().mono;
        let complete = |(queue, view): (&crate::queue::QueueHandle, Result<QueueView, ApiError>)| {
            let mut view = view?;
            let rates = parts.history.rates_of(queue.name(), &Sample::of(queue.figures(), now));
            view.enqueue_rate = rates.enqueued;
            view.done_rate = rates.succeeded;
            view.workers = workers.get(queue.name()).copied().unwrap_or(0);
            Ok(view)
        };
        queues.iter().zip(views).map(complete).collect()
    }

    pub(super) async fn list_workers(&self) -> Result<Vec<WorkerView>, ApiError> {
        let listed = self.hub.list().await?;
        let complete = |listed: crate::session::Listed| async move {
            let mut view = listed.view;
            let worker = view.id;
            let asked =
                listed.queues.iter().map(|queue| queue.ask(move |then| Op::RunningOf { worker, then }));
            // A queue that is too busy to say is left out of a list for people.
            let mut running: Vec<_> = join_all(asked).await.into_iter().flatten().flatten().collect();
            running.sort_by_key(|job| (job.started_at, job.id));
            view.running_count = u32::try_from(running.len()).unwrap_or(u32::MAX);
            running.truncate(RUNNING_LISTED_MAX);
            view.running = running;
            view
        };
        let mut workers = join_all(listed.into_iter().map(complete)).await;
        workers.extend(self.faktory.list_workers());
        workers.sort_by(|a, b| a.name.cmp(&b.name).then(a.id.cmp(&b.id)));
        Ok(workers)
    }

    pub(super) async fn overview(&self) -> Result<Overview, ApiError> {
        let parts = self;
        let queues = self.list_queues().await?;
        let workers = parts.hub.list().await?;
        let connected = workers.iter().filter(|worker| worker.view.status != "away").count()
            + parts.faktory.workers_connected();
        let total = self.total();
        let rates = parts.history.rates(&total);
        let mut counts = windlass_core::api::StateCounts::new();
        for (state, count) in queues.iter().flat_map(|queue| &queue.counts) {
            *counts.entry(*state).or_default() += count;
        }
        Ok(Overview {
            node: self.node_view(),
            store: parts.writer.store().stats(),
            counts,
            queues: u32::try_from(queues.len()).unwrap_or(u32::MAX),
            workers: u32::try_from(connected).unwrap_or(u32::MAX),
            oldest_wait_ms: queues.iter().map(|queue| queue.oldest_wait_ms).max().unwrap_or(0),
            enqueue_rate: rates.enqueued,
            done_rate: rates.succeeded,
            fail_rate: rates.failed,
            totals: [total.enqueued, total.succeeded, total.failed, total.dead],
            history: parts.history.points(),
            history_step_ms: STEP_MS,
            problems: self.problems(&queues),
        })
    }

    fn node_view(&self) -> NodeView {
        let parts = self;
        let members = parts.cluster.members();
        NodeView {
            id: parts.node.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: parts.started_at,
            epoch: parts.writer.store().epoch(),
            rss_bytes: resident_bytes(),
            connections: parts.budget.connections() + parts.faktory.connections(),
            members: members.into_iter().map(|m| (m.id, m.role, m.addr.to_string())).collect(),
        }
    }

    fn problems(&self, queues: &[QueueView]) -> Vec<String> {
        let mut problems = self.obstacles();
        let stopped = self.registry.all();
        let stopped = stopped.iter().filter(|queue| queue.figures().stopped.load(Ordering::Relaxed)).count();
        if stopped > 1 {
            problems.push(format!(
                "{stopped} queues have stopped writing; restart the server when its log is understood"
            ));
        }
        let ready = |queue: &QueueView| queue.counts.get(&JobState::Ready).copied().unwrap_or(0);
        let waiting = || queues.iter().filter(|queue| ready(queue) > 0);
        say(&mut problems, waiting().filter(|queue| queue.paused), |queue| {
            format!("queue {} is paused and {} jobs wait in it", queue.name, ready(queue))
        });
        say(&mut problems, waiting().filter(|queue| !queue.paused && queue.workers == 0), |queue| {
            format!("no worker takes jobs from queue {}, and {} wait in it", queue.name, ready(queue))
        });
        let old =
            |queue: &&QueueView| !queue.paused && queue.workers > 0 && queue.oldest_wait_ms >= OLD_WAIT_MS;
        say(&mut problems, waiting().filter(old), |queue| {
            let minutes = queue.oldest_wait_ms / 60_000;
            format!("the oldest job of queue {} has waited for {minutes} minutes; add workers", queue.name)
        });
        problems
    }
}

/// Names the first few and counts the rest.
fn say<'a>(
    problems: &mut Vec<String>,
    queues: impl Iterator<Item = &'a QueueView>,
    text: impl Fn(&QueueView) -> String,
) {
    let mut more = 0;
    for (index, queue) in queues.enumerate() {
        if index < NAMED_MAX {
            problems.push(text(queue));
        } else {
            more += 1;
        }
    }
    if more > 0 {
        problems.push(format!("and {more} more queues like that"));
    }
}

/// Resident memory of this process, 0 where the system does not say.
pub(crate) fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1_024
}
