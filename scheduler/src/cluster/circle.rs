//! What the gossip has said, and when. Pure: the time is an argument.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use windlass_core::time::{Now, Timestamp};

use super::facts::{self, Facts};

/// How long a node that has gone is remembered, in milliseconds: long enough for whoever is called to look.
const GONE_MS_MAX: u64 = 60 * 60 * 1_000;
/// Nodes that have gone and are remembered.
const GONE_MAX: usize = 16;
/// What a fresh look at a clock counts for when it says less than what is known: the way of a pulse takes its time, which makes a
/// clock look late and never early, so the largest is nearest to the truth; it sinks slowly, so that a corrected clock is believed.
const SKEW_SINK: i64 = 8;

/// A live member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its stable id.
    pub id: String,
    /// `server` or `worker`, or what it says.
    pub role: String,
    /// Its gossip address.
    pub addr: SocketAddr,
    /// All that it says of itself; see [`facts`].
    pub facts: Facts,
    /// When it last said something new. Nodes of a cluster do once a second; workers say what they are and no more.
    pub heard: Now,
    /// How far its wall clock is ahead of ours, as far as it tells its clock.
    pub skew_ms: Option<i64>,
}

/// A node that was a live member and is none any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departed {
    /// What it was.
    pub member: Member,
    /// When that was noticed.
    pub at: Timestamp,
}

/// All members by id, and the nodes that have gone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Circle {
    /// The live members, this node included.
    pub live: BTreeMap<String, Member>,
    /// Nodes that have gone, the latest first. Workers come and go, and are not among them.
    pub gone: Vec<Departed>,
}

/// What the gossip says of one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub id: String,
    pub addr: SocketAddr,
    pub facts: Facts,
}

impl Circle {
    /// The circle after the gossip has said this. Of two lives of one member the later one counts.
    pub(super) fn hear(&self, all: Vec<Said>, now: Now) -> Circle {
        let mut live = BTreeMap::new();
        for said in all {
            let member = self.member(said, now);
            live.insert(member.id.clone(), member);
        }
        let left = self.live.values().filter(|m| m.role == facts::SERVER && !live.contains_key(&m.id));
        let mut gone: Vec<Departed> =
            left.map(|member| Departed { member: member.clone(), at: now.wall }).collect();
        gone.extend(self.gone.iter().cloned());
        gone.retain(|departed| {
            !live.contains_key(&departed.member.id) && now.wall.since_ms(departed.at) < GONE_MS_MAX
        });
        gone.truncate(GONE_MAX);
        Circle { live, gone }
    }

    fn member(&self, Said { id, addr, facts }: Said, now: Now) -> Member {
        let known = self.live.get(&id).filter(|known| known.addr == addr);
        if let Some(known) = known.filter(|known| known.facts == facts) {
            return known.clone();
        }
        let clock = facts::number::<u64>(&facts, facts::CLOCK);
        let told = known.and_then(|known| facts::number::<u64>(&known.facts, facts::CLOCK));
        let before = known.and_then(|known| known.skew_ms);
        let skew_ms = match clock {
            // Another fact has changed: its clock was told before, and is old by now.
            Some(clock) if told == Some(clock) => before,
            Some(clock) => Some(nearer(before, difference(clock, now.wall.0))),
            None => None,
        };
        let role = facts.get(facts::ROLE).map_or("unknown", String::as_str).to_owned();
        Member { id, role, addr, facts, heard: now, skew_ms }
    }
}

/// `a - b`, within what fits.
fn difference(a: u64, b: u64) -> i64 {
    let ahead = |large: u64, small: u64| i64::try_from(large - small).unwrap_or(i64::MAX);
    if a >= b { ahead(a, b) } else { -ahead(b, a) }
}

fn nearer(before: Option<i64>, fresh: i64) -> i64 {
    match before {
        Some(before) if fresh < before => {
            before.saturating_add(fresh.saturating_sub(before).saturating_div(SKEW_SINK))
        }
        _ => fresh,
    }
}

