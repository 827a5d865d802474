//! A small runner for suites whose trials may be skipped: it counts them, which the standard one cannot.
//!
//! It understands what `cargo test` passes on: names to choose by, `--list`, `--exact`, `--skip`, `--test-threads`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::probe::Skip;

/// Trials that run at a time unless `--test-threads` says otherwise: they wait more than they compute.
const THREADS_DEFAULT: usize = 3;

/// One trial.
#[derive(Debug, Clone, Copy)]
pub struct Trial {
    /// Its name, `module::name`.
    pub name: &'static str,
    /// What it does; a [`Skip`] among the errors is no failure.
    pub run: fn() -> Result<()>,
}

/// A trial out of an asynchronous function, or out of one that is `sync`.
#[macro_export]
macro_rules! trial {
    ($path:path) => {
        $crate::runner::Trial { name: stringify!($path), run: || $crate::runner::block_on($path()) }
    };
    ($path:path, sync) => {
        $crate::runner::Trial { name: stringify!($path), run: $path }
    };
}

/// Runs a future on a runtime of its own.
///
/// # Errors
/// Those of the future.
pub fn block_on(trial: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(trial);
    // What still waits for a server that is gone is not waited for.
    runtime.shutdown_timeout(Duration::from_secs(2));
    result
}

#[derive(Debug, Default)]
struct Choice {
    names: Vec<String>,
    without: Vec<String>,
    exact: bool,
    list: bool,
    threads: Option<usize>,
}

impl Choice {
    fn read(mut arguments: impl Iterator<Item = String>) -> Choice {
        let mut choice = Choice::default();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--exact" => choice.exact = true,
                "--list" => choice.list = true,
                "--skip" => choice.without.extend(arguments.next()),
                "--test-threads" => choice.threads = arguments.next().and_then(|text| text.parse().ok()),
                other => match other.strip_prefix("--test-threads=") {
                    Some(count) => choice.threads = count.parse().ok(),
                    None if other.starts_with('-') => {}
                    None => choice.names.push(argument),
                },
            }
        }
        choice
    }

    fn takes(&self, name: &str) -> bool {
        let matches =
            |wanted: &String| if self.exact { name == wanted } else { name.contains(wanted.as_str()) };
        (self.names.is_empty() || self.names.iter().any(matches)) && !self.without.iter().any(matches)
    }
}

#[derive(Debug, Default)]
struct Counts {
    passed: usize,
    skipped: usize,
    failed: Vec<&'static str>,
}

/// Runs the chosen trials, each `cycles` times, and says at last how it went.
#[must_use]
pub fn run(suite: &str, trials: &[Trial], cycles: u32) -> ExitCode {
    let choice = Choice::read(std::env::args().skip(1));
    let chosen: Vec<_> = trials.iter().filter(|trial| choice.takes(trial.name)).copied().collect();
    if choice.list {
        chosen.iter().for_each(|trial| println!("{}: test", trial.name));
        return ExitCode::SUCCESS;
    }
    let started = Instant::now();
    let row: Vec<Trial> = (0..cycles).flat_map(|_| chosen.iter().copied()).collect();
    let next = AtomicUsize::new(0);
    let counts = Mutex::new(Counts::default());
    std::thread::scope(|scope| {
        for _ in 0..choice.threads.unwrap_or(THREADS_DEFAULT).max(1) {
            scope.spawn(|| {
                while let Some(trial) = row.get(next.fetch_add(1, Ordering::Relaxed)) {
                    note(*trial, &counts);
                }
            });
        }
    });
    let counts = counts.into_inner().expect("trials panic inside of catch_unwind");
    counts.failed.iter().for_each(|name| println!("failed: {name}"));
    println!(
        "{suite}: {} passed, {} skipped, {} failed in {:.1} s",
        counts.passed,
        counts.skipped,
        counts.failed.len(),
        started.elapsed().as_secs_f64()
    );
    if counts.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn note(trial: Trial, counts: &Mutex<Counts>) {
    let started = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(trial.run));
    let took = started.elapsed().as_secs_f64();
    let mut counts = counts.lock().expect("no trial runs under this lock");
    match result {
        Ok(Ok(())) => {
            counts.passed += 1;
            println!("trial {} ... ok ({took:.1} s)", trial.name);
        }
        Ok(Err(error)) => match error.downcast_ref::<Skip>() {
            Some(skip) => {
                counts.skipped += 1;
                println!("trial {} ... SKIP({skip})", trial.name);
            }
            None => {
                counts.failed.push(trial.name);
                println!("trial {} ... FAILED after {took:.1} s: {error:#}", trial.name);
            }
        },
        Err(_) => {
            counts.failed.push(trial.name);
            println!("trial {} ... FAILED after {took:.1} s: it panicked, see above", trial.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(run: fn() -> Result<()>) -> (usize, usize, usize) {
        let counts = Mutex::default();
        note(Trial { name: "trial", run }, &counts);
        let counts: Counts = counts.into_inner().expect("not poisoned");
        (counts.passed, counts.skipped, counts.failed.len())
    }

    #[test]
    fn a_failure_and_a_panic_are_failures_and_a_skip_is_none() {
        assert_eq!(count(|| Ok(())), (1, 0, 0));
        assert_eq!(count(|| crate::probe::skip("no reason")), (0, 1, 0));
        assert_eq!(count(|| anyhow::bail!("broken")), (0, 0, 1));
        assert_eq!(count(|| panic!("planted")), (0, 0, 1));
    }

    #[test]
    fn names_choose() {
        let choice = |words: &[&str]| Choice::read(words.iter().map(|word| (*word).to_owned()));
        assert!(choice(&[]).takes("disk::eio"));
        assert!(choice(&["--nocapture", "eio"]).takes("disk::eio"));
        assert!(!choice(&["enospc"]).takes("disk::eio"));
        assert!(!choice(&["--exact", "eio"]).takes("disk::eio"));
        assert!(!choice(&["--skip", "eio"]).takes("disk::eio"));
        assert_eq!(choice(&["--test-threads=1"]).threads, Some(1));
    }
}
