//! S1: a confirmed job is never lost; what was refused never happens; what nobody asked for is not there.

use std::collections::HashSet;

use windlass_core::id::JobId;
use windlass_core::job::JobState;

use super::{Found, Property};
use crate::history::{Kind, Verb};
use crate::life::{Life, World};

/// Remembers which jobs of the dump the history knows.
#[derive(Debug, Default)]
pub(super) struct Lost {
    known: HashSet<JobId>,
}

impl Property for Lost {
    fn name(&self) -> &'static str {
        "S1 no confirmed job is lost"
    }

    fn life(&mut self, life: &Life, world: &World, found: &mut Found<'_>) {
        let kept = world.dump.jobs.get(&life.id);
        if kept.is_some() {
            self.known.insert(life.id);
        }
        let enqueued = life.asked.iter().filter(|asked| asked.f == Verb::Enqueue);
        let (mut any, mut refused) = (false, true);
        for asked in enqueued {
            (any, refused) = (true, refused && asked.told.1 == Kind::Fail);
        }
        if any && refused && (kept.is_some() || !life.runs.is_empty()) {
            found.add(Some(life.id), "its enqueue was refused, and it is there all the same".to_owned());
        }
        if !life.is_confirmed() || kept.is_some() || life.had(Verb::Delete) {
            return;
        }
        let is_kept = life.orders(Verb::Enqueue).any(|asked| asked.kept);
        if is_kept {
            found.add(Some(life.id), "it was to be kept when it ended, and is not there".to_owned());
        } else if !is_forgotten(life) {
            found.add(Some(life.id), "it was confirmed, never ended, and is not there".to_owned());
        }
    }

    fn end(&mut self, world: &World, found: &mut Found<'_>) {
        for (id, job) in &world.dump.jobs {
            if !self.known.contains(id) && job.firing.is_none() {
                found.add(Some(*id), "it is there, and nobody has asked for it".to_owned());
            }
            if job.listed != 1 {
                found.add(Some(*id), format!("the server lists it {} times", job.listed));
            }
        }
    }
}

/// Whether the job may have ended in a way after which a server need not remember it.
fn is_forgotten(life: &Life) -> bool {
    let done = |run: &crate::life::Run| run.end.as_ref().is_some_and(|(_, verdict)| verdict == "done");
    let told = |what: &str| {
        [JobState::Succeeded, JobState::Cancelled, JobState::Expired].iter().any(|s| s.name() == what)
    };
    life.runs.iter().any(done) || life.had(Verb::Cancel) || life.ended.iter().any(|(_, what)| told(what))
}

#[cfg(test)]
mod tests {
    use crate::check::sample::{Sample, job};

    #[test]
    fn it_alone_catches_a_job_that_is_gone() {
        let mut sample = Sample::default();
        sample.job(1).enqueued(0, 1);
        sample.forget(1);
        // Nobody can tell that it did not run as well: both are told.
        sample.breaks(&["S1", "S2"]);
        let mut kept = Sample::default();
        kept.job(1).enqueued_kept(0, 1).run((1, 1), 1, 2, 3, "done").reported(4);
        kept.forget(1);
        kept.breaks(&["S1"]);
    }

    #[test]
    fn it_alone_catches_a_phantom_and_a_stranger() {
        let mut sample = Sample::default();
        sample.job(1).refused(0, 1);
        sample.dumped(1, job("succeeded", 1)).job(1).run((1, 1), 1, 2, 3, "done").reported(4);
        sample.breaks(&["S1"]);
        let mut sample = Sample::default();
        sample.dumped(9, job("dead", 1));
        sample.breaks(&["S1"]);
    }
}
