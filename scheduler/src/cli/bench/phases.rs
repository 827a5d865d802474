//! The standard phases: enqueue, stream, run, both at once, latency, sizes of payloads.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;
use windlass_worker::Job;

use super::crew::{Crew, Starts, counting, timing};
use super::load::{KIND, Load, Offered, offer, payload};
use super::stage::{Bench, Measured};
use crate::cli::error::CliError;

/// Requests per second in the latency phase: far below what any machine does, so that no queue forms.
const LATENCY_RATE: f64 = 200.0;
/// Jobs of the latency phase at most: ten seconds.
const LATENCY_JOBS: u64 = 2_000;
/// Producers of the second streaming phase: more than the processors of small machines, fewer than of large ones.
const STREAM_PRODUCERS: u32 = 4;
/// Sizes of payloads that are compared.
const PAYLOAD_BYTES: [usize; 3] = [100, 1_000, 64_000];
/// Bytes that the jobs of one such phase have together at most, so that large payloads do not take all day.
const PAYLOAD_BYTES_ALL: u64 = 512 * 1024 * 1024;

/// Latencies of a producer.
const CONFIRMED: &str = "request to durable confirmation";
/// Latencies of a worker.
pub(super) const STARTED: &str = "request to start of the handler";

type Lines = Result<Vec<Measured>, CliError>;

/// The short set.
///
/// # Errors
/// As every phase: when the server cannot be reached or refuses the jobs.
pub(super) async fn all(bench: &Bench) -> Lines {
    let mut lines = producers(bench).await?;
    lines.push(empty(bench, lines.iter().map(|line| line.jobs).sum()).await?);
    lines.push(together(bench, &Load::bulk(bench)).await?);
    lines.push(at_rate(bench, "latency_200", LATENCY_RATE, LATENCY_JOBS, 1).await?);
    Ok(lines)
}

/// One by one with one producer and with many, then in batches.
///
/// # Errors
/// See [`all`].
pub(super) async fn enqueue(bench: &Bench) -> Lines {
    let lines = producers(bench).await?;
    // The backlog is always run: a server that is not ours must not be left with it.
    empty(bench, lines.iter().map(|line| line.jobs).sum()).await?;
    Ok(lines)
}

async fn producers(bench: &Bench) -> Lines {
    let one = Load::one_by_one(bench, 1);
    let many = Load::one_by_one(bench, bench.setting.producers);
    Ok(vec![
        confirmed(bench, "enqueue_one", &one).await?,
        confirmed(bench, "enqueue_many", &many).await?,
        confirmed(bench, "enqueue_batches", &Load::bulk(bench)).await?,
    ])
}

async fn confirmed(bench: &Bench, name: &'static str, load: &Load) -> Result<Measured, CliError> {
    let phase = match load.batch {
        1 => format!("enqueue one by one, {}", load.who()),
        batch => format!("enqueue in batches of {batch}, {}", load.who()),
    };
    let bar = bench.bar(&phase, load.jobs);
    let begun = bench.begin(name);
    let Offered { jobs, latencies } = offer(bench, load, &bar).await?;
    let line = bench.end(&begun, name, phase, jobs).with_latencies(CONFIRMED, latencies);
    bar.finish_and_clear();
    Ok(described(line, load))
}

fn described(line: Measured, load: &Load) -> Measured {
    line.with("producers", load.producers).with("batch", load.batch).with("payload_bytes", load.payload_bytes)
}

