//! What a person orders, as the naive queue carries it out: cancel, retry, delete, watch.

use windlass_core::job::JobState;

use crate::naive::{Answer, Id, Naive, Stand};

impl Naive {
    pub(crate) fn cancel(&mut self, id: Id) {
        let Some(state) = self.state(id) else { return self.answers.push(Answer::NoJob(id)) };
        if state.is_final() {
            return self.answers.push(Answer::WrongState(id, state));
        }
        let request = self.steps;
        if let Stand::Running(lease) = &mut self.job(id).stand {
            lease.cancel = true;
            let lease = lease.clone();
            self.answers.push(Answer::CancelRun(lease.worker, id, lease.token));
            self.answers.push(Answer::Job(request, id, JobState::Running));
        } else {
            self.end(id, JobState::Cancelled);
            self.answers.push(Answer::Job(request, id, JobState::Cancelled));
        }
    }

    pub(crate) fn retry(&mut self, id: Id) {
        match self.state(id) {
            None => self.answers.push(Answer::NoJob(id)),
            Some(state @ (JobState::Running | JobState::Succeeded)) => {
                self.answers.push(Answer::WrongState(id, state));
            }
            Some(_) => {
                self.revive(id);
                self.answers.push(Answer::Job(self.steps, id, JobState::Ready));
            }
        }
    }

    /// Makes a job ready at once, with at least one attempt more.
    pub(crate) fn revive(&mut self, id: Id) {
        self.forget_remembered(id);
        let (arrival, wall) = (self.arrival(), self.wall);
        let job = self.job(id);
        (job.run_at, job.timed, job.arrival, job.stand) = (wall, false, arrival, Stand::Waiting);
        if job.attempts >= job.max_attempts {
            job.max_attempts = job.attempts + 1;
        }
        job.expires_at = job.expires_at.filter(|at| *at > wall);
        (job.crashes, job.ended_at) = (0, None);
    }

    fn forget_remembered(&mut self, id: Id) {
        for slot in self.remembered.iter_mut().filter(|slot| **slot == Some(id)) {
            *slot = None;
        }
    }

    pub(crate) fn delete(&mut self, id: Id) {
        match self.state(id) {
            None => self.answers.push(Answer::NoJob(id)),
            Some(JobState::Running) => self.answers.push(Answer::WrongState(id, JobState::Running)),
            Some(_) => {
                self.forget_remembered(id);
                self.jobs.remove(&id);
                for request in self.watchers_of(id) {
                    self.answers.push(Answer::Gone(request, id));
                }
                self.answers.push(Answer::Done(1));
            }
        }
    }

    pub(crate) fn watch(&mut self, id: Id) {
        match self.state(id) {
            None => self.answers.push(Answer::NoJob(id)),
            Some(state) if state.is_final() => self.answers.push(Answer::Job(self.steps, id, state)),
            Some(_) => {
                self.watchers.insert((self.steps, id));
            }
        }
    }
}
