//! The list of nodes, put together from what the store says about ownership and what nodes say of themselves. Pure.
//!
//! The store is the judge: whoever it names owns, alive or not. What a node says in the gossip is shown as its own word, and a node
//! that has gone silent stays on the list for a while, so that somebody who was called can see what is missing.

use std::collections::BTreeMap;

use windlass_core::api::{ClusterNode, NodeState};
use windlass_core::limits;
use windlass_core::time::{Now, Timestamp};

use super::circle::{Circle, Member};
use super::facts::{self, Facts};
use super::seats::SeatsView;

/// All nodes of a cluster, as `own` sees them: owners, nodes that drain, those that stand by, those that are gone; by name.
///
/// `own` is the node that answers, as it knows itself; its state is decided here too.
#[must_use]
pub fn roster(view: &SeatsView, circle: &Circle, own: ClusterNode, now: Now) -> Vec<ClusterNode> {
    let mut nodes: BTreeMap<String, ClusterNode> = BTreeMap::new();
    for node in &view.nodes {
        nodes.insert(node.name.clone(), node.clone());
    }
    for departed in &circle.gone {
        let lag_ms = now.mono.0.saturating_sub(departed.member.heard.mono.0);
        let last = ClusterNode {
            state: NodeState::Gone,
            since: Some(departed.at),
            lag_ms,
            rate: 0.0,
            workers: 0,
            connections: 0,
            clock_skew_ms: None,
            ..of_facts(&departed.member.id, &departed.member.facts)
        };
        nodes.entry(last.name.clone()).or_insert(last);
    }
    for member in circle.live.values().filter(|member| member.role == facts::SERVER) {
        let drains = nodes.get(&member.id).is_some_and(|known| known.state == NodeState::Draining);
        let mut node = of_member(member, now);
        if drains {
            node.state = NodeState::Draining;
        }
        nodes.insert(node.name.clone(), node);
    }
    // An owner of which nobody else has heard is an owner all the same.
    for owner in view.shards.iter().filter_map(|seat| seat.owner.as_ref()) {
        let unseen = || ClusterNode { name: owner.clone(), state: NodeState::Gone, ..ClusterNode::default() };
        nodes.entry(owner.clone()).or_insert_with(unseen);
    }
    let drains = nodes.get(&own.name).is_some_and(|known| known.state == NodeState::Draining);
    let state = if drains { NodeState::Draining } else { own.state };
    nodes.insert(own.name.clone(), ClusterNode { state, lag_ms: 0, clock_skew_ms: Some(0), ..own });
    let mut nodes: Vec<ClusterNode> = nodes.into_values().map(|node| seated(node, view)).collect();
    nodes.sort_by(|a, b| (a.state, &a.name).cmp(&(b.state, &b.name)));
    nodes.truncate(limits::CLUSTER_NODES_MAX);
    nodes
}

/// What the store says about a node wins over what it says itself.
fn seated(mut node: ClusterNode, view: &SeatsView) -> ClusterNode {
    let owned = view.shards.iter().filter(|seat| seat.owner.as_deref() == Some(&node.name));
    match owned.max_by_key(|seat| seat.epoch) {
        Some(seat) => {
            node.epoch = seat.epoch;
            if node.state != NodeState::Gone {
                node.since = Some(seat.since);
            }
            if node.state == NodeState::Standby {
                node.state = NodeState::Owner;
            }
        }
        None if node.state == NodeState::Owner => node.state = NodeState::Standby,
        None => {}
    }
    node
}

fn of_member(member: &Member, now: Now) -> ClusterNode {
    ClusterNode {
        gossip: member.addr.to_string(),
        lag_ms: now.mono.0.saturating_sub(member.heard.mono.0),
        clock_skew_ms: member.skew_ms,
        ..of_facts(&member.id, &member.facts)
    }
}

/// A node by its own words.
#[must_use]
pub(crate) fn of_facts(name: &str, all: &Facts) -> ClusterNode {
    let seat = facts::text(all, facts::SEAT);
    let state = NodeState::ALL.into_iter().find(|state| state.name() == seat).unwrap_or_default();
    // Whoever can say anything may not be able to say that they are gone.
    let state = if state == NodeState::Gone { NodeState::Standby } else { state };
    let rate = facts::number::<f64>(all, facts::LOAD).filter(|rate| rate.is_finite() && *rate >= 0.0);
    ClusterNode {
        name: name.to_owned(),
        version: facts::text(all, facts::VERSION),
        state,
        since: facts::number(all, facts::SINCE).map(Timestamp),
        native: facts::text(all, facts::NATIVE),
        http: facts::text(all, facts::HTTP),
        faktory: facts::text(all, facts::FAKTORY),
        gossip: String::new(),
        epoch: facts::number(all, facts::EPOCH).unwrap_or(0),
        rate: rate.unwrap_or(0.0),
        workers: facts::number(all, facts::WORKERS).unwrap_or(0),
        connections: facts::number(all, facts::CONNECTIONS).unwrap_or(0),
        lag_ms: 0,
        clock_skew_ms: None,
    }
}

