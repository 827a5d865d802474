//! Answers that the fake node makes up.

use windlass_core::api::{
    BulkAct, BulkState, BulkView, ClusterNode, ClusterView, FetchJobs, Fetched, MoveView, NodeState,
    ShardView,
};
use windlass_core::id::JobId;
use windlass_core::job::Payload;
use windlass_core::time::Timestamp;
use windlass_core::wire::{Delivery, Token};

use super::fake::{now, worker_id};

pub(crate) fn bulk(act: BulkAct, filter: &str) -> BulkView {
    BulkView {
        id: 1,
        act,
        filter: filter.to_owned(),
        reason: "because".to_owned(),
        pace: Some(5),
        dry_run: false,
        state: BulkState::Running,
        scanned: 9,
        matched: 7,
        done: 3,
        skipped: 1,
        error: String::new(),
        started_at: now(),
        ended_at: None,
    }
}

/// One that has counted, and waits for an answer.
pub(crate) fn counted() -> BulkView {
    let view = bulk(BulkAct::Delete, "state:dead");
    let (reason, pace, done, skipped) = (String::new(), None, 0, 0);
    BulkView { id: 2, dry_run: true, state: BulkState::Done, reason, pace, done, skipped, ..view }
}

/// As many jobs as were asked for.
pub(crate) fn fetched(fetch: &FetchJobs) -> Fetched {
    let (queue, _) = &fetch.queues[0];
    let job = |n: u32| Delivery {
        queue: queue.clone(),
        id: JobId([u8::try_from(n).unwrap_or(u8::MAX); 16]),
        token: Token { epoch: 1, delivery: n.into() },
        attempt: 1,
        max_attempts: 20,
        kind: "k".to_owned(),
        payload: Payload::json("{}"),
        enqueued_at: now(),
        timeout_ms: Some(5),
        headers: vec![("traceparent".to_owned(), "00".to_owned())],
        tags: vec!["a".to_owned()],
    };
    let worker = fetch.worker.id.unwrap_or(worker_id(9));
    Fetched { worker, jobs: (0..fetch.count).map(job).collect(), lease_ms: 8_000, heartbeat_ms: 1_000 }
}

fn shard(owner: &str) -> ShardView {
    ShardView {
        shard: 0,
        epoch: 12,
        owner: Some(owner.to_owned()),
        since: ago(11_000_000),
        moves_total: 7,
        queues: 4,
        ready: 1_204,
        running: 16,
        rate: 84.2,
    }
}

fn ago(ms: u64) -> Timestamp {
    Timestamp(now().0 / 60_000 * 60_000 - ms)
}

fn node(name: &str, host: &str, state: NodeState) -> ClusterNode {
    ClusterNode {
        name: name.to_owned(),
        version: "0.1.0".to_owned(),
        state,
        since: Some(ago(11_000_000)),
        native: format!("{host}:7421"),
        http: format!("{host}:7420"),
        faktory: format!("{host}:7419"),
        gossip: format!("{host}:7422"),
        lag_ms: 640,
        clock_skew_ms: Some(12),
        ..ClusterNode::default()
    }
}

/// One node on its own disk.
pub(crate) fn alone() -> ClusterView {
    let own = ClusterNode {
        epoch: 4,
        rate: 84.2,
        workers: 2,
        connections: 3,
        lag_ms: 0,
        clock_skew_ms: Some(0),
        ..node("node-7f3a9c", "127.0.0.1", NodeState::Owner)
    };
    let to = Some(own.name.clone());
    ClusterView {
        name: "windlass".to_owned(),
        node: own.name.clone(),
        store: "sled".to_owned(),
        trouble: None,
        shards: vec![ShardView { epoch: 4, moves_total: 1, ..shard(&own.name) }],
        moves: vec![MoveView {
            at: ago(9_000_000),
            shard: 0,
            epoch: 4,
            from: None,
            to,
            why: "started".to_owned(),
        }],
        nodes: vec![own],
    }
}

/// Three nodes over PostgreSQL: one owns, one stands by with a clock that is late, one has gone.
pub(crate) fn three() -> ClusterView {
    let (a, b, c) = ("node-7f3a9c", "node-b04e11", "node-c99d20");
    let owner = ClusterNode {
        epoch: 12,
        rate: 84.2,
        workers: 6,
        connections: 31,
        ..node(a, "10.0.0.11", NodeState::Owner)
    };
    let standby = ClusterNode {
        connections: 14,
        clock_skew_ms: Some(-2_400),
        ..node(b, "10.0.0.12", NodeState::Standby)
    };
    let gone = ClusterNode {
        lag_ms: 184_000,
        clock_skew_ms: None,
        since: Some(ago(180_000)),
        ..node(c, "10.0.0.13", NodeState::Gone)
    };
    let step = |ms, epoch, from: Option<&str>, to: Option<&str>, why: &str| MoveView {
        at: ago(ms),
        shard: 0,
        epoch,
        from: from.map(str::to_owned),
        to: to.map(str::to_owned),
        why: why.to_owned(),
    };
    ClusterView {
        name: "production".to_owned(),
        node: a.to_owned(),
        store: "postgres".to_owned(),
        trouble: None,
        shards: vec![shard(a)],
        nodes: vec![owner, standby, gone],
        moves: vec![
            step(11_000_000, 12, Some(c), Some(a), "the owner was silent for 0.8 s"),
            step(88_000_000, 11, None, Some(c), "nobody owned it"),
            step(88_001_000, 10, Some(a), None, "drained"),
            step(180_000_000, 10, Some(b), Some(a), "the owner was silent for 3.0 s"),
        ],
    }
}

/// The same without an owner: the first node has given up, and the database does not answer.
pub(crate) fn lost() -> ClusterView {
    let mut view = three();
    view.shards[0].owner = None;
    view.nodes[0] = ClusterNode { state: NodeState::Draining, ..view.nodes[0].clone() };
    view.trouble = Some("the database does not answer".to_owned());
    view
}
