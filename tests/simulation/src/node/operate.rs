//! Operations of a queue: each becomes a command, after a look into the store where only the store can tell.

use windlass_core::id::RequestId;
use windlass_core::queue::{Command, Known, NewJobs, Trace, Window, invariants, read};

use super::outs::Said;
use super::shell::{Late, Reading, Waiting};
use super::{Op, Then, worker_id};
use crate::disk::Room;
use crate::history::{Act, Acted, Event};
use crate::world::{Answer, NodeEvent, Planted, World};

/// Batches that wait for the store above which no new work is taken.
const IN_FLIGHT_MAX: usize = 64;

/// What the store knows of the ids of an operation.
#[derive(Debug, Default)]
pub(crate) struct Found {
    ids: Vec<Trace>,
    job: Known,
}

impl World {
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
            self.share_memory(q);
        }
        self.settle_shell(q);
    }

    /// Memory is shared with other queues: now and then the window becomes smaller, or as large again as it was.
    fn share_memory(&mut self, q: usize) {
        if self.planted == Some(Planted::NoWindows) || !self.rng.chance(40) {
            return;
        }
        let whole = self.setup.window;
        let half = Window { jobs: (whole.jobs / 2).max(2), load: (whole.load / 2).max(1), ..whole };
        let window = if self.rng.chance(500) { half } else { whole };
        self.node.shells[q].queue.resize(window);
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
                let ids = queue.suspects(jobs.iter().filter_map(|job| job.id));
                let ids = read::known(&self.disk, queue.no(), &ids);
                Found { ids: ids.expect("the simulated disk is never damaged"), job: None }
            }
            Op::Job { id, .. } => {
                let job = read::by_id(&self.disk, queue.no(), &queue.lookup(*id));
                Found { ids: Vec::new(), job: job.expect("the simulated disk is never damaged") }
            }
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

    pub(super) fn operate(&mut self, q: usize, op: Op, found: Found) {
        let request = self.node.next_request();
        let call_of = |then: &Then| if let Then::Call { call, .. } = then { *call } else { 0 };
        let (command, said, then) = match op {
            Op::Enqueue { jobs, alongside, then } => {
                if let Some(why) = self.no_new_work(q) {
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
            Op::Job { act, id, then } => {
                let (reply, known) = (request, found.job);
                let command = match act {
                    Act::Cancel => Command::Cancel { reply, id, known },
                    Act::Retry => Command::Retry { reply, id, known },
                    Act::Delete => Command::Delete { reply, id, known },
                };
                (command, Said::Job(call_of(&then), act, id), then)
            }
            Op::SetPaused { paused, then } => {
                (Command::SetPaused { reply: request, paused }, Said::Paused(call_of(&then), paused), then)
            }
            Op::Dead { retry, then } => return self.bulk_begins(q, retry, then),
            op => match self.operate_for_worker(q, request, op) {
                Some(step) => step,
                None => return,
            },
        };
        self.apply(q, command, said, Some((request, Waiting::Then(then))));
    }

    /// The command of an operation about a worker; `None` for one that a later session has made void.
    fn operate_for_worker(&mut self, q: usize, request: RequestId, op: Op) -> Option<(Command, Said, Then)> {
        let shell = &mut self.node.shells[q];
        let step = match op {
            Op::Fetch { worker, session, .. }
            | Op::Away { worker, session }
            | Op::Lost { worker, session, .. }
                if !shell.is_last(worker, session) =>
            {
                return None;
            }
            Op::Fetch { worker, session, slots } => {
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
            Op::Away { worker, .. } => {
                shell.links.remove(&worker);
                self.emit(Event::Away { queue: q, of: worker });
                (Command::Away { worker: worker_id(worker) }, Said::Else, Then::Nobody)
            }
            Op::Lost { worker, why, .. } => {
                shell.links.remove(&worker);
                let command = Command::Lost { worker: worker_id(worker), why: why.to_owned() };
                (command, Said::Lost(worker), Then::Nobody)
            }
            Op::Enqueue { .. } | Op::Job { .. } | Op::SetPaused { .. } | Op::Dead { .. } => return None,
        };
        Some(step)
    }

    /// Why no new work is taken, if so.
    fn no_new_work(&self, q: usize) -> Option<&'static str> {
        let shell = &self.node.shells[q];
        if shell.full || self.disk.room() != Room::Ample {
            return Some("the disk is full");
        }
        (shell.in_flight.len() >= IN_FLIGHT_MAX).then_some("busy")
    }

    pub(super) fn apply(
        &mut self,
        q: usize,
        command: Command,
        said: Said,
        waits: Option<(RequestId, Waiting)>,
    ) {
        let mut now = self.clock.now(self.at);
        if self.planted == Some(Planted::WallClockForLeases) {
            now.mono = windlass_core::time::Mono(now.wall.0);
        }
        self.stats.commands += 1;
        self.facts.shown(q, now.wall);
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
                        self.way_back(q, bulk.then, Answer::Refused("by the queue"));
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
}

/// Whether the queue will answer.
fn waiting_matters(waiting: &Waiting, said: &Said) -> bool {
    !matches!((waiting, said), (Waiting::Then(Then::Nobody), Said::Else | Said::Lost(_)))
}
