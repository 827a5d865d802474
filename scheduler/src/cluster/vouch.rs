//! Which nodes clients are told of: those that have proved in the gossip that they read the shard's row.
//!
//! Whoever reaches the gossip can make nodes up, and a client that is told of one sends its token there. So a node says with its address
//! an HMAC over both under the nonce of the row, which only the database gives out. A new owner brings a new nonce; what has been
//! proved under an earlier one stays so for as long as the node is heard at the same address.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use windlass_core::cluster::{Nonce, ShardNo, rank};
use windlass_core::id::NodeName;
use windlass_core::limits;
use windlass_core::wire::NodeAt;

use super::circle::Circle;
use super::facts;

/// What a node says beside its name and its native address.
#[must_use]
pub(crate) fn proof(nonce: Nonce, name: &str, native: &str) -> String {
    let proof = <Hmac<Sha256> as KeyInit>::new_from_slice(&nonce.0.to_be_bytes());
    let mut proof = proof.expect("a key of any length is taken");
    proof.update(b"windlass node");
    proof.update(name.as_bytes());
    proof.update(&[0]);
    proof.update(native.as_bytes());
    proof.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The nodes that have proved to belong to the cluster, by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Vouched {
    /// The nonce of the row and the one before it, since others hear of a new one at another moment.
    nonces: [Option<Nonce>; 2],
    natives: BTreeMap<NodeName, String>,
}

impl Vouched {
    /// The row has this nonce.
    pub(crate) fn read(&mut self, nonce: Nonce) {
        if self.nonces[0] != Some(nonce) {
            self.nonces = [Some(nonce), self.nonces[0]];
        }
    }

    /// Takes what the gossip says by now: who is not heard any more, or at another address without a proof, is forgotten.
    pub(crate) fn hear(&mut self, circle: &Circle) {
        let before = std::mem::take(&mut self.natives);
        let servers = circle.live.values().filter(|member| member.role == facts::SERVER);
        for member in servers.take(limits::CLUSTER_NODES_MAX) {
            let Ok(name) = NodeName::new(&member.id) else { continue };
            let native = facts::text(&member.facts, facts::NATIVE);
            let said = facts::text(&member.facts, facts::VOUCH);
            let proves = |nonce: &Nonce| said == proof(*nonce, name.as_str(), &native);
            let fits = !native.is_empty() && native.len() <= limits::NODE_ADDRESS_BYTES_MAX;
            if fits && (before.get(&name) == Some(&native) || self.nonces.iter().flatten().any(proves)) {
                self.natives.insert(name, native);
            }
        }
    }

    /// All but `me`, in the order in which they would take the shard over.
    pub(crate) fn others(&self, shard: ShardNo, me: &NodeName) -> Vec<NodeAt> {
        let mut others: Vec<_> = self.natives.iter().filter(|(name, _)| *name != me).collect();
        others.sort_by_key(|(name, _)| rank(shard, name, self.natives.keys()));
        let node =
            |(name, native): (&NodeName, &String)| NodeAt { name: name.to_string(), native: native.clone() };
        others.into_iter().take(limits::NODES_TOLD_MAX).map(node).collect()
    }
}

#[cfg(test)]
mod tests {
    use windlass_core::time::Now;

    use super::super::circle::Said;
    use super::*;

    const NONCES: [Nonce; 4] = [Nonce(1), Nonce(2), Nonce(3), Nonce(4)];

    fn said(id: &str, native: &str, vouch: &str) -> Said {
        let facts = [("role", "server"), ("native", native), ("vouch", vouch)];
        let facts = facts.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        Said { id: id.to_owned(), addr: "127.0.0.1:7422".parse().unwrap(), facts }
    }

    fn heard(all: Vec<Said>) -> Circle {
        Circle::default().hear(all, Now::default())
    }

    fn names(vouched: &Vouched) -> Vec<String> {
        let mut names: Vec<_> =
            vouched.others(0, &"me".parse().unwrap()).into_iter().map(|node| node.name).collect();
        names.sort();
        names
    }

    #[test]
    fn only_who_reads_the_row_is_told_of() {
        let mut vouched = Vouched::default();
        vouched.read(NONCES[0]);
        let good = proof(NONCES[0], "b", "b:1");
        vouched.hear(&heard(vec![
            said("me", "me:1", &proof(NONCES[0], "me", "me:1")),
            said("b", "b:1", &good),
            // Of another database, the same words at another address or under another name, an old version, no port.
            said("c", "c:1", &proof(NONCES[1], "c", "c:1")),
            said("d", "evil:1", &proof(NONCES[0], "d", "d:1")),
            said("e", "b:1", &good),
            said("f", "f:1", ""),
            said("g", "", &proof(NONCES[0], "g", "")),
        ]));
        assert_eq!(names(&vouched), ["b"]);
    }

    #[test]
    fn what_was_proved_outlives_the_owner_and_not_the_address() {
        let mut vouched = Vouched::default();
        vouched.read(NONCES[0]);
        let b = || said("b", "b:1", &proof(NONCES[0], "b", "b:1"));
        // The other one has read the next nonce already, or not yet.
        let c = || said("c", "c:1", &proof(NONCES[1], "c", "c:1"));
        vouched.hear(&heard(vec![b(), c()]));
        assert_eq!(names(&vouched), ["b"]);
        for nonce in &NONCES[1..] {
            vouched.read(*nonce);
            vouched.hear(&heard(vec![b(), c()]));
            assert_eq!(names(&vouched), ["b", "c"], "{nonce:?}");
        }
        vouched.hear(&heard(vec![said("b", "b:2", &proof(NONCES[0], "b", "b:2")), c()]));
        assert_eq!(names(&vouched), ["c"], "an old nonce proves nothing new");
        vouched.hear(&heard(Vec::new()));
        vouched.hear(&heard(vec![c()]));
        assert!(names(&vouched).is_empty());
    }

    #[test]
    fn they_stand_in_the_order_of_their_turns_and_are_bounded() {
        let mut vouched = Vouched::default();
        vouched.read(NONCES[0]);
        let native = |n: usize| format!("n{n}:1");
        let node =
            |n: usize| said(&format!("n{n}"), &native(n), &proof(NONCES[0], &format!("n{n}"), &native(n)));
        vouched.hear(&heard((0..40).map(node).collect()));
        let me: NodeName = "n7".parse().unwrap();
        let others = vouched.others(0, &me);
        assert_eq!(others.len(), limits::NODES_TOLD_MAX);
        let all: Vec<NodeName> = (0..40).map(|n| format!("n{n}").parse().unwrap()).collect();
        let places: Vec<usize> =
            others.iter().map(|node| rank(0, &node.name.parse().unwrap(), &all)).collect();
        assert!(places.is_sorted() && others.iter().all(|node| node.name != "n7"), "{places:?}");
    }
}
