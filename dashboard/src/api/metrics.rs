//! `/metrics` and `/metrics/node` in the Prometheus text format 0.0.4, `/healthz`, `/readyz`.
//!
//! Written by hand because every number already stands in the overview: a metrics registry beside it would be a second
//! truth. The number of series is bounded whatever the number of queues.

use std::fmt::Write as _;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use windlass_core::api::{
    ApiError, ClusterView, ErrorCode, NodeState, Overview, QueueView, Request, Response,
};
use windlass_core::job::JobState;

use super::unexpected;
use crate::Dashboard;
use crate::problem::Problem;

/// Queues with series of their own; the least busy of the others are summed up under [`OTHER`].
const QUEUES_LABELLED_MAX: usize = 200;
/// Label of the queues that are summed up. No queue can have this name.
const OTHER: &str = "*other";

/// Kind of an answer with metrics.
pub const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Alive: the process answers. Nothing else is looked at, so that a slow store does not get the process killed.
pub(crate) async fn healthz() -> HttpResponse {
    HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ok\n")
}

pub(crate) async fn readyz(dashboard: Dashboard) -> Result<HttpResponse, Problem> {
    match dashboard.inner().backend.ready() {
        Ok(()) => Ok(HttpResponse::Ok().content_type("text/plain; charset=utf-8").body("ready\n")),
        Err(reasons) => Err(ApiError::new(ErrorCode::Unavailable, reasons.join("; ")).into()),
    }
}

pub(crate) async fn metrics(dashboard: Dashboard) -> Result<HttpResponse, Problem> {
    let overview = match dashboard.call(Request::GetOverview).await? {
        Response::Overview(overview) => overview,
        other => return Err(unexpected(&other).into()),
    };
    let queues = match dashboard.call(Request::ListQueues).await? {
        Response::Queues(queues) => queues,
        other => return Err(unexpected(&other).into()),
    };
    let cluster = match dashboard.call(Request::GetCluster).await? {
        Response::Cluster(cluster) => cluster,
        other => return Err(unexpected(&other).into()),
    };
    let mut text = render(&overview, queues);
    shard_series(&mut text, &cluster);
    Ok(HttpResponse::build(StatusCode::OK).content_type(METRICS_TYPE).body(text))
}

/// The node itself, whatever it does: a standby answers this where it passes everything else on.
pub(crate) async fn node(dashboard: Dashboard) -> HttpResponse {
    HttpResponse::Ok().content_type(METRICS_TYPE).body(node_metrics(&dashboard.inner().backend.figures()))
}

/// What a node has carried to the owner at one of its ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RelayFigures {
    /// Open connections, those that wait for an owner among them.
    pub connections: u32,
    /// Bytes from peers to the owner.
    pub up_bytes: u64,
    /// Bytes from the owner to peers.
    pub down_bytes: u64,
    /// Connections that were told to try again, because there was no owner.
    pub refused: u64,
    /// Connections that were cut because the owner was another one.
    pub cut: u64,
}

/// What a node knows of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NodeFigures {
    /// Its name.
    pub name: String,
    /// What it does.
    pub state: NodeState,
    /// Whether it is an owner or knows one.
    pub has_owner: bool,
    /// Its resident memory.
    pub rss_bytes: u64,
    /// What it has carried since its start, by port.
    pub relays: Vec<(&'static str, RelayFigures)>,
}