/// The client's bulk call with one producer, then with several.
///
/// # Errors
/// See [`all`].
pub(super) async fn stream(bench: &Bench) -> Lines {
    let mut lines = Vec::new();
    for (name, producers) in [("stream_one", 1), ("stream_many", STREAM_PRODUCERS)] {
        let plural = if producers == 1 { "" } else { "s" };
        let phase = format!("enqueue as a stream, {producers} producer{plural}");
        let bar = bench.bar(&phase, bench.setting.jobs);
        let begun = bench.begin(name);
        let mut streams = JoinSet::new();
        for number in 0..u64::from(producers) {
            let share = bench.setting.jobs / u64::from(producers)
                + u64::from(number < bench.setting.jobs % u64::from(producers));
            let (client, meter, bar) = (bench.connect().await?, bench.meter(), bar.clone());
            // A clone shares the payload's bytes, as a producer would that sends the same text to many.
            let job = Job::raw(KIND, payload(0, bench.setting.payload_bytes)).queue(bench.queue.as_str());
            streams.spawn(async move {
                let jobs = (0..share).map(|_| job.clone());
                let done = client.enqueue_many(jobs).on_result(|_, result| {
                    if result.is_ok() {
                        meter.enqueued.fetch_add(1, Ordering::Relaxed);
                    }
                });
                let done = done.await;
                bar.inc(share);
                done
            });
        }
        let mut jobs = 0;
        while let Some(ended) = streams.join_next().await {
            let ended = ended.map_err(|e| CliError::failure(format!("bench: a producer failed: {e}")))?;
            jobs += ended.map_err(|e| CliError::failure(format!("bench: {e}")))?.enqueued;
        }
        let line = bench.end(&begun, name, phase, jobs);
        bar.finish_and_clear();
        lines.push(line.with("producers", producers).with("payload_bytes", bench.setting.payload_bytes));
        empty(bench, jobs).await?;
    }
    Ok(lines)
}

/// A backlog, and the workers that run it.
///
/// # Errors
/// See [`all`].
pub(super) async fn run(bench: &Bench) -> Lines {
    let filled = confirmed(bench, "enqueue_batches", &Load::bulk(bench)).await?;
    let ran = empty(bench, filled.jobs).await?;
    Ok(vec![filled, ran])
}

/// Runs so many waiting jobs with the workers asked for.
async fn empty(bench: &Bench, jobs: u64) -> Result<Measured, CliError> {
    emptied(bench, "run", bench.setting.workers(), jobs).await
}

async fn emptied(bench: &Bench, name: &'static str, workers: u32, jobs: u64) -> Result<Measured, CliError> {
    let concurrency = bench.setting.concurrency;
    let phase = match workers {
        1 => format!("run the backlog, {concurrency} at a time"),
        _ => format!("run the backlog, {workers} workers, {concurrency} at a time each"),
    };
    let bar = bench.bar(&phase, jobs);
    let target = bench.runs() + jobs;
    bench.aim(target);
    let begun = bench.begin(name);
    let crew = Crew::start(bench, workers, concurrency, &counting(bench));
    bench.until(target, None, &bar).await?;
    // Stopping returns when the server has confirmed every end.
    crew.stop().await?;
    let line = bench.end(&begun, name, phase, jobs);
    bar.finish_and_clear();
    Ok(line.with("workers", workers).with("concurrency", concurrency))
}

/// The same backlog with several numbers of workers.
///
/// # Errors
/// See [`all`].
pub(super) async fn drain(bench: &Bench) -> Lines {
    let workers = match &bench.setting.workers[..] {
        [] => vec![1, 2, 8],
        some => some.to_vec(),
    };
    let mut lines = Vec::new();
    for workers in workers {
        let filled = confirmed(bench, "enqueue_batches", &Load::bulk(bench)).await?;
        lines.push(emptied(bench, "drain", workers, filled.jobs).await?);
    }
    Ok(lines)
}

/// Producing and running at the same time: in batches, then one by one.
///
/// # Errors
/// See [`all`].
pub(super) async fn both(bench: &Bench) -> Lines {
    let one_by_one = Load::one_by_one(bench, bench.setting.producers);
    Ok(vec![together(bench, &Load::bulk(bench)).await?, together(bench, &one_by_one).await?])
}

async fn together(bench: &Bench, load: &Load) -> Result<Measured, CliError> {
    let (name, phase) = match load.batch {
        1 => ("both_one_by_one", format!("both at once, one by one, {}", load.who())),
        batch => ("both", format!("both at once, batches of {batch}")),
    };
    let bar = bench.bar(&phase, load.jobs);
    let base = bench.runs();
    bench.aim(base + load.jobs);
    let workers = bench.setting.workers();
    let crew = Crew::start(bench, workers, bench.setting.concurrency, &counting(bench));
    let begun = bench.begin(name);
    let offered = offer(bench, load, &bar).await?;
    bench.until(base + offered.jobs, None, &bar).await?;
    crew.stop().await?;
    let line = bench.end(&begun, name, phase, offered.jobs).with_latencies(CONFIRMED, offered.latencies);
    bar.finish_and_clear();
    Ok(described(line, load).with("workers", workers).with("concurrency", bench.setting.concurrency))
}

