//! What a node says of itself in the gossip, by name. Whoever reaches the gossip can say anything: facts are shown, and never
//! decide who owns what.

use std::collections::BTreeMap;

/// Facts by name.
pub type Facts = BTreeMap<String, String>;

/// `server` or `worker`.
pub const ROLE: &str = "role";
/// The role of nodes.
pub const SERVER: &str = "server";
/// Version of the program.
pub const VERSION: &str = "version";
/// Address of pages and HTTP API.
pub const HTTP: &str = "http";
/// Address of the native port.
pub const NATIVE: &str = "native";
/// Proves that the node reads the cluster's database, and that its native port is where it says.
pub const VOUCH: &str = "vouch";
/// Address of the Faktory port.
pub const FAKTORY: &str = "faktory";
/// What the node does: [`NodeState::name`](windlass_core::api::NodeState::name).
pub const SEAT: &str = "seat";
/// Since when it does that: milliseconds since the Unix epoch, by its own clock.
pub const SINCE: &str = "since";
/// The epoch that it claims; 0 or nothing for a node that owns nothing.
pub const EPOCH: &str = "epoch";
/// Its wall clock at its last pulse: milliseconds since the Unix epoch.
pub const CLOCK: &str = "clock";
/// Jobs per second that it has brought to success.
pub const LOAD: &str = "load";
/// Workers that are connected to it.
pub const WORKERS: &str = "workers";
/// Connections that are open at its native port, relayed ones included.
pub const CONNECTIONS: &str = "connections";

/// Facts of one member that are kept; the list above has less than half as many.
pub(super) const FACTS_MAX: usize = 32;
/// Longest name or value of a fact that is kept, in bytes: addresses are shorter.
pub(super) const FACT_BYTES_MAX: usize = 256;

/// Keeps what fits, so that nobody fills the memory of others through the gossip.
pub(super) fn keep<'a>(all: impl Iterator<Item = (&'a str, &'a str)>) -> Facts {
    let fits = |(name, value): &(&str, &str)| name.len() <= FACT_BYTES_MAX && value.len() <= FACT_BYTES_MAX;
    all.filter(fits).take(FACTS_MAX).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A fact as text; empty where it was not said.
pub(super) fn text(facts: &Facts, name: &str) -> String {
    facts.get(name).cloned().unwrap_or_default()
}

/// A fact as a number; `None` where it was not said, or is none.
pub(super) fn number<T: std::str::FromStr>(facts: &Facts, name: &str) -> Option<T> {
    facts.get(name)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_left_out() {
        let long = "x".repeat(FACT_BYTES_MAX + 1);
        let many: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let all = [("a", long.as_str()), (long.as_str(), "a"), ("b", "1")].into_iter();
        let facts = keep(all.chain(many.iter().map(|n| (n.as_str(), "x"))));
        assert_eq!(facts.len(), FACTS_MAX);
        assert_eq!((text(&facts, "a"), number(&facts, "b")), (String::new(), Some(1_u64)));
        assert_eq!(number::<u64>(&facts, "5"), None);
    }
}
