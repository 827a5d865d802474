//! Producers: each with a connection of its own, all waiting for durable confirmation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use tokio::task::JoinSet;
use windlass_core::api::{ErrorCode, Request, Response};
use windlass_core::id::{JobId, QueueName};
use windlass_core::job::{JobSpec, Payload, RunAt};
use windlass_core::time::Timestamp;
use windlass_worker::{Client, Error};

use super::stage::{Bench, Meter};
use crate::cli::connect::{translate, unexpected};
use crate::cli::error::CliError;
use crate::cli::value;

/// The kind of the jobs.
pub(super) const KIND: &str = "bench_noop";
/// Longest latency that is told apart, in microseconds: ten minutes.
const LATENCY_US_MAX: u64 = 600_000_000;
/// Payload bytes of one request at most: larger requests gain nothing and fill memory on both sides.
const REQUEST_BYTES: usize = 1024 * 1024;
/// How long a busy or full server is asked again before the benchmark gives up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Wait before asking a busy server again when it does not say.
const BUSY_WAIT_MS: u64 = 100;

/// Latencies in microseconds, three significant digits.
pub(super) type Latencies = Histogram<u64>;

/// An empty histogram.
pub(super) fn latencies() -> Latencies {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("the bounds and digits are legal")
}

/// Adds a latency; beyond the bound it counts as the bound.
pub(super) fn record(histogram: &mut Latencies, latency: Duration) {
    let us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    histogram.saturating_record(us.max(1));
}

/// How jobs are offered.
#[derive(Debug, Clone)]
pub(super) struct Load {
    /// Where to; requests go round them.
    pub(super) queues: Arc<[QueueName]>,
    /// Producers.
    pub(super) producers: u32,
    /// Requests that each of them keeps under way.
    pub(super) in_flight: u32,
    /// Jobs per request.
    pub(super) batch: usize,
    /// Bytes of each payload.
    pub(super) payload_bytes: usize,
    /// Jobs in all, at most.
    pub(super) jobs: u64,
    /// No request is begun after this time.
    pub(super) seconds: Option<Duration>,
    /// Requests per second over all producers; as fast as possible without it.
    pub(super) rate: Option<f64>,
    /// The jobs are due then, and their payloads say when.
    pub(super) due: Option<Due>,
}

/// When scheduled jobs are due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due {
    pub(super) first: Timestamp,
    /// They take so many milliseconds in turn, from the first on.
    pub(super) spread_ms: u64,
}

impl Load {
    /// One job per request.
    pub(super) fn one_by_one(bench: &Bench, producers: u32) -> Load {
        let setting = &bench.setting;
        Load {
            queues: [bench.queue.clone()].into(),
            producers,
            in_flight: 1,
            batch: 1,
            payload_bytes: setting.payload_bytes,
            jobs: setting.jobs,
            seconds: Some(setting.seconds),
            rate: None,
            due: None,
        }
    }

    /// As fast as it goes: requests of many jobs, several under way.
    pub(super) fn bulk(bench: &Bench) -> Load {
        let setting = &bench.setting;
        Load { in_flight: setting.in_flight, seconds: None, ..Load::one_by_one(bench, setting.producers) }
            .sized(setting.payload_bytes, setting.batch)
    }

    /// The same with payloads and requests of another size, as far as a request holds.
    pub(super) fn sized(mut self, payload_bytes: usize, batch: usize) -> Load {
        self.payload_bytes = payload_bytes;
        self.batch = batch.min(REQUEST_BYTES / payload_bytes).max(1);
        self
    }

    /// `1 producer`, `16 producers`.
    pub(super) fn who(&self) -> String {
        let plural = if self.producers == 1 { "" } else { "s" };
        format!("{} producer{plural}", self.producers)
    }
}

/// What producers saw.
pub(super) struct Offered {
    /// Jobs confirmed.
    pub(super) jobs: u64,
    /// From a request to its confirmation.
    pub(super) latencies: Latencies,
}

/// Offers jobs. The payload carries the microseconds since the bench's origin at which its request was begun.
///
/// # Errors
/// When a connection cannot be made, or the server refuses for a minute.
pub(super) async fn offer(bench: &Bench, load: &Load, progress: &ProgressBar) -> Result<Offered, CliError> {
    let mut connections = Vec::new();
    for _ in 0..load.producers {
        connections.push(bench.connect().await?);
    }
    let next = Arc::new(AtomicU64::new(0));
    let begun = Instant::now();
    let mut lanes = JoinSet::new();
    for number in 0..load.producers * load.in_flight {
        let lane = Lane {
            client: connections[(number / load.in_flight) as usize].clone(),
            server: bench.server().to_owned(),
            load: load.clone(),
            next: Arc::clone(&next),
            meter: bench.meter(),
            origin: bench.origin,
            begun,
            progress: progress.clone(),
            number,
        };
        lanes.spawn(lane.run());
    }
    let mut offered = Offered { jobs: 0, latencies: latencies() };
    while let Some(ended) = lanes.join_next().await {
        let (jobs, histogram) =
            ended.map_err(|e| CliError::failure(format!("bench: a producer failed: {e}")))??;
        offered.jobs += jobs;
        offered.latencies += &histogram;
    }
    Ok(offered)
}

