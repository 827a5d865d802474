//! Which calls wait for an answer, and in which frames they travel. Pure: time comes in, bytes go out.
//!
//! Enqueues of one queue that wait in the same moment share a frame, each with its own answer. The server takes a frame as a
//! whole or not at all, so a frame that it finds invalid is split into the calls that made it: nobody pays for a stranger.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::oneshot;
use tokio::time::Instant;
use windlass_core::api::{ApiError, Enqueued, ErrorCode, Request, Response};
use windlass_core::id::QueueName;
use windlass_core::job::JobSpec;
use windlass_core::wire::{ClientFrame, PREFIX_BYTES, encode_frame};

use super::budget::Hold;
use crate::error::Error;
use crate::job::wire_bytes;

/// Most jobs in one shared frame: enough to spread the cost, small enough that a queue's turn stays short.
pub(crate) const FRAME_JOBS_MAX: usize = 1_000;
/// Most bytes of jobs in one shared frame; a single larger job travels alone.
pub(crate) const FRAME_JOB_BYTES_MAX: usize = 1024 * 1024;
/// How long an enqueue that the server is too busy for is sent again before its caller is told.
const BUSY_PATIENCE: Duration = Duration::from_secs(15);
/// Wait before sending again when the server does not say.
const BUSY_WAIT_MS: u64 = 100;

/// Jobs that were not taken, handed back with the reason.
#[derive(Debug)]
pub(crate) struct Bounced {
    pub(crate) error: Error,
    pub(crate) jobs: Vec<JobSpec>,
}

/// What a caller wants sent.
#[derive(Debug)]
pub(crate) enum Submit {
    /// Any request; answered as it is.
    Call { body: Box<Request>, reply: oneshot::Sender<Result<Response, Error>>, hold: Hold },
    /// Jobs of one queue.
    Enqueue {
        queue: QueueName,
        jobs: Vec<JobSpec>,
        reply: oneshot::Sender<Result<Vec<Enqueued>, Bounced>>,
        hold: Hold,
    },
    /// Leave when all answers are there.
    Close,
}

/// One caller's part of a shared frame.
#[derive(Debug)]
struct Part {
    count: usize,
    reply: oneshot::Sender<Result<Vec<Enqueued>, Bounced>>,
    /// Given back when the caller has its answer.
    hold: Hold,
}

#[derive(Debug)]
enum Waiting {
    Call {
        body: Box<Request>,
        reply: oneshot::Sender<Result<Response, Error>>,
        hold: Hold,
    },
    Enqueue {
        queue: QueueName,
        jobs: Vec<JobSpec>,
        bytes: usize,
        parts: Vec<Part>,
        busy_since: Option<Instant>,
    },
}

/// The calls of one client, in the order of their numbers.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    last: u64,
    waiting: BTreeMap<u64, Waiting>,
    /// Numbers that are to be written to the present connection.
    unsent: VecDeque<u64>,
    /// The frame of each queue that still takes more jobs: not written yet, not full.
    open: HashMap<QueueName, u64>,
    /// Refused as busy, to be written again at that time.
    delayed: BTreeMap<(Instant, u64), ()>,
}

impl Calls {
    /// Takes a call.
    pub(crate) fn accept(&mut self, submit: Submit) {
        match submit {
            Submit::Call { body, reply, hold } => {
                self.add(Waiting::Call { body, reply, hold });
            }
            Submit::Enqueue { queue, jobs, reply, hold } => {
                let bytes = jobs.iter().map(wire_bytes).sum();
                let part = Part { count: jobs.len(), reply, hold };
                if let Some((jobs, part)) = self.join(&queue, jobs, bytes, part) {
                    let whole = jobs.len() >= FRAME_JOBS_MAX || bytes >= FRAME_JOB_BYTES_MAX;
                    let parts = vec![part];
                    let number = self.add(Waiting::Enqueue {
                        queue: queue.clone(),
                        jobs,
                        bytes,
                        parts,
                        busy_since: None,
                    });
                    if !whole {
                        self.open.insert(queue, number);
                    }
                }
            }
            Submit::Close => {}
        }
    }

