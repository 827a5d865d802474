//! S11: a dead job stays until somebody orders otherwise.

use windlass_core::job::JobState;

use super::{Found, Property};
use crate::history::Verb;
use crate::life::{Life, Run, World};

/// Holds no memory: every job speaks for itself.
#[derive(Debug)]
pub(super) struct DeadStay;

impl Property for DeadStay {
    fn name(&self) -> &'static str {
        "S11 dead jobs stay"
    }

    fn life(&mut self, life: &Life, world: &World, found: &mut Found<'_>) {
        let ordered = [Verb::Retry, Verb::Delete, Verb::Cancel].into_iter().any(|f| life.had(f));
        let told = life.ended.iter().any(|(_, what)| what == JobState::Dead.name());
        if ordered || !(told || life.runs.iter().any(is_last)) {
            return;
        }
        let state = world.dump.jobs.get(&life.id).map(|job| job.state);
        if state != Some(JobState::Dead) {
            let now = state.map_or("not there", JobState::name);
            found.add(Some(life.id), format!("it was dead and is {now}"));
        }
    }
}

/// Whether the server has recorded an end after which a job is dead.
fn is_last(run: &Run) -> bool {
    match run.recorded() {
        Some("dead") => true,
        Some("retry") => run.attempt >= run.max_attempts,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::check::sample::{Sample, job};

    #[test]
    fn it_catches_a_dead_job_that_is_gone() {
        let mut sample = Sample::default();
        sample.job(1).enqueued(0, 1).run((1, 1), 1, 10, 20, "dead").reported(21);
        sample.dumped(1, job("dead", 1));
        sample.breaks(&[]);
        sample.forget(1);
        // It is lost as well, for those who look at that.
        sample.breaks(&["S1", "S2", "S11"]);
    }

    #[test]
    fn it_alone_catches_a_dead_job_that_is_something_else() {
        let mut sample = Sample::default();
        sample.job(1).enqueued(0, 1).run((1, 1), 1, 10, 20, "dead").reported(21);
        sample.dumped(1, job("expired", 1));
        sample.breaks(&["S11"]);
    }
}
