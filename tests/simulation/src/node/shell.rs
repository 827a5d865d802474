//! The actor of one queue: operations in, effects out. It decides nothing, exactly as the real one.
//!
//! While a read of the store is under way the whole actor waits, so that operations keep their order. Batches are merged
//! per message, remembered until durable, and sent again in order after the disk was full. What may leave only when
//! durable is held until the writer says so.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use windlass_core::id::{JobId, RequestId};
use windlass_core::job::Job;
use windlass_core::queue::{Command, Deadline, Effects, LoadFrom, Out, Queue, Stored, Ticket, read};
use windlass_core::store::{Batch, Write};
use windlass_core::time::Timestamp;
use windlass_core::wire::Token;

use super::bulk::Bulk;
use super::operate::Found;
use super::outs::Said;
use super::process_of;
use super::{Local, Op, Then};
use crate::disk::{Source, Submission};
use crate::history::{Event, Process};
use crate::world::{NodeEvent, Planted, World};

/// Wait before batches that the disk had no room for are offered again.
const FULL_RETRY_MS: u64 = 250;

/// Something a worker's session should know.
#[expect(missing_docs, reason = "the fields are named after what they hold")]
#[derive(Debug, Clone)]
pub enum WorkerEvent {
    /// The answer to a fetch.
    Deliver { jobs: Vec<(Arc<Job>, Token, u32)>, drained: bool },
    /// There is more.
    Notice,
    /// Stop this handler.
    CancelRun { id: JobId, token: Token },
    /// This lease has ended.
    LeaseEnded { id: JobId, token: Token },
}

#[derive(Debug)]
pub(super) struct InFlight {
    after: Ticket,
    ticket: Ticket,
    batch: Batch,
}

/// What the actor waits for.
#[derive(Debug)]
pub(crate) enum Reading {
    /// Ids of an operation. `Some`: the store was looked at when the wait began, and not when it ended.
    Op(Box<Op>, Option<Found>),
    /// A page of dead jobs.
    Bulk(Box<Bulk>),
}

/// What arrives while the actor waits.
#[derive(Debug)]
pub(super) enum Late {
    Op(Op),
    Answers(Vec<(Ticket, bool)>),
    Loaded(LoadFrom, Vec<Stored>, bool),
    Tick,
    Resend,
}

/// Who waits for an answer of the queue.
#[derive(Debug)]
pub(super) enum Waiting {
    Then(Then),
    Bulk(Box<Bulk>),
}

/// The actor of a queue.
#[derive(Debug)]
pub struct Shell {
    /// The queue itself.
    pub queue: Queue,
    pub(super) open: Option<InFlight>,
    pub(super) in_flight: VecDeque<InFlight>,
    pub(super) sent: usize,
    pub(super) answered: u64,
    pub(super) submissions: u64,
    pub(super) error: bool,
    pub(super) full: bool,
    pub(super) retrying: bool,
    pub(super) confirmed: Ticket,
    pub(super) durable: Ticket,
    pub(super) held: VecDeque<(Ticket, Out, Option<u64>)>,
    pub(super) waiting: BTreeMap<RequestId, (Ticket, Waiting)>,
    pub(super) pending: VecDeque<Op>,
    pub(super) reading: Option<Reading>,
    pub(super) late: VecDeque<Late>,
    pub(super) links: BTreeMap<Process, u64>,
    pub(super) outbox: Vec<(Process, Vec<WorkerEvent>)>,
    pub(super) timer: Option<(u64, Deadline)>,
    pub(super) timers: u64,
    /// Loads on their way.
    pub loads: u32,
}

impl Shell {
    /// The actor of this queue.
    #[must_use]
    pub fn new(queue: Queue) -> Shell {
        Shell {
            queue,
            open: None,
            in_flight: VecDeque::new(),
            sent: 0,
            answered: 0,
            submissions: 0,
            error: false,
            full: false,
            retrying: false,
            confirmed: 0,
            durable: 0,
            held: VecDeque::new(),
            waiting: BTreeMap::new(),
            pending: VecDeque::new(),
            reading: None,
            late: VecDeque::new(),
            links: BTreeMap::new(),
            outbox: Vec::new(),
            timer: None,
            timers: 0,
            loads: 0,
        }
    }