#[cfg(test)]
mod tests {
    use windlass_core::time::Mono;

    use super::super::circle::Said;
    use super::super::seats::Seat;
    use super::*;

    fn at(ms: u64) -> Now {
        Now { wall: Timestamp(1_700_000_000_000 + ms), mono: Mono(ms) }
    }

    fn said(id: &str, facts: &[(&str, &str)]) -> Said {
        let facts = [("role", "server"), ("version", "1.0.0")].iter().chain(facts);
        let facts = facts.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Said { id: id.to_owned(), addr: "127.0.0.1:7422".parse().unwrap(), facts }
    }

    fn own(name: &str) -> ClusterNode {
        ClusterNode { name: name.to_owned(), ..ClusterNode::default() }
    }

    fn owned_by(owner: Option<&str>) -> SeatsView {
        let seat = Seat { epoch: 12, owner: owner.map(str::to_owned), since: at(5).wall, ..Seat::default() };
        SeatsView { shards: vec![seat], ..SeatsView::default() }
    }

    fn states(nodes: &[ClusterNode]) -> Vec<(&str, NodeState)> {
        nodes.iter().map(|node| (node.name.as_str(), node.state)).collect()
    }

    #[test]
    fn the_store_says_who_owns_whatever_nodes_say() {
        let circle = Circle::default();
        let boasts = said("c", &[("seat", "owner"), ("epoch", "99"), ("load", "NaN")]);
        let hides = said("b", &[("seat", "standby"), ("http", "10.0.0.2:7420"), ("load", "3.5")]);
        let lies = said("d", &[("seat", "gone")]);
        let worker = Said { facts: [("role".to_owned(), "worker".to_owned())].into(), ..said("w", &[]) };
        let circle = circle.hear(vec![boasts, hides, lies, worker], at(10));
        let nodes = roster(&owned_by(Some("b")), &circle, own("a"), at(1_210));
        use NodeState::{Owner, Standby};
        assert_eq!(states(&nodes), [("b", Owner), ("a", Standby), ("c", Standby), ("d", Standby)]);
        let b = &nodes[0];
        assert_eq!((b.epoch, b.since, b.lag_ms), (12, Some(at(5).wall), 1_200));
        assert_eq!((b.http.as_str(), b.version.as_str(), b.rate), ("10.0.0.2:7420", "1.0.0", 3.5));
        assert_eq!((nodes[1].lag_ms, nodes[1].clock_skew_ms), (0, Some(0)), "the answering node");
        assert_eq!(nodes[2].rate, 0.0);
    }

    #[test]
    fn an_owner_that_has_died_is_shown_until_it_is_replaced() {
        let both = Circle::default().hear(vec![said("a", &[]), said("b", &[("clock", "1")])], at(0));
        let circle = both.hear(vec![said("a", &[])], at(1_000));
        let nodes = roster(&owned_by(Some("b")), &circle, own("a"), at(3_000));
        assert_eq!(states(&nodes), [("a", NodeState::Standby), ("b", NodeState::Gone)]);
        assert_eq!((nodes[1].lag_ms, nodes[1].epoch, nodes[1].clock_skew_ms), (3_000, 12, None));
        let nodes = roster(&owned_by(Some("a")), &circle, own("a"), at(3_000));
        assert_eq!(states(&nodes), [("a", NodeState::Owner), ("b", NodeState::Gone)]);
        // Without any gossip the store's word is all there is.
        let nodes = roster(&owned_by(Some("x")), &Circle::default(), own("a"), at(0));
        assert_eq!(states(&nodes), [("a", NodeState::Standby), ("x", NodeState::Gone)]);
        let nodes = roster(&owned_by(None), &Circle::default(), own("a"), at(0));
        assert_eq!(states(&nodes), [("a", NodeState::Standby)]);
    }

    #[test]
    fn a_node_that_drains_is_shown_as_such_while_it_still_owns() {
        let circle = Circle::default().hear(vec![said("b", &[("seat", "draining")])], at(0));
        let nodes = roster(&owned_by(Some("b")), &circle, own("a"), at(0));
        assert_eq!(states(&nodes), [("b", NodeState::Draining), ("a", NodeState::Standby)]);
        let mut view = owned_by(Some("a"));
        view.nodes = vec![ClusterNode { state: NodeState::Draining, ..own("a") }];
        let nodes = roster(&view, &Circle::default(), own("a"), at(0));
        assert_eq!(states(&nodes), [("a", NodeState::Draining)]);
    }

    #[test]
    fn made_up_nodes_are_bounded() {
        let many = (0..500).map(|n| said(&n.to_string(), &[])).collect();
        let nodes = roster(&owned_by(Some("a")), &Circle::default().hear(many, at(0)), own("a"), at(0));
        assert_eq!((nodes.len(), nodes[0].name.as_str()), (limits::CLUSTER_NODES_MAX, "a"));
    }
}
