//! Producers: they enqueue, and when they do not hear what came of it they ask again with the same ids, which makes the id the
//! idempotency key. Now and then one repeats an id on purpose.

use std::collections::BTreeMap;

use windlass_core::id::JobId;
use windlass_core::job::{JobSpec, Payload, RunAt};
use windlass_core::limits::MAX_ATTEMPTS_DEFAULT;
use windlass_core::retry::Backoff;
use windlass_core::time::Timestamp;

use crate::clock::WALL_START_MS;
use crate::history::{Event, Wish};
use crate::rng::Rng;
use crate::world::{Answer, Body, Event as WorldEvent, World};

/// Patience of a producer.
const TIMEOUT_MS: u64 = 800;

/// A call that waits for its answer.
#[derive(Debug, Clone)]
struct Asked {
    queue: usize,
    jobs: Vec<JobSpec>,
    tries: u32,
}

/// A producer.
#[derive(Debug)]
pub struct Producer {
    rng: Rng,
    asked: BTreeMap<u64, Asked>,
    /// Jobs it still wants to enqueue.
    left: u64,
    /// Calls that it will repeat after a wait.
    again: u64,
}

impl Producer {
    /// A producer of so many jobs.
    #[must_use]
    pub fn new(seed: u64, index: usize, left: u64) -> Producer {
        Producer { rng: Rng::new(seed, 10 + index as u64), asked: BTreeMap::new(), left, again: 0 }
    }

    /// Whether it waits for nothing.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.asked.is_empty() && self.again == 0
    }
}

/// What a job's spec asks for, as the judges read it.
#[must_use]
pub fn wish_of(spec: &JobSpec, firing: Option<(usize, Timestamp)>) -> Wish {
    let options = spec.options.as_deref();
    Wish {
        at: if let RunAt::At(at) = spec.run_at { Some(at) } else { None },
        after_ms: if let RunAt::AfterMs(ms) = spec.run_at { ms } else { 0 },
        priority: spec.priority,
        max_attempts: options.and_then(|o| o.max_attempts).unwrap_or(MAX_ATTEMPTS_DEFAULT),
        backoff: options.and_then(|o| o.backoff.clone()).unwrap_or_default(),
        retention_ms: options.and_then(|o| o.retention_ms).unwrap_or(0),
        expires_at: options.and_then(|o| o.expires_at),
        firing,
    }
}

impl World {
    /// A producer wants something.
    pub(crate) fn producer_wakes(&mut self, index: usize) {
        let quiet = self.healed_at.is_some();
        let producer = &mut self.producers[index];
        if producer.left == 0 || quiet {
            return;
        }
        let count = producer.rng.pick(&[1, 1, 1, 2, 5]).min(producer.left);
        producer.left -= count;
        let queue = producer.rng.below(self.setup.queues as u64) as usize;
        let mut jobs = (0..count).map(|_| self.new_job(index, queue)).collect::<Vec<_>>();
        if count > 1 && self.producers[index].rng.chance(300) {
            // As of a request that has one time for all its jobs, or nearly, so that they share a chunk.
            let run_at = jobs[0].run_at;
            let apart_ms = self.producers[index].rng.pick(&[0, 0, 5, 40]);
            for job in &mut jobs {
                let later_ms = self.producers[index].rng.below(apart_ms + 1);
                job.run_at = match run_at {
                    RunAt::Now => RunAt::Now,
                    RunAt::AfterMs(ms) => RunAt::AfterMs(ms + later_ms),
                    RunAt::At(at) => RunAt::At(at.plus_ms(later_ms)),
                };
            }
        }
        self.ask_for_jobs(index, Asked { queue, jobs, tries: 0 });
        let wait_ms = self.producers[index].rng.below(self.setup.produce_ms * 2);
        self.later(wait_ms, WorldEvent::Producer(index));
    }