    pub(super) fn push(&mut self, ticket: Ticket, writes: Vec<Write>, settles: bool) {
        if let Some(open) = &mut self.open
            && open.batch.settles == settles
        {
            open.ticket = ticket;
            open.batch.writes.extend(writes);
            return;
        }
        self.close();
        let batch = Batch { writes, settles, queue: Some(self.queue.no()) };
        self.open = Some(InFlight { after: ticket - 1, ticket, batch });
    }

    fn close(&mut self) {
        self.in_flight.extend(self.open.take());
    }

    /// The ticket before the first of the batch that ends with this one.
    #[must_use]
    pub fn batch_after(&self, ticket: Ticket) -> Ticket {
        self.in_flight.iter().find(|sent| sent.ticket == ticket).map_or(ticket - 1, |sent| sent.after)
    }

    pub(super) fn is_last(&self, worker: Process, session: u64) -> bool {
        self.links.get(&worker).is_none_or(|known| *known <= session)
    }

    pub(super) fn attach(&mut self, worker: Process, session: u64) {
        let known = self.links.entry(worker).or_insert(session);
        *known = (*known).max(session);
    }

    /// The session that an out is meant for, if it is for a worker that has one.
    pub(super) fn session_for(&self, out: &Out) -> Option<u64> {
        out.worker().and_then(|worker| self.links.get(&process_of(worker)).copied())
    }

    pub(super) fn tell(&mut self, worker: Process, event: WorkerEvent) {
        match self.outbox.iter_mut().rev().find(|(to, _)| *to == worker) {
            Some((_, events)) => events.push(event),
            None => self.outbox.push((worker, vec![event])),
        }
    }

    /// Whether nothing is under way: no batch, no read.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.open.is_none() && self.reading.is_none()
    }
}

impl World {
    /// A queue begins, created or recovered.
    pub(crate) fn begin_shell(&mut self, queue: Queue, first: Effects) {
        let q = self.node.shells.len();
        self.node.shells.push(Shell::new(queue));
        self.carry_out(q, Said::Else, None, first);
        self.settle_shell(q);
    }

    /// The store is looked at for a load; the answer comes later.
    pub(crate) fn scan(&mut self, q: usize, from: LoadFrom) {
        let no = self.node.shells[q].queue.no();
        let found = read::load(&self.disk, no, from).expect("the simulated disk is never damaged");
        self.after_read(NodeEvent::Loaded(q, from, found.stored, found.exhausted));
    }

    /// The answer of a load.
    pub(crate) fn loaded(&mut self, q: usize, from: LoadFrom, found: Vec<Stored>, exhausted: bool) {
        if self.node.shells[q].reading.is_some() {
            self.node.shells[q].late.push_back(Late::Loaded(from, found, exhausted));
            return;
        }
        self.node.shells[q].loads -= 1;
        let ids = found.iter().map(|stored| (stored.job.id, stored.place)).collect();
        self.emit(Event::Loaded { queue: q, from, found: ids, exhausted });
        self.apply(q, Command::Loaded { from, found, exhausted }, Said::Else, None);
        self.settle_shell(q);
    }

    /// The writer has answered.
    pub(crate) fn store_answered(&mut self, q: usize, answers: Vec<(Ticket, bool)>) {
        if self.node.shells[q].reading.is_some() {
            self.node.shells[q].late.push_back(Late::Answers(answers));
            return;
        }
        let shell = &mut self.node.shells[q];
        for (ticket, fits) in answers {
            shell.answered += 1;
            match fits {
                true => shell.confirmed = ticket,
                false => shell.error = true,
            }
        }
        let confirmed = shell.confirmed;
        while shell.in_flight.front().is_some_and(|first| first.ticket <= confirmed) {
            shell.in_flight.pop_front();
            shell.sent = shell.sent.saturating_sub(1);
        }
        let full = shell.error;
        shell.full |= full;
        self.made_durable(q, confirmed);
        if full && !self.node.shells[q].retrying {
            self.node.shells[q].retrying = true;
            self.node_event(FULL_RETRY_MS, NodeEvent::Resend(q));
        }
        self.settle_shell(q);
    }

