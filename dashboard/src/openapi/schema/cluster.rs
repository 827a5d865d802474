//! The shapes of the cluster.

use serde::Deserialize;
use utoipa::ToSchema;

/// Who owns what, who stands by, and how ownership has moved.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Cluster {
    name: String,
    /// The node that answers.
    node: String,
    /// Engine of its store.
    store: String,
    /// What keeps the store from taking work.
    #[schema(required)]
    trouble: Option<String>,
    shards: Vec<Shard>,
    /// Owners first, then those that stand by, then those that are gone.
    nodes: Vec<ClusterNode>,
    /// Newest first.
    moves: Vec<Move>,
}

/// A set of queues that one node owns.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Shard {
    shard: u16,
    epoch: u64,
    /// Nobody, while nothing of it is handed out.
    #[schema(required)]
    owner: Option<String>,
    since: u64,
    moves_total: u64,
    queues: u32,
    ready: u64,
    running: u64,
    /// Jobs succeeded per second.
    rate: f64,
}

/// One node. Addresses are empty where there are none.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ClusterNode {
    name: String,
    version: String,
    state: NodeState,
    #[schema(required)]
    since: Option<u64>,
    native: String,
    http: String,
    faktory: String,
    gossip: String,
    /// The epoch that it claims; 0 when it owns nothing.
    epoch: u64,
    rate: f64,
    workers: u32,
    connections: u32,
    /// Age of its last sign of life.
    lag_ms: u64,
    /// How far its clock is ahead, where that is known.
    #[schema(required)]
    clock_skew_ms: Option<i64>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum NodeState {
    Owner,
    Draining,
    Standby,
    Gone,
}

/// A move of ownership.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Move {
    at: u64,
    shard: u16,
    epoch: u64,
    #[schema(required)]
    from: Option<String>,
    #[schema(required)]
    to: Option<String>,
    why: String,
}