    fn new_job(&mut self, index: usize, queue: usize) -> JobSpec {
        let rng = &mut self.producers[index].rng;
        let old = self.ids.get(&queue).map_or(0, Vec::len) as u64;
        let id = if old > 0 && rng.chance(80) {
            self.ids[&queue][rng.below(old) as usize]
        } else {
            self.last_id += 1;
            // Some carry the time of their making, as a client's own do, or nearly: a clock may be off. Others come from elsewhere.
            let chance = u128::from(rng.next()) << 64 | u128::from(self.last_id);
            let id = match rng.below(8) {
                0 => JobId(chance.to_be_bytes()),
                1 => JobId::v7(Timestamp(WALL_START_MS + self.at + rng.below(6_000)), chance),
                _ => JobId::v7(Timestamp(WALL_START_MS + self.at), chance),
            };
            self.ids.entry(queue).or_default().push(id);
            id
        };
        let mut spec = JobSpec::new("work", Payload::json("1"));
        spec.id = Some(id);
        spec.priority = if self.setup.priorities { rng.pick(&[0, 0, 0, 5, -3]) } else { 0 };
        let about_now = WALL_START_MS + self.at;
        spec.run_at = match rng.below(8) {
            0 => RunAt::AfterMs(rng.below(3_000)),
            1 => RunAt::AfterMs(rng.below(9_000)),
            2 => RunAt::At(Timestamp(about_now + rng.below(6_000))),
            _ => RunAt::Now,
        };
        let options = spec.options_mut();
        options.max_attempts = rng.chance(800).then(|| rng.between(1, 4) as u32);
        options.backoff = Some(match rng.below(3) {
            0 => Backoff::Exponential { base_ms: 100, factor_tenths: 20, max_ms: 900, jitter_percent: 50 },
            1 => Backoff::List { delays_ms: vec![50, 700], jitter_percent: 0 },
            _ => Backoff::Fixed { delay_ms: rng.below(900), jitter_percent: 30 },
        });
        options.retention_ms = rng.chance(250).then(|| rng.between(1, 9_000));
        options.expires_at = rng.chance(60).then(|| Timestamp(about_now + rng.below(9_000)));
        spec
    }

    fn ask_for_jobs(&mut self, index: usize, asked: Asked) {
        let call = self.next_call();
        let ids = asked.jobs.iter().filter_map(|job| job.id).collect();
        self.emit(Event::EnqueueSent { call, queue: asked.queue, ids });
        let body = Body::Enqueue { queue: asked.queue, jobs: asked.jobs.clone() };
        let client = self.setup.workers + index;
        self.producers[index].asked.insert(call, asked);
        self.post_call(client, call, body, true);
        self.later(TIMEOUT_MS, WorldEvent::Timeout { client, call });
    }

    /// The answer to a producer.
    pub(crate) fn producer_hears(&mut self, index: usize, call: u64, answer: Answer) {
        let Some(asked) = self.producers[index].asked.remove(&call) else { return };
        match answer {
            Answer::Enqueued(answers) => {
                self.emit(Event::EnqueueOk { call, queue: asked.queue, answers });
            }
            Answer::Refused(why) => {
                self.emit(Event::EnqueueRefused { call, why });
                self.ask_again(index, asked);
            }
            _ => {}
        }
    }

    /// A producer has lost its patience.
    pub(crate) fn producer_timeout(&mut self, index: usize, call: u64) {
        if let Some(asked) = self.producers[index].asked.remove(&call) {
            self.emit(Event::EnqueueUnknown { call });
            self.ask_again(index, asked);
        }
    }

    fn ask_again(&mut self, index: usize, mut asked: Asked) {
        asked.tries += 1;
        let gives_up = self.healed_at.is_none() && self.producers[index].rng.chance(100);
        if !gives_up {
            let wait_ms = self.producers[index].rng.below(400);
            self.producers[index].again += 1;
            let jobs = Box::new((asked.queue, asked.jobs, asked.tries));
            self.later(wait_ms, WorldEvent::AskAgain { index, jobs });
        }
    }

    /// The wait before another try is over.
    pub(crate) fn producer_retries(&mut self, index: usize, queue: usize, jobs: Vec<JobSpec>, tries: u32) {
        self.producers[index].again -= 1;
        self.ask_for_jobs(index, Asked { queue, jobs, tries });
    }
}
