//! Enqueues many jobs as a stream: frames by queue, several under way, memory bounded whatever the length.

use std::collections::BTreeMap;
use std::future::{Future, IntoFuture};
use std::pin::Pin;

use futures_util::stream::{FuturesUnordered, Stream, StreamExt};
use windlass_core::api::{Enqueued, ErrorCode};
use windlass_core::id::QueueName;
use windlass_core::job::JobSpec;

use super::Client;
use super::calls::{Bounced, FRAME_JOB_BYTES_MAX, FRAME_JOBS_MAX};
use crate::error::Error;
use crate::job::{IntoJob, new_id, wire_bytes};

/// Frames of one bulk call that wait for their answer at most.
const FRAMES_IN_FLIGHT: usize = 8;

/// What came of a bulk call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BulkSummary {
    /// Jobs that are now durable on the server, duplicates not counted.
    pub enqueued: u64,
    /// Jobs whose id was known already, so that no second job was made.
    pub duplicates: u64,
    /// Jobs that were not taken.
    pub refused: u64,
}

/// Some jobs of a bulk call were not taken; the others are durable.
#[derive(Debug, thiserror::Error)]
#[error("{} jobs were not taken, {} were; the first, number {index}: {first}", summary.refused, summary.enqueued)]
pub struct BulkError {
    /// What came of all of them, up to the point where the call gave up.
    pub summary: BulkSummary,
    /// Position of the first job that was not taken, from 0.
    pub index: u64,
    /// Why it was not.
    #[source]
    pub first: Error,
}

type OnResult<'c> = Box<dyn FnMut(u64, &Result<Enqueued, Error>) + Send + 'c>;
type BoxFuture<'c, T> = Pin<Box<dyn Future<Output = T> + Send + 'c>>;

/// A bulk call; await it to run it.
#[must_use = "nothing is enqueued until this is awaited"]
pub struct EnqueueMany<'c, S> {
    client: &'c Client,
    jobs: S,
    on_result: Option<OnResult<'c>>,
}

impl<S> std::fmt::Debug for EnqueueMany<'_, S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnqueueMany").finish_non_exhaustive()
    }
}

impl Client {
    /// Enqueues many jobs, of any queues, in frames of up to 1,000 jobs; an iterator of any length needs little memory.
    /// A job that breaks a rule does not stop the others.
    ///
    /// ```no_run
    /// # async fn run(client: windlass_worker::Client) -> Result<(), Box<dyn std::error::Error>> {
    /// use windlass_worker::Job;
    /// let done = client.enqueue_many((0..1_000_000).map(|n| Job::new("square", &n))).await?;
    /// println!("{} jobs are durable", done.enqueued);
    /// # Ok(()) }
    /// ```
    pub fn enqueue_many<I>(
        &self,
        jobs: I,
    ) -> EnqueueMany<'_, futures_util::stream::Iter<<I as IntoIterator>::IntoIter>>
    where
        I: IntoIterator,
        I::Item: IntoJob,
    {
        self.enqueue_stream(futures_util::stream::iter(jobs))
    }

    /// Like [`Client::enqueue_many`], for jobs that come over time.
    pub fn enqueue_stream<S>(&self, jobs: S) -> EnqueueMany<'_, S>
    where
        S: Stream,
        S::Item: IntoJob,
    {
        EnqueueMany { client: self, jobs, on_result: None }
    }
}

impl<'c, S> EnqueueMany<'c, S> {
    /// Is called once per job with its position, in no particular order.
    pub fn on_result(
        mut self,
        each: impl FnMut(u64, &Result<Enqueued, Error>) + Send + 'c,
    ) -> EnqueueMany<'c, S> {
        self.on_result = Some(Box::new(each));
        self
    }
}

impl<'c, S> IntoFuture for EnqueueMany<'c, S>
where
    S: Stream + Send + 'c,
    S::Item: IntoJob + Send,
{
    type Output = Result<BulkSummary, BulkError>;
    type IntoFuture = BoxFuture<'c, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let mut bulk = Bulk::new(self.client, self.on_result);
            bulk.run(self.jobs).await;
            bulk.verdict()
        })
    }
}

/// Jobs of one queue on their way into a frame.
#[derive(Default)]
struct Group {
    specs: Vec<JobSpec>,
    marks: Vec<Mark>,
    bytes: usize,
}

/// What is remembered of a job while its spec is away.
#[derive(Clone, Copy)]
struct Mark {
    index: u64,
    /// Whether its id was made here, so that a duplicate can only be our own repeat.
    made: bool,
}

struct Sent {
    queue: QueueName,
    marks: Vec<Mark>,
    result: Result<Vec<Enqueued>, Bounced>,
}

struct Bulk<'c> {
    client: &'c Client,
    groups: BTreeMap<QueueName, Group>,
    jobs: usize,
    bytes: usize,
    in_flight: FuturesUnordered<BoxFuture<'c, Sent>>,
    summary: BulkSummary,
    first: Option<(u64, Error)>,
    /// The server cannot take more now (gone, full, closed): what is under way is awaited, nothing new is sent.
    stopped: bool,
    on_result: Option<OnResult<'c>>,
}

