//! The phases, in order, and what each of them measures.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::Notify;
use windlass_worker::{JobCtx, Worker};

use super::load::{self, KIND, Latencies, Load, Offered, begun_at, latencies, offer, record};
use super::machine::{cpu_seconds, rss_bytes};
use super::{Setting, What};
use crate::cli::error::CliError;
use crate::cli::output::Output;
use crate::cli::runner::{self, Running};

/// Requests per second in the latency phase: far below what any machine does, so that no queue forms.
const LATENCY_RATE: f64 = 200.0;
/// Jobs of the latency phase: ten seconds.
const LATENCY_JOBS: u64 = 2_000;
/// A drain that makes no progress for this long is given up.
const STALL: Duration = Duration::from_secs(60);

/// One line of the report.
pub(super) struct Measured {
    /// What was done.
    pub(super) phase: String,
    /// Jobs.
    pub(super) jobs: u64,
    /// How long it took.
    pub(super) elapsed: Duration,
    /// What the latencies are; empty without any.
    pub(super) latency_of: &'static str,
    /// Latencies, where they mean something.
    pub(super) latencies: Option<Latencies>,
    /// Processor seconds of the server per second, when the server is ours.
    pub(super) server_cores: Option<f64>,
    /// Resident memory of the server at the end, when the server is ours.
    pub(super) server_rss: Option<u64>,
}

/// Runs the phases that were asked for.
///
/// # Errors
/// The first that fails; what was measured before is lost with it, because half a benchmark misleads.
pub(super) async fn run(setting: &Setting, what: What, out: Output) -> Result<Vec<Measured>, CliError> {
    let bench = Bench { setting, out, origin: Instant::now() };
    let mut all = Vec::new();
    let mut backlog = 0;
    if what != What::Run {
        let single =
            Load { producers: 1, batch: 1, jobs: setting.jobs, seconds: Some(setting.seconds), rate: None };
        for producers in [1, setting.producers] {
            let phase = format!("enqueue one by one, {producers} {}", noun(producers));
            all.push(bench.enqueue(&phase, Load { producers, ..single }).await?);
        }
    }
    let bulk = Load {
        producers: setting.producers,
        batch: setting.batch,
        jobs: setting.jobs,
        seconds: None,
        rate: None,
    };
    let phase =
        format!("enqueue in batches of {}, {} {}", setting.batch, setting.producers, noun(setting.producers));
    all.push(bench.enqueue(&phase, bulk).await?);
    backlog += all.iter().map(|m| m.jobs).sum::<u64>();
    // The backlog is always drained: a server that is not ours must not be left with it.
    let drained = bench.drain(backlog).await?;
    if what != What::Enqueue {
        all.push(drained);
    }
    if what == What::All {
        all.push(bench.both(bulk).await?);
        all.push(bench.latency().await?);
    }
    Ok(all)
}

fn noun(producers: u32) -> &'static str {
    if producers == 1 { "producer" } else { "producers" }
}

struct Bench<'a> {
    setting: &'a Setting,
    out: Output,
    origin: Instant,
}

/// What the no-op handlers have counted.
#[derive(Default)]
struct Counted {
    runs: AtomicU64,
    changed: Notify,
    /// From the request of a job to its start; only where asked for, because it costs a lock per job.
    starts: Option<Mutex<Latencies>>,
}

