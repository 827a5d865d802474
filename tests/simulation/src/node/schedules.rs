//! The actor that fires schedules: sleeps until the next nominal time, and enqueues the job with the schedule's record in the
//! same batch. What it holds in memory is what is durable.

use windlass_core::queue::Ticket;
use windlass_core::retry::Backoff;
use windlass_core::schedule::{
    CatchUp, Due, Firing, Plan, Record, ScheduleSpec, When, decode_record, encode_record,
};
use windlass_core::store::{Batch, Write, keys};
use windlass_core::time::{Mono, Now, Timestamp};

use super::{Local, Op, Then};
use crate::disk::{Room, Source, Submission};
use crate::world::{NodeEvent, Planted, World};

const RETRY_MS_FIRST: u64 = 100;
const RETRY_MS_MAX: u64 = 5_000;

/// A change under way.
#[derive(Debug)]
struct Change {
    next: Record,
    firing: Option<Firing>,
    /// The operator's order, which is to be answered.
    then: Option<Then>,
}

/// One schedule.
#[derive(Debug, Default)]
pub struct Entry {
    /// Its name.
    name: String,
    /// What is durable of it.
    pub record: Option<Record>,
    plan: Option<Plan>,
    change: Option<Change>,
    failures: u32,
    retry_at: Option<Mono>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Schedules {
    /// One per schedule of the world.
    pub entries: Vec<Entry>,
    serving_since: Timestamp,
    timer: Option<(u64, Option<Timestamp>, Option<Mono>)>,
    timers: u64,
    changes: Ticket,
}

impl Schedules {
    /// The nominal time of the firing under way.
    #[must_use]
    pub fn nominal(&self, index: usize) -> Option<Timestamp> {
        self.entries[index].change.as_ref()?.firing.as_ref().map(|firing| firing.nominal)
    }
}

impl Entry {
    fn due_at(&self) -> Option<Timestamp> {
        let record = self.record.as_ref().filter(|record| record.paused_at.is_none())?;
        if self.change.is_some() || self.retry_at.is_some() {
            return None;
        }
        self.plan.as_ref()?.next_after(record.dealt_until)
    }

    fn set(&mut self, record: Record) {
        self.plan = Plan::parse(&record.spec, record.created_at).ok();
        self.record = Some(record);
    }
}

/// The name of a schedule of the world.
#[must_use]
pub fn name(index: usize) -> String {
    format!("s{index}")
}

impl World {
    /// Loads the schedules at the start of the server.
    pub(crate) fn begin_schedules(&mut self, now: Now) {
        let mut schedules = Schedules { serving_since: now.wall, ..Schedules::default() };
        for index in 0..self.setup.schedules.len() {
            let mut entry = Entry { name: name(index), ..Entry::default() };
            let bytes = self.disk.get(&keys::schedule_key(&entry.name));
            if let Some(Ok(record)) = bytes.map(|bytes| decode_record(&bytes)) {
                entry.set(record);
            }
            schedules.entries.push(entry);
        }
        self.node.schedules = schedules;
        self.turn_schedules();
    }

    /// Begins everything that is due and sets the timer for what comes next.
    pub(crate) fn turn_schedules(&mut self) {
        let now = self.clock.now(self.at);
        for index in 0..self.node.schedules.entries.len() {
            let entry = &mut self.node.schedules.entries[index];
            entry.retry_at.take_if(|at| *at <= now.mono);
            while self.node.schedules.entries[index].due_at().is_some_and(|at| at <= now.wall) {
                self.fire(index, now);
            }
        }
        let entries = &self.node.schedules.entries;
        let wall = entries.iter().filter_map(Entry::due_at).min();
        let mono = entries.iter().filter_map(|entry| entry.retry_at).min();
        let schedules = &mut self.node.schedules;
        if schedules.timer.is_some_and(|(_, w, m)| (w, m) == (wall, mono)) {
            return;
        }
        schedules.timers += 1;
        schedules.timer = Some((schedules.timers, wall, mono));
        let number = schedules.timers;
        if let Some(at) = self.clock.wakes_at(self.at, wall, mono) {
            self.node_event(at - self.at, NodeEvent::ScheduleTimer(number));
        }
    }

    /// The timer has rung.
    pub(crate) fn schedules_rang(&mut self, number: u64) {
        if self.node.schedules.timer.is_some_and(|(armed, _, _)| armed == number) {
            self.node.schedules.timer = None;
            self.turn_schedules();
        }
    }

