//! The actor: translates requests and the passing of time into changes, and the ends of changes into answers.

use std::collections::{BTreeMap, BTreeSet};

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, SpawnHandle, WrapFuture,
};
use futures_util::FutureExt;
use tokio::sync::oneshot;
use windlass_core::api::{ApiError, ErrorCode, Request, Response};
use windlass_core::id::JobId;
use windlass_core::schedule::{Due, Firing, Record, ScheduleSpec, decode_record, encode_record};
use windlass_core::store::Store;
use windlass_core::time::{Mono, Now, Timestamp};

use super::door::Door;
use super::entry::Entry;
use super::order::{Change, Order, Outcome, Reply, no_schedule};
use super::{
    LoadError, MAILBOX_MESSAGES_MAX, SCHEDULES_BYTES_MAX, SCHEDULES_MAX, WAITING_PER_SCHEDULE_MAX, range,
};
use crate::chance::Chance;
use crate::clock::Clock;
use crate::fault::{self, Point};
use crate::queue::{busy, stopping};

/// A request with the way back of its answer.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Ask {
    pub(super) request: Request,
    pub(super) reply: Reply,
}

/// The order to stop; the answer comes when nothing is under way any more.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Stop {
    pub(super) reply: oneshot::Sender<()>,
}

/// What the timer waits for, whichever comes first: the next nominal time, the next repeat of a refused firing.
type Wanted = (Option<Timestamp>, Option<Mono>);

/// All schedules of the node.
pub(super) struct ScheduleActor {
    entries: BTreeMap<String, Entry>,
    /// Due times of the schedules that may fire, earliest first.
    due: BTreeSet<(Timestamp, String)>,
    /// Firings to try again.
    retries: BTreeSet<(Mono, String)>,
    /// The timer that runs, and what it waits for.
    timer: Option<(SpawnHandle, Wanted)>,
    changes_under_way: usize,
    stopping: Vec<oneshot::Sender<()>>,
    serving_since: Timestamp,
    clock: Clock,
    chance: Chance,
    door: Box<dyn Door>,
}

impl ScheduleActor {
    /// Reads all schedules from the store.
    pub(super) fn load(
        store: &dyn Store,
        door: Box<dyn Door>,
        clock: Clock,
        chance: Chance,
    ) -> Result<ScheduleActor, LoadError> {
        let mut actor = ScheduleActor {
            entries: BTreeMap::new(),
            due: BTreeSet::new(),
            retries: BTreeSet::new(),
            timer: None,
            changes_under_way: 0,
            stopping: Vec::new(),
            serving_since: clock.now().wall,
            clock,
            chance,
            door,
        };
        let (from, to) = range();
        let mut bad = None;
        store.scan(&from, &to, &mut |key, value| {
            let name = String::from_utf8_lossy(&key[1..]).into_owned();
            match decode_record(&value) {
                Ok(record) => actor.take(&name, record),
                Err(error) => bad = Some(LoadError::Record { name, error }),
            }
            bad.is_none()
        })?;
        bad.map_or(Ok(actor), Err)
    }

    /// Takes a record that is durable and puts its next time into the order of due times.
    fn take(&mut self, name: &str, record: Record) {
        let entry = self.entries.entry(name.to_owned()).or_default();
        if let Err(error) = entry.set(record) {
            tracing::error!(schedule = name, %error, "schedule cannot be read by this version and does not fire");
        }
        self.plan_next(name);
    }

    fn plan_next(&mut self, name: &str) {
        if let Some(at) = self.entries.get(name).and_then(Entry::due_at) {
            self.due.insert((at, name.to_owned()));
        }
    }

    /// Begins everything that is due and sets the timer for what comes next.
    fn turn(&mut self, ctx: &mut Context<ScheduleActor>) {
        if self.stopping.is_empty() {
            let now = self.clock.now();
            while let Some((_, name)) = pop_until(&mut self.retries, now.mono) {
                if let Some(entry) = self.entries.get_mut(&name) {
                    entry.retry_at = None;
                }
                self.plan_next(&name);
            }
            while let Some((_, name)) = pop_until(&mut self.due, now.wall) {
                self.fire(&name, now, ctx);
            }
        }
        self.set_timer(ctx);
    }

    fn set_timer(&mut self, ctx: &mut Context<ScheduleActor>) {
        let wanted = match self.stopping.is_empty() {
            true => (self.due.first().map(|(at, _)| *at), self.retries.first().map(|(at, _)| *at)),
            false => (None, None),
        };
        if self.timer.as_ref().is_some_and(|(_, set)| *set == wanted) {
            return;
        }
        if let Some((old, _)) = self.timer.take() {
            ctx.cancel_future(old);
        }
        if wanted != (None, None) {
            let sleep = self.clock.sleep_until(wanted.0, wanted.1).into_actor(self);
            let handle = ctx.spawn(sleep.map(|(), actor, ctx| {
                actor.timer = None;
                actor.turn(ctx);
            }));
            self.timer = Some((handle, wanted));
        }
    }

