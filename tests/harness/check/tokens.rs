//! S4: tokens of a job rise with every hand-out, across restarts, and none is handed out twice.

use super::{Found, Property, UNDER_WAY_US};
use crate::life::{Life, World};

/// Holds no memory: every job speaks for itself.
#[derive(Debug)]
pub(super) struct Tokens;

impl Property for Tokens {
    fn name(&self) -> &'static str {
        "S4 tokens rise"
    }

    fn life(&mut self, life: &Life, world: &World, found: &mut Found<'_>) {
        for run in life.runs.iter().filter(|run| run.starts > 1) {
            found.add(Some(life.id), format!("{:?} was handed out {} times", run.token, run.starts));
        }
        for (index, lower) in life.runs.iter().enumerate() {
            let late = |higher: &crate::life::Run| {
                // A delivery may be under way, or lie in a process that stands still.
                lower.start > higher.start + UNDER_WAY_US
                    && !world.disturbed(&lower.proc, higher.start, lower.start)
                    && world.cut(&lower.proc, higher.start, lower.start).is_none()
            };
            if let Some(higher) = life.runs[index + 1..].iter().find(|higher| late(higher)) {
                found.add(Some(life.id), format!("{:?} came after {:?}", lower.token, higher.token));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::check::sample::{Sample, job};

    #[test]
    fn it_alone_catches_a_token_that_comes_twice() {
        let mut sample = Sample::default();
        sample.job(1).enqueued(0, 1).run((1, 1), 1, 10, 20, "done").reported(21);
        sample.job(1).run((1, 1), 1, 30, 40, "done").reported(41);
        sample.dumped(1, job("succeeded", 1).token(1, 1));
        sample.breaks(&["S4"]);
    }

    #[test]
    fn it_alone_catches_a_token_that_falls() {
        let mut sample = Sample::default();
        sample.job(1).enqueued(0, 1).run((2, 1), 2, 10, 20, "retry").reported(21);
        sample.job(1).run((1, 7), 1, 9_000, 9_010, "retry").refused_report(9_011);
        sample.job(1).run((3, 1), 3, 9_500, 9_510, "done").reported(9_511);
        sample.dumped(1, job("succeeded", 3).token(3, 1));
        sample.breaks(&["S4"]);
    }
}
