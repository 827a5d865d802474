//! Operations become commands of the pure queue, or are answered from its memory.

use windlass_core::api::{ApiError, ErrorCode};
use windlass_core::id::RequestId;
use windlass_core::queue::{Command, NewJobs};
use windlass_core::store::Space;
use windlass_core::time::Now;

use super::actor::{Found, QueueActor, Waiting, store_failed};
use super::bulk::Bulk;
use super::op::{Act, Op, next_request};

/// What to do for an operation.
pub(super) enum Step {
    /// Apply a command that somebody waits for.
    Request(RequestId, Waiting, Command),
    /// Apply a command that nobody waits for.
    Tell(Command),
    /// Begin a bulk operation.
    Bulk(Box<Bulk>),
    /// It is answered, or void.
    Nothing,
}

impl QueueActor {
    /// The command of an operation about jobs.
    pub(super) fn translate(&mut self, now: Now, op: Op, found: Found) -> Step {
        let reply = next_request();
        match op {
            Op::Enqueue { jobs, alongside, then } => {
                if let Some(error) = self.no_new_work() {
                    then(Err(error));
                    return Step::Nothing;
                }
                let new = NewJobs { jobs, known: found.ids, alongside };
                Step::Request(reply, Waiting::Enqueued(then), Command::Enqueue { reply, new })
            }
            Op::Job { act, id, then } => {
                let known = found.job;
                let command = match act {
                    Act::Cancel => Command::Cancel { reply, id, known },
                    Act::Retry => Command::Retry { reply, id, known },
                    Act::Delete => Command::Delete { reply, id, known },
                    Act::Bury => Command::Bury { reply, id, known },
                };
                Step::Request(reply, Waiting::Job(then), command)
            }
            Op::Watch { request, id, then } => {
                let command = Command::Watch { reply: request, id, known: found.job };
                Step::Request(request, Waiting::Job(then), command)
            }
            Op::Unwatch { request, id } => {
                self.waiting.remove(&request);
                Step::Tell(Command::Unwatch { reply: request, id })
            }
            Op::SetPaused { paused, then } => {
                Step::Request(reply, Waiting::Done(then), Command::SetPaused { reply, paused })
            }
            Op::SetRetention { finished_max, then } => {
                Step::Request(reply, Waiting::Done(then), Command::SetRetention { reply, finished_max })
            }
            Op::Dead { act, kind, then } => {
                Step::Bulk(Box::new(Bulk::new(act, kind, self.queue.no(), now.wall, then)))
            }
            op => self.translate_workers(reply, op),
        }
    }

    /// The command of an operation about a worker.
    fn translate_workers(&mut self, reply: RequestId, op: Op) -> Step {
        match op {
            // A connection that was replaced has nothing to ask for.
            Op::Fetch { link, .. } if !self.outbox.is_last(&link.worker, link.session) => Step::Nothing,
            Op::Fetch { link, slots } => {
                let worker = link.worker;
                self.outbox.attach(link);
                Step::Tell(Command::Fetch { worker, slots })
            }
            Op::Report { outcomes, then } => {
                Step::Request(reply, Waiting::Reported(then), Command::Report { reply, outcomes })
            }
            Op::Progress { id, token, percent, message } => {
                Step::Tell(Command::Progress { id, token, percent, message })
            }
            Op::Renew { worker } => Step::Tell(Command::Renew { worker }),
            Op::Resume { link, leases, then } => {
                let worker = link.worker;
                self.outbox.attach(link);
                Step::Request(reply, Waiting::Resumed(then), Command::Resume { worker, leases, reply })
            }
            // A later session of the worker is known: what an earlier one leaves behind says nothing any more.
            Op::Away { worker, session } | Op::Lost { worker, session, .. }
                if !self.outbox.is_last(&worker, session) =>
            {
                Step::Nothing
            }
            Op::Away { worker, .. } => {
                self.outbox.detach(&worker);
                Step::Tell(Command::Away { worker })
            }
            Op::Lost { worker, why, .. } => {
                self.outbox.detach(&worker);
                Step::Tell(Command::Lost { worker, why })
            }
            // What is left is answered from memory, before this.
            _ => Step::Nothing,
        }
    }

    /// Answers what changes nothing; gives everything else back.
    pub(super) fn answer_from_memory(&mut self, now: Now, op: Op, found: &Found) -> Option<Op> {
        let queue = &self.queue;
        match op {
            Op::Knows { id, then } => then(Ok(queue.view(&id).is_some() || found.job.is_some())),
            Op::Get { id, then } => {
                let stored = || found.job.as_ref().and_then(|stored| queue.view_of(stored));
                then(Ok(queue.view(&id).or_else(stored).map(Box::new)));
            }
            Op::Snapshot { then } => then(Ok(queue.snapshot(now))),
            Op::RunningOf { worker, then } => then(Ok(queue.running_of(&worker))),
            Op::Running { after, limit, then } => {
                let mut jobs: Vec<_> =
                    queue.running().filter(|job| after.is_none_or(|id| job.id > id)).collect();
                jobs.sort_unstable_by_key(|job| job.id);
                jobs.truncate(limit);
                then(Ok(jobs));
            }
            Op::Finished { after, limit, then } => {
                // The oldest are forgotten first: when the last one shown is gone, so is what came behind it.
                let behind = queue.finished().skip_while(|job| after.is_some_and(|id| job.id != id));
                then(Ok(behind.skip(usize::from(after.is_some())).take(limit).collect()));
            }
            Op::Resolve { stored, then } => {
                then(Ok(stored.iter().filter_map(|stored| queue.view_of(stored)).collect()));
            }
            Op::Flush { then } => match &self.stopped {
                Some(reason) => then(Err(store_failed(reason))),
                None if self.pipeline.is_idle() => then(Ok(())),
                None => self.flushes.push(then),
            },
            other => return Some(other),
        }
        None
    }

    fn no_new_work(&self) -> Option<ApiError> {
        if self.pipeline.space() == Space::Low {
            let trouble = self.pipeline.writer().store().trouble();
            let full = || "the disk is full: no new jobs are taken until there is space".to_owned();
            let text = format!("{}; running jobs go on", trouble.unwrap_or_else(full));
            return Some(ApiError::new(ErrorCode::StoreFull, text));
        }
        (!self.pipeline.has_room()).then(super::busy)
    }
}
