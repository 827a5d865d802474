//! Large numbers: a backlog of millions, thousands of queues.

use std::time::{Duration, Instant};

use windlass_core::id::QueueName;
use windlass_core::limits;

use super::crew::{Crew, counting};
use super::load::{Load, Offered, latencies, offer, record};
use super::page::Page;
use super::phases::{fill, run_some, warm_up};
use super::stage::{Bench, Measured};
use crate::cli::error::CliError;

/// The backlog that the large one is compared with, unless that one is smaller itself.
const SMALL_JOBS: u64 = 10_000;
/// How often that one is filled and run, so that the time is long enough to be measured.
const SMALL_ROUNDS: u32 = 5;
/// Pages of the job list that are fetched.
const PAGES: u32 = 50;
/// Jobs that each of the workers for many queues runs at a time.
const SHARE_CONCURRENCY: u32 = 16;

/// Fills a backlog, looks at it, kills the server, runs what it finds again.
///
/// # Errors
/// When the server cannot be reached, refuses, or does not come up again with all jobs.
pub(super) async fn backlog(bench: &mut Bench) -> Result<Vec<Measured>, CliError> {
    let jobs = bench.setting.jobs;
    warm_up(bench).await?;
    let small = small_rounds(bench).await?;
    let filled = fill(bench, "backlog_enqueue", jobs).await?.with("waiting", jobs);
    let page = pages(bench, jobs).await?;
    let begun = bench.begin("backlog_restart");
    bench.crash().await?;
    let took = begun.at.elapsed();
    let after = bench.begin("backlog_restart");
    let phase = format!("kill -9 with {jobs} waiting, until ready again");
    let mut restart = bench.end(&after, "backlog_restart", phase, jobs);
    // The processor time of a process that is gone cannot be compared with that of its successor.
    (restart.elapsed, restart.server_cores, restart.client_cores) = (took, None, None);
    let most = bench.setting.seconds;
    let phase = format!("run of {jobs} waiting, for {most:?} at most");
    let large = run_some(bench, "backlog_run", &phase, jobs, most).await?;
    let beside = large.rate() as f64 / small.rate().max(1) as f64;
    let large = large.with("waiting", jobs).with("rate_beside_small", (beside * 100.0).round() / 100.0);
    Ok(vec![small, filled, page, restart, large])
}

/// What the drain rate of a small backlog is: of several, since one is over too soon.
async fn small_rounds(bench: &Bench) -> Result<Measured, CliError> {
    let mut sum: Option<Measured> = None;
    let jobs = SMALL_JOBS.min(bench.setting.jobs);
    let phase = format!("run of {jobs} waiting, {SMALL_ROUNDS} times");
    for _ in 0..SMALL_ROUNDS {
        fill(bench, "backlog_small_enqueue", jobs).await?;
        let round = run_some(bench, "backlog_small_run", &phase, jobs, Duration::MAX).await?;
        sum = Some(match sum {
            None => round,
            Some(mut sum) => {
                sum.jobs += round.jobs;
                sum.elapsed += round.elapsed;
                sum
            }
        });
    }
    sum.ok_or_else(|| CliError::failure("bench: no round was run; this is a defect"))
}

/// How long the job list takes while the backlog waits.
async fn pages(bench: &Bench, jobs: u64) -> Result<Measured, CliError> {
    let http = bench.own.as_ref().and_then(|own| own.http()).unwrap_or_default().to_owned();
    let path = format!("/api/v1/jobs?queue={}&state=ready&limit=50", bench.queue);
    let mut times = latencies();
    let begun = bench.begin("backlog_page");
    for _ in 0..PAGES {
        let asked = Instant::now();
        let page = Page::get(&http, &path).await?;
        record(&mut times, asked.elapsed());
        if page.status != 200 || !page.body.contains("\"jobs\":[{") {
            return Err(CliError::failure(format!(
                "bench: the job list answered {} with {} bytes and no jobs; is this server of another version?",
                page.status,
                page.body.len()
            )));
        }
    }
    let phase = format!("job list, 50 of {jobs} waiting");
    let line = bench.end(&begun, "backlog_page", phase, u64::from(PAGES));
    Ok(line.with_latencies("request of a page to its last byte", times).with("waiting", jobs))
}

/// Many queues with a few jobs each: enqueue round them, then run with workers that share them.
///
/// # Errors
/// When the server cannot be reached or refuses.
pub(super) async fn queues(bench: &Bench) -> Result<Vec<Measured>, CliError> {
    let setting = &bench.setting;
    let names: Vec<QueueName> = (0..setting.queues)
        .map(|number| QueueName::new(&format!("{}-{number}", bench.queue)))
        .collect::<Result<_, _>>()?;
    let each = (setting.jobs / u64::from(setting.queues)).max(1);
    let jobs = each * u64::from(setting.queues);
    let batch = usize::try_from(each).unwrap_or(usize::MAX).min(setting.batch);
    let load =
        Load { queues: names.clone().into(), jobs, ..Load::bulk(bench).sized(setting.payload_bytes, batch) };
    let phase = format!("enqueue to {} queues, {batch} per request", setting.queues);
    let bar = bench.bar(&phase, jobs);
    let begun = bench.begin("queues_enqueue");
    let Offered { jobs, latencies } = offer(bench, &load, &bar).await?;
    let filled = bench.end(&begun, "queues_enqueue", phase, jobs);
    let filled =
        filled.with_latencies("request to durable confirmation", latencies).with("queues", setting.queues);
    bar.finish_and_clear();

    let shares: Vec<&[QueueName]> = names.chunks(limits::WORKER_QUEUES_MAX).collect();
    let phase = format!("run of {} queues, {} workers", setting.queues, shares.len());
    let bar = bench.bar(&phase, jobs);
    let target = bench.runs() + jobs;
    bench.aim(target);
    let begun = bench.begin("queues_run");
    let crew = Crew::for_shares(bench, &shares, SHARE_CONCURRENCY, &counting(bench));
    bench.until(target, None, &bar).await?;
    crew.stop().await?;
    let ran = bench.end(&begun, "queues_run", phase, jobs);
    bar.finish_and_clear();
    let ran = ran.with("queues", setting.queues).with("workers", shares.len());
    Ok(vec![filled, ran.with("concurrency", SHARE_CONCURRENCY)])
}
