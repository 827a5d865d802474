//! S7: attempts are numbered 1, 2, 3 … in the order of hand-outs, never repeat a used one, and never exceed the limit.

use windlass_core::job::JobState;

use super::{Found, Property};
use crate::life::{Life, Run, World};

/// The server under test, as faults name it.
const SERVER: &str = "server";

/// Holds no memory: every job speaks for itself.
#[derive(Debug)]
pub(super) struct Attempts;

impl Property for Attempts {
    fn name(&self) -> &'static str {
        "S7 attempts count"
    }

    fn life(&mut self, life: &Life, world: &World, found: &mut Found<'_>) {
        let retried = life.had(crate::history::Verb::Retry);
        for run in &life.runs {
            if run.attempt == 0 || run.attempt > run.max_attempts && !retried {
                found.add(Some(life.id), format!("attempt {} of {}", run.attempt, run.max_attempts));
            }
        }
        for pair in life.runs.windows(2).filter(|_| !retried) {
            let [old, new] = pair else { continue };
            let allowed = if old.end.as_ref().is_some_and(|(at, _)| life.may_be_new_after(*at)) {
                1
            } else if is_free(old, new, world) {
                old.attempt
            } else {
                old.attempt + 1
            };
            if new.attempt < allowed {
                found.add(
                    Some(life.id),
                    format!(
                        "attempt {} with {:?} after attempt {} with {:?}",
                        new.attempt, new.token, old.attempt, old.token
                    ),
                );
            }
        }
        let Some(kept) = world.dump.jobs.get(&life.id).filter(|_| !retried) else { return };
        if life.runs.windows(2).any(|pair| pair[1].attempt < pair[0].attempt) {
            // A new life of the same id, or told above.
            return;
        }
        let used = life.runs.iter().filter(|run| matches!(run.recorded(), Some("done" | "retry" | "dead")));
        let used = used.map(|run| run.attempt).max().unwrap_or(0);
        if matches!(kept.state, JobState::Dead | JobState::Succeeded) && kept.attempt < used {
            found.add(
                Some(life.id),
                format!("{used} attempts are used, and the server counts {}", kept.attempt),
            );
        }
    }
}

/// Whether a run has used no attempt as far as one can know: it was snoozed or given back, or the server was disturbed, which may
/// forget a hand-out that was not durable.
fn is_free(old: &Run, new: &Run, world: &World) -> bool {
    let given_back = match &old.end {
        Some((_, verdict)) => verdict == "snooze",
        None => old.stopped.is_some() || matches!(old.report, Some((_, None))),
    };
    let orderly =
        world.faults(&old.proc, old.start, new.start).any(|event| event.what.as_deref() == Some("term"));
    given_back || orderly || world.disturbed(SERVER, old.start.saturating_sub(1_000_000), new.start)
}

#[cfg(test)]
mod tests {
    use crate::check::sample::{Sample, job};

    #[test]
    fn it_alone_catches_an_attempt_that_is_counted_twice() {
        let mut sample = Sample::default();
        sample.job(1).enqueued(0, 1).run((1, 1), 1, 10, 20, "retry").reported(21);
        sample.job(1).run((1, 2), 1, 30, 40, "done").reported(41);
        sample.dumped(1, job("succeeded", 1).token(1, 2));
        sample.breaks(&["S7"]);
    }

    #[test]
    fn it_alone_catches_one_attempt_too_many() {
        let mut sample = Sample::default();
        sample.job(1).enqueued(0, 1).run((1, 1), 21, 10, 20, "done").reported(21);
        sample.dumped(1, job("succeeded", 21).token(1, 1));
        sample.breaks(&["S7"]);
    }

    #[test]
    fn a_snooze_uses_none() {
        let mut sample = Sample::default();
        sample.job(1).enqueued(0, 1).run((1, 1), 1, 10, 20, "snooze").reported(21);
        sample.job(1).run((1, 2), 1, 30, 40, "done").reported(41);
        sample.dumped(1, job("succeeded", 1).token(1, 2));
        sample.breaks(&[]);
    }
}
