//! Schedules through a whole node on sled: one firing per nominal time, whatever happens to the server.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use windlass_core::api::{ApiError, JobQuery, JobView, Request, Response, ScheduleView};
use windlass_core::id::QueueName;
use windlass_core::job::{JobSpec, Payload};
use windlass_core::schedule::{CatchUp, HEADER_NOMINAL, ScheduleSpec, When, firing_id};
use windlass_core::time::Timestamp;
use windlass_scheduler::clock::{Clock, ManualClock};
use windlass_scheduler::node::{Node, NodeConfig, RunningNode};
use windlass_scheduler::store::StoreConfig;
use windlass_scheduler::testing::{CLOCK_START, TestServer};
use windlass_tests::process::{Server, cycles};
use windlass_worker::Client;

const NAME: &str = "often";
const MINUTE: u64 = 60_000;
/// Longest wait for something that should happen at once.
const PATIENCE: Duration = Duration::from_secs(20);

fn spec(every_ms: u64, catch_up: CatchUp) -> ScheduleSpec {
    ScheduleSpec {
        name: NAME.to_owned(),
        when: When::EveryMs(every_ms),
        zone: "UTC".to_owned(),
        catch_up,
        queue: QueueName::default(),
        job: JobSpec::new("tick", Payload::json("null")),
    }
}

/// Asks, however the server is reached.
trait Ask {
    async fn ask(&self, request: Request) -> Result<Response, String>;
}

impl Ask for RunningNode {
    async fn ask(&self, request: Request) -> Result<Response, String> {
        self.api().call(request).await.map_err(|error: ApiError| error.to_string())
    }
}

impl Ask for Client {
    async fn ask(&self, request: Request) -> Result<Response, String> {
        self.call(request).await.map_err(|error| error.to_string())
    }
}

async fn view(server: &impl Ask) -> ScheduleView {
    match server.ask(Request::GetSchedule { name: NAME.to_owned() }).await {
        Ok(Response::Schedule(view)) => *view,
        other => panic!("not a schedule: {other:?}"),
    }
}

/// The view once every nominal time up to now has been fired or skipped, `dealt` in all.
async fn settled(server: &impl Ask, dealt: u64) -> ScheduleView {
    let started = Instant::now();
    loop {
        let view = view(server).await;
        if view.fired_total + view.skipped_total >= dealt {
            return view;
        }
        assert!(started.elapsed() < PATIENCE, "{dealt} times are due, and this has happened: {view:?}");
    }
}

async fn jobs(server: &impl Ask) -> Vec<JobView> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let query = JobQuery { cursor, limit: Some(100), ..JobQuery::default() };
        match server.ask(Request::ListJobs(query)).await {
            Ok(Response::Jobs(page)) => {
                all.extend(page.jobs);
                cursor = page.next;
            }
            other => panic!("not a page: {other:?}"),
        }
        if cursor.is_none() {
            return all;
        }
    }
}

/// Nominal times of the jobs with how often each occurs.
fn nominal_times(jobs: &[JobView]) -> BTreeMap<u64, u32> {
    let mut times = BTreeMap::new();
    for job in jobs {
        let header = job.headers.iter().find(|(name, _)| name == HEADER_NOMINAL);
        let nominal = header.expect("a firing says its nominal time").1.parse().expect("milliseconds");
        *times.entry(nominal).or_default() += 1;
    }
    times
}

fn start(dir: &Path, clock: Clock) -> RunningNode {
    let config = NodeConfig { store: StoreConfig::sled(dir), clock, ..TestServer::config() };
    Node::start(config).expect("the node starts")
}

/// A node that is killed or stopped again and again while the clock runs on: each nominal time is one job or one
/// skip, and every job has the id that its time gives it.
async fn one_firing_per_time(catch_up: CatchUp) {
    let dir = tempfile::tempdir().expect("a directory");
    let clock = ManualClock::new(CLOCK_START);
    let mut node = start(dir.path(), clock.clock());
    node.ask(Request::PutSchedule(spec(MINUTE, catch_up))).await.expect("taken");
    let mut minutes = 0;
    for round in 0..12 {
        // Odd rounds miss some minutes, even ones fire each on time.
        let missed = if round % 2 == 1 { 5 } else { 0 };
        for _ in 0..3 {
            minutes += 1;
            clock.advance_ms(MINUTE);
            if round % 3 != 2 {
                settled(&node, minutes).await;
            }
        }
        if round % 4 == 3 {
            node.stop().await;
        } else {
            node.kill();
        }
        node.stopped().await;
        drop(node);
        minutes += missed;
        clock.advance_ms(missed * MINUTE);
        node = start(dir.path(), clock.clock());
    }
    let view = settled(&node, minutes).await;
    let jobs = jobs(&node).await;
    let times = nominal_times(&jobs);
    assert!(times.values().all(|count| *count == 1), "fired twice: {times:?}");
    assert_eq!(jobs.len() as u64, view.fired_total);
    assert_eq!(view.fired_total + view.skipped_total, minutes, "{view:?}");
    assert!(view.skipped_total > 0 && view.fired_total > 12, "the test misses some and fires some: {view:?}");
    for job in &jobs {
        let nominal = times.keys().find(|at| job.id == firing_id(NAME, CLOCK_START, Timestamp(**at)));
        assert!(nominal.is_some_and(|at| (at - CLOCK_START.0).is_multiple_of(MINUTE)), "{job:?}");
    }
    node.stop().await;
}

#[tokio::test]
async fn one_firing_per_time_with_the_latest_caught_up() {
    one_firing_per_time(CatchUp::Latest).await;
}

#[tokio::test]
async fn one_firing_per_time_with_missed_ones_skipped() {
    one_firing_per_time(CatchUp::Skip).await;
}

/// The same with a real process, `kill -9` at moments of chance, and a schedule of every second.
#[tokio::test]
async fn one_firing_per_second_under_kill_9() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = Server::start(dir.path(), &[]).expect("a server");
    let client = Client::connect(server.address()).await.expect("connected");
    client.ask(Request::PutSchedule(spec(1_000, CatchUp::Latest))).await.expect("taken");
    let first = view(&client).await.next[0].0;
    drop(client);
    for _ in 0..cycles(5) {
        let pause = rand::rng().random_range(200..1_600);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        server.kill().expect("killed");
        server.restart().expect("it starts again");
    }
    let client = Client::connect(server.address()).await.expect("connected");
    client.ask(Request::PauseSchedule { name: NAME.to_owned() }).await.expect("paused");
    let view = view(&client).await;
    let times = nominal_times(&jobs(&client).await);
    assert!(times.values().all(|count| *count == 1), "fired twice: {times:?}");
    assert_eq!(times.len() as u64, view.fired_total, "every firing is a job, and every job a firing");
    // The first seconds may have been skipped too.
    let last = *times.keys().next_back().expect("some fired");
    let span = (last - first) / 1_000 + 1;
    assert_eq!(view.fired_total + view.skipped_total, span, "each second is fired or skipped: {view:?}");
}
