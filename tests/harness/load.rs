//! A mixed load: plain jobs, bulks, delays, retries, dead and kept ones, cancels, orders to run again; at a rate, recorded.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use windlass_core::id::JobId;

use crate::history::Recorder;
use crate::producer::Producer;
use crate::script::Work;

/// Jobs of a producer that may be cancelled, looked at or ordered to run again.
const REMEMBERED: usize = 64;
/// Jobs of a bulk.
const BULK: usize = 20;
/// Wait after a refusal.
const REFUSED_WAIT: Duration = Duration::from_millis(20);

/// What is wanted.
#[derive(Debug, Clone)]
pub struct Mix {
    /// Queues, used in turn.
    pub queues: Vec<String>,
    /// Jobs per second, over all producers.
    pub rate: u32,
    /// Producers.
    pub producers: u32,
    /// Bytes that each payload has more than it needs.
    pub padding: usize,
    /// Longest run of a long job, in milliseconds; one in twenty is long.
    pub long_ms: u64,
    /// Where chance begins.
    pub seed: u64,
}

impl Default for Mix {
    fn default() -> Mix {
        Mix {
            queues: vec!["default".to_owned()],
            rate: 400,
            producers: 4,
            padding: 0,
            long_ms: 1_500,
            seed: 1,
        }
    }
}

/// What the producers saw.
#[derive(Debug)]
pub struct Seen {
    /// Jobs confirmed.
    pub confirmed: AtomicU64,
    /// Enqueues that ended with an error.
    pub errors: AtomicU64,
    times: Mutex<Times>,
}

#[derive(Debug)]
struct Times {
    enqueue_us: Histogram<u64>,
    last: Instant,
    longest: Duration,
}

impl Seen {
    fn new() -> Seen {
        let enqueue_us = Histogram::new(2).expect("two digits are a precision");
        let times = Mutex::new(Times { enqueue_us, last: Instant::now(), longest: Duration::ZERO });
        Seen { confirmed: AtomicU64::new(0), errors: AtomicU64::new(0), times }
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        // Counts of a producer that panicked are still counts.
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn took(&self, begun: Instant, confirmed: u64) {
        self.confirmed.fetch_add(confirmed, Ordering::Relaxed);
        let mut times = self.times();
        let us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        times.enqueue_us.record(us).expect("the histogram grows as it has to");
        times.longest = times.longest.max(times.last.elapsed());
        times.last = Instant::now();
    }

    /// A quantile of the time until an enqueue was confirmed, outages included.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.times().enqueue_us.value_at_quantile(quantile))
    }

    /// Longest time without any confirmation.
    #[must_use]
    pub fn longest_outage(&self) -> Duration {
        self.times().longest
    }
}

/// Producers at work.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    /// What they saw.
    pub seen: Arc<Seen>,
}

impl Load {
    /// Starts the producers.
    ///
    /// # Errors
    /// When no server answers.
    pub async fn start(address: &str, recorder: &Recorder, mix: &Mix) -> Result<Load> {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Seen::new()));
        let mut tasks = Vec::new();
        for number in 0..mix.producers {
            let producer = Producer::connect(address.to_owned(), recorder.clone()).await?;
            let one = One {
                producer,
                mix: mix.clone(),
                rng: SmallRng::seed_from_u64(mix.seed.wrapping_mul(1_000).wrapping_add(u64::from(number))),
                past: VecDeque::new(),
                seen: Arc::clone(&seen),
                turn: number as usize,
            };
            tasks.push(tokio::spawn(one.run(Arc::clone(&stop))));
        }
        Ok(Load { stop, tasks, seen })
    }

    /// Ends the producers, once what they wait for is answered.
    ///
    /// # Errors
    /// When one of them panicked.
    pub async fn stop(self) -> Result<Arc<Seen>> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await?;
        }
        Ok(self.seen)
    }
}

struct One {
    producer: Producer,
    mix: Mix,
    rng: SmallRng,
    past: VecDeque<JobId>,
    seen: Arc<Seen>,
    turn: usize,
}

impl One {
    async fn run(mut self, stop: Arc<AtomicBool>) {
        let pace = Duration::from_secs(1) * self.mix.producers / self.mix.rate.max(1);
        let mut due = Instant::now();
        while !stop.load(Ordering::Relaxed) {
            let jobs = self.step().await;
            // What an outage has cost is not made up for: that would be a flood.
            due = (due + pace * jobs).max(Instant::now() - Duration::from_millis(200));
            tokio::time::sleep_until(due.into()).await;
        }
    }

    /// One act; returns the jobs that it made.
    async fn step(&mut self) -> u32 {
        let dice = self.rng.random_range(0..100);
        match dice {
            0..2 => {
                let count = u32::try_from(BULK).expect("a small bulk");
                let works: Vec<Work> = (0..BULK).map(|_| self.work()).collect();
                let begun = Instant::now();
                let confirmed = self.producer.enqueue_many(&works).await;
                self.seen.took(begun, confirmed as u64);
                count
            }
            2..5 => {
                self.disturb(dice).await;
                0
            }
            5..7 => {
                if let Some(id) = self.pick() {
                    // Only what is seen counts.
                    let _ = self.producer.look(id).await;
                }
                0
            }
            _ => {
                let work = self.work();
                self.enqueue(work).await;
                1
            }
        }
    }

    async fn enqueue(&mut self, work: Work) {
        let begun = Instant::now();
        if self.producer.enqueue(&work).await.is_ok() {
            self.seen.took(begun, 1);
            self.past.push_back(work.id);
            if self.past.len() > REMEMBERED {
                self.past.pop_front();
            }
        } else {
            self.seen.errors.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(REFUSED_WAIT).await;
        }
    }

    /// Cancels, or orders to run again; mostly something that has ended, which the server has to refuse.
    async fn disturb(&mut self, dice: u32) {
        if dice == 4 {
            if let Some(id) = self.pick() {
                // A refusal is recorded, and right for most.
                let _ = self.producer.retry(id).await;
            }
            return;
        }
        let id = if dice == 3 {
            let work = self.work().after(Duration::from_millis(300));
            let id = work.id;
            self.enqueue(work).await;
            Some(id)
        } else {
            self.pick()
        };
        if let Some(id) = id {
            let _ = self.producer.cancel(id).await;
        }
    }

    fn pick(&mut self) -> Option<JobId> {
        let count = self.past.len();
        (count > 0).then(|| self.past[self.rng.random_range(0..count)])
    }

    fn work(&mut self) -> Work {
        self.turn += 1;
        let queue = self.mix.queues[self.turn % self.mix.queues.len()].clone();
        let ms = if self.rng.random_range(0..20) == 0 {
            self.rng.random_range(50..self.mix.long_ms.max(51))
        } else {
            self.rng.random_range(0..10)
        };
        let plan = match self.rng.random_range(0..40) {
            0..3 => "rd",
            3 => "rrd",
            4 => "sd",
            5 => "x",
            6 => "pd",
            _ => "d",
        };
        let mut work = Work::plain(&queue).script(ms, plan);
        work.script.padding = "x".repeat(self.mix.padding);
        match self.rng.random_range(0..25) {
            0 | 1 => work = work.after(Duration::from_millis(self.rng.random_range(1..2_000))),
            2 => work.run_at = Some(crate::history::wall_ms() + self.rng.random_range(1..2_000)),
            3 => work = work.kept(),
            4 => {
                work.script.plan = "r".to_owned();
                work.max_attempts = 2;
            }
            _ => {}
        }
        work
    }
}
