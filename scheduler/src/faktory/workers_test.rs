//! When a worker process is taken for dead.

use super::*;

const NOBODY: [bool; 0] = [];

fn said(wid: &str) -> Said {
    Said { wid: wid.to_owned(), ..Said::default() }
}

fn connect(workers: &mut Workers, connection: u32, at: u64) -> CancellationToken {
    let close = CancellationToken::new();
    assert!(workers.connect(said("w"), connection, close.clone(), Mono(at)));
    close
}

fn dead(workers: &mut Workers, at: u64) -> Vec<bool> {
    workers.take_dead(Mono(at)).into_iter().map(|dead| dead.reassign).collect()
}

#[test]
fn holders_tell_the_process_and_whether_it_has_a_name() {
    let key = Key::of("worker");
    assert_eq!(Key::of_holder(&key.holder(true, 7)), Some((key, true)));
    assert_eq!(Key::of_holder(&key.listed()), Some((key, false)));
    assert_eq!(Key::of_holder(&WorkerId([7; 16])), None);
    assert_ne!(Key::of("worker"), Key::nameless(0));
}

#[test]
fn a_silent_process_is_dropped_with_its_connections() {
    let mut workers = Workers::default();
    let close = connect(&mut workers, 1, 0);
    assert_eq!(dead(&mut workers, 59_999), NOBODY);
    assert_eq!(workers.beat(Key::of("w"), None, None, Mono(50_000)), Some(State::Running));
    assert_eq!(dead(&mut workers, 109_999), NOBODY);
    assert!(!close.is_cancelled());
    assert_eq!(dead(&mut workers, 110_000), [true]);
    assert!(close.is_cancelled());
    assert_eq!(workers.beat(Key::of("w"), None, None, Mono(110_000)), None);
}

#[test]
fn a_killed_process_that_beat_is_missed_after_one_beat() {
    let mut workers = Workers::default();
    connect(&mut workers, 1, 0);
    connect(&mut workers, 2, 0);
    workers.beat(Key::of("w"), None, None, Mono(0));
    workers.beat(Key::of("w"), None, None, Mono(5_000));
    assert!(!workers.disconnect(Key::of("w"), 1, true, Mono(6_000)));
    assert_eq!(dead(&mut workers, 40_000), NOBODY, "it has a connection still");
    assert!(!workers.disconnect(Key::of("w"), 2, true, Mono(40_000)));
    assert_eq!(dead(&mut workers, 49_999), NOBODY);
    assert_eq!(dead(&mut workers, 50_000), [true], "a beat of 5 s, and 5 s more");
}

#[test]
fn a_process_that_comes_back_in_time_is_not_dead() {
    let mut workers = Workers::default();
    connect(&mut workers, 1, 0);
    workers.beat(Key::of("w"), None, None, Mono(0));
    workers.disconnect(Key::of("w"), 1, true, Mono(1_000));
    connect(&mut workers, 2, 20_000);
    assert_eq!(dead(&mut workers, 30_000), NOBODY);
    assert_eq!(workers.connected(), 1);
}

#[test]
fn a_process_that_never_beats_or_holds_nothing_is_forgotten_when_it_leaves() {
    let mut workers = Workers::default();
    connect(&mut workers, 1, 0);
    assert!(workers.disconnect(Key::of("w"), 1, true, Mono(1)));
    connect(&mut workers, 2, 2);
    workers.beat(Key::of("w"), None, None, Mono(3));
    assert!(workers.disconnect(Key::of("w"), 2, false, Mono(4)));
    assert_eq!(workers.iter().count(), 0);
}

#[test]
fn a_state_never_goes_back() {
    let mut workers = Workers::default();
    connect(&mut workers, 1, 0);
    let mut beat = |state| workers.beat(Key::of("w"), state, None, Mono(1));
    assert_eq!(beat(Some("quiet")), Some(State::Quiet));
    assert_eq!(beat(None), Some(State::Quiet));
    assert_eq!(beat(Some("terminate")), Some(State::Terminate));
    assert_eq!(beat(Some("quiet")), Some(State::Terminate));
    assert_eq!(beat(Some("nonsense")), Some(State::Terminate));
}

#[test]
fn after_a_restart_a_process_has_a_minute_to_be_heard_of() {
    let mut workers = Workers::default();
    workers.expect(Key::of("w"), Mono(1_000));
    assert_eq!(workers.beat(Key::of("w"), None, None, Mono(2_000)), None, "it has to say HELLO first");
    assert_eq!(dead(&mut workers, 60_999), NOBODY);
    assert_eq!(dead(&mut workers, 61_000), [true]);
    workers.expect(Key::of("w"), Mono(70_000));
    connect(&mut workers, 1, 80_000);
    assert_eq!(dead(&mut workers, 131_000), NOBODY);
    assert!(!workers.disconnect(Key::of("w"), 1, true, Mono(131_000)), "it is still expected to come back");
    assert_eq!(dead(&mut workers, 139_999), NOBODY);
    assert_eq!(dead(&mut workers, 140_000), [true]);
}

#[test]
fn a_process_that_keeps_its_connections_is_missed_before_its_first_beat() {
    let mut workers = Workers::default();
    connect(&mut workers, 1, 0);
    workers.get_mut(Key::of("w")).expect("connected").steady = true;
    assert!(!workers.disconnect(Key::of("w"), 1, true, Mono(1_000)));
    assert_eq!(dead(&mut workers, 20_999), NOBODY);
    assert_eq!(dead(&mut workers, 21_000), [true], "the usual beat of 15 s, and 5 s more");
    // One that never beats is dropped, but its jobs stay its own while it may be at work.
    connect(&mut workers, 2, 30_000);
    workers.get_mut(Key::of("w")).expect("connected").steady = true;
    assert_eq!(dead(&mut workers, 90_000), [false]);
}