    /// Fires a schedule that is due, or moves it past what its policy leaves out.
    fn fire(&mut self, name: &str, now: Now, ctx: &mut Context<ScheduleActor>) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        // A change that began after the due time was noted plans anew when it ends.
        let (Some(record), Some(plan), None) = (&mut entry.record, &entry.plan, &entry.change) else {
            return;
        };
        if record.paused_at.is_some() {
            return;
        }
        let Due { fire, skipped, until } =
            plan.due(record.dealt_until, now.wall, self.serving_since, record.spec.catch_up);
        match fire {
            Some(nominal) => {
                fault::pass(Point::ScheduleBeforeFire);
                let firing = Firing::planned(name, record.created_at, nominal);
                let next = record.fired(&firing, skipped);
                self.begin(name, Change::firing(next, firing, None), ctx);
            }
            None => {
                // Not worth a commit: a restart before the next one leaves the same times out again.
                *record = record.skipped(skipped, until);
                self.plan_next(name);
            }
        }
    }

    /// Sends a change on its way to the disk.
    fn begin(&mut self, name: &str, change: Change, ctx: &mut Context<ScheduleActor>) {
        let entry = self.entries.entry(name.to_owned()).or_default();
        let write = change.write(name);
        let spec = entry.record.as_ref().map(|record| &record.spec);
        let done = match (&change.firing, spec) {
            (Some(firing), Some(spec)) => {
                let enqueued = self.door.enqueue(spec.queue.clone(), firing.job(spec), write);
                enqueued.map(|result| result.map(Outcome::Enqueued)).left_future()
            }
            _ => {
                let committed = self.door.commit(write, change.settles);
                committed.map(|result| result.map(|()| Outcome::Committed)).right_future()
            }
        };
        entry.begin(change);
        self.changes_under_way += 1;
        let name = name.to_owned();
        ctx.spawn(done.into_actor(self).map(move |result, actor, ctx| actor.end(&name, result, ctx)));
    }

    /// A change is durable, or refused.
    fn end(&mut self, name: &str, result: Result<Outcome, ApiError>, ctx: &mut Context<ScheduleActor>) {
        self.changes_under_way -= 1;
        let now = self.clock.now();
        let change = self.entries.get_mut(name).and_then(Entry::end);
        let Some(Change { next, firing, reply, .. }) = change else { return };
        match result {
            Ok(outcome) => {
                if firing.is_some() {
                    fault::pass(Point::ScheduleAfterCommit);
                }
                self.settle(name, next);
                if let Some(firing) = firing {
                    tracing::debug!(schedule = name, job_id = %firing.id, manual = firing.manual, "schedule fired");
                }
                self.answer(name, reply, outcome, now.wall);
            }
            Err(error) => self.refuse(name, reply, error, now),
        }
        self.next_order(name, ctx);
        if self.changes_under_way == 0 && !self.stopping.is_empty() {
            return self.stop(ctx);
        }
        self.turn(ctx);
    }

    fn settle(&mut self, name: &str, next: Option<Record>) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        entry.succeeded();
        match next {
            Some(record) => self.take(name, record),
            None => {
                entry.record = None;
                entry.plan = None;
            }
        }
    }

    fn answer(&self, name: &str, reply: Option<Reply>, outcome: Outcome, now: Timestamp) {
        let Some(reply) = reply else { return };
        let view = self.entries.get(name).and_then(|entry| entry.view(now));
        let response = match (outcome, view) {
            (Outcome::Enqueued(jobs), _) => Response::Enqueued(jobs),
            (Outcome::Committed, Some(view)) => Response::Schedule(Box::new(view)),
            (Outcome::Committed, None) => Response::Done { count: 1 },
        };
        // An asker that is gone needs no answer.
        let _ = reply.send(Ok(response));
    }

    fn refuse(&mut self, name: &str, reply: Option<Reply>, error: ApiError, now: Now) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        match reply {
            Some(reply) => drop(reply.send(Err(error))),
            None => {
                if entry.fails_anew() {
                    tracing::warn!(schedule = name, %error, "schedule could not fire and is tried again");
                }
                entry.back_off(now);
                if let Some(at) = entry.retry_at {
                    self.retries.insert((at, name.to_owned()));
                }
            }
        }
        self.plan_next(name);
    }

    /// Goes on with what has waited for the end of a change, and forgets a schedule that is gone.
    fn next_order(&mut self, name: &str, ctx: &mut Context<ScheduleActor>) {
        while let Some(entry) = self.entries.get_mut(name) {
            if entry.change.is_some() {
                return;
            }
            let Some((order, reply)) = entry.waiting.pop_front() else { break };
            self.carry_out(name, order, reply, ctx);
        }
        if self.entries.get(name).is_some_and(|entry| entry.record.is_none() && entry.change.is_none()) {
            self.entries.remove(name);
        }
    }

    fn carry_out(&mut self, name: &str, order: Order, reply: Reply, ctx: &mut Context<ScheduleActor>) {
        if !self.stopping.is_empty() {
            return drop(reply.send(Err(stopping())));
        }
        let now = self.clock.now().wall;
        let record = self.entries.get(name).and_then(|entry| entry.record.clone());
        let change = match (order, &record) {
            (Order::Put(spec), record) => match self.put(*spec, record.as_ref(), now) {
                Ok(next) => Change::ordered(Some(next), false, reply),
                Err(error) => return drop(reply.send(Err(error))),
            },
            (_, None) => return drop(reply.send(Err(no_schedule(name)))),
            (Order::Pause, Some(record)) => Change::ordered(Some(record.paused(now)), true, reply),
            (Order::Resume, Some(record)) => Change::ordered(Some(record.resumed(now)), true, reply),
            (Order::Delete, Some(_)) => Change::ordered(None, true, reply),
            (Order::Trigger, Some(record)) => {
                let firing = Firing { id: JobId::v7(now, self.chance.u128()), nominal: now, manual: true };
                Change::firing(record.fired(&firing, 0), firing, Some(reply))
            }
        };
        if change.next == record && change.firing.is_none() {
            // Applications put their schedules at every start; what stands there already needs no commit.
            return self.answer(name, change.reply, Outcome::Committed, now);
        }
        self.begin(name, change, ctx);
    }

    /// The record of a schedule that is created or replaced.
    fn put(&self, spec: ScheduleSpec, old: Option<&Record>, now: Timestamp) -> Result<Record, ApiError> {
        spec.validate(now)?;
        if old.is_none() && self.entries.len() >= SCHEDULES_MAX {
            let text = format!("there are {SCHEDULES_MAX} schedules, more are not taken; delete one first");
            return Err(ApiError::new(ErrorCode::Conflict, text));
        }
        let name = spec.name.clone();
        let next = match old {
            Some(old) => old.replaced(spec, now),
            None => Record::new(spec, now),
        };
        let others: usize =
            self.entries.iter().filter(|(other, _)| **other != name).map(|(_, entry)| entry.bytes()).sum();
        let bytes = others + encode_record(&next).len();
        if bytes > SCHEDULES_BYTES_MAX {
            let text = format!(
                "all schedules together would take {bytes} bytes, at most {SCHEDULES_BYTES_MAX} are taken; \
                 put large payloads elsewhere and their address here"
            );
            return Err(ApiError::new(ErrorCode::TooLarge, text));
        }
        Ok(next)
    }

    /// The answer to a request that only reads; `None` for any other.
    fn read(&self, request: &Request) -> Option<Result<Response, ApiError>> {
        let now = self.clock.now().wall;
        match request {
            Request::ListSchedules => {
                let views = self.entries.values().filter_map(|entry| entry.view(now));
                Some(Ok(Response::Schedules(views.collect())))
            }
            Request::GetSchedule { name } => {
                let view = self.entries.get(name).and_then(|entry| entry.view(now));
                Some(view.map(|view| Response::Schedule(Box::new(view))).ok_or_else(|| no_schedule(name)))
            }
            _ => None,
        }
    }
}

