//! Many seeds, each twice; and what they have to have met, so that the rules have judged something.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use windlass_core::api::ErrorCode;
use windlass_core::wire::{ReportResult, ServerFrame};

use super::book::{Entry, Event};
use super::faults::{Plan, Step};
use super::run::{Outcome, Setup, run};
use super::work::SERVER;

/// Seeds unless the environment says otherwise.
const SEEDS_DEFAULT: u64 = 100;
/// Threads, each with a simulation of its own.
const THREADS: u64 = 2;
/// Runs that a failing plan is shortened by at most.
const SHORTER_MAX: usize = 60;
/// Lines of two traces around the first difference.
const CONTEXT: usize = 3;

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

/// Why a seed is bad; `None` when it is well. A seed is run twice, and has to do the same both times.
pub(crate) fn judge(setup: &Setup) -> (Outcome, Option<String>) {
    let first = run(setup);
    if !first.broken.is_empty() {
        let reasons = first.broken.join("\n  ");
        return (first, Some(reasons));
    }
    let second = run(setup);
    let same = first.trace == second.trace;
    let differs = (!same).then(|| difference(&first.trace, &second.trace));
    (first, differs)
}

fn difference(first: &str, second: &str) -> String {
    let (first, second): (Vec<_>, Vec<_>) = (first.lines().collect(), second.lines().collect());
    let at = first.iter().zip(&second).take_while(|(a, b)| a == b).count();
    let mut text = format!("the second run differs from line {} of the trace:", at + 1);
    for (name, lines) in [("first", &first), ("second", &second)] {
        for line in lines.iter().skip(at).take(CONTEXT) {
            // Writing to a string does not fail.
            let _ = write!(text, "\n  {name}: {}", line.chars().take(200).collect::<String>());
        }
    }
    text
}

/// The shortest plan that was found to break a rule still.
fn shorten(setup: &Setup, plan: Plan) -> Plan {
    let mut plan = plan;
    let mut left = SHORTER_MAX;
    let mut at = 0;
    while at < plan.len() && left > 0 {
        let mut shorter = plan.clone();
        shorter.remove(at);
        left -= 1;
        let still = !run(&Setup { plan: Some(shorter.clone()), ..setup.clone() }).broken.is_empty();
        if still {
            plan = shorter;
        } else {
            at += 1;
        }
    }
    plan
}

fn describe(setup: &Setup, outcome: &Outcome, why: &str) -> String {
    let plan = match outcome.broken.is_empty() {
        true => outcome.plan.clone(),
        false => shorten(setup, outcome.plan.clone()),
    };
    let steps: Vec<_> = plan.iter().map(|(at, step)| format!("{} ms {step:?}", at.as_millis())).collect();
    format!(
        "seed {}: {why}\n  disturbed by: {}\n  again: WINDLASS_SEED={} cargo test -p windlass-tests --test network seeds",
        setup.seed,
        if steps.is_empty() { "nothing".to_owned() } else { steps.join(", ") },
        setup.seed,
    )
}

/// What happened in a run that the rules are about.
fn met(entries: &[Entry]) -> BTreeMap<&'static str, u64> {
    let mut met = BTreeMap::new();
    for (_, event) in entries {
        let what = match event {
            Event::Down { .. } => "the server fell",
            Event::Died { .. } => "a worker fell",
            Event::Confirmed { .. } => "a job was confirmed",
            Event::Scheduled => "a schedule was taken",
            Event::Ended { returned: false, .. } => "a run was cut off",
            Event::Said { frame: ServerFrame::Resumed { kept, lost }, .. } => {
                for (count, what) in
                    [(kept.len(), "a lease was resumed"), (lost.len(), "a lease was not resumed")]
                {
                    *met.entry(what).or_default() += count as u64;
                }
                continue;
            }
            Event::Said { frame: ServerFrame::Draining, .. } => "a server announced its stop",
            Event::Said { frame: ServerFrame::Reported { results, .. }, .. }
                if results.contains(&ReportResult::Refused(ErrorCode::StaleLease)) =>
            {
                "a stale report was refused"
            }
            Event::Said { frame: ServerFrame::Reply { result: Err(error), .. }, .. }
                if error.code == ErrorCode::StoreFull =>
            {
                "a job found no space"
            }
            _ => continue,
        };
        *met.entry(what).or_default() += 1;
    }
    met
}

