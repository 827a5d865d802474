//! What a connection does for each command, and what it remembers between two.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use windlass_core::access::{Caller, Operation};
use windlass_core::api::{ApiError, ErrorCode};
use windlass_core::id::{QueueName, WorkerId};
use windlass_core::limits;

use super::allow::{may, noted};
use super::command::Command;
use super::connection::{End, Wire};
use super::fetch::{Fetch, Got, Mailbox};
use super::fetched::Shown;
use super::greeting::Hello;
use super::input::Beat;
use super::listener::FaktoryParts;
use super::pushed::queue_name;
use super::reply::Reply;
use super::reservations::Reservation;
use super::workers::{Key, Said, State};
use super::{FETCH_QUEUES_MAX, FETCH_WAIT};
use crate::queue::{Op, QueueHandle};

/// What follows from a command.
pub(super) enum Next {
    /// An answer.
    Answer(Reply),
    /// The end of the conversation.
    End(End),
}

/// A connection that has been greeted.
pub(super) struct Session {
    parts: FaktoryParts,
    pub(super) caller: Arc<Caller>,
    connection: u32,
    worker: Key,
    /// Whether the peer said a wid, so that the worker is known.
    named: bool,
    broken: CancellationToken,
    commands: u64,
    mailbox: Option<Mailbox>,
    /// Queues that were asked, by the holder that asked: they know the connection.
    asked: HashMap<(WorkerId, u32), QueueHandle>,
    /// The reservation that the last answer told of.
    told: Option<u64>,
    /// A `FETCH` is under way: should it be cut off, a queue may have given it a job that nobody knows of.
    fetching: bool,
}

