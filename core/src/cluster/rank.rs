//! Whose turn it is: rendezvous hashing (Thaler, Ravishankar 1998) of shard and node.

use std::cmp::Reverse;

use super::ShardNo;
use crate::id::NodeName;

/// The place of `me` among the `others` in the order of a shard, 0 for the first. All nodes that see the same others agree on the
/// order without a word, and it changes only around a node that comes or goes. `me` may stand among the others.
///
/// ```
/// use windlass_core::{cluster::rank, id::NodeName};
/// let [a, b]: [NodeName; 2] = ["a", "b"].map(|name| name.parse().unwrap());
/// assert_eq!(rank(0, &a, [&b]) + rank(0, &b, [&a]), 1);
/// ```
#[must_use]
pub fn rank<'a>(shard: ShardNo, me: &NodeName, others: impl IntoIterator<Item = &'a NodeName>) -> usize {
    // Heavier goes first; of two that weigh the same, the name decides.
    let place = |name: &'a NodeName| (Reverse(weight(shard, name)), name);
    let mine = (Reverse(weight(shard, me)), me);
    others.into_iter().filter(|other| place(other) < mine).count()
}

/// A node's weight for a shard. The function is part of the protocol between nodes: nodes of different builds and versions
/// must agree, so it may not change, and the standard library's hashers, which promise no such thing, are of no use.
///
/// FNV-1a (64 bit; Fowler, Noll, Vo) over the two bytes of the shard's number, the lower first, and those of the name; then
/// the finalizer of `SplitMix64` (Steele, Lea, Flood 2014), because the last bytes, in which names of nodes differ, hardly
/// reach FNV's upper bits.
fn weight(shard: ShardNo, name: &NodeName) -> u64 {
    let bytes = shard.to_le_bytes().into_iter().chain(name.as_str().bytes());
    let mut z = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn names(count: usize) -> BTreeSet<NodeName> {
        (0..count).map(|i| format!("node-{i}").parse().unwrap()).collect()
    }

    /// Other builds must come to the same numbers, for ever.
    #[test]
    fn weights_are_golden() {
        let weight = |shard, name: &str| weight(shard, &name.parse().unwrap());
        assert_eq!(
            [weight(0, "a"), weight(0, "node-1"), weight(1, "node-1"), weight(258, "10.0.0.7:7911")],
            [
                4_409_999_508_967_373_354,
                4_422_082_322_857_363_119,
                8_724_833_512_801_402_612,
                5_529_954_320_482_573_446
            ]
        );
    }

    #[test]
    fn every_place_is_taken_once() {
        for count in 1..=9 {
            let names = names(count);
            let places: BTreeSet<usize> = names.iter().map(|me| rank(7, me, &names)).collect();
            assert_eq!(places, (0..count).collect());
        }
    }

    /// Without one node the others stand in the same order.
    #[test]
    fn a_node_that_goes_moves_nobody_past_another() {
        let all = names(6);
        let order = |names: &BTreeSet<NodeName>| {
            let mut order: Vec<NodeName> = names.iter().cloned().collect();
            order.sort_by_key(|name| rank(0, name, names));
            order
        };
        for gone in &all {
            let fewer: BTreeSet<NodeName> = all.iter().filter(|name| *name != gone).cloned().collect();
            let expected: Vec<NodeName> = order(&all).into_iter().filter(|name| name != gone).collect();
            assert_eq!(order(&fewer), expected);
        }
    }

    /// Shards spread: of a thousand, each of four nodes is first for about a quarter.
    #[test]
    fn shards_spread_over_nodes() {
        let names = names(4);
        for me in &names {
            let first = (0..1_000).filter(|shard| rank(*shard, me, &names) == 0).count();
            assert!((200..300).contains(&first), "{me} is first for {first} of 1,000 shards");
        }
    }
}
