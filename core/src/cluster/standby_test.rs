//! When a standby claims, rule by rule. Readings take no time unless it matters.

use super::*;

/// Ranks of the names for shard 0 are asked for, not assumed.
struct Watch {
    standby: Standby,
    signs: Signs,
    seat: Seat,
}

fn name(text: &str) -> NodeName {
    text.parse().unwrap()
}

fn watch(me: &str, owner: Option<&str>, alive: &[&str]) -> Watch {
    Watch {
        standby: Standby::new(name(me), 0, Timing::default()),
        signs: Signs { alive: alive.iter().map(|text| name(text)).collect(), refused: false },
        seat: Seat { epoch: 5, beat: 100, owner: owner.map(name) },
    }
}

impl Watch {
    fn at(&mut self, ms: u64) -> Decision {
        self.between(ms, ms)
    }

    fn between(&mut self, asked: u64, answered: u64) -> Decision {
        self.standby.observe(Mono(asked), Mono(answered), &self.seat, &self.signs)
    }

    /// The first millisecond at which it claims, when it reads in every one from `from`.
    fn claims_at(&mut self, from: u64) -> u64 {
        (from..from + 100_000).find(|ms| self.at(*ms) != Decision::Wait).expect("it claims at some time")
    }
}

const CLAIM: Decision = Decision::Claim { seen: 5, beat: 100 };

#[test]
fn a_seat_that_is_empty_is_claimed_at_once() {
    assert_eq!(watch("a", None, &["a"]).at(7), CLAIM);
}

/// Whatever gossip says, which knows names alone.
#[test]
fn ones_own_seat_is_claimed_after_three_beats_and_never_from_a_namesake_that_lives() {
    for alive in [&["a", "b", "c"][..], &["b", "c"], &[]] {
        assert_eq!(watch("a", Some("a"), alive).claims_at(7), 7 + 3 * limits::BEAT_MS);
    }
    let mut watch = watch("a", Some("a"), &["a", "b"]);
    for ms in (0..60_000).step_by(100) {
        watch.seat.beat = 100 + ms / limits::BEAT_MS;
        assert_eq!(watch.at(ms), Decision::Wait);
    }
}

#[test]
fn an_owner_that_lives_is_left_alone() {
    let mut watch = watch("a", Some("b"), &["a", "c"]);
    for ms in (0..60_000).step_by(100) {
        watch.seat.beat = 100 + ms / 700;
        assert_eq!(watch.at(ms), Decision::Wait);
    }
}

#[test]
fn silence_that_gossip_confirms_is_short() {
    assert_eq!(watch("a", Some("b"), &["a", "b"]).claims_at(50), 50 + limits::SILENCE_MS);
    let turn = limits::TURN_MS * rank(0, &name("a"), [&name("c")]) as u64;
    assert_eq!(watch("a", Some("b"), &["a", "c"]).claims_at(50), 50 + limits::DEAD_SILENCE_MS + turn);
}

/// It may be this node that is cut off.
#[test]
fn who_sees_nobody_waits_long() {
    assert_eq!(watch("a", Some("b"), &["a"]).claims_at(0), limits::SILENCE_MS);
    assert_eq!(watch("a", Some("b"), &[]).claims_at(0), limits::SILENCE_MS);
}

/// A machine that says so is an answer, also for whoever sees nobody else; and no more than a hint.
#[test]
fn silence_behind_a_closed_port_is_short() {
    for alive in [&["a", "b"][..], &["a"], &[]] {
        let mut watch = watch("a", Some("b"), alive);
        watch.signs.refused = true;
        assert_eq!(watch.claims_at(50), 50 + limits::DEAD_SILENCE_MS);
    }
    let mut lives = watch("a", Some("b"), &["a"]);
    lives.signs.refused = true;
    for ms in (0..60_000).step_by(100) {
        lives.seat.beat = 100 + ms / 700;
        assert_eq!(lives.at(ms), Decision::Wait);
    }
    let mut own = watch("a", Some("a"), &["a"]);
    own.signs.refused = true;
    assert_eq!(own.claims_at(0), 3 * limits::BEAT_MS);
}