    /// Adds the jobs to the queue's open frame; hands them back when there is none with room.
    fn join(
        &mut self,
        queue: &QueueName,
        new: Vec<JobSpec>,
        more: usize,
        part: Part,
    ) -> Option<(Vec<JobSpec>, Part)> {
        let Some(number) = self.open.get(queue) else { return Some((new, part)) };
        let Some(Waiting::Enqueue { jobs, bytes, parts, .. }) = self.waiting.get_mut(number) else {
            return Some((new, part));
        };
        if jobs.len() + new.len() > FRAME_JOBS_MAX || *bytes + more > FRAME_JOB_BYTES_MAX {
            return Some((new, part));
        }
        jobs.extend(new);
        *bytes += more;
        parts.push(part);
        None
    }

    fn add(&mut self, waiting: Waiting) -> u64 {
        self.last += 1;
        self.waiting.insert(self.last, waiting);
        self.unsent.push_back(self.last);
        self.last
    }

    /// Whether no call waits for an answer.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Encodes waiting calls until `out` holds `bytes_high` or nothing is left; frames over `frame_bytes_max` are refused.
    pub(crate) fn write(&mut self, out: &mut BytesMut, bytes_high: usize, frame_bytes_max: usize) {
        while out.len() < bytes_high
            && let Some(number) = self.unsent.pop_front()
        {
            let Some(waiting) = self.waiting.get_mut(&number) else { continue };
            let start = out.len();
            match waiting {
                Waiting::Call { body, .. } => {
                    encode_frame(out, &ClientFrame::Call { request: number, body: (**body).clone() });
                }
                Waiting::Enqueue { queue, jobs, .. } => {
                    if self.open.get(queue) == Some(&number) {
                        self.open.remove(queue);
                    }
                    // The frame owns its jobs while it is encoded; then they come back for a possible repeat.
                    let body = Request::Enqueue { queue: queue.clone(), jobs: std::mem::take(jobs) };
                    let frame = ClientFrame::Call { request: number, body };
                    encode_frame(out, &frame);
                    if let ClientFrame::Call { body: Request::Enqueue { jobs: back, .. }, .. } = frame {
                        *jobs = back;
                    }
                }
            }
            let bytes = out.len() - start - PREFIX_BYTES;
            if bytes > frame_bytes_max {
                out.truncate(start);
                let text = format!(
                    "the request has {bytes} bytes, the server takes {frame_bytes_max}: send it in parts"
                );
                self.finish(number, Err(ApiError::new(ErrorCode::TooLarge, text)));
            }
        }
    }

    /// Takes the server's answer to call `number`.
    pub(crate) fn answer(&mut self, number: u64, result: Result<Response, ApiError>, now: Instant) {
        if let Err(e) = &result
            && let Some(Waiting::Enqueue { parts, busy_since, .. }) = self.waiting.get_mut(&number)
        {
            let busy = matches!(e.code, ErrorCode::Busy | ErrorCode::Unavailable);
            if busy && now.duration_since(*busy_since.get_or_insert(now)) < BUSY_PATIENCE {
                let wait = Duration::from_millis(e.retry_after_ms.unwrap_or(BUSY_WAIT_MS));
                self.delayed.insert((now + wait, number), ());
                return;
            }
            if matches!(e.code, ErrorCode::Invalid | ErrorCode::TooLarge) && parts.len() > 1 {
                self.split(number);
                return;
            }
        }
        self.finish(number, result);
    }

    /// Sends the parts of a shared frame again, each on its own.
    fn split(&mut self, number: u64) {
        let Some(Waiting::Enqueue { queue, mut jobs, parts, .. }) = self.waiting.remove(&number) else {
            return;
        };
        for part in parts {
            let rest = jobs.split_off(part.count);
            let own = std::mem::replace(&mut jobs, rest);
            let bytes = own.iter().map(wire_bytes).sum();
            let queue = queue.clone();
            self.add(Waiting::Enqueue { queue, jobs: own, bytes, parts: vec![part], busy_since: None });
        }
    }

