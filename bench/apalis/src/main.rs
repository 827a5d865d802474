//! Load for apalis, through itself.
//!
//! ```text
//! apalis-bench redis|postgres reset|enq|drain|both|lat --url URL [--n N] [--secs S] [--conns C] [--window W]
//!              [--conc K] [--batch B]
//! ```
//!
//! Prints one JSON object. Single jobs go through `push_bulk` too: the Redis storage of version 1.0.0 puts what `push` gives it
//! among the scheduled jobs, from which no worker took any within ten seconds. The storages share no trait that covers
//! `push_bulk` and the worker, so the driver is a macro.
#![forbid(unsafe_code)]

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use apalis::prelude::*;
use apalis_core::worker::ext::parallelize::ParallelizeExt;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

type Res<T> = Result<T, BoxDynError>;

/// Jobs per second of the latency phase.
const RATE: u64 = 200;

/// A job of 100 bytes: number, time, filling.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Noop {
    p: String,
}

static DONE: AtomicU64 = AtomicU64::new(0);
static TARGET: AtomicU64 = AtomicU64::new(0);
static LATENCIES: Mutex<Vec<u64>> = Mutex::new(Vec::new());
static END: Mutex<Option<Instant>> = Mutex::new(None);
/// Why the worker ended by itself.
static BROKEN: Mutex<Option<String>> = Mutex::new(None);