/// What a hundred seeds have to have met.
const EXPECTED: [&str; 10] = [
    "a job found no space",
    "a job was confirmed",
    "a lease was not resumed",
    "a lease was resumed",
    "a run was cut off",
    "a schedule was taken",
    "a server announced its stop",
    "a stale report was refused",
    "a worker fell",
    "the server fell",
];

#[test]
fn seeds_keep_the_promises_and_repeat_byte_by_byte() {
    let chosen = number("WINDLASS_SEED");
    let first = chosen.unwrap_or(0);
    let count = number("WINDLASS_SEEDS").unwrap_or(if chosen.is_some() { 1 } else { SEEDS_DEFAULT });
    let next = AtomicU64::new(first);
    let (bad, all) = (Mutex::new(Vec::new()), Mutex::new(BTreeMap::new()));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + count {
                        break;
                    }
                    let setup = Setup::seed(seed);
                    let (outcome, why) = judge(&setup);
                    if let Some(why) = why {
                        bad.lock().expect("no panic").push(describe(&setup, &outcome, &why));
                    }
                    let mut all = all.lock().expect("no panic");
                    for (what, times) in met(&outcome.entries) {
                        *all.entry(what).or_insert(0) += times;
                    }
                }
            });
        }
    });
    let (bad, all) = (bad.into_inner().expect("no panic"), all.into_inner().expect("no panic"));
    println!("{count} seeds from {first}, each twice: {all:?}");
    assert!(bad.is_empty(), "{} of {count} seeds are bad\n{}", bad.len(), bad.join("\n"));
    if count >= SEEDS_DEFAULT {
        let missing: Vec<_> = EXPECTED.iter().filter(|what| !all.contains_key(**what)).collect();
        assert!(missing.is_empty(), "these seeds prove little, nowhere was it so that {missing:?}");
    }
}

/// With nothing else wrong, a restart within the grace time runs nothing twice: whoever runs a job comes back with its lease.
#[test]
fn a_restart_alone_runs_nothing_twice() {
    for (seed, fall) in (0..10).zip([Step::Kill(SERVER), Step::Stop].into_iter().cycle()) {
        // A stop takes its time: sessions are told, queues are made durable.
        let down = if fall == Step::Stop { 1_600 } else { 100 };
        let at = |ms: u64| Duration::from_millis(3_000 + ms);
        let plan = vec![(at(0), fall), (at(down), Step::Restart(SERVER))];
        let setup = Setup { plan: Some(plan), ..Setup::seed(seed) };
        let (outcome, why) = judge(&setup);
        assert_eq!(why, None, "seed {seed}, {fall:?}");
        let durable_through = outcome.entries.iter().find_map(|(_, event)| match event {
            Event::Down { durable_through } => Some(*durable_through),
            _ => None,
        });
        let durable_through = durable_through.expect("the server fell");
        let mut cut = Vec::new();
        let mut resumed = 0;
        for (at, event) in &outcome.entries {
            match event {
                Event::Began { job, token, .. } if token.epoch == 1 && *at < durable_through => {
                    cut.retain(|running| running != job);
                    cut.push(*job);
                }
                Event::Ended { job, .. } => cut.retain(|running| running != job),
                Event::Began { job, .. } => {
                    assert!(!cut.contains(job), "seed {seed}: job {job} is run twice at once");
                }
                Event::Said { frame: ServerFrame::Resumed { kept, .. }, .. } => resumed += kept.len(),
                _ => {}
            }
        }
        assert!(resumed > 0, "seed {seed}: nothing was running when the server fell, which proves nothing");
    }
}
