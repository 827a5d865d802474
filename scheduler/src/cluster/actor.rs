//! The actor of the membership: hears the gossip, tells the hub, answers who is there.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use actix::{Actor, AsyncContext, Context, StreamHandler};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::circle::{Circle, Member};
use super::facts::Facts;
use super::gossip::{self, GossipConfig, GossipError};
use crate::clock::Clock;
use crate::session::Hub;

/// A cheap handle of the membership.
#[derive(Clone)]
pub struct Cluster {
    name: String,
    addr: Option<SocketAddr>,
    circle: watch::Receiver<Circle>,
    facts: watch::Sender<Facts>,
    stop: CancellationToken,
}

struct ClusterActor {
    hub: Hub,
    circle: watch::Receiver<Circle>,
    known: BTreeMap<String, Member>,
}

/// The gossip has another view.
struct Changed(Circle);

impl Cluster {
    /// Joins the gossip. Must run on the arbiter.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn open(config: GossipConfig, clock: Clock) -> Result<Cluster, GossipError> {
        let stop = CancellationToken::new();
        let name = config.cluster.clone();
        let gossip = gossip::start(config, clock, stop.clone()).await?;
        Ok(Cluster { name, addr: Some(gossip.addr), circle: gossip.circle, facts: gossip.facts, stop })
    }

    /// From now on `hub` hears who is alive, until the gossip ends. Must run on the arbiter.
    pub fn tell(&self, hub: Hub) {
        ClusterActor { hub, circle: self.circle.clone(), known: BTreeMap::new() }.start();
    }

    /// A node without gossip: workers are watched by heartbeats alone.
    #[must_use]
    pub fn alone(name: &str, facts: Facts) -> Cluster {
        let circle = watch::channel(Circle::default()).1;
        let facts = watch::Sender::new(facts);
        Cluster { name: name.to_owned(), addr: None, circle, facts, stop: CancellationToken::new() }
    }

    /// Members with the same name hear each other.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The gossip address with the real port.
    #[must_use]
    pub fn addr(&self) -> Option<SocketAddr> {
        self.addr
    }

    /// The live members by id, this node included.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.circle.borrow().live.values().cloned().collect()
    }

    /// The live members, and the nodes that have gone.
    #[must_use]
    pub fn circle(&self) -> Circle {
        self.circle.borrow().clone()
    }

    /// What this node says of itself.
    #[must_use]
    pub fn facts(&self) -> Facts {
        self.facts.borrow().clone()
    }

    /// Changes a fact of this node. Others hear of it within a second or two: changes are gathered and told at most once a second,
    /// the latest of each fact.
    pub fn set(&self, name: &str, value: impl Into<String>) {
        self.set_all([(name, value.into())]);
    }

    /// Changes several facts at once.
    pub fn set_all<const N: usize>(&self, changes: [(&str, String); N]) {
        self.facts.send_if_modified(|facts| {
            let mut changed = false;
            for (name, value) in changes {
                if facts.get(name) != Some(&value) {
                    facts.insert(name.to_owned(), value);
                    changed = true;
                }
            }
            changed
        });
    }

    /// Leaves the gossip.
    pub fn leave(&self) {
        self.stop.cancel();
    }

    /// Resolves when the gossip was left.
    pub(super) async fn left(&self) {
        self.stop.cancelled().await;
    }
}

impl Actor for ClusterActor {
    type Context = Context<ClusterActor>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let changes = futures_util::stream::unfold(self.circle.clone(), |mut circle| async {
            circle.changed().await.ok()?;
            let now = circle.borrow_and_update().clone();
            Some((Changed(now), circle))
        });
        ctx.add_stream(changes);
    }
}

impl StreamHandler<Changed> for ClusterActor {
    fn handle(&mut self, Changed(circle): Changed, _: &mut Self::Context) {
        let is_same = |a: &Member, b: &Member| (&a.role, a.addr) == (&b.role, b.addr);
        let joined = |known: &BTreeMap<String, Member>, member: &Member| {
            known.get(&member.id).is_none_or(|before| !is_same(before, member))
        };
        let mut changed = false;
        for member in circle.live.values().filter(|member| joined(&self.known, member)) {
            tracing::info!(id = member.id, role = member.role, addr = %member.addr, "member joined");
            changed = true;
        }
        for member in self.known.values().filter(|member| joined(&circle.live, member)) {
            tracing::info!(id = member.id, role = member.role, addr = %member.addr, "member dead");
            changed = true;
        }
        // What members say of themselves changes every second and is nothing to the hub.
        if changed {
            self.hub.gossip(circle.live.keys().cloned().collect());
        }
        self.known = circle.live;
    }
}
