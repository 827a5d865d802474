//! Producers: each with a connection of its own, all waiting for durable confirmation.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use indicatif::ProgressBar;
use tokio::task::JoinSet;
use windlass_core::api::{Request, Response};
use windlass_core::job::{JobSpec, Payload};

use super::Setting;
use crate::cli::connect::{Server, new_id, unexpected};
use crate::cli::error::CliError;

/// The kind of the jobs.
pub(super) const KIND: &str = "bench_noop";
/// Longest latency that is told apart, in microseconds: ten minutes.
const LATENCY_US_MAX: u64 = 600_000_000;

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
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    /// Producers.
    pub(super) producers: u32,
    /// Jobs per request.
    pub(super) batch: usize,
    /// Jobs in all, at most.
    pub(super) jobs: u64,
    /// No request is begun after this time.
    pub(super) seconds: Option<Duration>,
    /// Requests per second over all producers; as fast as possible without it.
    pub(super) rate: Option<f64>,
}

/// What producers saw.
pub(super) struct Offered {
    /// Jobs confirmed.
    pub(super) jobs: u64,
    /// From the first request to the last confirmation.
    pub(super) elapsed: Duration,
    /// From a request to its confirmation.
    pub(super) latencies: Latencies,
}

/// Offers jobs. The payload carries the microseconds since `origin` at which its request was begun.
///
/// # Errors
/// When a connection cannot be made, or the server refuses for a minute.
pub(super) async fn offer(
    setting: &Setting,
    load: Load,
    origin: Instant,
    progress: &ProgressBar,
) -> Result<Offered, CliError> {
    let mut connections = Vec::new();
    for _ in 0..load.producers {
        connections.push(Server::at(&setting.server).await?);
    }
    let left = Arc::new(AtomicU64::new(load.jobs));
    let begun = Instant::now();
    let mut producers = JoinSet::new();
    for (number, server) in connections.into_iter().enumerate() {
        let producer = Producer {
            server,
            setting: setting.clone(),
            load,
            left: Arc::clone(&left),
            origin,
            begun,
            progress: progress.clone(),
            number,
        };
        producers.spawn(producer.run());
    }
    let mut offered = Offered { jobs: 0, elapsed: Duration::ZERO, latencies: latencies() };
    while let Some(ended) = producers.join_next().await {
        let (jobs, histogram) =
            ended.map_err(|e| CliError::failure(format!("bench: a producer failed: {e}")))??;
        offered.jobs += jobs;
        offered.latencies += &histogram;
    }
    offered.elapsed = begun.elapsed();
    Ok(offered)
}

struct Producer {
    server: Server,
    setting: Setting,
    load: Load,
    left: Arc<AtomicU64>,
    origin: Instant,
    begun: Instant,
    progress: ProgressBar,
    number: usize,
}

impl Producer {
    async fn run(self) -> Result<(u64, Latencies), CliError> {
        let mut histogram = latencies();
        let mut jobs = 0;
        let mut requests = 0u32;
        while let Some(count) = self.take() {
            self.pace(requests).await;
            let asked = Instant::now();
            let specs = (0..count).map(|_| spec(&self.setting, self.origin)).collect();
            let request = Request::Enqueue { queue: self.setting.queue.clone(), jobs: specs };
            match self.server.call_patiently(request).await? {
                Response::Enqueued(entries) => jobs += entries.len() as u64,
                other => return Err(unexpected(&other)),
            }
            record(&mut histogram, asked.elapsed());
            self.progress.inc(count as u64);
            requests += 1;
        }
        Ok((jobs, histogram))
    }

    /// How many jobs the next request has; `None` at the end.
    fn take(&self) -> Option<usize> {
        if self.load.seconds.is_some_and(|most| self.begun.elapsed() >= most) {
            return None;
        }
        let batch = self.load.batch as u64;
        let take = |left: u64| (left > 0).then(|| left.saturating_sub(batch));
        let before = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).ok()?;
        Some(before.min(batch) as usize)
    }

    /// Waits for the request's place in the plan; a late one is not made up for by a crowd.
    async fn pace(&self, requests: u32) {
        let Some(rate) = self.load.rate else { return };
        let interval = Duration::from_secs_f64(f64::from(self.load.producers) / rate);
        let shift = interval.mul_f64(self.number as f64 / f64::from(self.load.producers));
        let due = self.begun + shift + interval * requests;
        tokio::time::sleep_until(due.into()).await;
    }
}

/// A no-op job: a JSON string of exactly so many bytes that begins with the time.
fn spec(setting: &Setting, origin: Instant) -> JobSpec {
    let at = origin.elapsed().as_micros();
    let width = setting.payload_bytes - 2;
    let mut spec = JobSpec::new(KIND, Payload::json(format!("\"{at:_<width$}\"")));
    spec.id = Some(new_id());
    spec
}

/// The time that a payload of [`spec`] carries.
pub(super) fn begun_at(payload: &Payload) -> Option<Duration> {
    let digits = payload.data.get(1..)?.iter().take_while(|byte| byte.is_ascii_digit());
    let us = digits.fold(0u64, |sum, digit| sum.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')));
    Some(Duration::from_micros(us))
}