fn now_ns() -> u64 {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    BEGUN.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

fn job(number: u64) -> Noop {
    Noop { p: format!("{number:016x}{:016x}{:x>68}", now_ns(), "") }
}

async fn handle(job: Noop, worker: WorkerContext) -> Result<(), BoxDynError> {
    let latency = now_ns().saturating_sub(u64::from_str_radix(&job.p[16..32], 16)?);
    LATENCIES.lock().unwrap().push(latency);
    if DONE.fetch_add(1, Relaxed) + 1 == TARGET.load(Relaxed) {
        *END.lock().unwrap() = Some(Instant::now());
        worker.stop()?;
    }
    Ok(())
}

fn percentile(values: &mut [u64], share: f64) -> f64 {
    if values.is_empty() {
        return -1.0;
    }
    values.sort_unstable();
    values[((values.len() as f64 - 1.0) * share).round() as usize] as f64 / 1000.0
}

/// The arguments behind the first two.
struct Opts(HashMap<String, String>);

impl Opts {
    fn number(&self, key: &str, default: u64) -> u64 {
        self.0.get(key).map_or(default, |value| value.parse().expect("a number"))
    }
}

/// How much is offered.
#[derive(Clone, Copy)]
struct Plan {
    jobs: u64,
    conns: u64,
    window: u64,
    most: Duration,
}

/// What came of a phase in which the worker ran.
async fn consumed(out: &mut Value, begun: Instant, plan: Plan, lat: bool) {
    while END.lock().unwrap().is_none()
        && BROKEN.lock().unwrap().is_none()
        && begun.elapsed() < plan.most + Duration::from_secs(3)
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let end = END.lock().unwrap().unwrap_or_else(Instant::now);
    rate(out, DONE.load(Relaxed), (end - begun).as_secs_f64(), plan.jobs);
    if lat {
        let mut all = std::mem::take(&mut *LATENCIES.lock().unwrap());
        for (key, share) in [("p50_us", 0.5), ("p99_us", 0.99), ("p999_us", 0.999), ("max_us", 1.0)] {
            out[key] = percentile(&mut all, share).into();
        }
    }
}

fn rate(out: &mut Value, jobs: u64, secs: f64, wanted: u64) {
    out["n"] = jobs.into();
    out["secs"] = secs.into();
    out["rate"] = (jobs as f64 / secs.max(1e-9)).round().into();
    out["complete"] = (jobs >= wanted).into();
}

/// `$producer` makes one more handle to produce with, `$consumer` the worker's backend.
macro_rules! drive {
    ($opts:expr, $phase:expr, $producer:expr, $consumer:expr) => {{
        let (opts, phase): (&Opts, &str) = ($opts, $phase);
        let secs = opts.number("secs", 30);
        let jobs = if phase == "lat" { RATE * secs } else { opts.number("n", 100_000) };
        let plan = Plan { jobs, conns: opts.number("conns", 1), window: opts.number("window", 1), most: Duration::from_secs(secs) };
        let mut out = json!({ "phase": phase, "conns": plan.conns, "window": plan.window });
        TARGET.store(plan.jobs, Relaxed);
        let worker = (phase != "enq").then(|| {
            let concurrency = opts.number("conc", 100) as usize;
            let built = WorkerBuilder::new("bench").backend($consumer).concurrency(concurrency).parallelize(tokio::spawn).build(handle);
            tokio::task::spawn_local(async move {
                if let Err(error) = built.run().await {
                    *BROKEN.lock().unwrap() = Some(error.to_string());
                }
            })
        });
        if phase == "lat" {
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        let begun = Instant::now();
        if phase == "lat" {
            let mut producer = $producer;
            for number in 0..plan.jobs {
                tokio::time::sleep_until((begun + Duration::from_micros(number * 1_000_000 / RATE)).into()).await;
                producer.push_bulk(vec![job(number)]).await?;
            }
        } else if phase != "drain" {
            let next = Arc::new(AtomicU64::new(0));
            let mut producers = Vec::new();
            for _ in 0..plan.conns {
                let (mut producer, next) = ($producer, next.clone());
                producers.push(tokio::spawn(async move {
                    let mut sent = 0u64;
                    while begun.elapsed() < plan.most {
                        let first = next.fetch_add(plan.window, Relaxed);
                        let end = (first + plan.window).min(plan.jobs);
                        if first >= end {
                            break;
                        }
                        producer.push_bulk((first..end).map(job).collect()).await?;
                        sent += end - first;
                    }
                    Ok::<u64, BoxDynError>(sent)
                }));
            }
            let mut sent = 0;
            for producer in producers {
                sent += producer.await??;
            }
            rate(&mut out, sent, begun.elapsed().as_secs_f64(), plan.jobs);
        }
        if let Some(worker) = worker {
            consumed(&mut out, begun, plan, phase == "lat").await;
            // It may finish acknowledging, for a while.
            let _ = tokio::time::timeout(Duration::from_secs(10), worker).await;
        }
        if let Some(why) = BROKEN.lock().unwrap().take() {
            out["error"] = format!("the worker ended: {why}").into();
        }
        println!("{out}");
    }};
}

#[tokio::main]
async fn main() -> Res<()> {
    // The worker's future cannot be sent, so it runs as a local task; its handlers still run on all threads.
    tokio::task::LocalSet::new().run_until(run()).await
}

async fn run() -> Res<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [backend, phase, rest @ ..] = &arguments[..] else {
        return Err("usage: apalis-bench BACKEND PHASE --url URL".into());
    };
    let pairs = rest.chunks(2).filter(|pair| pair.len() == 2);
    let opts =
        Opts(pairs.map(|pair| (pair[0].trim_start_matches("--").to_owned(), pair[1].clone())).collect());
    let url = opts.0.get("url").ok_or("--url is missing")?.clone();
    let batch = opts.number("batch", 100) as usize;
    match backend.as_str() {
        "redis" => redis(&opts, phase, url, batch).await,
        "postgres" => postgres(&opts, phase, &url, batch).await,
        other => Err(format!("unknown backend {other}").into()),
    }
}

async fn redis(opts: &Opts, phase: &str, url: String, batch: usize) -> Res<()> {
    use apalis_redis::{Config, RedisStorage, connect};
    if phase == "reset" {
        println!("{{}}");
        return Ok(());
    }
    let config = Config::default().queue("bench").batch_size(batch).lock_tasks(true);
    let open = async || {
        Ok::<_, BoxDynError>(
            RedisStorage::<Noop>::new(connect(url.clone()).await?).with_config(config.clone()),
        )
    };
    let consumer = open().await?.poll_with_interval(Duration::from_millis(5));
    drive!(opts, phase, open().await?, consumer);
    Ok(())
}

async fn postgres(opts: &Opts, phase: &str, url: &str, batch: usize) -> Res<()> {
    use apalis_postgres::{Config, PgPool, PostgresStorage};
    let pool = PgPool::connect(url).await?;
    if phase == "reset" {
        PostgresStorage::setup(&pool).await?;
        println!("{{}}");
        return Ok(());
    }
    let config = Config::default().queue("bench").batch_size(batch).lock_tasks(true);
    let poll = Strategy::new().interval(Duration::from_millis(100));
    drive!(
        opts,
        phase,
        PostgresStorage::<Noop>::new(&pool).with_config(config.clone()),
        PostgresStorage::<Noop>::new(&pool)
            .with_config(config.clone())
            .with_pubsub()
            .poll_with_strategy(poll)
    );
    Ok(())
}
