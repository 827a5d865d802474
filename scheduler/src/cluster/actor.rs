//! The actor of the membership: hears the gossip, tells the hub, answers who is there.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use actix::{Actor, AsyncContext, Context, StreamHandler};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::gossip::{self, GossipConfig, GossipError, Member};
use crate::clock::Clock;
use crate::session::Hub;

/// A cheap handle of the membership.
#[derive(Clone)]
pub struct Cluster {
    addr: Option<SocketAddr>,
    members: watch::Receiver<Vec<Member>>,
    stop: CancellationToken,
}

struct ClusterActor {
    hub: Hub,
    members: watch::Receiver<Vec<Member>>,
    known: BTreeSet<Member>,
}

/// The gossip has another view.
struct Changed(Vec<Member>);

impl Cluster {
    /// Joins the gossip. Must run on the arbiter.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn join(config: GossipConfig, clock: Clock) -> Result<Cluster, GossipError> {
        let stop = CancellationToken::new();
        let gossip = gossip::start(config, clock, stop.clone()).await?;
        Ok(Cluster { addr: Some(gossip.addr), members: gossip.members, stop })
    }

    /// Lets a hub hear who is alive, from now on. Must run on the hub's arbiter, and ends with it.
    pub fn tell(&self, hub: Hub) {
        let mut members = self.members.clone();
        // What is known already counts as news to this one.
        members.mark_changed();
        ClusterActor { hub, members, known: BTreeSet::new() }.start();
    }

    /// A node without gossip: workers are watched by heartbeats alone.
    #[must_use]
    pub fn alone() -> Cluster {
        Cluster { addr: None, members: watch::channel(Vec::new()).1, stop: CancellationToken::new() }
    }

    /// The gossip address with the real port.
    #[must_use]
    pub fn addr(&self) -> Option<SocketAddr> {
        self.addr
    }

    /// The live members, this node included.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.members.borrow().clone()
    }

    /// Leaves the gossip.
    pub fn leave(&self) {
        self.stop.cancel();
    }
}

impl Actor for ClusterActor {
    type Context = Context<ClusterActor>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let changes = futures_util::stream::unfold(self.members.clone(), |mut members| async {
            members.changed().await.ok()?;
            let now = members.borrow_and_update().clone();
            Some((Changed(now), members))
        });
        ctx.add_stream(changes);
    }
}

impl StreamHandler<Changed> for ClusterActor {
    fn handle(&mut self, Changed(members): Changed, _: &mut Self::Context) {
        self.hub.gossip(members.iter().map(|member| member.id.clone()).collect());
        let members: BTreeSet<_> = members.into_iter().collect();
        for member in members.difference(&self.known) {
            tracing::info!(id = member.id, role = member.role, addr = %member.addr, "member joined");
        }
        for member in self.known.difference(&members) {
            tracing::info!(id = member.id, role = member.role, addr = %member.addr, "member dead");
        }
        self.known = members;
    }
}