impl Session {
    pub(super) fn begin(parts: FaktoryParts, hello: &Hello, caller: Arc<Caller>) -> Session {
        let connection = parts.number_connection();
        let broken = CancellationToken::new();
        let now = parts.desk.now();
        let worker = match &hello.wid {
            Some(wid) => {
                let said = Said {
                    wid: wid.clone(),
                    host: hello.hostname.clone().unwrap_or_default(),
                    pid: hello.pid.and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0),
                    labels: hello.labels.clone().unwrap_or_default(),
                    connected_at: now.wall,
                };
                parts.desk.state().workers.connect(said, connection, broken.clone(), now.mono);
                Key::of(wid)
            }
            None => Key::nameless(connection),
        };
        let named = hello.wid.is_some();
        let (mailbox, asked, told) = (None, HashMap::new(), None);
        Session {
            parts,
            caller,
            connection,
            worker,
            named,
            broken,
            commands: 0,
            mailbox,
            asked,
            told,
            fetching: false,
        }
    }

    /// Ends the connection from outside.
    pub(super) fn broken(&self) -> CancellationToken {
        self.broken.clone()
    }

    /// Set when the server ends its connections.
    pub(super) fn closing(&self) -> CancellationToken {
        self.parts.phases.closing.clone()
    }

    /// Carries a command out.
    pub(super) async fn handle<R, W>(&mut self, command: Command<'_>, wire: &mut Wire<R, W>) -> Next
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let desk = self.parts.desk.clone();
        desk.count_command();
        self.count_command();
        // The peer speaks again: it has read what it was told before.
        self.told = None;
        if let Err(refused) = may(&self.caller, &desk, &command) {
            return Next::Answer(Reply::error(refused));
        }
        let noted = noted(&command);
        let next = self.carry_out(command, wire).await;
        if let Some((operation, target)) = noted {
            self.note(operation, target, &next).await;
        }
        next
    }

    /// Writes down what an operator did.
    async fn note(&self, operation: Operation, target: String, next: &Next) {
        let failed = match next {
            Next::Answer(Reply::Error(text)) => Some(ApiError::new(ErrorCode::Invalid, text.clone())),
            Next::Answer(_) | Next::End(_) => None,
        };
        self.parts.audit.note(&self.caller, operation, target, failed.as_ref().map_or(Ok(1), Err)).await;
    }

    async fn carry_out<R, W>(&mut self, command: Command<'_>, wire: &mut Wire<R, W>) -> Next
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let desk = self.parts.desk.clone();
        Next::Answer(match command {
            Command::Push(text) => desk.push(text).await,
            Command::PushMany(text) => desk.push_many(text).await,
            Command::Fetch(names) => return self.fetch(&names, wire).await,
            Command::FetchNothing => Reply::error("must call fetch with at least one queue"),
            Command::Ack(text) => desk.ack(text).await,
            Command::Fail(text) => desk.fail(text).await,
            Command::Beat(text) => self.beat(text),
            Command::Info => desk.info().await,
            Command::Flush => desk.flush().await,
            Command::Queue(text) => desk.queue_command(text).await,
            Command::Mutate(text) => desk.mutate(text).await,
            Command::Batch => Reply::error("batch subsystem is only available in Faktory Enterprise"),
            Command::Track => Reply::error("tracking subsystem is only available in Faktory Enterprise"),
            Command::End => return Next::End(End::Orderly),
            Command::Bare(verb) => Reply::error(format!("{verb} needs an argument")),
            Command::Hello(_) => Reply::error("unknown command HELLO"),
            Command::Unknown(verb) => Reply::error(format!("unknown command {}", shorten(verb))),
        })
    }

    /// A connection that carries a second command stands for a process that keeps its connections.
    fn count_command(&mut self) {
        self.commands += 1;
        if self.commands == 2
            && self.named
            && let Some(process) = self.parts.desk.state().workers.get_mut(self.worker)
        {
            process.steady = true;
        }
    }

    fn beat(&self, text: &str) -> Reply {
        let beat = match Beat::read(text) {
            Ok(beat) => beat,
            Err(error) => return Reply::Error(error),
        };
        let now = self.parts.desk.now().mono;
        let told = beat.current_state.as_deref();
        let state = self.parts.desk.state().workers.beat(Key::of(&beat.wid), told, beat.rss_kb, now);
        match state {
            None => Reply::error(format!("Unknown worker {}", beat.wid)),
            Some(State::Running) => Reply::Ok,
            Some(state) => Reply::Bulk(format!("{{\"state\":\"{}\"}}", state.name())),
        }
    }

    async fn fetch<R, W>(&mut self, names: &[&str], wire: &mut Wire<R, W>) -> Next
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        if self.parts.phases.draining.is_cancelled() {
            return Next::Answer(Reply::error("shutdown in progress"));
        }
        if !self.parts.desk.state().has_room() {
            return Next::Answer(Reply::error("too many jobs are reserved; finish some first"));
        }
        // What was answered before does not wait with this one.
        if let Err(end) = wire.flush().await {
            return Next::End(end);
        }
        let (holder, takes_jobs) = self.holder();
        let queues = match self.open(names).await {
            Ok(queues) => queues,
            Err(error) => return Next::Answer(Reply::Error(error)),
        };
        let queues = if takes_jobs { queues } else { Vec::new() };
        for queue in &queues {
            self.asked.entry((holder, queue.no())).or_insert_with(|| queue.clone());
        }
        let mailbox = self.mailbox.get_or_insert_with(Mailbox::open);
        let session = u64::from(self.connection) + 1;
        let draining = self.parts.phases.draining.clone();
        let mut gone = None;
        let enough = async {
            tokio::select! {
                biased;
                end = wire.gone() => gone = Some(end),
                () = draining.cancelled() => {}
                () = tokio::time::sleep(FETCH_WAIT) => {}
            }
        };
        self.fetching = true;
        let got = Fetch::new(mailbox, holder, session, self.broken.clone(), queues).run(enough).await;
        self.fetching = false;
        let given = got.map(|got| self.reserve(holder, &got));
        match (gone, given) {
            (None, Some((number, json))) => {
                self.told = Some(number);
                Next::Answer(Reply::Bulk(json))
            }
            (None, None) => Next::Answer(Reply::Null),
            (Some(end), given) => {
                // It left before it was told.
                if let Some((number, _)) = given {
                    self.parts.desk.release(number);
                }
                Next::End(end)
            }
        }
    }

    /// The holder of this connection's leases, and whether its worker may be given jobs.
    fn holder(&self) -> (WorkerId, bool) {
        let state = self.parts.desk.state();
        let process = state.workers.get(self.worker).filter(|_| self.named);
        let takes_jobs = process.is_none_or(|process| process.state == State::Running);
        (self.worker.holder(self.named, self.connection), takes_jobs)
    }

    /// The queues with these names, each once, in order. One that is only asked for is not listed.
    async fn open(&self, names: &[&str]) -> Result<Vec<QueueHandle>, String> {
        if names.len() > FETCH_QUEUES_MAX {
            return Err(format!("FETCH names {} queues, at most {FETCH_QUEUES_MAX} are taken", names.len()));
        }
        let mut wanted: Vec<QueueName> = Vec::with_capacity(names.len());
        for name in names {
            let name = queue_name(name)?;
            if !wanted.contains(&name) {
                wanted.push(name);
            }
        }
        self.note_queues(&wanted);
        self.parts.desk.registry().open(&wanted).await.map_err(|error| error.to_string())
    }

    /// Remembers what the worker takes jobs from, and that a queue is new.
    fn note_queues(&self, wanted: &[QueueName]) {
        let desk = &self.parts.desk;
        let mut state = desk.state();
        if let Some(process) = state.workers.get_mut(self.worker).filter(|_| self.named) {
            for name in wanted {
                if process.queues.len() < FETCH_QUEUES_MAX && !process.queues.contains(name) {
                    process.queues.insert(name.clone());
                }
            }
        }
        for name in wanted.iter().filter(|name| desk.registry().find(name).is_none()) {
            // Names of queues that cannot be made any more are not remembered either.
            if state.hidden.len() < limits::QUEUES_MAX {
                state.hidden.insert(name.clone());
            }
        }
    }

    /// Writes the reservation down. Returns its number and the job for the worker.
    fn reserve(&self, holder: WorkerId, got: &Got) -> (u64, String) {
        let desk = &self.parts.desk;
        let handed = Shown::of_job(got.queue.name(), &got.job).hand_out();
        let now = desk.now();
        let number = desk.state().reservations.add(Reservation {
            jid: handed.jid.into(),
            queue: got.queue.clone(),
            id: got.job.id,
            token: got.token,
            holder,
            worker: self.worker,
            kind: got.job.kind.clone(),
            attempt: got.attempt,
            started_at: now.wall,
            expires: now.mono.plus_ms(handed.terms.reserve_ms),
            terms: handed.terms,
        });
        (number, handed.json)
    }

    /// The connection is over. After a reset, what the last answer gave was never read.
    pub(super) fn end(self, reset: bool) {
        let desk = &self.parts.desk;
        if let Some(number) = self.told.filter(|_| reset) {
            desk.release(number);
        }
        let session = u64::from(self.connection) + 1;
        for ((worker, _), queue) in &self.asked {
            let held = desk.state().reservations.leases_of(*worker, queue);
            let mut ops = Vec::new();
            if let Some(mailbox) = self.mailbox.as_ref().filter(|_| self.fetching) {
                // Leases that are not among these go back unused.
                let link = mailbox.link(*worker, session, self.broken.clone());
                ops.push(Op::Resume { link, leases: held.clone(), then: Box::new(|_| {}) });
            }
            ops.push(Op::Away { worker: *worker, session });
            if !held.is_empty() {
                // What it holds outlives it.
                ops.push(Op::Renew { worker: *worker });
            }
            if queue.post(ops).is_err() {
                tracing::warn!(queue = %queue.name(), "queue too busy to hear of a connection's end");
            }
        }
        if self.named {
            let now = desk.now().mono;
            let mut state = desk.state();
            let holds = state.reservations.any_of(self.worker);
            state.workers.disconnect(self.worker, self.connection, holds, now);
        }
    }
}

/// Enough of a wrong verb to recognise it.
fn shorten(verb: &str) -> String {
    const SHOWN_MAX: usize = 64;
    verb.chars().take(SHOWN_MAX).collect()
}