/// Takes the first element away if it is at or before `until`.
fn pop_until<T: Ord + Copy>(set: &mut BTreeSet<(T, String)>, until: T) -> Option<(T, String)> {
    if set.first().is_some_and(|(at, _)| *at <= until) { set.pop_first() } else { None }
}

impl Actor for ScheduleActor {
    type Context = Context<ScheduleActor>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(MAILBOX_MESSAGES_MAX);
        self.turn(ctx);
    }
}

impl Handler<Ask> for ScheduleActor {
    type Result = ();

    fn handle(&mut self, ask: Ask, ctx: &mut Self::Context) {
        // What is due comes before what is asked, so that no answer shows a next time that has passed.
        self.turn(ctx);
        let Ask { request, reply } = ask;
        // An asker that is gone needs no answer.
        match self.read(&request) {
            Some(answer) => drop(reply.send(answer)),
            None => match Order::of(request) {
                Some((name, order)) => self.order(&name, order, reply, ctx),
                None => {
                    drop(reply.send(Err(ApiError::new(ErrorCode::Internal, "no request about schedules"))));
                }
            },
        }
    }
}

impl ScheduleActor {
    fn order(&mut self, name: &str, order: Order, reply: Reply, ctx: &mut Context<ScheduleActor>) {
        match self.entries.get_mut(name).filter(|entry| entry.change.is_some()) {
            Some(entry) if entry.waiting.len() >= WAITING_PER_SCHEDULE_MAX => drop(reply.send(Err(busy()))),
            Some(entry) => entry.waiting.push_back((order, reply)),
            None => {
                self.carry_out(name, order, reply, ctx);
                self.turn(ctx);
            }
        }
    }
}

impl ScheduleActor {
    fn stop(&mut self, ctx: &mut Context<ScheduleActor>) {
        ctx.stop();
        for told in self.stopping.drain(..) {
            // Who asked may have gone.
            let _ = told.send(());
        }
    }
}

impl Handler<Stop> for ScheduleActor {
    type Result = ();

    fn handle(&mut self, stop: Stop, ctx: &mut Self::Context) {
        self.stopping.push(stop.reply);
        self.set_timer(ctx);
        if self.changes_under_way == 0 {
            self.stop(ctx);
        }
    }
}
