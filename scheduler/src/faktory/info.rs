//! `INFO`: figures of the whole node, in the words of the protocol.

use std::sync::atomic::Ordering;

use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use windlass_core::api::{ApiError, QueueView};
use windlass_core::job::JobState;

use super::desk::Desk;
use super::reply::Reply;
use crate::queue::Op;

/// The version that clients compare with what they support: of the protocol as spoken here, not of Windlass.
const FAKTORY_VERSION: &str = "1.9.4";
/// Queues that are asked at the same time.
const ASKED_AT_ONCE: usize = 512;

impl Desk {
    /// `INFO`.
    pub(super) async fn info(&self) -> Reply {
        match self.figures().await {
            Ok(figures) => Reply::Bulk(figures.to_string()),
            Err(error) => Reply::error(error),
        }
    }

    /// Snapshots of all queues, by name.
    pub(super) async fn snapshots(&self) -> Result<Vec<QueueView>, ApiError> {
        let mut views = Vec::new();
        for some in self.registry().all().chunks(ASKED_AT_ONCE) {
            for view in join_all(some.iter().map(|queue| queue.ask(|then| Op::Snapshot { then }))).await {
                views.push(view?);
            }
        }
        Ok(views)
    }

    /// Processed jobs and failed ones, since the start.
    pub(super) fn totals(&self) -> (u64, u64) {
        let mut failed = self.state().discarded;
        let mut succeeded = 0;
        for queue in self.registry().all() {
            failed += queue.figures().failed.load(Ordering::Relaxed);
            succeeded += queue.figures().succeeded.load(Ordering::Relaxed);
        }
        (succeeded + failed, failed)
    }

    async fn figures(&self) -> Result<Value, ApiError> {
        let views = self.snapshots().await?;
        let count =
            |state| views.iter().map(|view| view.counts.get(&state).copied().unwrap_or(0)).sum::<u64>();
        let sets = [
            ("scheduled", count(JobState::Scheduled)),
            ("retries", count(JobState::Retrying)),
            ("dead", count(JobState::Dead)),
            ("working", count(JobState::Running)),
        ];
        let now = self.now().wall;
        let (processed, failures) = self.totals();
        let state = self.state();
        let mut queues = Map::new();
        for view in &views {
            let size = view.counts.get(&JobState::Ready).copied().unwrap_or(0);
            if size > 0 || !state.hidden.contains(&view.name) {
                queues.insert(view.name.to_string(), json!(size));
            }
        }
        let task = |size: u64| json!({ "size": size, "enqueued": 0, "cycles": 0, "wall_time_sec": 0 });
        let tasks = json!({
            "Scheduled": task(sets[0].1),
            "Retries": task(sets[1].1),
            "Dead": task(sets[2].1),
            "Busy": { "size": state.reservations.len(), "reaped": 0 },
            "Workers": { "size": state.workers.connected(), "reaped": 0 },
        });
        let (flushed_processed, flushed_failures) = state.flushed;
        drop(state);
        Ok(json!({
            "now": now.to_rfc3339(),
            "server_utc_time": now.to_utc().map_or_else(String::new, |at| at.format("%H:%M:%S UTC").to_string()),
            "faktory": {
                "queues": queues,
                "sets": sets.into_iter().map(|(name, size)| (name.to_owned(), json!(size))).collect::<Map<_, _>>(),
                "tasks": tasks,
                "total_failures": failures.saturating_sub(flushed_failures),
                "total_processed": processed.saturating_sub(flushed_processed),
                "total_enqueued": queues_total(&queues),
                "total_queues": queues.len(),
            },
            "server": {
                "description": concat!("Windlass ", env!("CARGO_PKG_VERSION")),
                "faktory_version": FAKTORY_VERSION,
                "uptime": now.since_ms(self.started_at()).div_ceil(1_000),
                "connections": self.connections(),
                "command_count": self.commands(),
                "used_memory_mb": crate::api::resident_bytes() / (1 << 20),
            },
        }))
    }
}

fn queues_total(queues: &Map<String, Value>) -> u64 {
    queues.values().filter_map(Value::as_u64).sum()
}
