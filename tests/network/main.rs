//! The node's session, queue and schedule actors, the native protocol, and the worker's client over a simulated network, in
//! virtual time: what happens depends on a seed and on nothing else.

mod book;
mod disk;
mod faults;
mod hosts;
mod rules;
mod run;
mod wire;
mod work;

use run::{Setup, run};

#[test]
fn one() {
    let first = std::env::var("WINDLASS_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(0);
    let count: u64 = std::env::var("WINDLASS_SEEDS").ok().and_then(|s| s.parse().ok()).unwrap_or(20);
    let mut bad = 0;
    for seed in first..first + count {
        let begun = std::time::Instant::now();
        let one = run(&Setup::seed(seed));
        let two = run(&Setup::seed(seed));
        println!(
            "{seed}: {} ms, {} steps, {} entries, last {} same {} broken {:#?}",
            begun.elapsed().as_millis(),
            one.plan.len(),
            one.entries.len(),
            one.entries.last().unwrap().0,
            one.trace == two.trace,
            &one.broken[..one.broken.len().min(3)]
        );
        if !one.broken.is_empty() || one.trace != two.trace {
            bad += 1;
            std::fs::write(format!("/tmp/w/shell-{seed}.1"), one.trace).unwrap();
            std::fs::write(format!("/tmp/w/shell-{seed}.2"), two.trace).unwrap();
        }
    }
    println!("bad {bad}");
}
