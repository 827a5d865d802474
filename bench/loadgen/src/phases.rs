//! The phases, the same for every broker.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{Consumer, Error, Job, Opts, Producer, Protocol, Res, job, now_ns, unhex16};

/// How long a consumer waits for its first job before it looks whether all is done.
const WAIT: Duration = Duration::from_millis(250);
/// Jobs whose numbers are remembered, to count deliveries that came twice.
const SEEN_MAX: u64 = 1 << 27;

struct Shared {
    next: AtomicU64,
    done: AtomicU64,
    twice: AtomicU64,
    seen: Vec<AtomicU8>,
}

impl Shared {
    fn new(jobs: u64) -> Arc<Shared> {
        let seen = (0..jobs.min(SEEN_MAX) / 8 + 1).map(|_| AtomicU8::new(0)).collect();
        Arc::new(Shared { next: 0.into(), done: 0.into(), twice: 0.into(), seen })
    }

    fn see(&self, payload: &[u8]) {
        let number = unhex16(payload) as usize;
        if let Some(byte) = self.seen.get(number / 8) {
            let bit = 1u8 << (number % 8);
            if byte.fetch_or(bit, Relaxed) & bit != 0 {
                self.twice.fetch_add(1, Relaxed);
            }
        }
    }
}

fn percentile(values: &mut [u64], share: f64) -> f64 {
    if values.is_empty() {
        return -1.0;
    }
    values.sort_unstable();
    values[((values.len() as f64 - 1.0) * share).round() as usize] as f64 / 1000.0
}

/// Runs one phase and prints what came of it.
pub async fn run<X: Protocol>(broker: X, phase: &str, opts: &Opts) -> Res<()> {
    let mut out = match phase {
        "reset" => {
            broker.reset().await?;
            json!({})
        }
        "enq" | "drain" | "both" => throughput(&broker, phase, opts).await?,
        "lat" => latency(&broker, opts).await?,
        other => return Err(format!("unknown phase {other}").into()),
    };
    out["phase"] = phase.into();
    println!("{out}");
    Ok(())
}

async fn throughput<X: Protocol>(broker: &X, phase: &str, opts: &Opts) -> Res<Value> {
    let jobs = opts.number("n", 100_000);
    let (conns, window) = (opts.number("conns", 1), opts.number("window", 1));
    let (cconns, cwindow) = (opts.number("cconns", 1), opts.number("cwindow", 1));
    let shared = Shared::new(jobs);
    let (mut producers, mut consumers) = (Vec::new(), Vec::new());
    if phase != "drain" {
        for number in 0..conns {
            producers.push(broker.producer(number as usize).await?);
        }
    }
    if phase != "enq" {
        for number in 0..cconns {
            consumers.push(broker.consumer(number as usize).await?);
        }
    }
    let begun = Instant::now();
    let deadline = begun + Duration::from_secs(opts.number("secs", 30));
    let consuming: Vec<_> = consumers
        .into_iter()
        .map(|c| tokio::spawn(consume(c, shared.clone(), jobs, cwindow as usize, deadline)))
        .collect();
    let producing: Vec<_> = producers
        .into_iter()
        .map(|p| tokio::spawn(produce(p, shared.clone(), jobs, window, deadline)))
        .collect();
    let (mut sent, mut puts) = (0, Vec::new());
    for task in producing {
        let (count, times) = task.await??;
        sent += count;
        puts.extend(times);
    }
    let sent_in = begun.elapsed().as_secs_f64();
    let (mut got, mut end) = (0, begun);
    for task in consuming {
        let (count, last) = task.await??;
        got += count;
        if count > 0 {
            end = end.max(last);
        }
    }
    let (count, secs) = if phase == "enq" { (sent, sent_in) } else { (got, (end - begun).as_secs_f64()) };
    let mut out = json!({
        "conns": conns, "window": window, "cconns": cconns, "cwindow": cwindow, "n": count, "secs": secs,
        "rate": (count as f64 / secs.max(1e-9)).round(), "complete": count >= jobs, "twice": shared.twice.load(Relaxed),
    });
    if phase != "drain" {
        out["put_p50_us"] = percentile(&mut puts, 0.50).into();
        out["put_p99_us"] = percentile(&mut puts, 0.99).into();
    }
    Ok(out)
}