impl<'c> Bulk<'c> {
    fn new(client: &'c Client, on_result: Option<OnResult<'c>>) -> Bulk<'c> {
        Bulk {
            client,
            groups: BTreeMap::new(),
            jobs: 0,
            bytes: 0,
            in_flight: FuturesUnordered::new(),
            summary: BulkSummary::default(),
            first: None,
            stopped: false,
            on_result,
        }
    }

    async fn run<S>(&mut self, jobs: S)
    where
        S: Stream,
        S::Item: IntoJob,
    {
        let mut jobs = std::pin::pin!(jobs);
        let (mut index, mut ended) = (0, false);
        while !(self.in_flight.is_empty() && (ended || self.stopped)) {
            let room = self.in_flight.len() < FRAMES_IN_FLIGHT && !ended && !self.stopped;
            tokio::select! {
                // What is answered makes room, so it comes first.
                biased;
                Some(sent) = self.in_flight.next(), if !self.in_flight.is_empty() => self.settle(sent).await,
                job = jobs.next(), if room => match job {
                    Some(job) => {
                        self.take(index, job);
                        index += 1;
                    }
                    None => {
                        ended = true;
                        self.send_all();
                    }
                },
            }
        }
        self.refuse_rest();
    }

    fn take(&mut self, index: u64, job: impl IntoJob) {
        let (queue, mut spec) = match job.into_job().and_then(crate::job::Job::into_parts) {
            Ok(parts) => parts,
            Err(e) => return self.tell(index, Err(e)),
        };
        let made = spec.id.is_none();
        spec.id.get_or_insert_with(new_id);
        let bytes = wire_bytes(&spec);
        if self.jobs > 0 && (self.jobs + 1 > FRAME_JOBS_MAX || self.bytes + bytes > FRAME_JOB_BYTES_MAX) {
            self.send_largest();
        }
        let group = self.groups.entry(queue).or_default();
        group.specs.push(spec);
        group.marks.push(Mark { index, made });
        group.bytes += bytes;
        self.jobs += 1;
        self.bytes += bytes;
    }

    fn send_largest(&mut self) {
        let largest = self.groups.iter().max_by_key(|(_, group)| group.bytes).map(|(queue, _)| queue.clone());
        if let Some((queue, group)) = largest.and_then(|queue| self.groups.remove_entry(&queue)) {
            self.send(queue, group);
        }
    }

    fn send_all(&mut self) {
        for (queue, group) in std::mem::take(&mut self.groups) {
            self.send(queue, group);
        }
    }

    fn send(&mut self, queue: QueueName, group: Group) {
        self.jobs -= group.specs.len();
        self.bytes -= group.bytes;
        self.submit(queue, group.specs, group.marks);
    }

    fn submit(&mut self, queue: QueueName, specs: Vec<JobSpec>, marks: Vec<Mark>) {
        let client = self.client;
        self.in_flight.push(Box::pin(async move {
            let result = client.submit_jobs(queue.clone(), specs).await;
            Sent { queue, marks, result }
        }));
    }

    async fn settle(&mut self, sent: Sent) {
        let Sent { queue, marks, result } = sent;
        match result {
            Err(Bounced { error, jobs })
                if is_about_one_job(&error) && jobs.len() == marks.len() && jobs.len() > 1 =>
            {
                // One job of the frame is bad and the server took none: each goes on its own, so that the bad one is found.
                for (mark, spec) in marks.into_iter().zip(jobs) {
                    let result = self.client.submit_jobs(queue.clone(), vec![spec]).await;
                    self.settle_whole(vec![mark], result);
                }
            }
            result => self.settle_whole(marks, result),
        }
    }

    /// The jobs of one frame share one fate.
    fn settle_whole(&mut self, marks: Vec<Mark>, result: Result<Vec<Enqueued>, Bounced>) {
        match result {
            Ok(answers) => {
                for (mark, answer) in marks.into_iter().zip(answers) {
                    self.tell(
                        mark.index,
                        Ok(Enqueued { duplicate: answer.duplicate && !mark.made, ..answer }),
                    );
                }
            }
            Err(Bounced { error, .. }) => {
                self.stopped |= !is_about_one_job(&error);
                marks.into_iter().for_each(|mark| self.tell(mark.index, Err(again(&error))));
            }
        }
    }

    /// Jobs that were read and never sent, because the call gave up.
    fn refuse_rest(&mut self) {
        let why = self.first.as_ref().map_or(Error::Closed, |(_, first)| again(first));
        for (_, group) in std::mem::take(&mut self.groups) {
            for mark in group.marks {
                self.tell(mark.index, Err(again(&why)));
            }
        }
    }

    fn tell(&mut self, index: u64, result: Result<Enqueued, Error>) {
        match &result {
            Ok(answer) if answer.duplicate => self.summary.duplicates += 1,
            Ok(_) => self.summary.enqueued += 1,
            Err(_) => self.summary.refused += 1,
        }
        if let Some(each) = &mut self.on_result {
            each(index, &result);
        }
        if let Err(e) = result
            && self.first.as_ref().is_none_or(|(first, _)| index < *first)
        {
            self.first = Some((index, e));
        }
    }

    fn verdict(self) -> Result<BulkSummary, BulkError> {
        match self.first {
            None => Ok(self.summary),
            Some((index, first)) => Err(BulkError { summary: self.summary, index, first }),
        }
    }
}

fn is_about_one_job(error: &Error) -> bool {
    matches!(error, Error::Invalid(_))
        || matches!(error.code(), Some(ErrorCode::Invalid | ErrorCode::TooLarge))
}

/// The same error once more, for the next job of a refused frame.
fn again(error: &Error) -> Error {
    match error {
        Error::Server(e) => Error::Server(e.clone()),
        Error::Refused(e) => Error::Refused(e.clone()),
        Error::BufferFull { jobs, bytes } => Error::BufferFull { jobs: *jobs, bytes: *bytes },
        Error::Closed => Error::Closed,
        other => Error::Invalid(other.to_string()),
    }
}
