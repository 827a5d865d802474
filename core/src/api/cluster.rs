//! The cluster: which node owns what, who stands by, and how ownership has moved.

use bincode::{Decode, Encode};
use serde::Serialize;

use crate::store::Epoch;
use crate::time::Timestamp;

/// The cluster as the answering node knows it.
#[derive(Debug, Clone, PartialEq, Default, Encode, Decode, Serialize)]
pub struct ClusterView {
    /// Name of the cluster: nodes with the same name hear each other.
    pub name: String,
    /// The node that answers.
    pub node: String,
    /// Engine of its store, such as `sled`.
    pub store: String,
    /// What keeps the store from taking work, as [`Store::trouble`](crate::store::Store::trouble) says it.
    pub trouble: Option<String>,
    /// All shards, by number.
    pub shards: Vec<ShardView>,
    /// All nodes: owners first, then those that stand by, then those that are gone; by name.
    pub nodes: Vec<ClusterNode>,
    /// How ownership has moved, newest first, at most [`crate::limits::MOVES_MAX`].
    pub moves: Vec<MoveView>,
}

/// One shard: a set of queues that one node owns.
#[derive(Debug, Clone, PartialEq, Default, Encode, Decode, Serialize)]
pub struct ShardView {
    /// Its number.
    pub shard: u16,
    /// The number that proves its ownership; larger with every claim.
    pub epoch: Epoch,
    /// The node that owns it; `None` while nobody does, and then none of its jobs is handed out.
    pub owner: Option<String>,
    /// Since when.
    pub since: Timestamp,
    /// How often it has been claimed, as far as is known.
    pub moves_total: u64,
    /// Its queues.
    pub queues: u32,
    /// Ready jobs in them.
    pub ready: u64,
    /// Running jobs in them.
    pub running: u64,
    /// Jobs succeeded per second, over the last ten seconds.
    pub rate: f64,
}

/// What a node does in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Encode, Decode, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It owns a shard.
    Owner,
    /// It gives up what it owns, or was told to claim nothing for a while.
    Draining,
    /// It is ready to take over.
    #[default]
    Standby,
    /// It shows no sign of life.
    Gone,
}

impl NodeState {
    /// All of them.
    pub const ALL: [NodeState; 4] =
        [NodeState::Owner, NodeState::Draining, NodeState::Standby, NodeState::Gone];

    /// Its name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            NodeState::Owner => "owner",
            NodeState::Draining => "draining",
            NodeState::Standby => "standby",
            NodeState::Gone => "gone",
        }
    }
}

/// One node of the cluster. Not [`NodeView`](super::NodeView), which is what the overview shows of the answering node alone.
#[derive(Debug, Clone, PartialEq, Default, Encode, Decode, Serialize)]
pub struct ClusterNode {
    /// Its stable id.
    pub name: String,
    /// Program version; empty where unknown.
    pub version: String,
    /// What it does.
    pub state: NodeState,
    /// Since when, as far as is known.
    pub since: Option<Timestamp>,
    /// Address of its native port; empty where it has none, or where it is unknown.
    pub native: String,
    /// Address of its pages and HTTP API; empty likewise.
    pub http: String,
    /// Address of its Faktory port; empty likewise.
    pub faktory: String,
    /// Address of its gossip; empty likewise.
    pub gossip: String,
    /// The epoch that it claims; 0 for one that owns nothing.
    pub epoch: Epoch,
    /// Jobs that it has brought to success per second, over the last ten seconds; 0 for one that owns nothing.
    pub rate: f64,
    /// Workers that are connected to it.
    pub workers: u32,
    /// Native connections that are open at it.
    pub connections: u32,
    /// Age of its last sign of life in milliseconds; 0 for the node that answers.
    pub lag_ms: u64,
    /// How far its wall clock is ahead of the answering node's, as well as that can be known; `None` where it is unknown.
    pub clock_skew_ms: Option<i64>,
}

/// A move of ownership.
#[derive(Debug, Clone, PartialEq, Eq, Default, Encode, Decode, Serialize)]
pub struct MoveView {
    /// When.
    pub at: Timestamp,
    /// The shard.
    pub shard: u16,
    /// The epoch that began.
    pub epoch: Epoch,
    /// The owner before; `None` where there was none.
    pub from: Option<String>,
    /// The owner from then on; `None` where it was given up and nobody had claimed it yet.
    pub to: Option<String>,
    /// Why, as a few words for people.
    pub why: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_named_as_in_json() {
        for state in NodeState::ALL {
            assert_eq!(serde_json::to_string(&state).unwrap(), format!("\"{}\"", state.name()));
        }
    }
}