async fn produce<P: Producer>(
    mut producer: P,
    shared: Arc<Shared>,
    jobs: u64,
    window: u64,
    deadline: Instant,
) -> Res<(u64, Vec<u64>)> {
    let (mut sent, mut times) = (0u64, Vec::new());
    let mut batch: Vec<Job> = Vec::with_capacity(window as usize);
    while Instant::now() < deadline {
        let first = shared.next.fetch_add(window, Relaxed);
        if first >= jobs {
            break;
        }
        batch.clear();
        batch.extend((first..(first + window).min(jobs)).map(job));
        let begun = now_ns();
        producer.put(&batch).await?;
        times.push(now_ns() - begun);
        sent += batch.len() as u64;
    }
    Ok((sent, times))
}

async fn consume<C: Consumer>(
    mut consumer: C,
    shared: Arc<Shared>,
    jobs: u64,
    window: usize,
    deadline: Instant,
) -> Res<(u64, Instant)> {
    let (mut got, mut last) = (0u64, Instant::now());
    while shared.done.load(Relaxed) < jobs && Instant::now() < deadline {
        let count = consumer.take(window, WAIT, |payload| shared.see(payload)).await? as u64;
        if count > 0 {
            got += count;
            last = Instant::now();
            if shared.done.fetch_add(count, Relaxed) + count >= jobs {
                consumer.flush().await?;
                last = Instant::now();
            }
        }
    }
    consumer.flush().await?;
    Ok((got, last))
}

async fn latency<X: Protocol>(broker: &X, opts: &Opts) -> Res<Value> {
    let (rate, secs) = (opts.number("rate", 200), opts.number("secs", 5));
    let jobs = rate * secs;
    let mut producer = broker.producer(0).await?;
    let got = Arc::new(AtomicU64::new(0));
    let deadline = Instant::now() + Duration::from_secs(secs + 5);
    let window = opts.number("cwindow", 1) as usize;
    let mut consuming = Vec::new();
    for number in 0..opts.number("cconns", 1) {
        let mut consumer = broker.consumer(number as usize).await?;
        let got = got.clone();
        consuming.push(tokio::spawn(async move {
            let mut times: Vec<u64> = Vec::new();
            while got.load(Relaxed) < jobs && Instant::now() < deadline {
                let note = |payload: &[u8]| times.push(now_ns().saturating_sub(unhex16(&payload[16..])));
                let count = consumer.take(window, WAIT, note).await?;
                got.fetch_add(count as u64, Relaxed);
            }
            consumer.flush().await?;
            Ok::<_, Error>(times)
        }));
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let begun = Instant::now();
    let mut puts = Vec::new();
    for number in 0..jobs {
        let due = begun + Duration::from_nanos(number * 1_000_000_000 / rate);
        tokio::time::sleep_until(due.into()).await;
        let asked = now_ns();
        producer.put(&[job(number)]).await?;
        puts.push(now_ns() - asked);
    }
    let sent_in = begun.elapsed().as_secs_f64();
    let mut times = Vec::new();
    for task in consuming {
        times.extend(task.await??);
    }
    Ok(json!({
        "n": times.len(), "secs": sent_in, "rate": (jobs as f64 / sent_in).round(), "complete": times.len() as u64 >= jobs,
        "p50_us": percentile(&mut times, 0.50), "p99_us": percentile(&mut times, 0.99),
        "p999_us": percentile(&mut times, 0.999), "max_us": percentile(&mut times, 1.0),
        "put_p50_us": percentile(&mut puts, 0.50), "put_p99_us": percentile(&mut puts, 0.99),
    }))
}
