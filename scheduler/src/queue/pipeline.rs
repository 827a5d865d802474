//! Batches of one queue on their way to the store writer: merged, handed over in order, remembered until durable.
//!
//! A batch is remembered until its outcome is known, because the queue in memory is ahead of the store: when the disk
//! has run full since the queue took them on, the same batch and all that follow are sent again, in order, now with a right
//! to the reserve, until they fit. Writes are absolute, so sending one twice is harmless.

use std::collections::VecDeque;

use tokio::sync::watch;
use windlass_core::queue::Ticket;
use windlass_core::store::keys::QueueNo;
use windlass_core::store::{Batch, CommitError, Space, Write};

use crate::fault::{self, Point};
use crate::lifeline::Lifeline;
use crate::store::writer::{StoreWriter, SubmitError};

/// Bytes up to which the batches of one message are merged into one.
const MERGE_BYTES_MAX: usize = 1024 * 1024;

/// What the writer has answered.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Everything up to this batch is durable.
    pub durable: Ticket,
    /// The last batch that was answered, well or not.
    answered: u64,
    /// The first batch that failed since the last time all was well.
    error: Option<CommitError>,
}

/// What keeps batches from becoming durable.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The disk is full; call [`Pipeline::resend`] after a while.
    Full(String),
    /// The store writes no more.
    Failed(CommitError),
}

struct InFlight {
    ticket: Ticket,
    batch: Batch,
}

pub(super) struct Pipeline {
    queue: QueueNo,
    writer: StoreWriter,
    progress: watch::Sender<Progress>,
    /// Being merged; not handed over.
    open: Option<(Ticket, Batch, usize)>,
    /// Not durable yet, oldest first; the first `sent` of them are with the writer.
    in_flight: VecDeque<InFlight>,
    sent: usize,
    submissions: u64,
    full: bool,
    /// The queue's actor owns this pipeline: a panic of the one drops the other.
    _line: Lifeline,
}

impl Pipeline {
    pub(super) fn new(queue: QueueNo, writer: StoreWriter) -> Pipeline {
        Pipeline {
            _line: writer.lifelines().hold(format!("queue {queue}")),
            queue,
            writer,
            progress: watch::Sender::default(),
            open: None,
            in_flight: VecDeque::new(),
            sent: 0,
            submissions: 0,
            full: false,
        }
    }

    /// Changes whenever the writer has answered.
    pub(super) fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Whether new work may be taken on.
    pub(super) fn space(&self) -> Space {
        if self.full { Space::Low } else { self.writer.space() }
    }

    /// Whether the writer keeps up.
    pub(super) fn has_room(&self) -> bool {
        self.writer.has_room() && self.sent == self.in_flight.len()
    }

    pub(super) fn writer(&self) -> &StoreWriter {
        &self.writer
    }

    /// Whether everything is durable.
    pub(super) fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.open.is_none()
    }

    /// Takes the batch of one command.
    pub(super) fn push(&mut self, ticket: Ticket, writes: Vec<Write>, settles: bool) {
        let batch = Batch { writes, settles, queue: Some(self.queue) };
        let bytes = batch.bytes();
        if let Some((last, open, size)) = &mut self.open
            && open.settles == settles
            && *size + bytes <= MERGE_BYTES_MAX
        {
            *last = ticket;
            *size += bytes;
            open.writes.extend(batch.writes);
            return;
        }
        self.close();
        self.open = Some((ticket, batch, bytes));
    }

    fn close(&mut self) {
        if let Some((ticket, batch, _)) = self.open.take() {
            self.in_flight.push_back(InFlight { ticket, batch });
        }
    }

    /// Hands everything over that the writer takes. `false`: it is busy, call again in a moment.
    pub(super) fn flush(&mut self) -> Result<bool, CommitError> {
        self.close();
        if self.full {
            return Ok(true);
        }
        while let Some(next) = self.in_flight.get(self.sent) {
            let (ticket, progress) = (next.ticket, self.progress.clone());
            let done = Box::new(move |result: Result<(), CommitError>| {
                progress.send_modify(|progress| progress.answer(ticket, result));
            });
            fault::pass(Point::QueueBeforeSubmit);
            match self.writer.submit(next.batch.clone(), done) {
                Ok(()) => {
                    self.sent += 1;
                    self.submissions += 1;
                }
                Err(SubmitError::Busy(_)) => return Ok(false),
                Err(SubmitError::Stopped(_)) => {
                    return Err(CommitError::Failed("the store is closed".to_owned()));
                }
            }
        }
        Ok(true)
    }

    /// Looks at what the writer has answered and forgets what is durable: everything up to the ticket.
    pub(super) fn check(&mut self) -> (Ticket, Option<Trouble>) {
        let progress = self.progress.borrow().clone();
        while self.in_flight.front().is_some_and(|first| first.ticket <= progress.durable) {
            self.in_flight.pop_front();
            self.sent = self.sent.saturating_sub(1);
        }
        let trouble = progress.error.map(|error| match error {
            CommitError::Full(text) => {
                self.full = true;
                Trouble::Full(text)
            }
            error => Trouble::Failed(error),
        });
        (progress.durable, trouble)
    }

    /// After [`Trouble::Full`]: sends everything from the refused batch on again; nothing behind it was written. `false`
    /// while answers are still outstanding or the writer is busy: call again.
    pub(super) fn resend(&mut self) -> Result<bool, CommitError> {
        if self.progress.borrow().answered < self.submissions {
            return Ok(false);
        }
        if !self.writer.resume(self.queue) {
            return Ok(false);
        }
        self.progress.send_modify(|progress| progress.error = None);
        // The queue has taken these on before the space ran out, and its memory is ahead of the store: they settle earlier work
        // now and may use the reserve. What comes after them is refused at the door.
        self.in_flight.iter_mut().for_each(|sent| sent.batch.settles = true);
        self.full = false;
        self.sent = 0;
        self.flush()
    }
}

