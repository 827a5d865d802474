//! What happened in each step, out of the history.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;
use windlass_core::id::JobId;
use windlass_tests::history::{Kind, Recorder, Verb, now_us, part_files, read};

use crate::nodes::Nodes;

/// The steps so far.
pub(crate) struct Table {
    recorder: Recorder,
    steps: Vec<Step>,
}

struct Step {
    from: u64,
    what: String,
    nodes: String,
}

/// Figures of one step.
#[derive(Debug, Clone, Default)]
struct Row {
    /// Jobs confirmed to clients of each version.
    confirmed: [u64; 2],
    /// Longest time without a confirmation and without the begin of a run, in microseconds, as far as it ends in the step.
    longest: [u64; 3],
    /// Runs that began with workers of each version.
    runs: [u64; 2],
    /// Runs beyond the first of a job.
    again: u64,
}

/// Figures of all steps.
pub(crate) struct Figures(Vec<Row>);

impl Figures {
    /// Runs beyond the first of a job, before a step.
    pub(crate) fn again_before(&self, step: usize) -> u64 {
        self.0[..step].iter().map(|row| row.again).sum()
    }
}

impl Table {
    pub(crate) fn begin(recorder: Recorder) -> Table {
        Table { recorder, steps: Vec::new() }
    }

    /// A step begins; returns its number.
    pub(crate) fn step(&mut self, nodes: &Nodes, what: &str) -> usize {
        let nodes = nodes.shown();
        println!("{nodes}: {what}");
        self.recorder.nemesis("step", what);
        self.steps.push(Step { from: now_us(), what: what.to_owned(), nodes });
        self.steps.len() - 1
    }

    /// Reads the history and prints a line for each step.
    pub(crate) fn print(&self, history: &Path) -> Result<Figures> {
        let mut rows = vec![Row::default(); self.steps.len()];
        let at = |t: u64| self.steps.iter().rposition(|step| step.from <= t).unwrap_or(0);
        let mut times: [Vec<u64>; 3] = Default::default();
        let mut starts: BTreeMap<JobId, BTreeSet<u64>> = BTreeMap::new();
        for part in part_files(history)? {
            for event in read(&part)?.0 {
                let version = usize::from(event.proc.starts_with("new"));
                match (event.f, event.kind, event.job) {
                    (Verb::Enqueue, Kind::Ok, _) => {
                        rows[at(event.t)].confirmed[version] += 1;
                        times[version].push(event.t);
                    }
                    (Verb::Start, _, Some(job)) => {
                        rows[at(event.t)].runs[version] += 1;
                        times[2].push(event.t);
                        starts.entry(job).or_default().insert(event.t);
                    }
                    _ => {}
                }
            }
        }
        for starts in starts.values() {
            starts.iter().skip(1).for_each(|t| rows[at(*t)].again += 1);
        }
        for (which, times) in times.iter_mut().enumerate() {
            times.sort_unstable();
            for pair in times.windows(2) {
                let longest = &mut rows[at(pair[1])].longest[which];
                *longest = (*longest).max(pair[1] - pair[0]);
            }
        }
        println!(
            "\n| step | nodes at its begin, owner in capitals | confirmed old/new client | run by old/new worker | longest without a confirmation old/new, without a start | runs again |"
        );
        println!("|---|---|---|---|---|---|");
        for (step, row) in self.steps.iter().zip(&rows) {
            let ms = row.longest.map(|us| us / 1_000);
            println!(
                "| {} | {} | {}/{} | {}/{} | {}/{} ms, {} ms | {} |",
                step.what,
                step.nodes,
                row.confirmed[0],
                row.confirmed[1],
                row.runs[0],
                row.runs[1],
                ms[0],
                ms[1],
                ms[2],
                row.again
            );
        }
        println!();
        Ok(Figures(rows))
    }
}
