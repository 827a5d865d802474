//! What goes wrong with nodes, gossip, wires and the database, drawn from the seed; swarm style, as in [`crate::fault`].

use crate::rng::Rng;

/// One fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// When, in milliseconds of true time.
    pub at: u64,
    /// What.
    pub what: What,
}

/// Kinds of fault.
#[expect(missing_docs, reason = "the fields are named after what they hold")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// A node dies, and comes back under the same name.
    NodeKill { node: usize, down_ms: u64 },
    /// A node stands still and goes on.
    NodeStop { node: usize, ms: u64 },
    /// Somebody drains a node.
    NodeDrain { node: usize, hold_ms: u64 },
    /// Nodes of the one side and the other do not hear each other; a bit per node.
    GossipCut { sides: u64, ms: u64 },
    /// A node believes something else; a bit per node.
    GossipWrong { node: usize, alive: u64, ms: u64 },
    /// Who dies is missed late.
    GossipLate { late_ms: u64, ms: u64 },
    /// Nothing passes between a node and the database.
    WireCut { node: usize, ms: u64 },
    /// Everything between a node and the database takes longer.
    WireSlow { node: usize, delay_ms: u64, ms: u64 },
    /// Statements and answers get lost, or statements arrive long after their sender has given up; in a thousand.
    WireLossy { node: usize, lost: u32, unanswered: u32, late: u32, ms: u64 },
    /// The database is away.
    Outage { ms: u64 },
    /// Statements take long.
    Slow { delay_ms: u64, ms: u64 },
    /// The database is away, and comes back so many statements younger.
    FailOver { ms: u64, lost: u64 },
    /// The database has room for signs of life, and for no group.
    Full { ms: u64 },
    /// The machine under all of them stands still; nodes go on a little later than the database, each by itself.
    Freeze { ms: u64 },
}

/// Names of the kinds, in the order of [`What::kind`].
pub const KINDS: [&str; 14] = [
    "node kill",
    "node stop",
    "node drain",
    "gossip cut",
    "gossip wrong",
    "gossip late",
    "wire cut",
    "wire slow",
    "wire lossy",
    "outage",
    "slow database",
    "fail-over",
    "full database",
    "freeze",
];

/// Shortest time for which the database is away: longer than a reading and the pause before it, so that every standby has one
/// reading fail. Shorter ones are [`What::Slow`].
pub const OUTAGE_MS_MIN: u64 = 1_000;

impl What {
    /// Number of the kind, for counting.
    #[must_use]
    pub fn kind(&self) -> usize {
        match self {
            What::NodeKill { .. } => 0,
            What::NodeStop { .. } => 1,
            What::NodeDrain { .. } => 2,
            What::GossipCut { .. } => 3,
            What::GossipWrong { .. } => 4,
            What::GossipLate { .. } => 5,
            What::WireCut { .. } => 6,
            What::WireSlow { .. } => 7,
            What::WireLossy { .. } => 8,
            What::Outage { .. } => 9,
            What::Slow { .. } => 10,
            What::FailOver { .. } => 11,
            What::Full { .. } => 12,
            What::Freeze { .. } => 13,
        }
    }

    /// The node that it keeps from showing that it lives, `Some(None)` for all, and `None` for nobody.
    #[must_use]
    pub fn harms(&self) -> Option<Option<usize>> {
        match self {
            What::GossipCut { .. }
            | What::GossipWrong { .. }
            | What::GossipLate { .. }
            | What::Full { .. } => None,
            What::Outage { .. } | What::Slow { .. } | What::FailOver { .. } | What::Freeze { .. } => {
                Some(None)
            }
            What::NodeKill { node, .. }
            | What::NodeStop { node, .. }
            | What::NodeDrain { node, .. }
            | What::WireCut { node, .. }
            | What::WireSlow { node, .. }
            | What::WireLossy { node, .. } => Some(Some(*node)),
        }
    }

    /// How long it lasts.
    #[must_use]
    pub fn lasts_ms(&self) -> u64 {
        match *self {
            What::NodeKill { down_ms: ms, .. }
            | What::NodeStop { ms, .. }
            | What::NodeDrain { hold_ms: ms, .. }
            | What::GossipCut { ms, .. }
            | What::GossipWrong { ms, .. }
            | What::GossipLate { ms, .. }
            | What::WireCut { ms, .. }
            | What::WireSlow { ms, .. }
            | What::WireLossy { ms, .. }
            | What::Outage { ms }
            | What::Full { ms }
            | What::Freeze { ms }
            | What::Slow { ms, .. }
            | What::FailOver { ms, .. } => ms,
        }
    }
}

/// The faults of a seed, all begun before `until_ms`.
#[must_use]
pub fn plan(rng: &mut Rng, nodes: usize, until_ms: u64) -> Vec<Fault> {
    let kinds: Vec<usize> = (0..KINDS.len()).filter(|_| rng.chance(350)).collect();
    if kinds.is_empty() {
        return Vec::new();
    }
    let every_ms = rng.pick(&[500, 1_200, 3_000]);
    let mut faults = Vec::new();
    // Nodes have a moment to find an owner first.
    let mut at = 500 + rng.below(every_ms);
    while at < until_ms {
        let kind = rng.pick(&kinds);
        faults.push(Fault { at, what: draw(kind, rng, nodes) });
        at += rng.between(1, every_ms * 2);
    }
    faults
}

fn draw(kind: usize, rng: &mut Rng, nodes: usize) -> What {
    let node = rng.below(nodes as u64) as usize;
    let longest = rng.pick(&[300, 1_000, 3_500, 9_000]);
    let ms = rng.between(1, longest);
    let delay_ms = rng.between(1, rng.clone().pick(&[50, 390, 900, 3_800]));
    match kind {
        0 => What::NodeKill { node, down_ms: ms },
        1 => What::NodeStop { node, ms },
        2 => What::NodeDrain { node, hold_ms: rng.between(500, 5_000) },
        3 => What::GossipCut { sides: rng.next(), ms: ms * 2 },
        4 => What::GossipWrong { node, alive: rng.next(), ms: ms * 2 },
        5 => What::GossipLate { late_ms: rng.between(1_000, 20_000), ms: ms * 3 },
        6 => What::WireCut { node, ms },
        7 => What::WireSlow { node, delay_ms, ms },
        8 => What::WireLossy {
            node,
            lost: rng.pick(&[0, 100, 400]),
            unanswered: rng.pick(&[0, 100, 400]),
            late: rng.pick(&[0, 100, 400]),
            ms: ms * 2,
        },
        9 => What::Outage { ms: ms.max(OUTAGE_MS_MIN) },
        10 => What::Slow { delay_ms, ms },
        11 => What::FailOver { ms: ms.max(OUTAGE_MS_MIN), lost: rng.pick(&[0, 0, 1, 2, 5, 20]) },
        12 => What::Full { ms },
        _ => What::Freeze { ms: ms.max(OUTAGE_MS_MIN) },
    }
}