impl Progress {
    fn answer(&mut self, ticket: Ticket, result: Result<(), CommitError>) {
        self.answered += 1;
        match result {
            // Nothing is written behind a failure, so that this is the next in order.
            Ok(()) => self.durable = ticket,
            Err(error) => {
                self.error.get_or_insert(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use bytes::Bytes;
    use windlass_core::store::memory::MemoryStore;
    use windlass_core::store::{Epoch, ReadError, Refused, Store, StoreStats};

    /// A store that answers `Full` to the batches with these numbers, counted from 0, and takes all others.
    struct Choosy {
        inner: MemoryStore,
        seen: AtomicUsize,
        full: Vec<usize>,
        /// Whether batches that take on new work get `Full`, as when space is low.
        low: bool,
    }

    impl Store for Choosy {
        fn epoch(&self) -> Epoch {
            1
        }
        fn commit(&self, group: Vec<Batch>) -> Vec<Result<(), CommitError>> {
            let mut refused = Refused::default();
            let one = |batch: Batch| {
                let queue = batch.queue;
                let full = self.low && !batch.settles
                    || refused.behind(&batch).is_some()
                    || self.full.contains(&self.seen.fetch_add(1, Ordering::SeqCst));
                if full {
                    let error = CommitError::Full("test".to_owned());
                    refused.note(queue, &error);
                    return Err(error);
                }
                self.inner.commit(vec![batch]).remove(0)
            };
            group.into_iter().map(one).collect()
        }
        fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
            self.inner.get(key)
        }
        fn scan(
            &self,
            from: &[u8],
            to: &[u8],
            each: &mut dyn FnMut(&[u8], Bytes) -> bool,
        ) -> Result<(), ReadError> {
            self.inner.scan(from, to, each)
        }
        fn space(&self) -> Space {
            Space::Ample
        }
        fn batch_bytes_max(&self) -> usize {
            self.inner.batch_bytes_max()
        }
        fn stats(&self) -> StoreStats {
            self.inner.stats()
        }
        fn close(&self) -> Result<(), CommitError> {
            Ok(())
        }
    }

    fn put(value: &'static str) -> Vec<Write> {
        vec![Write::Put { key: Bytes::from_static(b"key"), value: Bytes::from_static(value.as_bytes()) }]
    }

    fn wait(pipeline: &Pipeline) {
        while pipeline.progress.borrow().answered < pipeline.submissions {
            std::thread::yield_now();
        }
    }

    /// The batch behind the refused one would fit: order must win.
    #[test]
    fn what_did_not_fit_is_sent_again_in_order() {
        let store = Arc::new(Choosy {
            inner: MemoryStore::new(),
            seen: AtomicUsize::new(0),
            full: vec![1],
            low: false,
        });
        let writer = StoreWriter::start(store).unwrap();
        let mut pipeline = Pipeline::new(1, writer.clone());
        for (ticket, value) in [(1, "one"), (2, "two"), (3, "three")] {
            pipeline.push(ticket, put(value), false);
            assert_eq!(pipeline.flush(), Ok(true));
        }
        wait(&pipeline);
        assert_eq!(pipeline.check(), (1, Some(Trouble::Full("test".to_owned()))));
        assert_eq!(pipeline.space(), Space::Low);
        // A crash now must not find a later decision without the earlier one.
        assert_eq!(writer.store().get(b"key").unwrap().as_deref(), Some(&b"one"[..]));
        assert_eq!(pipeline.resend(), Ok(true));
        wait(&pipeline);
        assert_eq!(pipeline.check(), (3, None));
        assert!(pipeline.is_idle());
        assert_eq!(writer.store().get(b"key").unwrap().as_deref(), Some(&b"three"[..]));
        writer.stop().unwrap();
    }

    /// Its producer waits for the answer, and may be the one who would have to make room.
    #[test]
    fn what_was_taken_on_before_space_ran_low_may_use_the_reserve() {
        let store = Arc::new(Choosy {
            inner: MemoryStore::new(),
            seen: AtomicUsize::new(0),
            full: vec![],
            low: true,
        });
        let writer = StoreWriter::start(store).unwrap();
        let mut pipeline = Pipeline::new(1, writer.clone());
        pipeline.push(1, put("one"), false);
        assert_eq!(pipeline.flush(), Ok(true));
        wait(&pipeline);
        assert_eq!(pipeline.check(), (0, Some(Trouble::Full("test".to_owned()))));
        assert_eq!(pipeline.resend(), Ok(true));
        wait(&pipeline);
        assert_eq!(pipeline.check(), (1, None));
        writer.stop().unwrap();
    }

    #[test]
    fn batches_of_one_message_travel_together() {
        let writer = StoreWriter::start(Arc::new(MemoryStore::new())).unwrap();
        let mut pipeline = Pipeline::new(1, writer.clone());
        for ticket in 1..=10 {
            pipeline.push(ticket, put("x"), true);
        }
        pipeline.push(11, put("y"), false);
        assert_eq!(pipeline.flush(), Ok(true));
        wait(&pipeline);
        assert_eq!(pipeline.check(), (11, None));
        assert_eq!(writer.stats().batches, 2);
        writer.stop().unwrap();
    }
}
