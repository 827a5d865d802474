//! The actor on a memory store behind a door that can crash, refuse and lose answers, with a clock that the test moves.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use futures_util::future::{LocalBoxFuture, pending, ready};
use windlass_core::api::{ApiError, Enqueued, ErrorCode, Request, Response, ScheduleView};
use windlass_core::id::{JobId, QueueName};
use windlass_core::job::{JobSpec, Payload};
use windlass_core::schedule::{CatchUp, HEADER_NOMINAL, HEADER_SCHEDULE, HEADER_TRIGGER, ScheduleSpec, When};
use windlass_core::store::memory::MemoryStore;
use windlass_core::store::{Batch, Store, Write};
use windlass_core::time::Timestamp;

use super::door::Door;
use super::{Handle, start_with};
use crate::chance::Chance;
use crate::clock::{Clock, ManualClock};

/// 2026-03-28T00:00:00Z.
const START: Timestamp = Timestamp(1_774_656_000_000);
const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

/// What the next commits meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Weather {
    Fine,
    /// Refused before anything is written.
    Refused,
    /// The process dies before the commit: nothing is written, nobody is told.
    CrashBefore,
    /// The process dies after the commit: all is written, nobody is told.
    CrashAfter,
}

/// A store with a ledger of the jobs that became durable.
#[derive(Clone)]
struct World {
    store: Arc<MemoryStore>,
    ledger: Rc<RefCell<Vec<JobSpec>>>,
    weather: Rc<Cell<Weather>>,
    commits: Rc<Cell<usize>>,
}

impl World {
    fn new() -> World {
        World {
            store: Arc::new(MemoryStore::new()),
            ledger: Rc::default(),
            weather: Rc::new(Cell::new(Weather::Fine)),
            commits: Rc::default(),
        }
    }

    /// Carries out one commit as the weather has it.
    fn meet<T: 'static>(
        &self,
        writes: Vec<Write>,
        act: impl FnOnce() -> T,
    ) -> LocalBoxFuture<'static, Result<T, ApiError>> {
        self.commits.set(self.commits.get() + 1);
        let weather = self.weather.get();
        match weather {
            Weather::Refused => return Box::pin(ready(Err(ApiError::new(ErrorCode::StoreFull, "full")))),
            Weather::CrashBefore => return Box::pin(pending()),
            Weather::Fine | Weather::CrashAfter => {}
        }
        self.store.commit(vec![Batch { writes, ..Batch::default() }]).remove(0).expect("memory takes it");
        let answer = act();
        if weather == Weather::CrashAfter { Box::pin(pending()) } else { Box::pin(ready(Ok(answer))) }
    }

    /// A server on this store; the one before it must be gone.
    fn start(&self, clock: Clock) -> Handle {
        start_with(&*self.store, self.clone(), clock, Chance::system()).expect("records are whole")
    }

    /// Nominal times of the jobs so far, in minutes since the start, in the order of the commits.
    fn minutes(&self) -> Vec<u64> {
        let header = |job: &JobSpec| {
            let headers = &job.options.as_ref().expect("a firing has headers").headers;
            headers
                .iter()
                .find(|(name, _)| name == HEADER_NOMINAL)
                .map(|(_, value)| value.clone())
                .expect("nominal")
        };
        let minute = |job: &JobSpec| (header(job).parse::<u64>().expect("a number") - START.0) / MINUTE;
        self.ledger.borrow().iter().map(minute).collect()
    }
}

impl Door for World {
    fn enqueue(
        &self,
        _queue: QueueName,
        job: JobSpec,
        alongside: Write,
    ) -> LocalBoxFuture<'static, Result<Vec<Enqueued>, ApiError>> {
        let id = job.id.expect("a firing names its job");
        let ledger = self.ledger.clone();
        self.meet(vec![alongside], move || {
            let duplicate = ledger.borrow().iter().any(|known| known.id == Some(id));
            if !duplicate {
                ledger.borrow_mut().push(job);
            }
            vec![Enqueued { id, duplicate }]
        })
    }

    fn commit(&self, write: Write, _settles: bool) -> LocalBoxFuture<'static, Result<(), ApiError>> {
        self.meet(vec![write], || ())
    }
}