    pub(super) fn made_durable(&mut self, q: usize, durable: Ticket) {
        if durable <= self.node.shells[q].durable {
            return;
        }
        self.node.shells[q].durable = durable;
        while self.node.shells[q].held.front().is_some_and(|(ticket, ..)| *ticket <= durable) {
            if let Some((_, out, session)) = self.node.shells[q].held.pop_front() {
                self.release_held(q, out, session);
            }
        }
        self.emit(Event::ToldDurable { queue: q, upto: durable });
        self.apply(q, Command::Durable(durable), Said::Else, None);
    }

    /// Everything from the refused batch on is sent again.
    pub(crate) fn resend(&mut self, q: usize) {
        let shell = &mut self.node.shells[q];
        if shell.reading.is_some() {
            shell.late.push_back(Late::Resend);
            return;
        }
        if shell.answered < shell.submissions {
            return self.node_event(FULL_RETRY_MS, NodeEvent::Resend(q));
        }
        self.disk.resume(shell.queue.no());
        shell.retrying = false;
        shell.error = false;
        shell.in_flight.iter_mut().for_each(|sent| sent.batch.settles = true);
        shell.full = false;
        shell.sent = 0;
        self.settle_shell(q);
    }

    /// The timer has rung.
    pub(crate) fn timer_rang(&mut self, q: usize, number: u64) {
        let shell = &mut self.node.shells[q];
        let Some((_, deadline)) = shell.timer.take_if(|(armed, _)| *armed == number) else { return };
        let now = self.clock.now(self.at);
        let due =
            deadline.wall.is_some_and(|at| at <= now.wall) || deadline.mono.is_some_and(|at| at <= now.mono);
        if !due {
            return self.arm(q, deadline, 0);
        }
        if self.node.shells[q].reading.is_some() {
            self.node.shells[q].late.push_back(Late::Tick);
            return;
        }
        self.ticked(q);
    }

    pub(super) fn ticked(&mut self, q: usize) {
        self.apply(q, Command::Tick, Said::Else, None);
        self.settle_shell(q);
    }

    fn arm(&mut self, q: usize, deadline: Deadline, least_ms: u64) {
        let mono = if self.planted == Some(Planted::WallClockForLeases) { None } else { deadline.mono };
        let wall = match self.planted {
            Some(Planted::WallClockForLeases) => {
                let mono = deadline.mono.map(|mono| Timestamp(mono.0));
                deadline.wall.into_iter().chain(mono).min()
            }
            _ => deadline.wall,
        };
        let shell = &mut self.node.shells[q];
        shell.timers += 1;
        shell.timer = Some((shell.timers, deadline));
        let number = shell.timers;
        if let Some(at) = self.clock.wakes_at(self.at, wall, mono) {
            let wait_ms = (at - self.at).max(least_ms);
            self.node_event(wait_ms, NodeEvent::Timer(q, number));
        }
    }

    /// What every message ends with: batches and messages go out, the timer is set.
    pub(super) fn settle_shell(&mut self, q: usize) {
        let shell = &mut self.node.shells[q];
        shell.close();
        if !shell.full {
            while let Some(next) = shell.in_flight.get(shell.sent) {
                let (ticket, batch) = (next.ticket, next.batch.clone());
                self.disk.submit(Submission { source: Source::Queue(q), ticket, batch });
                shell.sent += 1;
                shell.submissions += 1;
            }
        }
        self.stats.in_flight_max = self.stats.in_flight_max.max(shell.in_flight.len() as u64);
        for (worker, events) in shell.outbox.drain(..) {
            if let Some(session) = shell.links.get(&worker) {
                self.node.local.push_back(Local::Session { session: *session, queue: q, events });
            }
        }
        self.write_on();
        let next = self.node.shells[q].queue.next_deadline();
        if let Some((_, armed)) = self.node.shells[q].timer {
            if is_no_later(armed, next) {
                return;
            }
            self.node.shells[q].timer = None;
        }
        if next != Deadline::default() {
            // A deadline that is due but was not settled by the last tick waits a little.
            self.arm(q, next, 1);
        }
    }
}

/// Whether a timer set for `armed` rings in time for `next`.
fn is_no_later(armed: Deadline, next: Deadline) -> bool {
    let wall = next.wall.is_none_or(|at| armed.wall.is_some_and(|armed| armed <= at));
    let mono = next.mono.is_none_or(|at| armed.mono.is_some_and(|armed| armed <= at));
    wall && mono
}
