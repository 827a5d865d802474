//! Faults planted around the shell: each must be caught, or the rules prove nothing. They sit in what a test may replace: the
//! disk, the frames between the network and a peer, the random numbers.

use windlass_core::wire::{ClientFrame, ServerFrame};

use std::time::Duration;

use super::faults::{Plan, Step};
use super::hosts::Plant;
use super::run::Setup;
use super::seeds::judge;
use super::work::WORKERS;

/// Seeds within which a fault has to be caught.
const SEEDS: u64 = 40;

/// What the first seed that catches the fault says.
fn caught(plant: Plant, plan: Option<&Plan>) -> String {
    let setup = |seed| Setup { seed, plant, plan: plan.cloned() };
    let verdicts = (0..SEEDS).filter_map(|seed| judge(&setup(seed)).1);
    verdicts.into_iter().next().unwrap_or_else(|| panic!("not caught within {SEEDS} seeds"))
}

/// Catches the fault while seeds disturb as they like.
fn expect(plant: Plant, sign: &str) {
    let why = caught(plant, None);
    assert!(why.contains(sign), "caught as something else than {sign:?}:\n{why}");
}

/// Catches the fault in a scene that brings it out.
fn expect_in(steps: &[(u64, Step)], plant: Plant, sign: &str) {
    let plan = steps.iter().map(|(ms, step)| (Duration::from_millis(*ms), *step)).collect();
    let why = caught(plant, Some(&plan));
    assert!(why.contains(sign), "caught as something else than {sign:?}:\n{why}");
}

#[test]
fn a_writer_that_confirms_before_it_commits_is_caught() {
    let why = caught(Plant { lying_disk: true, ..Plant::default() }, None);
    assert!(why.contains("is lost") || why.contains("was confirmed"), "{why}");
}

#[test]
fn a_connection_that_delivers_twice_is_caught() {
    let twice = |frame: ServerFrame| match frame {
        ServerFrame::Deliver(_) => vec![frame.clone(), frame],
        other => vec![other],
    };
    expect(Plant { to_worker: Some(twice), ..Plant::default() }, "which has run already");
}

#[test]
fn a_session_that_forgets_what_its_worker_runs_is_caught() {
    let forget = |frame: ClientFrame| match frame {
        ClientFrame::Resume(_) => vec![ClientFrame::Resume(Vec::new())],
        other => vec![other],
    };
    // The connection is dead, and the worker is back on another one before its leases have ended.
    let blink = [(2_500, Step::Partition(WORKERS[0])), (2_700, Step::Repair(WORKERS[0]))];
    expect_in(&blink, Plant { to_server: Some(forget), ..Plant::default() }, "was leased to");
}

#[test]
fn a_session_that_ignores_a_lost_lease_is_caught() {
    let ignore = |frame: ServerFrame| match frame {
        ServerFrame::LeaseLost(_) => Vec::new(),
        ServerFrame::Resumed { kept, lost } => {
            vec![ServerFrame::Resumed { kept: kept.into_iter().chain(lost).collect(), lost: Vec::new() }]
        }
        other => vec![other],
    };
    // Long enough for the leases to end; held messages arrive, so that the worker learns of it at once.
    let silence = [(2_000, Step::Hold(WORKERS[0])), (4_000, Step::Release(WORKERS[0]))];
    expect_in(&silence, Plant { to_worker: Some(ignore), ..Plant::default() }, "after it was lost");
}

#[test]
fn a_server_that_hears_no_heartbeat_is_caught() {
    // Whoever runs a long job and says nothing else loses it, although it lives.
    let deaf = |frame: ClientFrame| match frame {
        ClientFrame::Heartbeat { .. } => Vec::new(),
        other => vec![other],
    };
    expect(Plant { to_server: Some(deaf), ..Plant::default() }, "was leased to");
}

#[test]
fn a_report_that_never_arrives_is_caught() {
    let lose = |frame: ClientFrame| match frame {
        ClientFrame::Report(_) => Vec::new(),
        other => vec![other],
    };
    expect(Plant { to_server: Some(lose), ..Plant::default() }, "did not end");
}

#[test]
fn a_random_number_of_the_system_is_caught() {
    expect(Plant { free_chance: true, ..Plant::default() }, "the second run differs");
}
