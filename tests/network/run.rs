//! One run: hosts, work and disturbances of one seed, and what came of it.

use std::cell::RefCell;
use std::panic;
use std::sync::Once;
use std::time::Duration;

use windlass_scheduler::chance::Chance;

use super::book::Entry;
use super::faults::{self, CALM, Mix, Plan, Step};
use super::hosts::{self, Plant, Site};
use super::rules;
use super::work::{PRODUCERS, SERVER, WORKERS, Work};

/// Jobs of a run.
const JOBS: u64 = 40;
/// In this time jobs are enqueued and everything is disturbed; then all is made well.
const SPAN: Duration = Duration::from_secs(6);
/// Virtual time until every job has to have ended: a producer whose connection died in silence needs a quarter minute to notice.
const LIMIT: Duration = Duration::from_secs(90);
/// Virtual time of one step of the simulation.
const TICK: Duration = Duration::from_millis(2);

/// How a run is made.
#[derive(Clone)]
pub(crate) struct Setup {
    pub seed: u64,
    pub plant: Plant,
    /// What disturbs it; drawn from the seed when absent.
    pub plan: Option<Plan>,
}

impl Setup {
    pub(crate) fn seed(seed: u64) -> Setup {
        Setup { seed, plant: Plant::default(), plan: None }
    }
}

/// What came of a run.
pub(crate) struct Outcome {
    pub plan: Plan,
    pub trace: String,
    pub entries: Vec<Entry>,
    /// Broken rules, one sentence each.
    pub broken: Vec<String>,
}

thread_local! {
    /// What tasks have panicked with: a runtime keeps that to itself.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn remember_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            PANICS.with_borrow_mut(|panics| panics.push(info.to_string()));
            before(info);
        }));
    });
}

/// Runs to the end of all jobs, or to the limit.
pub(crate) fn run(setup: &Setup) -> Outcome {
    remember_panics();
    PANICS.take();
    let chance = Chance::seeded(setup.seed);
    let mut sim = turmoil::Builder::new()
        .rng_seed(chance.u64())
        .epoch(std::time::UNIX_EPOCH + Duration::from_millis(hosts::WALL))
        .tick_duration(TICK)
        .simulation_duration(LIMIT)
        .tcp_capacity(1_024)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(CALM)
        .build();
    let work = Work::draw(&chance, JOBS, SPAN);
    let drawn = faults::draw(&chance, Mix::draw(&chance), SPAN);
    let plan = setup.plan.clone().unwrap_or(drawn);
    let site = Site::new(setup.seed, work, setup.plant, sim.lookup(SERVER));
    let theirs = site.clone();
    sim.host(SERVER, move || hosts::server(theirs.clone()));
    for host in WORKERS {
        let theirs = site.clone();
        sim.host(host, move || hosts::worker(theirs.clone(), host));
    }
    for host in PRODUCERS {
        sim.client(host, hosts::producer(site.clone(), host));
    }
    let mut steps = plan.iter().copied().peekable();
    let mut healed = false;
    let ended = loop {
        while let Some((_, step)) = steps.next_if(|(at, _)| *at <= sim.elapsed()) {
            faults::take(&mut sim, &site, &chance, step);
        }
        if !healed && sim.elapsed() >= SPAN {
            healed = true;
            faults::heal(&mut sim, &site, &chance);
        }
        if healed && !sim.is_host_running(SERVER) {
            // It was asked to stop, and has only now.
            faults::take(&mut sim, &site, &chance, Step::Restart(SERVER));
        }
        match sim.step() {
            Ok(true) => break Ok(()),
            Ok(false) => {}
            Err(error) => break Err(error.to_string()),
        }
    };
    let now = sim.elapsed();
    super::book::frozen(now, || drop(sim));
    let entries = site.book.entries();
    let mut broken = rules::check(&site.work, &entries);
    broken.extend(ended.err().map(|error| format!("the run did not come to its end: {error}")));
    broken.extend(PANICS.take().into_iter().map(|panic| format!("a task panicked: {panic}")));
    Outcome { plan, trace: site.book.trace(), entries, broken }
}
