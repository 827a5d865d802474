//! A client that records what it asks and what it is told.
//!
//! A refusal counts as `fail` only when nothing of the request can have happened: a typed refusal on a connection that stood all
//! the time. After a loss the client asks again by itself, and then the refusal may be that of the second time only.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;
use windlass_core::id::JobId;
use windlass_core::job::JobState;
use windlass_worker::{Client, ConnectionEvent, Enqueued, Error, ErrorCode, Job, JobView};

use crate::history::{Event, Kind, Recorder, Verb};
use crate::script::Work;

/// The recording client; cheap to clone.
#[derive(Debug, Clone)]
pub struct Producer {
    client: Client,
    recorder: Recorder,
    losses: Arc<AtomicU64>,
}

impl Producer {
    /// Connects.
    ///
    /// # Errors
    /// When no server answers.
    pub async fn connect(address: String, recorder: Recorder) -> Result<Producer> {
        let losses = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&losses);
        let builder = Client::builder(address).on_event(move |event| {
            if matches!(event, ConnectionEvent::Lost { .. }) {
                seen.fetch_add(1, Ordering::SeqCst);
            }
        });
        Ok(Producer { client: builder.connect().await?, recorder, losses })
    }

    /// The client itself, for what needs no record.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Connections lost so far.
    #[must_use]
    pub fn losses(&self) -> u64 {
        self.losses.load(Ordering::SeqCst)
    }

    fn invoke_enqueue(&self, work: &Work) -> u64 {
        let op = self.recorder.next_op();
        let event = self.recorder.event(Verb::Enqueue, Kind::Invoke).job(work.id);
        self.recorder.record(&Event {
            op: Some(op),
            queue: Some(work.queue.clone()),
            after_ms: work.after_ms,
            run_at: work.run_at,
            max_attempts: Some(work.max_attempts),
            kept: work.kept.then_some(true),
            ..event
        });
        op
    }

    /// What an error says about whether something happened.
    fn doubt(&self, error: &Error, losses: u64) -> Kind {
        let sure = match error {
            Error::Invalid(_) | Error::Encode(_) | Error::BufferFull { .. } => true,
            Error::Server(refusal) => matches!(
                refusal.code,
                ErrorCode::Invalid
                    | ErrorCode::TooLarge
                    | ErrorCode::Busy
                    | ErrorCode::StoreFull
                    | ErrorCode::Denied
                    | ErrorCode::NotFound
                    | ErrorCode::Conflict
            ),
            _ => false,
        };
        if sure && self.losses() == losses { Kind::Fail } else { Kind::Info }
    }

    fn note<T>(&self, f: Verb, id: JobId, op: u64, losses: u64, result: &Result<T, Error>, what: &str) {
        let (kind, note) = match result {
            Ok(_) => (Kind::Ok, None),
            Err(error) => (self.doubt(error, losses), Some(error.to_string())),
        };
        let event = self.recorder.event(f, kind).job(id);
        let what = (!what.is_empty()).then(|| what.to_owned());
        self.recorder.record(&Event { op: Some(op), what, note, ..event });
    }

    /// Enqueues a job.
    ///
    /// # Errors
    /// As the client says; it is recorded.
    pub async fn enqueue(&self, work: &Work) -> Result<Enqueued, Error> {
        let losses = self.losses();
        let op = self.invoke_enqueue(work);
        let result = self.client.enqueue(work.job()).await;
        self.note(Verb::Enqueue, work.id, op, losses, &result, "");
        result
    }

    /// Enqueues many; returns how many were confirmed.
    pub async fn enqueue_many(&self, works: &[Work]) -> usize {
        let losses = self.losses();
        let ops: Vec<u64> = works.iter().map(|work| self.invoke_enqueue(work)).collect();
        let jobs: Vec<Job> = works.iter().map(Work::job).collect();
        let mut confirmed = 0;
        let sent = self.client.enqueue_many(jobs).on_result(|index, result| {
            let index = usize::try_from(index).expect("as many as were sent");
            confirmed += usize::from(result.is_ok());
            self.note(Verb::Enqueue, works[index].id, ops[index], losses, result, "");
        });
        // Each job's outcome is noted; what the sum of them says is not needed.
        let _ = sent.await;
        confirmed
    }

    /// Cancels a job.
    ///
    /// # Errors
    /// As the client says; it is recorded.
    pub async fn cancel(&self, id: JobId) -> Result<JobView, Error> {
        let losses = self.losses();
        let op = self.recorder.invoke(Verb::Cancel, id);
        let result = self.client.cancel(id).await;
        let state = result.as_ref().map_or("", |view| view.state.name());
        self.note(Verb::Cancel, id, op, losses, &result, state);
        result
    }

    /// Makes a job ready again.
    ///
    /// # Errors
    /// As the client says; it is recorded.
    pub async fn retry(&self, id: JobId) -> Result<JobView, Error> {
        let losses = self.losses();
        let op = self.recorder.invoke(Verb::Retry, id);
        let result = self.client.retry(id).await;
        self.note(Verb::Retry, id, op, losses, &result, "");
        result
    }

    /// Deletes a job.
    ///
    /// # Errors
    /// As the client says; it is recorded.
    pub async fn delete(&self, id: JobId) -> Result<(), Error> {
        let losses = self.losses();
        let op = self.recorder.invoke(Verb::Delete, id);
        let result = self.client.delete(id).await;
        self.note(Verb::Delete, id, op, losses, &result, "");
        result
    }

    /// Looks at a job, and notes when it has ended.
    ///
    /// # Errors
    /// As the client says.
    pub async fn look(&self, id: JobId) -> Result<Option<JobState>, Error> {
        let view = self.client.status(id).await?;
        let state = view.map(|view| view.state);
        if let Some(state) = state.filter(|state| state.is_final()) {
            self.recorder.record(&self.recorder.event(Verb::Ended, Kind::Ok).job(id).what(state.name()));
        }
        Ok(state)
    }
}
