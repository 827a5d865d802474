//! The other nodes that share the store, for clients: kept through all terms, so that a new owner knows them from its first moment on.

use std::time::Duration;

use tokio::sync::watch;
use windlass_core::cluster::Nonce;
use windlass_core::id::NodeName;
use windlass_core::wire::NodeAt;

use crate::cluster::{Cluster, Vouched, facts, proof};
use crate::store::postgres::SHARD;

/// How often the gossip is looked at: it tells changes once a second.
const LOOK: Duration = Duration::from_millis(250);

/// A cheap handle; what it stands for ends with it.
pub(super) struct Kin {
    nonce: watch::Sender<Option<Nonce>>,
    others: watch::Receiver<Vec<NodeAt>>,
}

impl Kin {
    /// Begins to prove in the gossip what this node reads, and to look at what others prove. Must run on the arbiter.
    pub(super) fn keep(cluster: Cluster, me: NodeName) -> Kin {
        let (nonce, mut nonces) = watch::channel(None);
        let (publish, others) = watch::channel(Vec::new());
        actix_rt::spawn(async move {
            let mut vouched = Vouched::default();
            let mut tick = tokio::time::interval(LOOK);
            loop {
                tokio::select! {
                    changed = nonces.changed() => if changed.is_err() { return },
                    _ = tick.tick() => {}
                }
                if let Some(nonce) = *nonces.borrow_and_update() {
                    vouched.read(nonce);
                    let native = cluster.facts().get(facts::NATIVE).cloned().unwrap_or_default();
                    cluster.set(facts::VOUCH, proof(nonce, me.as_str(), &native));
                }
                vouched.hear(&cluster.circle());
                let next = vouched.others(SHARD, &me);
                publish.send_if_modified(|known| {
                    let changed = *known != next;
                    *known = next;
                    changed
                });
            }
        });
        Kin { nonce, others }
    }

    /// The shard's row has this nonce.
    pub(super) fn read(&self, nonce: Nonce) {
        // Nobody has ever owned the shard, so there is nothing that only its readers know.
        if nonce == Nonce(0) {
            return;
        }
        self.nonce.send_if_modified(|known| known.replace(nonce) != Some(nonce));
    }

    /// The others, in the order in which they would take over.
    pub(super) fn others(&self) -> watch::Receiver<Vec<NodeAt>> {
        self.others.clone()
    }
}
