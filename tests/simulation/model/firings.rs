//! A schedule against a naive one: every so many milliseconds, with pauses, restarts, outages and a clock that is set back.
//!
//! The naive schedule lists all its nominal times and knows one number, up to where they are dealt with.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use windlass_core::id::QueueName;
use windlass_core::job::{JobSpec, Payload};
use windlass_core::schedule::{
    CatchUp, Due, Firing, LATE_MS_MAX, Plan, Record, ScheduleSpec, When, decode_record, encode_record,
};
use windlass_core::time::Timestamp;

/// When the schedule is created.
const START: u64 = 1_780_000_000_000;
/// Firings in one step that would be one too many for any honest schedule here.
const FIRINGS_MAX: usize = 10_000;

/// What happens to a schedule.
#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    /// The server is gone for a while, and starts with a clock that was set back.
    Restart {
        down_ms: u64,
        back_ms: u64,
    },
    Pause,
    Resume,
}

fn step() -> impl Strategy<Value = Step> {
    let back = prop_oneof![3 => Just(0u64), 1 => 0u64..100_000];
    prop_oneof![
        6 => prop_oneof![4 => 0u64..20_000, 1 => 0u64..300_000].prop_map(Step::Pass),
        3 => (0u64..200_000, back).prop_map(|(down_ms, back_ms)| Step::Restart { down_ms, back_ms }),
        1 => Just(Step::Pause),
        1 => Just(Step::Resume),
    ]
}

/// The real rules, carried out as the node does.
struct Real {
    plan: Plan,
    record: Record,
    durable: Vec<u8>,
    serving_since: u64,
}

impl Real {
    fn commit(&mut self, record: Record) {
        self.durable = encode_record(&record).to_vec();
        self.record = record;
    }

    /// The nominal times that fire now.
    fn fire(&mut self, wall: u64) -> Vec<Firing> {
        let mut fired = Vec::new();
        while self.record.paused_at.is_none() && fired.len() < FIRINGS_MAX {
            let (after, catch_up) = (self.record.dealt_until, self.record.spec.catch_up);
            let Due { fire, skipped, until } =
                self.plan.due(after, Timestamp(wall), Timestamp(self.serving_since), catch_up);
            let Some(nominal) = fire else {
                self.record = self.record.skipped(skipped, until);
                break;
            };
            let firing = Firing::planned("often", Timestamp(START), nominal);
            self.commit(self.record.fired(&firing, skipped));
            fired.push(firing);
        }
        fired
    }
}

/// What is dealt with, and how much of it was left out.
#[derive(Debug, Clone, Copy)]
struct Dealt {
    until: u64,
    skipped: u64,
}

/// The naive schedule.
struct Naive {
    every_ms: u64,
    catch_up: CatchUp,
    paused: bool,
    serving_since: u64,
    dealt: Dealt,
    durable: Dealt,
}

impl Naive {
    fn fire(&mut self, wall: u64) -> Vec<u64> {
        if self.paused {
            return Vec::new();
        }
        let times = (1..).map(|n| START + n * self.every_ms).take_while(|at| *at <= wall);
        let pending: Vec<u64> = times.filter(|at| *at > self.dealt.until).collect();
        // What came while nobody served, or too long ago, was missed.
        let missed = |at: &u64| *at < self.serving_since || wall - *at > LATE_MS_MAX;
        let (missed, mut fired): (Vec<u64>, Vec<u64>) = pending.iter().partition(|at| missed(at));
        let latest = missed.last().filter(|_| self.catch_up == CatchUp::Latest);
        self.dealt.skipped += missed.len() as u64 - u64::from(latest.is_some());
        fired.extend(latest);
        fired.sort_unstable();
        self.dealt.until = pending.last().copied().unwrap_or(self.dealt.until);
        if !fired.is_empty() {
            self.durable = self.dealt;
        }
        fired
    }
}

/// Runs `cases` random cases from `seed`. Returns how many it took to find a difference, and the difference.
pub(crate) fn check(seed: u64, cases: u32) -> Option<(u32, String)> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let strategy = (1_000u64..40_000, any::<bool>(), prop::collection::vec(step(), 1..30));
    (1..=cases).find_map(|case| {
        let mut tree = strategy.new_tree(&mut runner).expect("every schedule has steps");
        let mut what = run(&tree.current()).err()?;
        let mut shortest = tree.current();
        let mut more = tree.simplify();
        while more {
            more = match run(&tree.current()) {
                Ok(()) => tree.complicate(),
                Err(found) => {
                    (what, shortest) = (found, tree.current());
                    tree.simplify()
                }
            };
        }
        Some((case, format!("{what}\nevery, skips, steps: {shortest:?}")))
    })
}

fn run((every_ms, skips, steps): &(u64, bool, Vec<Step>)) -> Result<(), String> {
    let catch_up = if *skips { CatchUp::Skip } else { CatchUp::Latest };
    let spec = ScheduleSpec {
        name: "often".to_owned(),
        when: When::EveryMs(*every_ms),
        zone: "UTC".to_owned(),
        catch_up,
        queue: QueueName::default(),
        job: JobSpec::new("work", Payload::json("1")),
    };
    let plan = Plan::parse(&spec, Timestamp(START)).map_err(|e| e.to_string())?;
    let record = Record::new(spec, Timestamp(START));
    let durable = encode_record(&record).to_vec();
    let mut real = Real { plan, record, durable, serving_since: START };
    let dealt = Dealt { until: START, skipped: 0 };
    let (every_ms, serving_since) = (*every_ms, START);
    let mut naive = Naive { every_ms, catch_up, paused: false, serving_since, dealt, durable: dealt };
    let (mut wall, mut ids) = (START, std::collections::BTreeSet::new());
    for step in steps {
        take(step, &mut wall, &mut real, &mut naive)?;
        let fired = real.fire(wall);
        let foretold = naive.fire(wall);
        let nominal: Vec<u64> = fired.iter().map(|firing| firing.nominal.0).collect();
        if nominal != foretold {
            return Err(format!("after {step:?} it fires for {nominal:?}, and should for {foretold:?}"));
        }
        if !fired.iter().all(|firing| ids.insert(firing.id)) {
            return Err(format!("after {step:?} a job has the id of an earlier firing"));
        }
        if real.record.skipped_total != naive.dealt.skipped {
            let (counted, left_out) = (real.record.skipped_total, naive.dealt.skipped);
            return Err(format!("after {step:?} it counts {counted} as left out, and there are {left_out}"));
        }
    }
    Ok(())
}

fn take(step: &Step, wall: &mut u64, real: &mut Real, naive: &mut Naive) -> Result<(), String> {
    match step {
        Step::Pass(ms) => *wall += ms,
        Step::Restart { down_ms, back_ms } => {
            *wall = (*wall + down_ms).saturating_sub(*back_ms).max(START);
            real.record = decode_record(&real.durable).map_err(|e| e.to_string())?;
            (real.serving_since, naive.serving_since) = (*wall, *wall);
            naive.dealt = naive.durable;
        }
        Step::Pause => {
            real.commit(real.record.paused(Timestamp(*wall)));
            (naive.paused, naive.durable) = (true, naive.dealt);
        }
        Step::Resume => {
            real.commit(real.record.resumed(Timestamp(*wall)));
            if naive.paused {
                naive.dealt.until = naive.dealt.until.max(*wall);
            }
            (naive.paused, naive.durable) = (false, naive.dealt);
        }
    }
    Ok(())
}