    fn fire(&mut self, index: usize, now: Now) {
        let since = self.node.schedules.serving_since;
        let entry = &mut self.node.schedules.entries[index];
        let (Some(record), Some(plan)) = (&mut entry.record, &entry.plan) else { return };
        let Due { fire, skipped, until } =
            plan.due(record.dealt_until, now.wall, since, record.spec.catch_up);
        match fire {
            Some(nominal) => {
                let firing = Firing::planned(&entry.name, record.created_at, nominal);
                let next = record.fired(&firing, skipped);
                self.begin_firing(index, next, firing);
            }
            None => *record = record.skipped(skipped, until),
        }
    }

    fn begin_firing(&mut self, index: usize, next: Record, firing: Firing) {
        let write = Write::Put { key: keys::schedule_key(&name(index)), value: encode_record(&next) };
        let queue = self.setup.schedules[index].queue;
        let job = firing.job(&next.spec);
        self.stats.firings += 1;
        self.node.schedules.entries[index].change = Some(Change { next, firing: Some(firing), then: None });
        let alongside = if self.planted == Some(Planted::CronInTwoSteps) { Vec::new() } else { vec![write] };
        let then = Then::Schedule { index };
        self.node.local.push_back(Local::Queue(queue, Op::Enqueue { jobs: vec![job], alongside, then }));
    }

    /// The operator orders something: the schedule's record goes straight to the writer.
    pub(crate) fn order_schedule(&mut self, index: usize, pause: Option<bool>, then: Then) -> bool {
        let now = self.clock.now(self.at).wall;
        let spec = spec_of(&self.setup.schedules[index], index);
        let entry = &mut self.node.schedules.entries[index];
        if entry.change.is_some() || self.disk.room() != Room::Ample && pause.is_none() {
            return false;
        }
        let next = match (&entry.record, pause) {
            (Some(record), Some(true)) => record.paused(now),
            (Some(record), Some(false)) => record.resumed(now),
            (Some(record), None) => record.replaced(spec, now),
            (None, None) => Record::new(spec, now),
            (None, Some(_)) => return false,
        };
        let write = Write::Put { key: keys::schedule_key(&entry.name), value: encode_record(&next) };
        entry.change = Some(Change { next, firing: None, then: Some(then) });
        self.commit_schedule(index, write, pause.is_some());
        true
    }

    fn commit_schedule(&mut self, index: usize, write: Write, settles: bool) {
        self.node.schedules.changes += 1;
        let ticket = self.node.schedules.changes;
        let batch = Batch { writes: vec![write], settles, queue: None };
        self.disk.submit(Submission { source: Source::Schedule(index), ticket, batch });
        self.write_on();
    }

    /// A change of a schedule is durable, or refused.
    pub(crate) fn schedule_ended(&mut self, index: usize, ok: bool) {
        let now = self.clock.now(self.at);
        let two_steps = self.planted == Some(Planted::CronInTwoSteps);
        let entry = &mut self.node.schedules.entries[index];
        let Some(Change { next, firing, then }) = entry.change.take() else { return };
        if ok && two_steps && firing.is_some() {
            let write = Write::Put { key: keys::schedule_key(&entry.name), value: encode_record(&next) };
            entry.change = Some(Change { next, firing: None, then: None });
            return self.commit_schedule(index, write, true);
        }
        if ok {
            entry.failures = 0;
            entry.retry_at = None;
            entry.set(next);
        } else if then.is_none() {
            let wait_ms = RETRY_MS_FIRST.saturating_mul(1 << entry.failures.min(10)).min(RETRY_MS_MAX);
            entry.failures += 1;
            entry.retry_at = Some(now.mono.plus_ms(wait_ms));
        }
        if let Some(then) = then {
            let answer = if ok {
                crate::world::Answer::Done
            } else {
                crate::world::Answer::Refused("the disk is full")
            };
            self.way_back(0, then, answer);
        }
        self.turn_schedules();
    }
}

/// What a schedule of the world asks for.
#[must_use]
pub fn spec_of(wanted: &crate::world::Scheduled, index: usize) -> ScheduleSpec {
    let mut job = windlass_core::job::JobSpec::new("fire", windlass_core::job::Payload::json("0"));
    // Short waits, so that the end of a run need not be waited for.
    job.options_mut().max_attempts = Some(4);
    job.options_mut().backoff = Some(Backoff::Fixed { delay_ms: 300, jitter_percent: 20 });
    ScheduleSpec {
        name: name(index),
        when: match wanted.every_ms {
            Some(ms) => When::EveryMs(ms),
            None => When::Cron(wanted.cron.to_owned()),
        },
        zone: wanted.zone.to_owned(),
        catch_up: if wanted.skip { CatchUp::Skip } else { CatchUp::Latest },
        queue: crate::world::queue_name(wanted.queue),
        job,
    }
}