fn spec(when: When, catch_up: CatchUp) -> ScheduleSpec {
    ScheduleSpec {
        name: "nightly".to_owned(),
        when,
        zone: "Europe/Berlin".to_owned(),
        catch_up,
        queue: QueueName::default(),
        job: JobSpec::new("report", Payload::json("{}")),
    }
}

fn every_minute(catch_up: CatchUp) -> ScheduleSpec {
    spec(When::EveryMs(MINUTE), catch_up)
}

async fn put(handle: &Handle, spec: ScheduleSpec) -> ScheduleView {
    view(handle.call(Request::PutSchedule(spec)).await)
}

async fn get(handle: &Handle) -> ScheduleView {
    view(handle.call(Request::GetSchedule { name: "nightly".to_owned() }).await)
}

fn view(answer: Result<Response, ApiError>) -> ScheduleView {
    match answer {
        Ok(Response::Schedule(view)) => *view,
        other => panic!("not a schedule: {other:?}"),
    }
}

async fn order(handle: &Handle, request: fn(String) -> Request) -> Result<Response, ApiError> {
    handle.call(request("nightly".to_owned())).await
}

/// Lets the actor see the clock. It handles what is due before any request, and a firing under way ends before the second.
async fn settle(handle: &Handle) {
    for _ in 0..70 {
        let _ = handle.call(Request::ListSchedules).await;
    }
}

/// Runs `test` on an actix system of its own; dropping the system is the same as `kill -9`.
fn on_arbiter(test: impl AsyncFnOnce()) {
    actix::System::new().block_on(test());
}

#[test]
fn every_nominal_time_fires_once() {
    on_arbiter(async || {
        let (world, clock) = (World::new(), ManualClock::new(START));
        let handle = world.start(clock.clock());
        let view = put(&handle, every_minute(CatchUp::Latest)).await;
        assert_eq!(view.next[0], START.plus_ms(MINUTE));
        for _ in 0..20 {
            clock.advance_ms(MINUTE / 4);
            settle(&handle).await;
        }
        assert_eq!(world.minutes(), [1, 2, 3, 4, 5]);
        let view = get(&handle).await;
        assert_eq!((view.fired_total, view.skipped_total), (5, 0));
        assert_eq!(view.last_fired, Some(START.plus_ms(5 * MINUTE)));
        assert_eq!(view.last_job, world.ledger.borrow()[4].id);
        assert_eq!(view.next[0], START.plus_ms(6 * MINUTE));
    });
}

#[test]
fn the_timer_fires_without_being_asked() {
    on_arbiter(async || {
        let (world, clock) = (World::new(), ManualClock::new(START));
        let handle = world.start(clock.clock());
        put(&handle, every_minute(CatchUp::Latest)).await;
        clock.advance_ms(MINUTE);
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        assert_eq!(world.minutes(), [1]);
    });
}

/// Server after server on the same store, each killed at another point; the ledger sees every nominal time exactly once.
#[test]
fn one_firing_across_crashes() {
    let (world, clock) = (World::new(), ManualClock::new(START));
    on_arbiter(async || drop(put(&world.start(clock.clock()), every_minute(CatchUp::Latest)).await));
    for round in 0..30 {
        let weather = [Weather::CrashBefore, Weather::CrashAfter, Weather::Fine][round % 3];
        on_arbiter(async || {
            world.weather.set(weather);
            let handle = world.start(clock.clock());
            clock.advance_ms(MINUTE);
            settle(&handle).await;
        });
        world.weather.set(Weather::Fine);
        on_arbiter(async || {
            let handle = world.start(clock.clock());
            settle(&handle).await;
            assert_eq!(get(&handle).await.fired_total, round as u64 + 1, "{weather:?}");
        });
    }
    assert_eq!(world.minutes(), (1..=30).collect::<Vec<u64>>());
}

