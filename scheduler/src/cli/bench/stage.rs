//! What every scenario stands on: the server, the connections, the counters, and how a phase becomes a line of the report.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use tokio::sync::Notify;
use windlass_core::id::QueueName;
use windlass_worker::Client;

use super::child::OwnServer;
use super::load::{Latencies, latencies, record};
use super::machine::{cpu_seconds, disk_bytes, memory};
use super::{BenchArgs, Setting, What};
use crate::cli::connect::{token_of_environment, translate};
use crate::cli::error::CliError;
use crate::cli::output::Output;

/// How long a server may be away before the benchmark gives up; it has no reason to be away at all.
const ABSENCE: Duration = Duration::from_secs(30);
/// Workers that make no progress for this long are given up.
const STALL: Duration = Duration::from_secs(60);
/// How often the progress of workers is looked at; the end itself is notified.
const GLANCE: Duration = Duration::from_millis(100);

/// One line of the report.
pub(super) struct Measured {
    /// Stable name, for programs.
    pub(super) name: &'static str,
    /// What was done, for people.
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
    /// Processor seconds of this process per second: producers and workers.
    pub(super) client_cores: Option<f64>,
    /// Resident memory of the server at the end, when the server is ours.
    pub(super) server_rss: Option<u64>,
    /// The largest it has been since the server's start.
    pub(super) server_rss_peak: Option<u64>,
    /// Bytes on the disk at the end, when the server is ours.
    pub(super) disk: Option<u64>,
    /// What this phase alone has to say: stable name and value.
    pub(super) details: Vec<(&'static str, Value)>,
}

impl Measured {
    /// Adds latencies, and what they are.
    pub(super) fn with_latencies(mut self, of: &'static str, latencies: Latencies) -> Measured {
        (self.latency_of, self.latencies) = (of, Some(latencies));
        self
    }

    /// Adds something that this phase alone has to say.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Measured {
        self.details.push((name, value.into()));
        self
    }

    /// Jobs per second.
    pub(super) fn rate(&self) -> u64 {
        // A rate is positive and far below 2^53.
        (self.jobs as f64 / self.elapsed.as_secs_f64().max(1e-9)).round() as u64
    }
}

/// Counters that producers and handlers share with the series.
#[derive(Default)]
pub(super) struct Meter {
    /// Jobs confirmed.
    pub(super) enqueued: AtomicU64,
    /// Handlers that have run.
    pub(super) runs: AtomicU64,
    /// Process id of the server when it is ours, else 0.
    pub(super) server_pid: AtomicU32,
    /// Directory of the server when it is ours.
    pub(super) dir: Option<std::path::PathBuf>,
    /// Name of the running phase.
    phase: Mutex<&'static str>,
    /// Latencies since the series looked last; only with a series, because it costs a lock per request.
    interval: Option<Mutex<Latencies>>,
    target: AtomicU64,
    reached: Notify,
}

impl Meter {
    /// A handler has run.
    pub(super) fn ran(&self) {
        if self.runs.fetch_add(1, Ordering::Relaxed) + 1 == self.target.load(Ordering::Relaxed) {
            self.reached.notify_one();
        }
    }

    /// A latency for the series.
    pub(super) fn note(&self, latency: Duration) {
        if let Some(interval) = &self.interval {
            record(&mut interval.lock().unwrap_or_else(PoisonError::into_inner), latency);
        }
    }

    /// Name of the running phase, and the p99 in microseconds since the last look.
    pub(super) fn look(&self) -> (&'static str, Option<u64>) {
        let phase = *self.phase.lock().unwrap_or_else(PoisonError::into_inner);
        let p99 = self.interval.as_ref().and_then(|interval| {
            let mut interval = interval.lock().unwrap_or_else(PoisonError::into_inner);
            let p99 = (!interval.is_empty()).then(|| interval.value_at_quantile(0.99));
            interval.reset();
            p99
        });
        (phase, p99)
    }
}

/// Where a phase began.
pub(super) struct Begun {
    pub(super) at: Instant,
    server: Option<f64>,
    client: Option<f64>,
}

/// The stage of one scenario.
pub(super) struct Bench {
    pub(super) setting: Setting,
    pub(super) own: Option<OwnServer>,
    /// A queue of its own, so that a running system's jobs are neither taken nor delayed.
    pub(super) queue: QueueName,
    /// What timestamps in payloads count from.
    pub(super) origin: Instant,
    server: String,
    meter: Arc<Meter>,
    out: Output,
}

