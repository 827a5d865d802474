//! S3: at most one live lease. Two handlers may run one job at a time, but not while both hold it.
//!
//! A run whose report was recorded has held its lease from begin to end. Any other run has held it until it ended, its process
//! was disturbed or cut off, or one lease before it was told to stop, whatever came first.

use super::{Found, Property, UNDER_WAY_US};
use crate::life::{Life, Run, World};

/// Holds no memory: every job speaks for itself.
#[derive(Debug)]
pub(super) struct OneLease;

impl Property for OneLease {
    fn name(&self) -> &'static str {
        "S3 one live lease"
    }

    fn life(&mut self, life: &Life, world: &World, found: &mut Found<'_>) {
        if life.runs.len() < 2 {
            return;
        }
        let claims: Vec<_> = life.runs.iter().map(|run| (run, claim(run, world))).collect();
        for (index, (one, (from, to))) in claims.iter().enumerate() {
            for (other, (begin, end)) in &claims[index + 1..] {
                if from.max(begin) < to.min(end) {
                    found.add(
                        Some(life.id),
                        format!(
                            "{} ran it with {:?} while {} held it with {:?}",
                            one.proc, one.token, other.proc, other.token
                        ),
                    );
                }
            }
        }
    }
}

/// The time during which a run certainly held its lease; empty when in doubt.
fn claim(run: &Run, world: &World) -> (u64, u64) {
    if let Some((end, _)) = &run.end
        && matches!(run.report, Some((_, None)))
    {
        return (run.start, *end);
    }
    let before = run.start.saturating_sub(UNDER_WAY_US);
    if world.disturbed(&run.proc, before, run.start) || world.cut(&run.proc, before, run.start).is_some() {
        return (run.start, run.start);
    }
    let refused = run.report.as_ref().map(|(told, _)| told.saturating_sub(world.lease_us));
    let told = run.stopped.map(|at| at.saturating_sub(world.lease_us));
    let ended = run.end.as_ref().map(|(end, _)| *end);
    let known = [refused, told, ended].into_iter().flatten().min().unwrap_or(run.start + world.lease_us / 2);
    let fault = world.faults(&run.proc, run.start, known).next().map(|event| event.t);
    let to = [fault, world.cut(&run.proc, run.start, known)].into_iter().flatten().fold(known, u64::min);
    (run.start, to.max(run.start))
}

#[cfg(test)]
mod tests {
    use crate::check::sample::{Sample, job};

    /// The first run is recorded although the second has begun meanwhile with an older token: only the overlap is wrong.
    #[test]
    fn it_alone_catches_two_holders() {
        let mut sample = Sample::default();
        sample.job(1).enqueued(0, 1).run((1, 2), 2, 10, 500, "done").reported(501);
        sample.job(1).run((1, 1), 1, 20, 400, "retry");
        sample.dumped(1, job("succeeded", 2).token(1, 2));
        sample.breaks(&["S3"]);
    }

    #[test]
    fn a_stopped_worker_holds_nothing() {
        let mut sample = Sample::default();
        sample.nemesis("worker-1", "stop", 15);
        sample.job(1).enqueued(0, 1).run((1, 1), 1, 10, 9_000, "done").refused_report(9_001);
        sample.job(1).run_by("worker-2", (1, 2), 2, 2_000, 2_500, "done").reported(2_501);
        sample.dumped(1, job("succeeded", 2).token(1, 2));
        sample.breaks(&[]);
    }
}