#[test]
fn missed_times_follow_the_policy() {
    for (policy, fired, skipped) in
        [(CatchUp::Latest, vec![1, 600, 601], 598), (CatchUp::Skip, vec![1, 601], 599)]
    {
        let (world, clock) = (World::new(), ManualClock::new(START));
        on_arbiter(async || {
            let handle = world.start(clock.clock());
            put(&handle, every_minute(policy)).await;
            clock.advance_ms(MINUTE);
            settle(&handle).await;
        });
        // Ten hours without a server, less half a minute.
        clock.advance_ms(10 * HOUR - MINUTE / 2);
        on_arbiter(async || {
            let handle = world.start(clock.clock());
            settle(&handle).await;
            clock.advance_ms(MINUTE);
            settle(&handle).await;
            let view = get(&handle).await;
            assert_eq!(world.minutes(), fired, "{policy:?}");
            assert_eq!((view.fired_total, view.skipped_total), (fired.len() as u64, skipped), "{policy:?}");
        });
    }
}

/// The clock of a running server jumps by hours (a virtual machine was stopped): the policy holds here too.
#[test]
fn a_jump_of_the_clock_is_like_an_outage() {
    for (policy, fired) in [(CatchUp::Latest, vec![599, 600]), (CatchUp::Skip, vec![600])] {
        on_arbiter(async || {
            let (world, clock) = (World::new(), ManualClock::new(START));
            let handle = world.start(clock.clock());
            put(&handle, every_minute(policy)).await;
            clock.advance_ms(10 * HOUR + 1);
            settle(&handle).await;
            // Minute 600 is a moment ago and so on time; minute 599 is the latest of those that were missed.
            assert_eq!(world.minutes(), fired, "{policy:?}");
        });
    }
}

/// A clock that was set back between two runs fires nothing a second time.
#[test]
fn a_clock_set_back_repeats_nothing() {
    let world = World::new();
    let late = ManualClock::new(START.plus_ms(HOUR));
    on_arbiter(async || {
        let handle = world.start(late.clock());
        put(&handle, every_minute(CatchUp::Latest)).await;
        late.advance_ms(3 * MINUTE);
        settle(&handle).await;
    });
    let fired = world.minutes();
    assert!(!fired.is_empty());
    let early = ManualClock::new(START.plus_ms(HOUR));
    on_arbiter(async || {
        let handle = world.start(early.clock());
        early.advance_ms(3 * MINUTE);
        settle(&handle).await;
        assert_eq!(world.minutes(), fired);
        early.advance_ms(MINUTE);
        settle(&handle).await;
        assert_eq!(world.minutes().len(), fired.len() + 1);
    });
}

#[test]
fn a_pause_holds_across_a_restart_and_is_not_caught_up() {
    let (world, clock) = (World::new(), ManualClock::new(START));
    on_arbiter(async || {
        let handle = world.start(clock.clock());
        put(&handle, every_minute(CatchUp::Latest)).await;
        let paused = view(order(&handle, |name| Request::PauseSchedule { name }).await);
        assert!(paused.paused && paused.next.is_empty());
    });
    on_arbiter(async || {
        let handle = world.start(clock.clock());
        clock.advance_ms(HOUR + MINUTE / 2);
        settle(&handle).await;
        assert!(get(&handle).await.paused);
        assert_eq!(world.minutes(), Vec::<u64>::new());
        let resumed = view(order(&handle, |name| Request::ResumeSchedule { name }).await);
        assert_eq!(resumed.next[0], START.plus_ms(61 * MINUTE));
        clock.advance_ms(MINUTE);
        settle(&handle).await;
        assert_eq!(world.minutes(), [61]);
    });
}

