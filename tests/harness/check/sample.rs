//! Small histories made by hand, to prove the checkers: times are in milliseconds.

use std::collections::BTreeMap;

use windlass_core::id::JobId;
use windlass_core::job::JobState;

use super::{Found, Violation, properties};
use crate::dump::{Dump, Fired, Kept};
use crate::history::{Event, Kind, Verb};
use crate::life::{Life, World};

pub(super) fn job(state: &str, attempt: u32) -> Kept {
    let state = state.parse().expect("a state");
    Kept { state, attempt, max_attempts: 20, result_token: None, firing: None, listed: 1 }
}

impl Kept {
    pub(super) fn token(mut self, epoch: u64, delivery: u64) -> Kept {
        self.result_token = Some((epoch, delivery));
        self
    }
}

fn id(number: u8) -> JobId {
    JobId([number; 16])
}

/// A history and a dump.
#[derive(Debug, Default)]
pub(super) struct Sample {
    events: BTreeMap<u8, Vec<Event>>,
    world: Vec<Event>,
    dump: Dump,
    ops: u64,
}

/// One job of a sample, being told.
pub(super) struct Telling<'a> {
    sample: &'a mut Sample,
    job: u8,
    token: (u64, u64),
    proc: String,
}

impl Sample {
    pub(super) fn job(&mut self, number: u8) -> Telling<'_> {
        self.events.entry(number).or_default();
        Telling { sample: self, job: number, token: (0, 0), proc: "worker-1".to_owned() }
    }

    pub(super) fn dumped(&mut self, number: u8, job: Kept) -> &mut Sample {
        self.dump.jobs.insert(id(number), job);
        self
    }

    pub(super) fn forget(&mut self, number: u8) {
        self.dump.jobs.remove(&id(number));
    }

    pub(super) fn counter(&mut self, queue: &str, state: &str, count: u64) {
        let state: JobState = state.parse().expect("a state");
        self.dump.counters.entry(queue.to_owned()).or_default().insert(state, count);
    }

    pub(super) fn schedule(&mut self, name: &str, every_ms: u64, fired: u64, skipped: u64, last: u64) {
        let name = name.to_owned();
        let fired = Fired { name, every_ms: Some(every_ms), fired, skipped, last: Some(last) };
        self.dump.schedules.push(fired);
    }

    pub(super) fn nemesis(&mut self, victim: &str, what: &str, at: u64) {
        let event = Event::new(victim, Verb::Nemesis, Kind::Info).what(what);
        self.world.push(Event { t: at * 1_000, ..event });
    }

    pub(super) fn cut(&mut self, proc: &str, at: u64) {
        self.world.push(Event { t: at * 1_000, ..Event::new(proc, Verb::Link, Kind::Fail) });
    }

    /// Asserts that exactly these properties do not hold.
    pub(super) fn breaks(&self, expected: &[&str]) {
        let world = World { events: self.world.clone(), lease_us: 8_000_000, dump: self.dump.clone() };
        let mut all: Vec<Violation> = Vec::new();
        for mut property in properties() {
            let mut found = Found { property: property.name(), all: &mut all };
            for (number, events) in &self.events {
                let mut events = events.clone();
                events.sort_by_key(|event| event.t);
                property.life(&Life::of(id(*number), events), &world, &mut found);
            }
            property.end(&world, &mut found);
        }
        let mut broken: Vec<_> =
            all.iter().map(|v| v.property.split(' ').next().unwrap_or_default()).collect();
        broken.dedup();
        assert_eq!(broken, expected, "{all:#?}");
    }
}

impl Telling<'_> {
    fn push(self, at: u64, event: Event) -> Self {
        let event = Event { t: at * 1_000, wall: at, ..event.job(id(self.job)) };
        self.sample.events.entry(self.job).or_default().push(event);
        self
    }

    fn asked(
        self,
        f: Verb,
        at: u64,
        told: u64,
        kind: Kind,
        what: &str,
        with: impl Fn(Event) -> Event,
    ) -> Self {
        self.sample.ops += 1;
        let op = Some(self.sample.ops);
        let invoked = with(Event { op, ..Event::new("test", f, Kind::Invoke) });
        self.push(at, invoked).push(told, Event { op, ..Event::new("test", f, kind).what(what) })
    }

    pub(super) fn enqueued(self, at: u64, told: u64) -> Self {
        self.asked(Verb::Enqueue, at, told, Kind::Ok, "", |event| event)
    }

    pub(super) fn enqueued_kept(self, at: u64, told: u64) -> Self {
        self.asked(Verb::Enqueue, at, told, Kind::Ok, "", |event| Event { kept: Some(true), ..event })
    }

    pub(super) fn enqueued_after(self, at: u64, told: u64, ms: u64) -> Self {
        self.asked(Verb::Enqueue, at, told, Kind::Ok, "", |event| Event { after_ms: Some(ms), ..event })
    }

    pub(super) fn refused(self, at: u64, told: u64) -> Self {
        self.asked(Verb::Enqueue, at, told, Kind::Fail, "", |event| event)
    }

    pub(super) fn cancelled(self, at: u64, told: u64) -> Self {
        self.asked(Verb::Cancel, at, told, Kind::Ok, "cancelled", |event| event)
    }

    pub(super) fn retried(self, at: u64, told: u64) -> Self {
        self.asked(Verb::Retry, at, told, Kind::Ok, "", |event| event)
    }

    pub(super) fn firing(self, schedule: &str, nominal: u64) -> Self {
        let (schedule, nominal) = (Some(schedule.to_owned()), Some(nominal));
        let token = Some((0, 0));
        let event = Event {
            schedule,
            nominal,
            token,
            attempt: Some(1),
            ..Event::new("worker-1", Verb::Start, Kind::Ok)
        };
        // A start of its own; the run that follows is the one that counts.
        let telling = self.push(0, event);
        telling.sample.events.entry(telling.job).or_default().last_mut().expect("just pushed").token = None;
        telling
    }

    pub(super) fn run(self, token: (u64, u64), attempt: u32, start: u64, end: u64, verdict: &str) -> Self {
        self.run_by("worker-1", token, attempt, start, end, verdict)
    }

    pub(super) fn run_by(
        mut self,
        proc: &str,
        token: (u64, u64),
        attempt: u32,
        start: u64,
        end: u64,
        verdict: &str,
    ) -> Self {
        (self.token, self.proc) = (token, proc.to_owned());
        let of = self.sample.events[&self.job].iter().find(|event| event.schedule.is_some());
        let (schedule, nominal) = of.map_or((None, None), |event| (event.schedule.clone(), event.nominal));
        let began = Event {
            token: Some(token),
            attempt: Some(attempt),
            max_attempts: Some(20),
            schedule,
            nominal,
            ..Event::new(proc, Verb::Start, Kind::Ok)
        };
        let ended = Event { token: Some(token), ..Event::new(proc, Verb::End, Kind::Invoke).what(verdict) };
        self.push(start, began).push(end, ended)
    }

    pub(super) fn reported(self, at: u64) -> Self {
        let event = Event { token: Some(self.token), ..Event::new(&self.proc, Verb::Report, Kind::Ok) };
        self.push(at, event)
    }

    pub(super) fn refused_report(self, at: u64) -> Self {
        let event = Event::new(&self.proc, Verb::Report, Kind::Fail).note("stale_lease");
        let event = Event { token: Some(self.token), ..event };
        self.push(at, event)
    }

    /// The answer to the report never came.
    pub(super) fn reported_unknown(self) -> Self {
        self
    }
}
