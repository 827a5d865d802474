//! The actor of one queue: operations in, effects out. It decides nothing, exactly as the real one.
//!
//! While a read of the store is under way the whole actor waits, so that operations keep their order. Batches are merged
//! per message, remembered until durable, and sent again in order after the disk was full. What may leave only when
//! durable is held until the writer says so.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use windlass_core::id::{JobId, RequestId};
use windlass_core::job::Job;
use windlass_core::queue::{
    Command, Deadline, Effects, Known, LoadFrom, NewJobs, Out, Queue, Release, Reply, Stored, Ticket,
    invariants,
};
use windlass_core::store::keys::{queue_range, region};
use windlass_core::store::{Batch, Write};
use windlass_core::time::Timestamp;
use windlass_core::wire::{ReportResult, Token};

use super::{Local, Op, Then, process_of, read, worker_id};
use crate::disk::{Room, Source, Submission};
use crate::history::{Act, Acted, Event, Process};
use crate::world::{Answer, NodeEvent, Planted, World};

/// Wait before batches that the disk had no room for are offered again.
const FULL_RETRY_MS: u64 = 250;
/// Batches that wait for the store above which no new work is taken.
const IN_FLIGHT_MAX: usize = 64;
/// Dead jobs of one page of a bulk operation.
const DEAD_PAGE_JOBS: usize = 3;

/// Something a worker's session should know.
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
struct InFlight {
    after: Ticket,
    ticket: Ticket,
    batch: Batch,
}

/// A bulk operation under way.
#[derive(Debug)]
pub(crate) struct Bulk {
    retry: bool,
    died_by: Timestamp,
    from: Bytes,
    end: Bytes,
    exhausted: bool,
    count: u64,
    then: Then,
}

/// What the actor waits for.
#[derive(Debug)]
pub(crate) enum Reading {
    /// Ids of an operation. `Some`: the store was looked at when the wait began, and not when it ended.
    Op(Box<Op>, Option<Found>),
    /// A page of dead jobs.
    Bulk(Box<Bulk>),
}

/// What the store knows of the ids of an operation.
#[derive(Debug, Default)]
pub(crate) struct Found {
    ids: Vec<JobId>,
    job: Known,
}

/// What arrives while the actor waits.
#[derive(Debug)]
enum Late {
    Op(Op),
    Answers(Vec<(Ticket, bool)>),
    Loaded(LoadFrom, Vec<Stored>, bool),
    Tick,
    Resend,
}

/// Who waits for an answer of the queue.
#[derive(Debug)]
enum Waiting {
    Then(Then),
    Bulk(Box<Bulk>),
}

/// What a command was about, for the history.
enum Said {
    Enqueue(Vec<crate::history::Wish>),
    Report(Vec<(JobId, Token, windlass_core::wire::Verdict)>),
    Resume(Process),
    Lost(Process),
    Job(u64, Act, JobId),
    Dead(bool, Vec<(JobId, u32)>),
    Paused(bool),
    Else,
}

