//! Time: jobs that are due together, and jobs that fail once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use windlass_core::time::millis;
use windlass_worker::{JobCtx, Verdict};

use super::crew::{Crew, Starts};
use super::load::{Due, Load, Offered, number_in, offer};
use super::phases::fill;
use super::stage::{Bench, Measured};
use crate::cli::error::CliError;
use crate::cli::value;

/// Jobs per second that a slow machine enqueues at least; the due time lies that far ahead, and a little more.
const ENQUEUE_RATE_LEAST: u64 = 25_000;
/// The little more.
const LEAD: Duration = Duration::from_secs(3);
/// Wait before the second attempt of a job that fails once.
const RETRY_WAIT: Duration = Duration::from_secs(1);

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Jobs that are all due in the same second, and the same number that are due at the same instant.
///
/// # Errors
/// When the server cannot be reached or refuses, or when the jobs were due before they were all enqueued.
pub(super) async fn timers(bench: &Bench) -> Result<Vec<Measured>, CliError> {
    let mut lines = due_together(bench, 1_000, ["timers_enqueue", "timers_run"], "in one second").await?;
    let names = ["timers_instant_enqueue", "timers_instant_run"];
    lines.extend(due_together(bench, 1, names, "at one instant").await?);
    Ok(lines)
}

async fn due_together(
    bench: &Bench,
    spread_ms: u64,
    [enqueue, run]: [&'static str; 2],
    when: &str,
) -> Result<Vec<Measured>, CliError> {
    let jobs = bench.setting.jobs;
    let lead = LEAD + Duration::from_millis(jobs * 1_000 / ENQUEUE_RATE_LEAST);
    let first = value::now().plus_ms(millis(lead));
    let due = Instant::now() + lead;
    let load = Load { due: Some(Due { first, spread_ms }), ..Load::bulk(bench) };
    let phase = format!("enqueue {jobs} delayed jobs, all due {when}");
    let bar = bench.bar(&phase, jobs);
    let begun = bench.begin(enqueue);
    let Offered { jobs, latencies } = offer(bench, &load, &bar).await?;
    let filled = bench.end(&begun, enqueue, phase, jobs);
    let filled = filled.with_latencies("request to durable confirmation", latencies);
    bar.finish_and_clear();
    if Instant::now() >= due {
        return Err(CliError::failure(format!(
            "bench timers: enqueueing took longer than the {lead:?} before the jobs are due, so that lateness would measure \
             that; take fewer --jobs"
        )));
    }
    let (early, starts) = (Arc::new(AtomicU64::new(0)), Starts::new());
    let base = bench.runs();
    bench.aim(base + jobs);
    let handler = lateness(bench, &starts, &early);
    let crew = Crew::start(bench, bench.setting.workers(), bench.setting.concurrency, &handler);
    tokio::time::sleep_until(due.into()).await;
    let phase = format!("run those due {when}; latency is lateness");
    let bar = bench.bar(&phase, jobs);
    let begun = bench.begin(run);
    bench.until(base + jobs, None, &bar).await?;
    let line = bench.end(&begun, run, phase, jobs);
    crew.stop().await?;
    bar.finish_and_clear();
    let line = line.with_latencies("due time to start of the handler", starts.take());
    Ok(vec![filled, line.with("early", early.load(Ordering::Relaxed))])
}

/// A handler that notes how late it is by its own clock; early is counted apart.
fn lateness(
    bench: &Bench,
    starts: &Starts,
    early: &Arc<AtomicU64>,
) -> impl Fn(JobCtx) -> std::future::Ready<()> + Clone + Send + Sync + use<> {
    let (meter, starts, early) = (bench.meter(), starts.clone(), Arc::clone(early));
    move |job| {
        if let Some(due_ms) = number_in(job.payload()) {
            match now_us().checked_sub(due_ms * 1_000) {
                Some(late) => {
                    let late = Duration::from_micros(late);
                    starts.record(late);
                    meter.note(late);
                }
                None => _ = early.fetch_add(1, Ordering::Relaxed),
            }
        }
        meter.ran();
        std::future::ready(())
    }
}

/// Jobs that fail at their first attempt and succeed at the second, a second later.
///
/// # Errors
/// When the server cannot be reached or refuses.
pub(super) async fn retries(bench: &Bench) -> Result<Vec<Measured>, CliError> {
    let filled = fill(bench, "retries_enqueue", bench.setting.jobs).await?;
    let jobs = filled.jobs;
    let phase = format!("fail once, run again after {RETRY_WAIT:?}");
    let bar = bench.bar(&phase, 2 * jobs);
    let base = bench.runs();
    bench.aim(base + 2 * jobs);
    let begun = bench.begin("retries_run");
    let meter = bench.meter();
    let handler = move |job: JobCtx| {
        meter.ran();
        std::future::ready(match job.attempt() {
            1 => Verdict::retry_in(RETRY_WAIT, "the first attempt of this benchmark fails"),
            _ => Verdict::done(),
        })
    };
    let crew = Crew::start(bench, bench.setting.workers(), bench.setting.concurrency, &handler);
    bench.until(base + 2 * jobs, None, &bar).await?;
    crew.stop().await?;
    let line = bench.end(&begun, "retries_run", phase, jobs);
    bar.finish_and_clear();
    Ok(vec![filled, line.with("attempts", 2 * jobs)])
}
