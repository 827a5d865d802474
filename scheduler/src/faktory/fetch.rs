//! `FETCH`: the first job of the first queue that has one, or a wait on all of them for as long as the protocol allows.
//!
//! Queues are asked one at a time and answer each question; one that has nothing remembers the wish and sends a notice when that has
//! changed. A wish is taken back when the `FETCH` ends, so that the notice goes to somebody who listens.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::{Actor, Context, Handler, Recipient};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use windlass_core::id::{QueueName, WorkerId};
use windlass_core::job::Job;
use windlass_core::wire::Token;

use super::FETCH_QUEUES_MAX;
use crate::queue::{FromQueue, NotTaken, Op, QueueHandle, WorkerEvent, WorkerLink};

/// Wait before a queue is asked again that was too busy.
const PAUSE: Duration = Duration::from_millis(5);
/// Messages that wait for one connection: of each queue an answer and a notice.
const MAILBOX_MESSAGES_MAX: usize = 2 * FETCH_QUEUES_MAX;

/// What queues have told a connection.
pub(super) struct Mailbox {
    to: Recipient<FromQueue>,
    inside: Arc<Inside>,
}

#[derive(Default)]
struct Inside {
    messages: Mutex<VecDeque<FromQueue>>,
    arrived: Notify,
}

struct Receiver(Arc<Inside>);

impl Actor for Receiver {
    type Context = Context<Receiver>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX_MESSAGES_MAX);
    }
}

impl Handler<FromQueue> for Receiver {
    type Result = ();

    fn handle(&mut self, message: FromQueue, _: &mut Self::Context) {
        self.0.messages().push_back(message);
        self.0.arrived.notify_one();
    }
}

impl Inside {
    fn messages(&self) -> MutexGuard<'_, VecDeque<FromQueue>> {
        self.messages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Mailbox {
    /// A mailbox. Must run on the arbiter.
    pub(super) fn open() -> Mailbox {
        let inside = Arc::new(Inside::default());
        let to = Receiver(Arc::clone(&inside)).start().recipient();
        Mailbox { to, inside }
    }

    /// How queues reach a holder of leases through it.
    pub(super) fn link(&self, holder: WorkerId, session: u64, broken: CancellationToken) -> WorkerLink {
        WorkerLink { worker: holder, session, to: self.to.clone(), broken }
    }

    async fn next(&self) -> FromQueue {
        loop {
            if let Some(message) = self.inside.messages().pop_front() {
                return message;
            }
            self.inside.arrived.notified().await;
        }
    }
}

/// A job for the connection.
pub(super) struct Got {
    pub(super) queue: QueueHandle,
    pub(super) job: Arc<Job>,
    pub(super) token: Token,
    pub(super) attempt: u32,
}

/// One `FETCH` under way.
pub(super) struct Fetch<'a> {
    mailbox: &'a Mailbox,
    link: WorkerLink,
    queues: Vec<Asked>,
}

struct Asked {
    handle: QueueHandle,
    /// It may have jobs: nothing says that it has none.
    open: bool,
    /// It remembers the wish.
    wished: bool,
}

impl<'a> Fetch<'a> {
    /// Begins one for a holder of leases, whose connection `broken` ends.
    pub(super) fn new(
        mailbox: &'a Mailbox,
        holder: WorkerId,
        session: u64,
        broken: CancellationToken,
        queues: Vec<QueueHandle>,
    ) -> Fetch<'a> {
        // Notices of an earlier wish say nothing that is not asked again now.
        mailbox.inside.messages().clear();
        let link = mailbox.link(holder, session, broken);
        let asked = |handle| Asked { handle, open: true, wished: false };
        Fetch { mailbox, link, queues: queues.into_iter().map(asked).collect() }
    }

    /// Waits for a job until `enough` resolves. A question that was put is always waited for, since its answer may be a job.
    pub(super) async fn run(&mut self, enough: impl Future<Output = ()>) -> Option<Got> {
        tokio::pin!(enough);
        let got = loop {
            match self.queues.iter().position(|asked| asked.open) {
                Some(index) => {
                    if let Some(got) = self.ask(index).await {
                        break Some(got);
                    }
                    if futures_util::poll!(&mut enough).is_ready() {
                        break None;
                    }
                }
                None => tokio::select! {
                    biased;
                    message = self.mailbox.next() => self.note(message),
                    () = &mut enough => break None,
                },
            }
        };
        self.take_wishes_back();
        got
    }

    /// Asks one queue and waits for its answer.
    async fn ask(&mut self, index: usize) -> Option<Got> {
        let handle = self.queues[index].handle.clone();
        if handle
            .post(vec![Op::Fetch { link: self.link.clone(), slots: 1 }])
            .map_err(NotTaken::refuse)
            .is_err()
        {
            tokio::time::sleep(PAUSE).await;
            return None;
        }
        self.queues[index].open = false;
        self.queues[index].wished = true;
        loop {
            // A queue that is gone does not answer; then the connection is about to end.
            let message = tokio::select! {
                message = self.mailbox.next() => message,
                () = self.link.broken.cancelled() => return None,
            };
            let from = message.queue.clone();
            let mut answered = false;
            let mut got = None;
            for event in message.events {
                match event {
                    WorkerEvent::Deliver { jobs, drained } if from == *handle.name() => {
                        answered = true;
                        self.queues[index].wished = drained;
                        // One without a job had one whose lease did not live to leave.
                        self.queues[index].open = !drained && jobs.is_empty();
                        got = jobs.into_iter().next();
                    }
                    WorkerEvent::Notice => self.reopen(&from),
                    _ => {}
                }
            }
            if let Some((job, token, attempt)) = got {
                return Some(Got { queue: handle, job, token, attempt });
            }
            if answered {
                return None;
            }
        }
    }

    fn note(&mut self, message: FromQueue) {
        if message.events.iter().any(|event| matches!(event, WorkerEvent::Notice)) {
            self.reopen(&message.queue);
        }
    }

    fn reopen(&mut self, queue: &QueueName) {
        if let Some(asked) = self.queues.iter_mut().find(|asked| asked.handle.name() == queue) {
            asked.open = true;
            // A queue that has told us waits for our question before it tells the next.
            asked.wished = true;
        }
    }

    fn take_wishes_back(&mut self) {
        for asked in self.queues.iter_mut().filter(|asked| asked.wished) {
            asked.wished = false;
            asked.handle.post_or_refuse(Op::Fetch { link: self.link.clone(), slots: 0 });
        }
    }
}

/// Whoever gives up in the middle takes the wishes back too.
impl Drop for Fetch<'_> {
    fn drop(&mut self) {
        self.take_wishes_back();
    }
}