#[test]
fn a_refused_firing_is_tried_again() {
    on_arbiter(async || {
        let (world, clock) = (World::new(), ManualClock::new(START));
        let handle = world.start(clock.clock());
        put(&handle, every_minute(CatchUp::Skip)).await;
        world.weather.set(Weather::Refused);
        clock.advance_ms(MINUTE);
        settle(&handle).await;
        let tried = world.commits.get();
        assert!(tried >= 2, "the put and one firing at least");
        settle(&handle).await;
        assert_eq!(world.commits.get(), tried, "it waits before it tries again");
        assert_eq!(get(&handle).await.fired_total, 0, "what is not durable is not shown");
        world.weather.set(Weather::Fine);
        clock.advance_leases_ms(10_000);
        settle(&handle).await;
        assert_eq!(world.minutes(), [1]);
    });
}

#[test]
fn a_manual_firing_is_recorded_as_manual_and_leaves_the_plan_alone() {
    on_arbiter(async || {
        let (world, clock) = (World::new(), ManualClock::new(START));
        let handle = world.start(clock.clock());
        put(&handle, every_minute(CatchUp::Latest)).await;
        let mut ids = Vec::new();
        for _ in 0..2 {
            match order(&handle, |name| Request::TriggerSchedule { name }).await {
                Ok(Response::Enqueued(jobs)) => ids.push(jobs[0].id),
                other => panic!("{other:?}"),
            }
        }
        assert_ne!(ids[0], ids[1]);
        clock.advance_ms(MINUTE);
        settle(&handle).await;
        assert_eq!(world.minutes(), [0, 0, 1]);
        let header = |job: &JobSpec, name: &str| {
            let headers = &job.options.as_ref().unwrap().headers;
            headers.iter().find(|(key, _)| key == name).unwrap().1.clone()
        };
        let ledger = world.ledger.borrow().clone();
        let triggers: Vec<String> = ledger.iter().map(|job| header(job, HEADER_TRIGGER)).collect();
        assert_eq!(triggers, ["manual", "manual", "plan"]);
        assert!(ledger.iter().all(|job| header(job, HEADER_SCHEDULE) == "nightly"));
        assert_eq!(get(&handle).await.fired_total, 1);
    });
}

#[test]
fn orders_are_durable_and_say_what_is_wrong() {
    let (world, clock) = (World::new(), ManualClock::new(START));
    on_arbiter(async || {
        let handle = world.start(clock.clock());
        for request in [
            (|name| Request::PauseSchedule { name }) as fn(String) -> Request,
            |name| Request::ResumeSchedule { name },
            |name| Request::TriggerSchedule { name },
            |name| Request::DeleteSchedule { name },
            |name| Request::GetSchedule { name },
        ] {
            assert_eq!(order(&handle, request).await.unwrap_err().code, ErrorCode::NotFound);
        }
        let bad = spec(When::Cron("61 * * * *".to_owned()), CatchUp::Latest);
        let error = handle.call(Request::PutSchedule(bad)).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Invalid);
        assert!(error.message.starts_with("minute field"), "{}", error.message);

        world.weather.set(Weather::Refused);
        let error = handle.call(Request::PutSchedule(every_minute(CatchUp::Latest))).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::StoreFull);
        assert_eq!(
            order(&handle, |name| Request::GetSchedule { name }).await.unwrap_err().code,
            ErrorCode::NotFound
        );

        world.weather.set(Weather::Fine);
        put(&handle, spec(When::Cron("30 2 * * *".to_owned()), CatchUp::Latest)).await;
        let commits = world.commits.get();
        let again = put(&handle, spec(When::Cron("30 2 * * *".to_owned()), CatchUp::Latest)).await;
        assert_eq!(world.commits.get(), commits, "the same again needs no commit");
        assert_eq!(again.next[0].to_rfc3339(), "2026-03-28T01:30:00.000Z");
        assert_eq!(again.next[1].to_rfc3339(), "2026-03-29T01:00:00.000Z", "right after the gap");
    });
    on_arbiter(async || {
        let handle = world.start(clock.clock());
        assert_eq!(get(&handle).await.spec.when, When::Cron("30 2 * * *".to_owned()));
        let answer = order(&handle, |name| Request::DeleteSchedule { name }).await;
        assert_eq!(answer, Ok(Response::Done { count: 1 }));
    });
    on_arbiter(async || {
        let handle = world.start(clock.clock());
        assert_eq!(handle.call(Request::ListSchedules).await, Ok(Response::Schedules(Vec::new())));
    });
}

