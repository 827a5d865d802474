//! The cluster as the answering node knows it, and orders to its nodes.

use windlass_core::api::{ApiError, ClusterNode, ClusterView, ErrorCode, NodeState, Response, ShardView};
use windlass_core::job::JobState;
use windlass_core::limits;

use super::ApiParts;
use super::history::Sample;
use crate::cluster::{self, Load, Seat};

impl ApiParts {
    pub(super) async fn cluster_view(&self) -> Result<ClusterView, ApiError> {
        let view = self.seats.view();
        let nodes = self.roster(&view).await?;
        let stats = self.writer.store().stats();
        let mut moves = view.moves;
        moves.truncate(limits::MOVES_MAX);
        Ok(ClusterView {
            name: self.cluster.name().to_owned(),
            node: self.node.clone(),
            store: stats.engine,
            trouble: self.writer.store().trouble(),
            shards: self.shards(view.shards).await?,
            nodes,
            moves,
        })
    }

    /// Lets a node give up what it owns.
    pub(super) async fn drain(&self, node: Option<String>, hold_ms: u64) -> Result<Response, ApiError> {
        let nodes = self.roster(&self.seats.view()).await?;
        if let Some(wanted) = &node {
            let known = nodes.iter().find(|known| known.name == *wanted);
            let known = known.ok_or_else(|| {
                let names: Vec<&str> = nodes.iter().map(|node| node.name.as_str()).collect();
                let text = format!("there is no node {wanted:?}; the nodes are {}", names.join(", "));
                ApiError::new(ErrorCode::NotFound, text)
            })?;
            if known.state == NodeState::Gone {
                let text = format!("the node {wanted} shows no sign of life, so there is nobody to give up");
                return Err(ApiError::new(ErrorCode::Conflict, text));
            }
        }
        // A shared store in which nobody else stands by would be left without an owner.
        let other = |known: &&ClusterNode| {
            known.state != NodeState::Gone && known.name != *node.as_ref().unwrap_or(&self.node)
        };
        if !nodes.iter().any(|known| other(&known)) {
            return Err(cluster::nobody_else());
        }
        self.seats.drain(node, hold_ms).await.map(|()| Response::Done { count: 1 })
    }

    async fn roster(&self, view: &cluster::SeatsView) -> Result<Vec<ClusterNode>, ApiError> {
        let load = self.load().await?;
        let own = ClusterNode {
            gossip: self.cluster.addr().map(|addr| addr.to_string()).unwrap_or_default(),
            rate: load.rate,
            workers: load.workers,
            connections: load.connections,
            ..cluster::of_facts(&self.node, &self.cluster.facts())
        };
        Ok(cluster::roster(view, &self.cluster.circle(), own, self.clock.now()))
    }

    /// What the node has to do right now.
    pub(crate) async fn load(&self) -> Result<Load, ApiError> {
        let listed = self.hub.list().await?;
        let connected = listed.iter().filter(|worker| worker.view.status != "away").count()
            + self.faktory.workers_connected();
        Ok(Load {
            rate: self.rate(),
            workers: u32::try_from(connected).unwrap_or(u32::MAX),
            connections: self.budget.connections() + self.faktory.connections(),
        })
    }

    /// What all queues have done, up to now.
    pub(super) fn total(&self) -> Sample {
        let now = self.clock.now();
        let mut total = Sample::at(now.mono);
        for queue in self.registry.all() {
            total.add(&Sample::of(queue.figures(), now.mono));
        }
        total
    }

    /// All queues are in shard 0, the only one of this version.
    async fn shards(&self, seats: Vec<Seat>) -> Result<Vec<ShardView>, ApiError> {
        let queues = self.list_queues().await?;
        let sum = |state: JobState| queues.iter().filter_map(|queue| queue.counts.get(&state)).sum();
        let (ready, running) = (sum(JobState::Ready), sum(JobState::Running));
        let (number, rate) = (u32::try_from(queues.len()).unwrap_or(u32::MAX), self.rate());
        let view = |Seat { shard, epoch, owner, since, moves_total }: Seat| {
            let empty = ShardView { shard, epoch, owner, since, moves_total, ..ShardView::default() };
            if shard == 0 { ShardView { queues: number, ready, running, rate, ..empty } } else { empty }
        };
        Ok(seats.into_iter().map(view).collect())
    }

    /// Jobs succeeded per second.
    fn rate(&self) -> f64 {
        self.history.rates(&self.total()).succeeded
    }
}