/// The figures of a node as metrics.
#[must_use]
pub fn node_metrics(figures: &NodeFigures) -> String {
    let mut out = String::with_capacity(2_048);
    family(&mut out, "windlass_node_info", "gauge", "The node that answers, and what it does.")
        .line(&[("node", &figures.name), ("state", figures.state.name())], 1.0);
    family(&mut out, "windlass_node_has_owner", "gauge", "Whether the node owns, or knows who does.")
        .line(&[], f64::from(u8::from(figures.has_owner)));
    family(
        &mut out,
        "windlass_node_resident_memory_bytes",
        "gauge",
        "Resident memory of the node that answers.",
    )
    .line(&[], float(figures.rss_bytes));
    let help = "Connections that the node carries to the owner.";
    let mut connections = family(&mut out, "windlass_relay_connections", "gauge", help);
    for (port, relay) in &figures.relays {
        connections.line(&[("port", port)], f64::from(relay.connections));
    }
    let help = "Bytes carried since the start: up to the owner, down to peers.";
    let mut bytes = family(&mut out, "windlass_relay_bytes_total", "counter", help);
    for (port, relay) in &figures.relays {
        bytes.line(&[("port", port), ("way", "up")], float(relay.up_bytes));
        bytes.line(&[("port", port), ("way", "down")], float(relay.down_bytes));
    }
    let help = "Connections told to try again since the start, because there was no owner.";
    let mut refused = family(&mut out, "windlass_relay_refused_total", "counter", help);
    for (port, relay) in &figures.relays {
        refused.line(&[("port", port)], float(relay.refused));
    }
    let help = "Connections cut since the start, because the owner was another one.";
    let mut cut = family(&mut out, "windlass_relay_cut_total", "counter", help);
    for (port, relay) in &figures.relays {
        cut.line(&[("port", port)], float(relay.cut));
    }
    out
}

/// One family of series.
struct Family<'a> {
    out: &'a mut String,
    name: &'static str,
}

impl Family<'_> {
    fn line(&mut self, labels: &[(&str, &str)], value: f64) {
        self.out.push_str(self.name);
        for (index, (label, text)) in labels.iter().enumerate() {
            let text = text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            let _ = write!(self.out, "{}{label}=\"{text}\"", if index == 0 { '{' } else { ',' });
        }
        if !labels.is_empty() {
            self.out.push('}');
        }
        let _ = writeln!(self.out, " {value}");
    }
}

fn family<'a>(out: &'a mut String, name: &'static str, kind: &str, help: &str) -> Family<'a> {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
    Family { out, name }
}

#[expect(clippy::cast_precision_loss, reason = "the format knows floating point only")]
fn float(n: u64) -> f64 {
    n as f64
}

fn render(overview: &Overview, queues: Vec<QueueView>) -> String {
    let mut out = String::with_capacity(4_096);
    let node = &overview.node;
    family(&mut out, "windlass_info", "gauge", "Version of the node.")
        .line(&[("version", &node.version), ("store", &overview.store.engine)], 1.0);
    family(&mut out, "windlass_start_time_seconds", "gauge", "When the node started.")
        .line(&[], float(node.started_at.0) / 1_000.0);
    let gauges = [
        ("windlass_resident_memory_bytes", "Resident memory of the node.", node.rss_bytes),
        ("windlass_connections", "Open native connections.", u64::from(node.connections)),
        ("windlass_members", "Live members of the gossip.", node.members.len() as u64),
        ("windlass_workers", "Connected workers.", u64::from(overview.workers)),
        ("windlass_queues", "Queues.", u64::from(overview.queues)),
        ("windlass_store_disk_bytes", "Bytes of the store on disk.", overview.store.disk_bytes),
        ("windlass_store_memory_bytes", "Bytes of recent keys in memory.", overview.store.memory_bytes),
        (
            "windlass_store_journal_bytes",
            "Journal bytes that a restart replays.",
            overview.store.journal_bytes,
        ),
        (
            "windlass_store_space_low",
            "Whether new work is refused because space is low.",
            u64::from(overview.store.space_low),
        ),
        ("windlass_problems", "Things an operator should look at.", overview.problems.len() as u64),
    ];
    for (name, help, value) in gauges {
        family(&mut out, name, "gauge", help).line(&[], float(value));
    }
    let counters = [
        ("windlass_store_groups_total", "Durable groups written.", overview.store.groups),
        ("windlass_store_checkpoints_total", "Checkpoints done.", overview.store.checkpoints),
    ];
    for (name, help, value) in counters {
        family(&mut out, name, "counter", help).line(&[], float(value));
    }
    queue_series(&mut out, queues);
    out
}