/// Orders for one schedule are carried out one after the other, in the order they came; too many are refused.
#[test]
fn orders_wait_for_each_other() {
    on_arbiter(async || {
        let (world, clock) = (World::new(), ManualClock::new(START));
        let handle = world.start(clock.clock());
        put(&handle, every_minute(CatchUp::Latest)).await;
        let calls = (0..10).map(|n| {
            let name = "nightly".to_owned();
            let request =
                if n % 2 == 0 { Request::PauseSchedule { name } } else { Request::ResumeSchedule { name } };
            let handle = handle.clone();
            async move { view(handle.call(request).await).paused }
        });
        let paused = futures_util::future::join_all(calls).await;
        assert_eq!(paused, (0..10).map(|n| n % 2 == 0).collect::<Vec<bool>>());

        world.weather.set(Weather::CrashBefore);
        let hung = handle.clone();
        actix::spawn(async move { order(&hung, |name| Request::TriggerSchedule { name }).await });
        settle(&handle).await;
        let calls = (0..super::WAITING_PER_SCHEDULE_MAX).map(|_| {
            let handle = handle.clone();
            actix::spawn(async move { order(&handle, |name| Request::PauseSchedule { name }).await })
        });
        let waiting: Vec<_> = calls.collect();
        settle(&handle).await;
        let error = order(&handle, |name| Request::PauseSchedule { name }).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Busy);
        drop(waiting);
    });
}

#[test]
fn a_stop_waits_for_what_is_under_way_and_fires_nothing_more() {
    on_arbiter(async || {
        let (world, clock) = (World::new(), ManualClock::new(START));
        let handle = world.start(clock.clock());
        put(&handle, every_minute(CatchUp::Latest)).await;
        handle.stop().await;
        handle.stop().await;
        clock.advance_ms(HOUR);
        let error = order(&handle, |name| Request::GetSchedule { name }).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::Unavailable);
        assert_eq!(world.minutes(), Vec::<u64>::new());
    });
}

#[test]
fn a_damaged_record_stops_the_start() {
    let world = World::new();
    let key = windlass_core::store::keys::schedule_key("nightly");
    let put = Write::Put { key, value: vec![1, 2, 3].into() };
    world.store.commit(vec![Batch { writes: vec![put], ..Batch::default() }]).remove(0).unwrap();
    on_arbiter(async || {
        let refused = start_with(&*world.store, world.clone(), Clock::system(), Chance::system())
            .err()
            .expect("refused");
        assert!(refused.to_string().contains("\"nightly\""), "{refused}");
    });
}

/// Replacing a schedule takes effect at once; its creation, and with it the ids of its firings, stays.
#[test]
fn a_replaced_schedule_follows_its_new_plan() {
    on_arbiter(async || {
        let (world, clock) = (World::new(), ManualClock::new(START));
        let handle = world.start(clock.clock());
        put(&handle, every_minute(CatchUp::Latest)).await;
        clock.advance_ms(MINUTE);
        settle(&handle).await;
        let replaced = put(&handle, spec(When::Cron("@every 10m".to_owned()), CatchUp::Latest)).await;
        assert_eq!(replaced.next[0], START.plus_ms(10 * MINUTE));
        clock.advance_ms(8 * MINUTE);
        settle(&handle).await;
        clock.advance_ms(MINUTE);
        settle(&handle).await;
        assert_eq!(world.minutes(), [1, 10]);
        let ids: Vec<JobId> = world.ledger.borrow().iter().filter_map(|job| job.id).collect();
        let id = |minute: u64| {
            windlass_core::schedule::firing_id("nightly", START, START.plus_ms(minute * MINUTE))
        };
        assert_eq!(ids, [id(1), id(10)]);
    });
}