    fn finish(&mut self, number: u64, result: Result<Response, ApiError>) {
        // A caller that has gone away does not want its answer; that is its right.
        match self.waiting.remove(&number) {
            Some(Waiting::Call { reply, hold, .. }) => {
                drop(hold);
                let _ = reply.send(result.map_err(Error::Server));
            }
            Some(Waiting::Enqueue { jobs, parts, .. }) => match result {
                Ok(Response::Enqueued(answers)) if answers.len() == jobs.len() => deal(parts, answers),
                Ok(_) => bounce(jobs, parts, || Error::UnexpectedAnswer("enqueue")),
                Err(e) => bounce(jobs, parts, || Error::Server(e.clone())),
            },
            None => tracing::debug!(number, "an answer to no call"),
        }
    }

    /// When a busy call is to be written again.
    pub(crate) fn next_retry(&self) -> Option<Instant> {
        self.delayed.first_key_value().map(|((at, _), ())| *at)
    }

    /// Makes busy calls whose wait is over writable.
    pub(crate) fn wake(&mut self, now: Instant) {
        while let Some(((at, number), ())) = self.delayed.first_key_value().map(|(k, ())| (*k, ()))
            && at <= now
        {
            self.delayed.remove(&(at, number));
            self.unsent.push_back(number);
        }
    }

    /// Whether all that was written to the present connection is answered, but for waits, which may be asked again at any time.
    pub(crate) fn only_waits_are_out(&self) -> bool {
        let unwritten: HashSet<u64> =
            self.unsent.iter().copied().chain(self.delayed.keys().map(|(_, number)| *number)).collect();
        let is_wait = |waiting: &Waiting| matches!(waiting, Waiting::Call { body, .. } if matches!(**body, Request::WaitJob { .. }));
        self.waiting.iter().all(|(number, waiting)| unwritten.contains(number) || is_wait(waiting))
    }

    /// The connection is gone: what may be asked twice is written again to the next one; the rest is told.
    pub(crate) fn disconnected(&mut self) {
        let unwritten: HashSet<u64> = self.unsent.iter().copied().collect();
        let lost: Vec<u64> = self
            .waiting
            .iter()
            .filter(|(number, waiting)| !unwritten.contains(number) && !may_be_repeated(waiting))
            .map(|(number, _)| *number)
            .collect();
        for number in lost {
            if let Some(Waiting::Call { reply, .. }) = self.waiting.remove(&number) {
                let _ = reply.send(Err(Error::AnswerLost));
            }
        }
        self.delayed.clear();
        self.unsent = self.waiting.keys().copied().collect();
    }

    /// Ends every call with an error.
    pub(crate) fn fail_all(&mut self, error: impl Fn() -> Error) {
        for (_, waiting) in std::mem::take(&mut self.waiting) {
            match waiting {
                Waiting::Call { reply, .. } => {
                    let _ = reply.send(Err(error()));
                }
                Waiting::Enqueue { jobs, parts, .. } => bounce(jobs, parts, &error),
            }
        }
        *self = Calls { last: self.last, ..Calls::default() };
    }
}

fn may_be_repeated(waiting: &Waiting) -> bool {
    match waiting {
        // Ids are made on this side, so that a repeat is a duplicate and not a second job.
        Waiting::Enqueue { .. } => true,
        Waiting::Call { body, .. } => !matches!(
            **body,
            Request::TriggerSchedule { .. } | Request::DeleteSchedule { .. } | Request::DeleteJob { .. }
        ),
    }
}

fn deal(parts: Vec<Part>, mut answers: Vec<Enqueued>) {
    for part in parts {
        let rest = answers.split_off(part.count);
        let own = std::mem::replace(&mut answers, rest);
        drop(part.hold);
        let _ = part.reply.send(Ok(own));
    }
}

fn bounce(mut jobs: Vec<JobSpec>, parts: Vec<Part>, error: impl Fn() -> Error) {
    for part in parts {
        let rest = jobs.split_off(part.count);
        let own = std::mem::replace(&mut jobs, rest);
        drop(part.hold);
        let _ = part.reply.send(Err(Bounced { error: error(), jobs: own }));
    }
}

#[cfg(test)]
#[path = "calls_test.rs"]
mod tests;
