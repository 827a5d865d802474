//! S2: a confirmed job runs and comes to its end; nothing is said to have succeeded that no handler has done.

use windlass_core::job::JobState;
use windlass_worker::ErrorCode;

use super::{Found, Property};
use crate::history::Verb;
use crate::life::{Life, Run, World};

/// Holds no memory: every job speaks for itself.
#[derive(Debug)]
pub(super) struct Ended;

impl Property for Ended {
    fn name(&self) -> &'static str {
        "S2 what is confirmed runs and ends"
    }

    fn life(&mut self, life: &Life, world: &World, found: &mut Found<'_>) {
        let state = world.dump.jobs.get(&life.id).map(|job| job.state);
        let done = life.runs.iter().any(|run| counts(run, world));
        match state {
            Some(state) if !state.is_final() => {
                found.add(Some(life.id), format!("it is still {state} when everything should have ended"));
            }
            Some(JobState::Succeeded) if !done => {
                found.add(Some(life.id), "it has succeeded, and no handler has done it".to_owned());
            }
            None if life.is_confirmed() && !done && !life.had(Verb::Cancel) && !life.had(Verb::Delete) => {
                let told = life.ended.iter().any(|(_, what)| what == JobState::Expired.name());
                if !told {
                    found.add(Some(life.id), "no run of it that counts has done it".to_owned());
                }
            }
            _ => {}
        }
    }
}

/// Whether a run has done the job as far as its worker can know: a refusal that follows a loss of the connection may be that
/// of a second report of the same, and only that of a stale lease says that the first one changed nothing.
fn counts(run: &Run, world: &World) -> bool {
    match (&run.end, &run.report) {
        (Some((_, verdict)), _) if verdict != "done" => false,
        (Some(_), None | Some((_, None))) => true,
        (Some((end, _)), Some((told, Some(code)))) => {
            code != ErrorCode::StaleLease.name() || world.cut(&run.proc, *end, *told).is_some()
        }
        (None, _) => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::check::sample::{Sample, job};

    #[test]
    fn it_alone_catches_a_job_that_hangs() {
        let mut sample = Sample::default();
        sample.job(1).enqueued(0, 1);
        sample.dumped(1, job("ready", 0));
        sample.breaks(&["S2"]);
    }

    #[test]
    fn it_alone_catches_a_success_that_nobody_had() {
        let mut sample = Sample::default();
        sample.job(1).enqueued(0, 1).run((1, 1), 1, 2, 3, "retry").reported(4);
        sample.dumped(1, job("succeeded", 1));
        sample.breaks(&["S2"]);
    }

    #[test]
    fn a_second_report_after_a_loss_is_no_breach() {
        let mut sample = Sample::default();
        sample.job(1).enqueued(0, 1).run((1, 1), 1, 2, 3, "done").refused_report(9);
        sample.forget(1);
        sample.cut("worker-1", 5);
        sample.breaks(&[]);
    }
}
