//! S8: no job begins before its time, by the clocks of those who asked and ran.

use super::{Found, Property};
use crate::history::Verb;
use crate::life::{Life, World};

/// The server counts in whole milliseconds, cut off; one more for the two clocks.
const CLOCKS_US: u64 = 2_000;

/// Holds no memory: every job speaks for itself.
#[derive(Debug)]
pub(super) struct Early;

impl Property for Early {
    fn name(&self) -> &'static str {
        "S8 never early"
    }

    fn life(&mut self, life: &Life, _: &World, found: &mut Found<'_>) {
        if life.had(Verb::Retry) {
            return;
        }
        let Some(asked) = life.asked.iter().find(|asked| asked.f == Verb::Enqueue) else { return };
        for run in &life.runs {
            let due = asked.after_ms.map_or(0, |ms| asked.invoked + ms * 1_000);
            if run.start + CLOCKS_US < due {
                found.add(Some(life.id), format!("{} µs before its delay was over", due - run.start));
            }
            if let Some(at) = asked.run_at.filter(|at| run.start_wall < *at) {
                found.add(Some(life.id), format!("{} ms before its time", at - run.start_wall));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::check::sample::{Sample, job};

    #[test]
    fn it_alone_catches_a_job_that_cannot_wait() {
        let mut sample = Sample::default();
        sample.job(1).enqueued_after(0, 1, 500).run((1, 1), 1, 490, 495, "done").reported(496);
        sample.dumped(1, job("succeeded", 1).token(1, 1));
        sample.breaks(&["S8"]);
        let mut sample = Sample::default();
        sample.job(1).enqueued_after(0, 1, 500).run((1, 1), 1, 500, 505, "done").reported(506);
        sample.dumped(1, job("succeeded", 1).token(1, 1));
        sample.breaks(&[]);
    }
}
