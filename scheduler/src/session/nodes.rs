//! What a client is told of the nodes of the cluster, from version 2 of the protocol on.

use std::convert::Infallible;

use tokio::sync::watch;
use windlass_core::wire::{NodeAt, Nodes, PROTOCOL_NODES, ServerFrame};

use super::SessionParts;
use super::link::Link;

/// The nodes, as this one knows them, which owns what they share.
#[derive(Debug, Clone)]
pub struct Peers {
    /// The cluster's random number.
    pub cluster: [u8; 16],
    /// This node.
    pub owner: NodeAt,
    /// The others, in the order in which they would take over.
    pub others: watch::Receiver<Vec<NodeAt>>,
}

impl Peers {
    fn frame(&mut self) -> ServerFrame {
        let others = self.others.borrow_and_update().clone();
        ServerFrame::Nodes(Nodes { cluster: self.cluster, owner: self.owner.clone(), others })
    }
}

/// What one client is still to be told; `None` for one that would not understand, and where there are no other nodes.
pub(super) struct Told(Option<Peers>);

impl Told {
    /// Tells a client that speaks this version of the nodes. Comes right behind the welcome.
    pub(super) fn begin(protocol: u16, link: &Link, parts: &SessionParts) -> Told {
        let mut peers = parts.peers.clone().filter(|_| protocol >= PROTOCOL_NODES);
        if let Some(peers) = &mut peers {
            link.send(&peers.frame());
        }
        Told(peers)
    }

    /// Tells of changes, and at last that the server is about to stop, and who is expected to go on.
    pub(super) async fn follow(mut self, link: &Link, parts: &SessionParts) -> Infallible {
        loop {
            tokio::select! {
                biased;
                () = parts.phases.draining.cancelled() => break,
                frame = self.changed() => link.send(&frame),
            }
        }
        let next = self.0.as_ref().and_then(|peers| peers.others.borrow().first().cloned());
        if let Some(next) = next {
            link.send(&ServerFrame::Moved { to: next.native });
        }
        link.send(&ServerFrame::Draining);
        std::future::pending().await
    }

    async fn changed(&mut self) -> ServerFrame {
        if let Some(peers) = &mut self.0
            && peers.others.changed().await.is_ok()
        {
            return peers.frame();
        }
        // Nobody is left who could change anything, or nobody ever was.
        std::future::pending().await
    }
}