#[test]
fn whoever_misses_two_beats_asks_after_the_owner() {
    let mut watch = watch("a", Some("b"), &["a", "b"]);
    (0..2 * limits::BEAT_MS).step_by(100).for_each(|ms| {
        watch.at(ms);
        assert!(!watch.standby.doubts(Mono(ms)));
    });
    assert!(watch.standby.doubts(Mono(2 * limits::BEAT_MS)));
    watch.seat.beat += 1;
    watch.at(2 * limits::BEAT_MS);
    assert!(!watch.standby.doubts(Mono(2 * limits::BEAT_MS)));
}

#[test]
fn standbys_take_turns() {
    let mut at: Vec<u64> =
        ["a", "b", "c"].iter().map(|me| watch(me, Some("d"), &["a", "b", "c", "d"]).claims_at(0)).collect();
    at.sort_unstable();
    assert_eq!(at, [0, 1, 2].map(|turn| limits::SILENCE_MS + turn * limits::TURN_MS));
}

#[test]
fn any_change_begins_the_watch_anew() {
    let changes: [fn(&mut Seat); 3] =
        [|seat| seat.epoch += 1, |seat| seat.beat += 1, |seat| seat.owner = Some(name("c"))];
    for change in changes {
        let mut watch = watch("a", Some("b"), &["a", "b", "c"]);
        watch.at(0);
        change(&mut watch.seat);
        let turn = limits::TURN_MS
            * rank(0, &name("a"), watch.signs.alive.iter().filter(|n| Some(*n) != watch.seat.owner.as_ref()))
                as u64;
        assert_eq!(watch.claims_at(2_000), 2_000 + limits::SILENCE_MS + turn);
    }
}

#[test]
fn a_failed_reading_begins_the_watch_anew() {
    let mut watch = watch("a", Some("b"), &["a", "b"]);
    watch.at(0);
    watch.standby.unreadable();
    assert_eq!(watch.standby.silence_ms(Mono(2_000)), 0);
    assert_eq!(watch.claims_at(2_000), 2_000 + limits::SILENCE_MS);
}

/// The first answer may have been read just before it came, the last just after it was asked for.
#[test]
fn time_on_the_way_is_no_silence() {
    let mut watch = watch("a", Some("b"), &["a", "b"]);
    watch.between(0, 300);
    for asked in (400..limits::SILENCE_MS).step_by(400) {
        assert_eq!(watch.between(asked, asked + 390), Decision::Wait);
    }
    assert_eq!(watch.between(299 + limits::SILENCE_MS, 700 + limits::SILENCE_MS), Decision::Wait);
    assert_eq!(watch.between(300 + limits::SILENCE_MS, 701 + limits::SILENCE_MS), CLAIM);
}

/// It slept, and may have slept through an outage of the database.
#[test]
fn a_hole_begins_the_watch_anew() {
    let hole = 2 * limits::BEAT_MS;
    let mut one = watch("a", Some("b"), &["a", "b"]);
    one.at(0);
    assert_eq!(one.claims_at(hole), limits::SILENCE_MS);
    let mut other = watch("a", Some("b"), &["a", "b"]);
    other.at(0);
    assert_eq!(other.claims_at(hole + 1), hole + 1 + limits::SILENCE_MS);
    // The answer lay there while it slept.
    let mut third = watch("a", Some("b"), &["a", "b"]);
    (0..limits::SILENCE_MS).step_by(100).for_each(|ms| assert_eq!(third.at(ms), Decision::Wait));
    let asked = limits::SILENCE_MS;
    assert_eq!(third.between(asked, asked + hole + 1), Decision::Wait);
    assert_eq!(third.claims_at(asked + hole + 2), asked + hole + 2 + limits::SILENCE_MS);
}

#[test]
fn a_drained_node_holds_off() {
    let mut watch = watch("a", None, &["a"]);
    watch.standby.hold_until(Mono(30_000));
    assert_eq!(watch.claims_at(0), 30_000);
    watch.standby.hold_until(Mono(0));
    assert_eq!(watch.at(1), CLAIM);
}

#[test]
fn silence_is_shown() {
    let mut watch = watch("a", Some("b"), &["a", "b"]);
    assert_eq!(watch.standby.silence_ms(Mono(9)), 0);
    watch.at(100);
    watch.at(200);
    assert_eq!(watch.standby.silence_ms(Mono(250)), 150);
}