impl Bench<'_> {
    fn bar(&self, phase: &str, jobs: u64) -> ProgressBar {
        let target =
            if self.out.chatty { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(jobs), target);
        if let Ok(style) =
            ProgressStyle::with_template("{msg:<44} {bar:24} {human_pos}/{human_len} {per_sec}")
        {
            bar.set_style(style);
        }
        bar.set_message(phase.to_owned());
        bar
    }

    fn cpu(&self) -> Option<f64> {
        self.setting.server_pid.and_then(cpu_seconds)
    }

    fn cores(&self, before: Option<f64>, elapsed: Duration) -> Option<f64> {
        Some((self.cpu()? - before?) / elapsed.as_secs_f64())
    }

    fn rss(&self) -> Option<u64> {
        self.setting.server_pid.and_then(rss_bytes)
    }

    async fn enqueue(&self, phase: &str, load: Load) -> Result<Measured, CliError> {
        let bar = self.bar(phase, load.jobs);
        let before = self.cpu();
        let Offered { jobs, elapsed, latencies } = offer(self.setting, load, self.origin, &bar).await?;
        bar.finish_and_clear();
        Ok(Measured {
            phase: phase.to_owned(),
            jobs,
            elapsed,
            latency_of: "request to durable confirmation",
            latencies: Some(latencies),
            server_cores: self.cores(before, elapsed),
            server_rss: self.rss(),
        })
    }

    fn worker(&self, counted: &Arc<Counted>) -> Running {
        let (shared, origin) = (Arc::clone(counted), self.origin);
        let noop = move |job: JobCtx| {
            if let (Some(starts), Some(begun)) = (&shared.starts, begun_at(job.payload())) {
                let mut starts = starts.lock().unwrap_or_else(PoisonError::into_inner);
                record(&mut starts, origin.elapsed().saturating_sub(begun));
            }
            shared.runs.fetch_add(1, Ordering::Relaxed);
            shared.changed.notify_one();
            std::future::ready(())
        };
        let worker = Worker::builder(&self.setting.server)
            .name("bench")
            .queues([self.setting.queue.as_str()])
            .concurrency(self.setting.concurrency)
            .handle(KIND, noop)
            .build();
        runner::start(&self.setting.server, worker)
    }

    /// Waits until so many jobs have run.
    async fn until(&self, counted: &Counted, jobs: u64, bar: &ProgressBar) -> Result<(), CliError> {
        loop {
            let runs = counted.runs.load(Ordering::Relaxed);
            bar.set_position(runs);
            if runs >= jobs {
                return Ok(());
            }
            if tokio::time::timeout(STALL, counted.changed.notified()).await.is_err() {
                let text = format!(
                    "bench: {runs} of {jobs} jobs ran, then none for a minute; look at `windlass queue list`"
                );
                return Err(CliError::failure(text));
            }
        }
    }

    async fn drain(&self, jobs: u64) -> Result<Measured, CliError> {
        let phase = format!("run the backlog, {} at a time", self.setting.concurrency);
        let bar = self.bar(&phase, jobs);
        let counted = Arc::new(Counted::default());
        let (before, begun) = (self.cpu(), Instant::now());
        let worker = self.worker(&counted);
        self.until(&counted, jobs, &bar).await?;
        // Stopping returns when the server has confirmed every end.
        worker.stop().await?;
        let elapsed = begun.elapsed();
        bar.finish_and_clear();
        Ok(Measured {
            phase,
            jobs,
            elapsed,
            latency_of: "",
            latencies: None,
            server_cores: self.cores(before, elapsed),
            server_rss: self.rss(),
        })
    }

    async fn both(&self, load: Load) -> Result<Measured, CliError> {
        let phase = format!("both at once, batches of {}", load.batch);
        let bar = self.bar(&phase, load.jobs);
        let counted = Arc::new(Counted::default());
        let worker = self.worker(&counted);
        let (before, begun) = (self.cpu(), Instant::now());
        let hidden = ProgressBar::hidden();
        let (offered, ran) = tokio::join!(
            offer(self.setting, load, self.origin, &hidden),
            self.until(&counted, load.jobs, &bar)
        );
        ran?;
        worker.stop().await?;
        let elapsed = begun.elapsed();
        bar.finish_and_clear();
        Ok(Measured {
            phase,
            jobs: load.jobs,
            elapsed,
            latency_of: "request to durable confirmation",
            latencies: Some(offered?.latencies),
            server_cores: self.cores(before, elapsed),
            server_rss: self.rss(),
        })
    }

    async fn latency(&self) -> Result<Measured, CliError> {
        let phase = format!("latency at {LATENCY_RATE} jobs/s");
        let bar = self.bar(&phase, LATENCY_JOBS);
        let counted = Arc::new(Counted { starts: Some(Mutex::new(load::latencies())), ..Counted::default() });
        let worker = self.worker(&counted);
        let load =
            Load { producers: 1, batch: 1, jobs: LATENCY_JOBS, seconds: None, rate: Some(LATENCY_RATE) };
        let before = self.cpu();
        let hidden = ProgressBar::hidden();
        let (offered, ran) = tokio::join!(
            offer(self.setting, load, self.origin, &hidden),
            self.until(&counted, LATENCY_JOBS, &bar)
        );
        ran?;
        let elapsed = offered?.elapsed;
        worker.stop().await?;
        bar.finish_and_clear();
        let starts =
            counted.starts.as_ref().map(|s| s.lock().unwrap_or_else(PoisonError::into_inner).clone());
        Ok(Measured {
            phase,
            jobs: LATENCY_JOBS,
            elapsed,
            latency_of: "request to start of the handler",
            latencies: Some(starts.unwrap_or_else(latencies)),
            server_cores: self.cores(before, elapsed),
            server_rss: self.rss(),
        })
    }
}
