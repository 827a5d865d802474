//! S5: a report with an old token changes nothing, and the result of a job is that of its last lease.

use windlass_core::job::JobState;

use super::{Found, Property};
use crate::history::Verb;
use crate::life::{Life, World};

/// Holds no memory: every job speaks for itself.
#[derive(Debug)]
pub(super) struct Stale;

impl Property for Stale {
    fn name(&self) -> &'static str {
        "S5 stale reports are refused"
    }

    fn life(&mut self, life: &Life, world: &World, found: &mut Found<'_>) {
        for (index, old) in life.runs.iter().enumerate() {
            let Some((end, _)) = old.end.as_ref().filter(|_| old.recorded().is_some()) else { continue };
            if let Some(newer) = life.runs[index + 1..].iter().find(|newer| newer.start < *end) {
                found.add(
                    Some(life.id),
                    format!(
                        "the report with {:?} was recorded though {:?} was handed out before",
                        old.token, newer.token
                    ),
                );
            }
        }
        let Some(kept) = world.dump.jobs.get(&life.id) else { return };
        let (Some(believed), false) = (kept.result_token, life.had(Verb::Retry)) else { return };
        if kept.state == JobState::Succeeded
            && let Some(last) = life.runs.last()
            && believed < last.token
        {
            found.add(
                Some(life.id),
                format!("its result is of {believed:?}, its last lease was {:?}", last.token),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::check::sample::{Sample, job};

    /// The old run comes from a process that was stopped, so that nobody else has anything to say.
    #[test]
    fn it_alone_catches_a_stale_report_that_counts() {
        let mut sample = Sample::default();
        sample.nemesis("worker-1", "stop", 15);
        sample.job(1).enqueued(0, 1).run((1, 1), 1, 10, 3_000, "retry").reported(3_001);
        // The newer run was cut off just before: it claims nothing.
        sample.cut("worker-2", 1_999);
        sample.job(1).run_by("worker-2", (1, 2), 2, 2_000, 3_500, "done").reported_unknown();
        sample.dumped(1, job("succeeded", 2).token(1, 2));
        sample.breaks(&["S5"]);
    }

    #[test]
    fn it_alone_catches_a_result_of_an_old_lease() {
        let mut sample = Sample::default();
        sample.job(1).enqueued(0, 1).run((1, 1), 1, 10, 20, "done").reported_unknown();
        sample.job(1).run((1, 2), 2, 30, 40, "done").reported_unknown();
        sample.dumped(1, job("succeeded", 1).token(1, 1));
        sample.breaks(&["S5"]);
    }
}