/// One request after the other.
struct Lane {
    client: Client,
    server: String,
    load: Load,
    next: Arc<AtomicU64>,
    meter: Arc<Meter>,
    origin: Instant,
    begun: Instant,
    progress: ProgressBar,
    number: u32,
}

impl Lane {
    async fn run(self) -> Result<(u64, Latencies), CliError> {
        let mut histogram = latencies();
        let mut jobs = 0;
        let mut requests = 0u32;
        while let Some((first, count)) = self.take() {
            self.pace(requests).await;
            let asked = Instant::now();
            self.enqueue(first, count, asked).await?;
            let latency = asked.elapsed();
            record(&mut histogram, latency);
            self.meter.note(latency);
            self.meter.enqueued.fetch_add(count, Ordering::Relaxed);
            self.progress.inc(count);
            jobs += count;
            requests += 1;
        }
        Ok((jobs, histogram))
    }

    /// Which jobs the next request has: the first, and how many; `None` at the end.
    fn take(&self) -> Option<(u64, u64)> {
        if self.load.seconds.is_some_and(|most| self.begun.elapsed() >= most) {
            return None;
        }
        let first = self.next.fetch_add(self.load.batch as u64, Ordering::Relaxed);
        (first < self.load.jobs).then(|| (first, (self.load.jobs - first).min(self.load.batch as u64)))
    }

    /// Waits for the request's place in the plan; a late one is not made up for by a crowd.
    async fn pace(&self, requests: u32) {
        let Some(rate) = self.load.rate else { return };
        let lanes = f64::from(self.load.producers * self.load.in_flight);
        let interval = Duration::from_secs_f64(lanes / rate);
        let shift = interval.mul_f64(f64::from(self.number) / lanes);
        let due = self.begun + shift + interval * requests;
        tokio::time::sleep_until(due.into()).await;
    }

    /// Asks again while the server is busy or full: a refusal has changed nothing.
    async fn enqueue(&self, first: u64, count: u64, asked: Instant) -> Result<(), CliError> {
        let turn = (first / self.load.batch as u64) as usize % self.load.queues.len();
        loop {
            let queue = self.load.queues[turn].clone();
            let jobs = self.specs(first, count, asked);
            let error = match self.client.call(Request::Enqueue { queue, jobs }).await {
                Ok(Response::Enqueued(entries)) if entries.len() as u64 == count => return Ok(()),
                Ok(other) => return Err(unexpected(&other)),
                Err(error) => error,
            };
            match &error {
                Error::Server(e)
                    if matches!(e.code, ErrorCode::Busy | ErrorCode::StoreFull)
                        && asked.elapsed() < PATIENCE =>
                {
                    let wait = e.retry_after_ms.unwrap_or(BUSY_WAIT_MS);
                    tokio::time::sleep(Duration::from_millis(wait)).await;
                }
                _ => return Err(translate(&self.server, &error)),
            }
        }
    }

    /// No-op jobs. One clock and one payload serve a whole request, so that a producer costs little beside the server.
    fn specs(&self, first: u64, count: u64, asked: Instant) -> Vec<JobSpec> {
        let now = value::now();
        let stamp = asked.duration_since(self.origin).as_micros();
        let shared = payload(u64::try_from(stamp).unwrap_or(u64::MAX), self.load.payload_bytes);
        (first..first + count)
            .map(|number| {
                let mut spec = match self.load.due {
                    None => JobSpec::new(KIND, shared.clone()),
                    Some(Due { first, spread_ms }) => {
                        let due = first.plus_ms(number % spread_ms);
                        let mut spec = JobSpec::new(KIND, payload(due.0, self.load.payload_bytes));
                        spec.run_at = RunAt::At(due);
                        spec
                    }
                };
                spec.id = Some(JobId::v7(now, rand::random()));
                spec
            })
            .collect()
    }
}

/// A JSON string of exactly so many bytes that begins with a number.
pub(super) fn payload(number: u64, bytes: usize) -> Payload {
    let width = bytes.saturating_sub(2);
    Payload::json(format!("\"{number:_<width$}\""))
}

/// The number that a payload of [`payload`] begins with.
pub(super) fn number_in(payload: &Payload) -> Option<u64> {
    let digits = payload.data.get(1..)?.iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0u64, |sum, digit| sum.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_has_its_size_and_gives_its_number_back() {
        let made = payload(1_234_567, 100);
        assert_eq!((made.data.len(), number_in(&made)), (100, Some(1_234_567)));
    }
}