impl Bench {
    /// Starts the server, unless one was named.
    ///
    /// # Errors
    /// When it does not start.
    pub(super) async fn open(args: &BenchArgs, what: What, out: Output) -> Result<Bench, CliError> {
        let own = match &args.server {
            Some(_) => None,
            None => Some(OwnServer::start(&args.store, what == What::Backlog).await?),
        };
        let queue = format!("bench-{:08x}", rand::random::<u32>());
        let meter = Meter {
            server_pid: AtomicU32::new(own.as_ref().map_or(0, OwnServer::pid)),
            dir: own.as_ref().map(|own| own.dir().to_owned()),
            interval: args.series.is_some().then(|| Mutex::new(latencies())),
            ..Meter::default()
        };
        Ok(Bench {
            setting: Setting::new(args, what),
            server: own
                .as_ref()
                .map_or_else(|| args.server.clone().unwrap_or_default(), |own| own.native().to_owned()),
            own,
            queue: QueueName::new(&queue).expect("hexadecimal digits are allowed in names"),
            origin: Instant::now(),
            meter: Arc::new(meter),
            out,
        })
    }

    /// Stops the server, if it is ours.
    pub(super) async fn close(self) {
        if let Some(own) = self.own {
            own.stop().await;
        }
    }

    /// Kills the server, which must be ours, and starts it again.
    ///
    /// # Errors
    /// When it does not come up again.
    pub(super) async fn crash(&mut self) -> Result<(), CliError> {
        let own =
            self.own.as_mut().ok_or_else(|| CliError::usage("bench: the server is not ours to kill"))?;
        own.crash().await?;
        own.native().clone_into(&mut self.server);
        self.meter.server_pid.store(own.pid(), Ordering::Relaxed);
        Ok(())
    }

    /// The counters.
    pub(super) fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }

    /// The native address of the server.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// A connection of its own.
    ///
    /// # Errors
    /// When nobody answers.
    pub(super) async fn connect(&self) -> Result<Client, CliError> {
        let mut builder = Client::builder(&self.server).give_up_after(ABSENCE);
        if let Some(token) = token_of_environment() {
            builder = builder.token(token);
        }
        builder.connect().await.map_err(|e| translate(&self.server, &e))
    }

    /// A progress bar on stderr, if somebody watches.
    pub(super) fn bar(&self, phase: &str, jobs: u64) -> ProgressBar {
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

    /// Begins a phase.
    pub(super) fn begin(&self, name: &'static str) -> Begun {
        *self.meter.phase.lock().unwrap_or_else(PoisonError::into_inner) = name;
        Begun { at: Instant::now(), server: self.server_cpu(), client: cpu_seconds(std::process::id()) }
    }

    fn server_cpu(&self) -> Option<f64> {
        self.own.as_ref().and_then(|own| cpu_seconds(own.pid()))
    }

    /// Ends a phase.
    pub(super) fn end(&self, begun: &Begun, name: &'static str, phase: String, jobs: u64) -> Measured {
        let elapsed = begun.at.elapsed();
        let cores = |before: Option<f64>, after: Option<f64>| {
            Some((after? - before?).max(0.0) / elapsed.as_secs_f64().max(1e-9))
        };
        let memory = self.own.as_ref().and_then(|own| memory(own.pid()));
        Measured {
            name,
            phase,
            jobs,
            elapsed,
            latency_of: "",
            latencies: None,
            server_cores: cores(begun.server, self.server_cpu()),
            client_cores: cores(begun.client, cpu_seconds(std::process::id())),
            server_rss: memory.map(|memory| memory.resident),
            server_rss_peak: memory.map(|memory| memory.peak),
            disk: self.own.as_ref().map(|own| disk_bytes(own.dir())),
            details: Vec::new(),
        }
    }

    /// Handlers that have run until now.
    pub(super) fn runs(&self) -> u64 {
        self.meter.runs.load(Ordering::Relaxed)
    }

    /// States how many handlers will have run at the end of the phase, so that the last one says so.
    pub(super) fn aim(&self, runs: u64) {
        self.meter.target.store(runs, Ordering::Relaxed);
    }

    /// Waits until so many handlers have run in all, or `most` is over.
    ///
    /// # Errors
    /// When none runs for a minute.
    pub(super) async fn until(
        &self,
        runs: u64,
        most: Option<Duration>,
        bar: &ProgressBar,
    ) -> Result<(), CliError> {
        self.aim(runs);
        let begun = Instant::now();
        let (base, mut seen, mut moved) = (self.runs(), self.runs(), Instant::now());
        loop {
            let now = self.runs();
            bar.set_position(now.saturating_sub(base));
            if now >= runs || most.is_some_and(|most| begun.elapsed() >= most) {
                return Ok(());
            }
            if now != seen {
                (seen, moved) = (now, Instant::now());
            }
            if moved.elapsed() > STALL {
                let missing = runs - now;
                return Err(CliError::failure(format!(
                    "bench: {missing} jobs were left, and none has run for a minute; look at `windlass queue list`"
                )));
            }
            // Either it is reached, or the next glance comes.
            let _ = tokio::time::timeout(GLANCE, self.meter.reached.notified()).await;
        }
    }
}
