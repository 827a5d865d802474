//! The command line: many seeds over threads, or one with everything it did.

use std::process::ExitCode;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use windlass_simulation::many::{Sum, run_many};
use windlass_simulation::{Options, fault, ownership, report, run};

/// Simulates Windlass from seeds and checks its promises.
#[derive(Debug, Parser)]
#[command(name = "windlass-simulation")]
struct Arguments {
    /// How many seeds.
    #[arg(long, default_value_t = 10_000)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Threads. Defaults to one per processor.
    #[arg(long)]
    threads: Option<usize>,
    /// Run this one seed and print everything that happened.
    #[arg(long)]
    seed: Option<u64>,
    /// Simulate who owns a shared store, instead of one server.
    #[arg(long, conflicts_with = "json")]
    ownership: bool,
    /// Write the figures to this file.
    #[arg(long)]
    json: Option<std::path::PathBuf>,
}

/// The program.
#[must_use]
pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let commit = report::commit();
    // A panic is a finding like any other; its text is part of it.
    std::panic::set_hook(Box::new(|_| {}));
    if let (Some(seed), true) = (arguments.seed, arguments.ownership) {
        let options = ownership::Options { trace: true, ..ownership::Options::default() };
        let outcome = ownership::run(seed, &options);
        print!("{}{}", outcome.trace, ownership::explain(&outcome, &options, &commit));
        return verdict(outcome.violation.is_none());
    }
    if let Some(seed) = arguments.seed {
        let outcome = run(seed, &Options { trace: true, shrink: true, ..Options::default() });
        print!("{}", outcome.trace);
        print!("{}", report::violation(&outcome, &commit));
        return verdict(outcome.violation.is_none());
    }
    let threads = arguments
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    let bar = ProgressBar::new(arguments.seeds).with_style(
        ProgressStyle::with_template("{bar:40} {pos}/{len} seeds, {per_sec}, {eta} left")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let started = std::time::Instant::now();
    if arguments.ownership {
        let sum = ownership::run_many(arguments.first, arguments.seeds, threads, &|done| bar.inc(done));
        bar.finish_and_clear();
        for outcome in &sum.violations {
            print!("{}", ownership::explain(outcome, &ownership::Options::default(), &commit));
        }
        let seconds = started.elapsed().as_secs_f64();
        println!("{} (commit {commit}, {seconds:.0} s)", ownership::summary(&sum));
        return verdict(sum.violations.is_empty());
    }
    let sum = run_many(arguments.first, arguments.seeds, threads, &|done| bar.inc(done));
    bar.finish_and_clear();
    for outcome in &sum.violations {
        print!("{}", report::violation(outcome, &commit));
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{} (commit {commit}, {seconds:.0} s, {:.0} seeds/s)",
        report::summary(sum.seeds, &sum.stats, sum.violations.len() as u64),
        sum.seeds as f64 / seconds
    );
    if let Some(path) = &arguments.json
        && let Err(error) = std::fs::write(path, json(&sum, &commit, seconds))
    {
        eprintln!("cannot write {}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    verdict(sum.violations.is_empty())
}

fn verdict(held: bool) -> ExitCode {
    if held { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn json(sum: &Sum, commit: &str, seconds: f64) -> String {
    let stats = &sum.stats;
    let faults: serde_json::Map<String, serde_json::Value> = fault::KINDS
        .iter()
        .zip(stats.faults)
        .map(|(kind, count)| ((*kind).to_owned(), count.into()))
        .collect();
    let violations: Vec<_> = sum
        .violations
        .iter()
        .filter_map(|outcome| Some((outcome.seed, outcome.violation.as_ref()?)))
        .map(|(seed, v)| serde_json::json!({ "seed": seed, "invariant": v.invariant, "what": v.what }))
        .collect();
    let figures = serde_json::json!({
        "commit": commit, "seconds": seconds, "seeds": sum.seeds, "virtual_seconds": stats.virtual_ms / 1_000,
        "events": stats.events, "commands": stats.commands, "jobs": stats.jobs, "groups": stats.groups,
        "loads": stats.loads, "firings": stats.firings, "faults": faults, "violations": violations,
    });
    format!("{figures:#}\n")
}