/// Latency at 200 jobs a second, and at half of what goes one by one.
///
/// # Errors
/// See [`all`].
pub(super) async fn latency(bench: &Bench) -> Lines {
    let time = bench.setting.seconds.as_secs_f64();
    let jobs = (LATENCY_RATE * time).round().clamp(1.0, LATENCY_JOBS as f64) as u64;
    let idle = at_rate(bench, "latency_200", LATENCY_RATE, jobs, 1).await?;
    let mut load = Load::one_by_one(bench, bench.setting.producers);
    load.seconds = Some(bench.setting.seconds / 2);
    // The number of jobs must not end the search for the limit before its time.
    load.jobs = u64::MAX / 2;
    let full = together(bench, &load).await?;
    let half = (full.rate() as f64 / 2.0).max(1.0);
    let jobs = (half * time).round().max(1.0) as u64;
    let line = at_rate(bench, "latency_half", half, jobs, bench.setting.producers).await?;
    Ok(vec![idle, line.with("full_load_jobs_per_second", full.rate())])
}

async fn at_rate(
    bench: &Bench,
    name: &'static str,
    rate: f64,
    jobs: u64,
    producers: u32,
) -> Result<Measured, CliError> {
    let phase = format!("latency at {rate:.0} jobs/s");
    let bar = bench.bar(&phase, jobs);
    let base = bench.runs();
    bench.aim(base + jobs);
    let starts = Starts::new();
    let workers = bench.setting.workers();
    let crew = Crew::start(bench, workers, bench.setting.concurrency, &timing(bench, &starts));
    let load = Load { jobs, seconds: None, rate: Some(rate), ..Load::one_by_one(bench, producers) };
    let begun = bench.begin(name);
    let offered = offer(bench, &load, &bar).await?;
    bench.until(base + offered.jobs, None, &bar).await?;
    let line = bench.end(&begun, name, phase, offered.jobs).with_latencies(STARTED, starts.take());
    crew.stop().await?;
    bar.finish_and_clear();
    let confirmed = offered.latencies.value_at_quantile(0.5);
    Ok(described(line, &load).with("confirmation_p50_us", confirmed))
}

/// The same for small and large payloads.
///
/// # Errors
/// See [`all`].
pub(super) async fn payloads(bench: &Bench) -> Lines {
    let mut lines = Vec::new();
    for bytes in PAYLOAD_BYTES {
        let mut load = Load::bulk(bench).sized(bytes, bench.setting.batch);
        load.jobs = bench.setting.jobs.min(PAYLOAD_BYTES_ALL / bytes as u64);
        let mut filled = confirmed(bench, "payloads_enqueue", &load).await?;
        filled.phase = format!("{}, {bytes} B", filled.phase);
        let mut ran = emptied(bench, "payloads_run", bench.setting.workers(), filled.jobs).await?;
        ran.phase = format!("{}, {bytes} B", ran.phase);
        lines.extend([filled, ran.with("payload_bytes", bytes)]);
    }
    Ok(lines)
}

/// A short run before the figures that count: connections, caches and the first journal segment are there then.
pub(super) async fn warm_up(bench: &Bench) -> Result<(), CliError> {
    let load = Load { jobs: 1_000, ..Load::bulk(bench) };
    let filled = confirmed(bench, "warm_up", &load).await?;
    emptied(bench, "warm_up", 1, filled.jobs).await.map(drop)
}

/// Runs a part of a backlog: until so many have run, or the time is over.
pub(super) async fn run_some(
    bench: &Bench,
    name: &'static str,
    phase: &str,
    jobs: u64,
    most: Duration,
) -> Result<Measured, CliError> {
    let bar = bench.bar(phase, jobs);
    let base = bench.runs();
    bench.aim(base + jobs);
    let begun = bench.begin(name);
    let workers = bench.setting.workers();
    let crew = Crew::start(bench, workers, bench.setting.concurrency, &counting(bench));
    bench.until(base + jobs, Some(most), &bar).await?;
    let ran = bench.runs() - base;
    let line = bench.end(&begun, name, phase.to_owned(), ran);
    crew.stop().await?;
    bar.finish_and_clear();
    Ok(line.with("workers", workers).with("concurrency", bench.setting.concurrency))
}

/// Fills the bench's queue; the line of it.
pub(super) async fn fill(bench: &Bench, name: &'static str, jobs: u64) -> Result<Measured, CliError> {
    confirmed(bench, name, &Load { jobs, ..Load::bulk(bench) }).await
}