/// The actor of a queue.
#[derive(Debug)]
pub struct Shell {
    /// The queue itself.
    pub queue: Queue,
    open: Option<InFlight>,
    in_flight: VecDeque<InFlight>,
    sent: usize,
    answered: u64,
    submissions: u64,
    error: bool,
    full: bool,
    retrying: bool,
    confirmed: Ticket,
    durable: Ticket,
    held: VecDeque<(Ticket, Out)>,
    waiting: BTreeMap<RequestId, (Ticket, Waiting)>,
    pending: VecDeque<Op>,
    reading: Option<Reading>,
    late: VecDeque<Late>,
    links: BTreeMap<Process, u64>,
    outbox: Vec<(Process, Vec<WorkerEvent>)>,
    timer: Option<(u64, Deadline)>,
    timers: u64,
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
        }
    }

    fn push(&mut self, ticket: Ticket, writes: Vec<Write>, settles: bool) {
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

    fn is_last(&self, worker: Process, session: u64) -> bool {
        self.links.get(&worker).is_none_or(|known| *known <= session)
    }

    fn attach(&mut self, worker: Process, session: u64) {
        let known = self.links.entry(worker).or_insert(session);
        *known = (*known).max(session);
    }

    fn tell(&mut self, worker: Process, event: WorkerEvent) {
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

    /// A message to a queue.
    pub(crate) fn queue_op(&mut self, q: usize, op: Op) {
        if self.node.shells[q].reading.is_some() {
            self.node.shells[q].late.push_back(Late::Op(op));
            return;
        }
        self.node.shells[q].pending.push_back(op);
        self.proceed(q);
    }

    fn proceed(&mut self, q: usize) {
        while self.node.shells[q].reading.is_none() {
            let Some(op) = self.node.shells[q].pending.pop_front() else { break };
            if self.needs_store(q, &op) {
                let early = self.rng.chance(500).then(|| self.look_up(q, &op));
                self.node.shells[q].reading = Some(Reading::Op(Box::new(op), early));
                self.after_read(NodeEvent::Read(q));
                break;
            }
            self.operate(q, op, Found::default());
        }
        self.settle_shell(q);
    }

    fn needs_store(&self, q: usize, op: &Op) -> bool {
        if self.planted == Some(Planted::NoLookUp) {
            return false;
        }
        let queue = &self.node.shells[q].queue;
        match op {
            Op::Enqueue { jobs, .. } => jobs.iter().filter_map(|job| job.id).any(|id| queue.may_store(&id)),
            Op::Job { id, .. } => queue.may_store(id),
            _ => false,
        }
    }

    fn look_up(&self, q: usize, op: &Op) -> Found {
        let queue = &self.node.shells[q].queue;
        match op {
            Op::Enqueue { jobs, .. } => {
                let ids: Vec<_> = jobs.iter().filter_map(|job| job.id).collect();
                let ids = queue.suspects(&ids);
                Found { ids: read::known(&self.disk, queue.no(), &ids), job: None }
            }
            Op::Job { id, .. } => Found { ids: Vec::new(), job: read::by_id(&self.disk, queue.no(), id) },
            _ => Found::default(),
        }
    }

    /// The read that the actor waited for has come back.
    pub(crate) fn read_done(&mut self, q: usize) {
        match self.node.shells[q].reading.take() {
            Some(Reading::Op(op, early)) => {
                let found = early.unwrap_or_else(|| self.look_up(q, &op));
                self.operate(q, *op, found);
            }
            Some(Reading::Bulk(bulk)) => self.bulk_page(q, bulk),
            None => {}
        }
        while self.node.shells[q].reading.is_none() {
            // What was gathered before the wait comes before what came during it.
            if !self.node.shells[q].pending.is_empty() {
                self.proceed(q);
                continue;
            }
            let Some(late) = self.node.shells[q].late.pop_front() else { break };
            match late {
                Late::Op(op) => self.queue_op(q, op),
                Late::Answers(answers) => self.store_answered(q, answers),
                Late::Loaded(from, found, exhausted) => self.loaded(q, from, found, exhausted),
                Late::Tick => self.ticked(q),
                Late::Resend => self.resend(q),
            }
        }
        self.settle_shell(q);
    }

    fn operate(&mut self, q: usize, op: Op, found: Found) {
        let request = self.node.next_request();
        let shell = &mut self.node.shells[q];
        let (command, said, then) = match op {
            Op::Enqueue { jobs, alongside, then } => {
                let low = shell.full || self.disk.room() != Room::Ample;
                if low || shell.in_flight.len() >= IN_FLIGHT_MAX {
                    let why = if low { "the disk is full" } else { "busy" };
                    return self.way_back(q, then, Answer::Refused(why));
                }
                let firing = match then {
                    Then::Schedule { index } => self.node.schedules.nominal(index).map(|at| (index, at)),
                    _ => None,
                };
                let wishes = jobs.iter().map(|job| crate::producer::wish_of(job, firing)).collect();
                let new = NewJobs { jobs, known: found.ids, alongside };
                (Command::Enqueue { reply: request, new }, Said::Enqueue(wishes), then)
            }
            Op::Fetch { worker, session, slots } => {
                if !shell.is_last(worker, session) {
                    return;
                }
                shell.attach(worker, session);
                (Command::Fetch { worker: worker_id(worker), slots }, Said::Else, Then::Nobody)
            }
            Op::Report { outcomes, then } => {
                let said = Said::Report(outcomes.clone());
                (Command::Report { reply: request, outcomes }, said, then)
            }
            Op::Renew { worker, sent_at } => {
                self.emit(Event::Renewed { queue: q, of: worker, sent_at });
                (Command::Renew { worker: worker_id(worker) }, Said::Else, Then::Nobody)
            }
            Op::Resume { worker, session, leases, then } => {
                shell.attach(worker, session);
                let command = Command::Resume { worker: worker_id(worker), leases, reply: request };
                (command, Said::Resume(worker), then)
            }
            Op::Away { worker, session } => {
                if !shell.is_last(worker, session) {
                    return;
                }
                shell.links.remove(&worker);
                self.emit(Event::Away { queue: q, of: worker });
                (Command::Away { worker: worker_id(worker) }, Said::Else, Then::Nobody)
            }
            Op::Lost { worker, session, why } => {
                if !shell.is_last(worker, session) {
                    return;
                }
                shell.links.remove(&worker);
                let command = Command::Lost { worker: worker_id(worker), why: why.to_owned() };
                (command, Said::Lost(worker), Then::Nobody)
            }
            Op::Job { act, id, then } => {
                let call = if let Then::Call { call, .. } = then { call } else { 0 };
                let (reply, known) = (request, found.job);
                let command = match act {
                    Act::Cancel => Command::Cancel { reply, id, known },
                    Act::Retry => Command::Retry { reply, id, known },
                    Act::Delete => Command::Delete { reply, id, known },
                };
                (command, Said::Job(call, act, id), then)
            }
            Op::SetPaused { paused, then } => {
                (Command::SetPaused { reply: request, paused }, Said::Paused(paused), then)
            }
            Op::Dead { retry, then } => {
                let (from, end) = queue_range(region::DEAD, shell.queue.no());
                let died_by = self.clock.now(self.at).wall;
                let bulk = Bulk { retry, died_by, from, end, exhausted: false, count: 0, then };
                return self.bulk_step(q, Box::new(bulk));
            }
        };
        self.apply(q, command, said, Some((request, Waiting::Then(then))));
    }

    fn apply(&mut self, q: usize, command: Command, said: Said, waits: Option<(RequestId, Waiting)>) {
        let mut now = self.clock.now(self.at);
        if self.planted == Some(Planted::WallClockForLeases) {
            now.mono = windlass_core::time::Mono(now.wall.0);
        }
        self.stats.commands += 1;
        let shell = &mut self.node.shells[q];
        let request = waits.as_ref().map(|(request, _)| *request);
        match shell.queue.apply(now, command) {
            Ok(effects) => {
                if let Some((request, waiting)) = waits
                    && waiting_matters(&waiting, &said)
                {
                    let ticket = shell.queue.tickets().0;
                    shell.waiting.insert(request, (ticket, waiting));
                }
                self.carry_out(q, said, request, effects);
            }
            Err(_) => {
                if let Said::Job(call, act, id) = said {
                    let ticket = shell.queue.tickets().0;
                    self.emit(Event::ActedOn {
                        call,
                        key: (q, id),
                        ticket,
                        wall: now.wall,
                        act,
                        acted: Acted::Refused,
                    });
                }
                match waits {
                    Some((_, Waiting::Then(then))) => self.way_back(q, then, Answer::Refused("by the queue")),
                    Some((_, Waiting::Bulk(bulk))) => {
                        self.way_back(q, bulk.then, Answer::Refused("by the queue"))
                    }
                    None => {}
                }
            }
        }
        if self.violation.is_none()
            && let Err(text) = invariants::check(&self.node.shells[q].queue)
        {
            self.violated("conservation", format!("queue {q}: {text}"), None);
        }
    }

    fn carry_out(&mut self, q: usize, said: Said, own: Option<RequestId>, effects: Effects) {
        let Effects { ticket, writes, settles, outs } = effects;
        let shell = &mut self.node.shells[q];
        let ticket = match ticket {
            Some(ticket) => {
                shell.push(ticket, writes, settles);
                ticket
            }
            None => shell.queue.tickets().0,
        };
        for (_, out) in &outs {
            self.note_out(q, &said, own, ticket, out);
        }
        for (release, out) in outs {
            match release {
                Release::Durable(ticket)
                    if ticket > self.node.shells[q].durable
                        && self.planted != Some(Planted::AckBeforeSync) =>
                {
                    self.node.shells[q].held.push_back((ticket, out));
                }
                _ => self.release(q, out),
            }
        }
    }

    /// What the judges may know of an out, at the moment the queue decided it.
    fn note_out(&mut self, q: usize, said: &Said, own: Option<RequestId>, ticket: Ticket, out: &Out) {
        let wall = self.clock.now(self.at).wall;
        match (out, said) {
            (Out::Deliver { worker, jobs, .. }, _) => {
                for (job, token, attempt) in jobs {
                    let (key, to) = ((q, job.id), process_of(*worker));
                    self.emit(Event::HandedOut { key, ticket, wall, to, token: *token, attempt: *attempt });
                }
            }
            (Out::LeaseEnded { worker, id, token }, said) => {
                let of = process_of(*worker);
                let told = matches!(said, Said::Lost(lost) if *lost == of);
                self.emit(Event::LeaseEnded { key: (q, *id), ticket, wall, of, token: *token, told });
            }
            (Out::Fault(text), _) => self.emit(Event::Fault { queue: q, text: text.clone() }),
            (Out::Reply(request, reply), said) if own == Some(*request) => match (reply, said) {
                (Reply::Enqueued(answers), Said::Enqueue(wishes)) => {
                    for (answer, wish) in answers.iter().zip(wishes) {
                        let (key, duplicate, wish) = ((q, answer.id), answer.duplicate, wish.clone());
                        self.emit(Event::Accepted { key, ticket, wall, wish, duplicate });
                    }
                }
                (Reply::Reported(results), Said::Report(outcomes)) => {
                    for (result, (id, token, verdict)) in results.iter().zip(outcomes) {
                        let recorded = *result == ReportResult::Recorded;
                        let (key, token, verdict) = ((q, *id), *token, verdict.clone());
                        self.emit(Event::Judged { key, ticket, wall, token, verdict, recorded });
                    }
                }
                (Reply::Resumed { kept, .. }, Said::Resume(of)) => {
                    self.emit(Event::Resumed { queue: q, ticket, wall, of: *of, kept: kept.clone() });
                }
                (Reply::Job(_, state), Said::Job(call, act, id)) => {
                    let (call, key, acted) = (*call, (q, *id), Acted::Job(*state));
                    self.emit(Event::ActedOn { call, key, ticket, wall, act: *act, acted });
                }
                (Reply::Done(_), Said::Job(call, act, id)) => {
                    let (call, key) = (*call, (q, *id));
                    self.emit(Event::ActedOn { call, key, ticket, wall, act: *act, acted: Acted::Done });
                }
                (Reply::Done(count), Said::Dead(retry, page)) => {
                    let (retry, page, count) = (*retry, page.clone(), *count);
                    self.emit(Event::DeadActed { queue: q, ticket, wall, retry, page, count });
                }
                (Reply::Done(_), Said::Paused(paused)) => {
                    self.emit(Event::Paused { queue: q, ticket, paused: *paused });
                }
                _ => {}
            },
            _ => {}
        }
    }

    fn release(&mut self, q: usize, out: Out) {
        let shell = &mut self.node.shells[q];
        match out {
            Out::Reply(request, reply) => self.reply(q, request, reply),
            Out::Deliver { worker, jobs, drained } => {
                shell.tell(process_of(worker), WorkerEvent::Deliver { jobs, drained });
            }
            Out::Notice { worker } => shell.tell(process_of(worker), WorkerEvent::Notice),
            Out::CancelRun { worker, id, token } => {
                shell.tell(process_of(worker), WorkerEvent::CancelRun { id, token });
            }
            Out::LeaseEnded { worker, id, token } => {
                shell.tell(process_of(worker), WorkerEvent::LeaseEnded { id, token });
            }
            Out::Load(from) => {
                self.stats.loads += 1;
                self.after_read(NodeEvent::Scan(q, from));
            }
            Out::Fault(_) => {}
        }
    }

    fn reply(&mut self, q: usize, request: RequestId, reply: Reply) {
        let Some((ticket, waiting)) = self.node.shells[q].waiting.remove(&request) else {
            return self.emit(Event::StrayReply { queue: q, request: request.0 });
        };
        self.emit(Event::Confirmed { queue: q, ticket });
        match (waiting, reply) {
            (Waiting::Bulk(mut bulk), Reply::Done(count)) => {
                bulk.count += count;
                self.bulk_went_on(q, bulk);
            }
            (Waiting::Bulk(bulk), _) => self.way_back(q, bulk.then, Answer::Refused("a wrong answer")),
            (Waiting::Then(then), reply) => {
                let answer = match reply {
                    Reply::Enqueued(answers) => {
                        Answer::Enqueued(answers.iter().map(|answer| (answer.id, answer.duplicate)).collect())
                    }
                    Reply::Reported(results) => {
                        Answer::Reported(results.iter().map(|r| *r == ReportResult::Recorded).collect())
                    }
                    Reply::Resumed { kept, lost } => Answer::Resumed(kept, lost),
                    Reply::Job(_, state) => Answer::Acted(Acted::Job(state)),
                    Reply::Done(_) => Answer::Acted(Acted::Done),
                    Reply::Refused(_) => Answer::Refused("by the queue"),
                };
                self.way_back(q, then, answer);
            }
        }
    }

    fn bulk_step(&mut self, q: usize, bulk: Box<Bulk>) {
        self.node.shells[q].reading = Some(Reading::Bulk(bulk));
        self.after_read(NodeEvent::Read(q));
    }

    fn bulk_page(&mut self, q: usize, mut bulk: Box<Bulk>) {
        let no = self.node.shells[q].queue.no();
        let (found, exhausted) = read::scan(&self.disk, &bulk.from, &bulk.end, DEAD_PAGE_JOBS);
        bulk.exhausted = exhausted;
        if let Some(last) = found.last() {
            bulk.from = [&last.place.key(no)[..], &[0]].concat().into();
        }
        let died = |stored: &Stored| stored.job.past.as_ref().and_then(|past| past.ended).map(|(_, at)| at);
        let dead: Vec<_> =
            found.into_iter().filter(|stored| died(stored).is_none_or(|at| at <= bulk.died_by)).collect();
        if dead.is_empty() {
            return self.bulk_went_on(q, bulk);
        }
        let reply = self.node.next_request();
        let page = dead.iter().map(|stored| (stored.job.id, stored.job.attempts())).collect();
        let said = Said::Dead(bulk.retry, page);
        let command = match bulk.retry {
            true => Command::RetryDead { reply, dead },
            false => Command::DeleteDead { reply, dead },
        };
        self.apply(q, command, said, Some((reply, Waiting::Bulk(bulk))));
    }

    fn bulk_went_on(&mut self, q: usize, bulk: Box<Bulk>) {
        if bulk.exhausted {
            self.way_back(q, bulk.then, Answer::Acted(Acted::Done));
        } else if self.node.shells[q].reading.is_some() {
            // Another read is under way; this answer is given up, as a client that loses patience would.
            self.way_back(q, bulk.then, Answer::Refused("busy"));
        } else {
            self.bulk_step(q, bulk);
        }
    }

    /// The store is looked at for a load; the answer comes later.
    pub(crate) fn scan(&mut self, q: usize, from: LoadFrom) {
        let (found, exhausted) = read::load(&self.disk, self.node.shells[q].queue.no(), from);
        self.after_read(NodeEvent::Loaded(q, from, found, exhausted));
    }

    /// The answer of a load.
    pub(crate) fn loaded(&mut self, q: usize, from: LoadFrom, found: Vec<Stored>, exhausted: bool) {
        if self.node.shells[q].reading.is_some() {
            self.node.shells[q].late.push_back(Late::Loaded(from, found, exhausted));
            return;
        }
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

    fn made_durable(&mut self, q: usize, durable: Ticket) {
        if durable <= self.node.shells[q].durable {
            return;
        }
        self.node.shells[q].durable = durable;
        while self.node.shells[q].held.front().is_some_and(|(ticket, _)| *ticket <= durable) {
            if let Some((_, out)) = self.node.shells[q].held.pop_front() {
                self.release(q, out);
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

    fn ticked(&mut self, q: usize) {
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
    fn settle_shell(&mut self, q: usize) {
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

/// Whether the queue will answer.
fn waiting_matters(waiting: &Waiting, said: &Said) -> bool {
    !matches!((waiting, said), (Waiting::Then(Then::Nobody), Said::Else | Said::Lost(_)))
}

/// Whether a timer set for `armed` rings in time for `next`.
fn is_no_later(armed: Deadline, next: Deadline) -> bool {
    let wall = next.wall.is_none_or(|at| armed.wall.is_some_and(|armed| armed <= at));
    let mono = next.mono.is_none_or(|at| armed.mono.is_some_and(|armed| armed <= at));
    wall && mono
}