#[cfg(test)]
mod tests {
    use windlass_core::time::Mono;

    use super::*;

    const START: u64 = 1_700_000_000_000;

    fn at(ms: u64) -> Now {
        Now { wall: Timestamp(START + ms), mono: Mono(ms) }
    }

    fn said(id: &str, facts: &[(&str, &str)]) -> Said {
        let facts = facts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Said { id: id.to_owned(), addr: "127.0.0.1:7422".parse().unwrap(), facts }
    }

    fn node(id: &str, clock: u64) -> Said {
        said(id, &[("role", "server"), ("clock", &(START + clock).to_string())])
    }

    #[test]
    fn a_sign_of_life_is_something_new() {
        let circle = Circle::default().hear(vec![node("a", 0)], at(100));
        let circle = circle.hear(vec![node("a", 0)], at(900));
        assert_eq!(circle.live["a"].heard, at(100), "the same again is no sign of life");
        let circle = circle.hear(vec![node("a", 1_000)], at(1_100));
        assert_eq!(circle.live["a"].heard, at(1_100));
    }

    /// The clock of the other is 3 s ahead; pulses take 50 to 400 ms.
    #[test]
    fn the_quickest_pulse_tells_the_clock_best() {
        let mut circle = Circle::default();
        for (sent, way) in [(0, 400), (1_000, 50), (2_000, 300), (3_000, 250)] {
            circle = circle.hear(vec![node("a", 3_000 + sent)], at(sent + way));
        }
        let skew = circle.live["a"].skew_ms.unwrap();
        assert!((2_880..=3_000).contains(&skew), "{skew}");
        let mut corrected = circle;
        for n in 4..60 {
            corrected = corrected.hear(vec![node("a", n * 1_000)], at(n * 1_000 + 100));
        }
        let skew = corrected.live["a"].skew_ms.unwrap();
        assert!((-120..=-50).contains(&skew), "{skew}");
        let silent = corrected.hear(vec![said("a", &[("role", "server")])], at(99_000));
        assert_eq!(silent.live["a"].skew_ms, None);
    }

    #[test]
    fn nodes_that_go_are_remembered_until_they_come_back() {
        let worker = || said("w", &[("role", "worker")]);
        let circle = Circle::default().hear(vec![node("a", 0), node("b", 0), worker()], at(0));
        let circle = circle.hear(vec![node("a", 1)], at(1_000));
        let gone = |circle: &Circle| circle.gone.iter().map(|d| d.member.id.clone()).collect::<Vec<_>>();
        assert_eq!(gone(&circle), ["b"], "and no worker");
        assert_eq!(circle.gone[0].at, at(1_000).wall);
        assert_eq!(gone(&circle.hear(vec![node("a", 1), node("b", 2)], at(2_000))), [""; 0]);
        assert_eq!(gone(&circle.hear(vec![node("a", 1)], at(2_000))), ["b"]);
        assert_eq!(gone(&circle.hear(vec![node("a", 1)], at(1_000 + GONE_MS_MAX))), [""; 0]);
        let many = (0..50).map(|n| node(&n.to_string(), 0)).collect();
        assert_eq!(Circle::default().hear(many, at(0)).hear(Vec::new(), at(1)).gone.len(), GONE_MAX);
    }

    #[test]
    fn clocks_from_nowhere_do_no_harm() {
        let never = said("a", &[("clock", &u64::MAX.to_string())]);
        let circle = Circle::default().hear(vec![never], at(0));
        assert_eq!(circle.live["a"].skew_ms, Some(i64::MAX));
        let skew = circle.hear(vec![said("a", &[("clock", "0")])], at(1)).live["a"].skew_ms;
        assert!(skew.is_some_and(|skew| skew > 0), "it sinks slowly: {skew:?}");
    }
}