/// Ownership, as the answering node knows it.
fn shard_series(out: &mut String, cluster: &ClusterView) {
    let available = cluster.trouble.is_none();
    family(out, "windlass_store_available", "gauge", "Whether the store takes work.")
        .line(&[], f64::from(u8::from(available)));
    let names: Vec<String> = cluster.shards.iter().map(|shard| shard.shard.to_string()).collect();
    let shards = || names.iter().zip(&cluster.shards);
    let mut epochs = family(out, "windlass_shard_epoch", "gauge", "Epoch of the shard's owner.");
    for (name, shard) in shards() {
        epochs.line(&[("shard", name)], float(shard.epoch));
    }
    let help = "Whether the node that answers owns the shard.";
    let mut owned = family(out, "windlass_shard_owned", "gauge", help);
    for (name, shard) in shards() {
        let ours = shard.owner.as_ref() == Some(&cluster.node);
        owned.line(&[("shard", name)], f64::from(u8::from(ours)));
    }
    let help = "Times that the shard was claimed, as far as is known.";
    let mut moves = family(out, "windlass_shard_moves_total", "counter", help);
    for (name, shard) in shards() {
        moves.line(&[("shard", name)], float(shard.moves_total));
    }
}

/// What is shown of one queue, or of many together.
#[derive(Default)]
struct Sums {
    name: String,
    counts: [u64; JobState::ALL.len()],
    oldest_wait_ms: u64,
    paused: bool,
    totals: [u64; 4],
    workers: u64,
}

impl Sums {
    fn add(&mut self, queue: &QueueView) {
        for (slot, state) in self.counts.iter_mut().zip(JobState::ALL) {
            *slot += queue.counts.get(&state).copied().unwrap_or(0);
        }
        self.oldest_wait_ms = self.oldest_wait_ms.max(queue.oldest_wait_ms);
        self.paused |= queue.paused;
        let totals = [queue.enqueued_total, queue.succeeded_total, queue.failed_total, queue.dead_total];
        for (slot, total) in self.totals.iter_mut().zip(totals) {
            *slot += total;
        }
        self.workers += u64::from(queue.workers);
    }
}

fn queue_series(out: &mut String, mut queues: Vec<QueueView>) {
    // The busiest keep their names; which those are changes slowly, since totals only grow.
    queues.sort_by(|a, b| b.enqueued_total.cmp(&a.enqueued_total).then_with(|| a.name.cmp(&b.name)));
    let mut rows: Vec<Sums> = Vec::with_capacity(queues.len().min(QUEUES_LABELLED_MAX + 1));
    for (index, queue) in queues.iter().enumerate() {
        if index < QUEUES_LABELLED_MAX {
            rows.push(Sums { name: queue.name.to_string(), ..Sums::default() });
        } else if index == QUEUES_LABELLED_MAX {
            rows.push(Sums { name: OTHER.to_owned(), ..Sums::default() });
        }
        rows.last_mut().expect("a row was pushed for the first queue").add(queue);
    }
    let mut jobs = family(out, "windlass_jobs", "gauge", "Jobs by queue and state.");
    for row in &rows {
        for (count, state) in row.counts.iter().zip(JobState::ALL) {
            jobs.line(&[("queue", &row.name), ("state", state.name())], float(*count));
        }
    }
    let help = "Age of the oldest ready job.";
    let mut oldest = family(out, "windlass_oldest_wait_seconds", "gauge", help);
    for row in &rows {
        oldest.line(&[("queue", &row.name)], float(row.oldest_wait_ms) / 1_000.0);
    }
    let mut paused = family(out, "windlass_queue_paused", "gauge", "Whether the queue hands out no jobs.");
    for row in &rows {
        paused.line(&[("queue", &row.name)], f64::from(u8::from(row.paused)));
    }
    let mut workers =
        family(out, "windlass_queue_workers", "gauge", "Workers that take jobs from the queue.");
    for row in &rows {
        workers.line(&[("queue", &row.name)], float(row.workers));
    }
    let totals = [
        ("windlass_jobs_enqueued_total", "Jobs enqueued since the start."),
        ("windlass_jobs_succeeded_total", "Jobs succeeded since the start."),
        ("windlass_attempts_failed_total", "Attempts failed or lost since the start."),
        ("windlass_jobs_dead_total", "Jobs gone dead since the start."),
    ];
    for (index, (name, help)) in totals.into_iter().enumerate() {
        let mut family = family(out, name, "counter", help);
        for row in &rows {
            family.line(&[("queue", &row.name)], float(row.totals[index]));
        }
    }
}
