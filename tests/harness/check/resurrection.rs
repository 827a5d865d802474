//! S6: what has ended is not handed out again unless somebody orders it.

use windlass_core::job::JobState;

use super::{Found, Property, UNDER_WAY_US};
use crate::history::{Kind, Verb};
use crate::life::{Life, World};

/// Holds no memory: every job speaks for itself.
#[derive(Debug)]
pub(super) struct Resurrection;

impl Property for Resurrection {
    fn name(&self) -> &'static str {
        "S6 no resurrection"
    }

    fn life(&mut self, life: &Life, world: &World, found: &mut Found<'_>) {
        if life.had(Verb::Retry) || life.had(Verb::Delete) {
            return;
        }
        // A larger token was handed out after the one whose final report was recorded, whenever its handler began.
        for (index, last) in life.runs.iter().enumerate() {
            if !matches!(last.recorded(), Some("done" | "dead")) {
                continue;
            }
            if last.end.as_ref().is_some_and(|(at, _)| life.may_be_new_after(*at)) {
                continue;
            }
            if let Some(newer) = life.runs.get(index + 1) {
                found.add(
                    Some(life.id),
                    format!(
                        "it was {:?} with {:?} and handed out again with {:?}",
                        last.recorded(),
                        last.token,
                        newer.token
                    ),
                );
            }
        }
        let cancelled = life.orders(Verb::Cancel).filter(|asked| asked.told.1 == Kind::Ok);
        let cancelled =
            cancelled.filter(|asked| asked.what == JobState::Cancelled.name()).map(|asked| asked.told.0);
        for at in cancelled.chain(life.ended.iter().map(|(at, _)| *at)) {
            let late = life.runs.iter().find(|run| {
                run.start > at.saturating_add(UNDER_WAY_US)
                    && !world.disturbed(&run.proc, at, run.start)
                    && world.cut(&run.proc, at, run.start).is_none()
            });
            if let Some(run) = late {
                found.add(Some(life.id), format!("it had ended, and {:?} began later", run.token));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::check::sample::{Sample, job};

    #[test]
    fn it_alone_catches_a_done_job_that_runs_again() {
        let mut sample = Sample::default();
        sample.job(1).enqueued(0, 1).run((1, 1), 1, 10, 20, "done").reported(21);
        sample.job(1).run((1, 2), 2, 30, 40, "done").reported(41);
        sample.dumped(1, job("succeeded", 2).token(1, 2));
        sample.breaks(&["S6"]);
    }

    #[test]
    fn it_alone_catches_a_cancelled_job_that_runs() {
        let mut sample = Sample::default();
        sample.job(1).enqueued(0, 1).cancelled(2, 3).run((1, 1), 1, 6_000, 6_010, "done").reported(6_011);
        sample.forget(1);
        sample.breaks(&["S6"]);
    }

    #[test]
    fn a_producer_that_was_not_answered_may_ask_again() {
        let mut sample = Sample::default();
        sample.job(1).enqueued(0, 35).run((1, 1), 1, 10, 20, "done").reported(21);
        sample.nemesis("server", "kill", 25);
        sample.job(1).run((2, 1), 1, 30, 40, "done").reported(41);
        sample.dumped(1, job("succeeded", 1).token(2, 1));
        sample.breaks(&[]);
    }

    #[test]
    fn an_order_to_run_again_is_no_breach() {
        let mut sample = Sample::default();
        sample.job(1).enqueued(0, 1).run((1, 1), 1, 10, 20, "dead").reported(21).retried(25, 26);
        sample.job(1).run((1, 2), 2, 30, 40, "done").reported(41);
        sample.dumped(1, job("succeeded", 2).token(1, 2));
        sample.breaks(&[]);
    }
}
