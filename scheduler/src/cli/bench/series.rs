//! A line per 100 ms while a scenario runs, as a file that programs draw.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::machine::{disk_bytes, memory};
use super::stage::Meter;
use crate::cli::error::CliError;

/// Time from line to line.
const STEP: Duration = Duration::from_millis(100);

/// The columns. `enqueued` and `run` are totals since the scenario began; `p99_us` is of the interval, and empty when there
/// was nothing in it.
const HEADER: &str = "seconds,phase,enqueued,run,server_rss_bytes,disk_bytes,p99_us\n";

/// The file.
pub(super) struct Series {
    file: Arc<Mutex<File>>,
    begun: Instant,
}

/// Somebody who writes to it.
pub(super) struct Sampler {
    stop: CancellationToken,
    task: JoinHandle<std::io::Result<()>>,
}

fn failed(error: &std::io::Error) -> CliError {
    CliError::failure(format!("bench: --series: {error}; name a file that can be written"))
}

impl Series {
    /// Begins the file anew.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn create(path: &Path) -> Result<Series, CliError> {
        let mut file = File::create(path).map_err(|e| failed(&e))?;
        file.write_all(HEADER.as_bytes()).map_err(|e| failed(&e))?;
        Ok(Series { file: Arc::new(Mutex::new(file)), begun: Instant::now() })
    }

    /// Writes what `meter` shows until the sampler is stopped.
    pub(super) fn follow(&self, meter: Arc<Meter>) -> Sampler {
        let (file, begun) = (Arc::clone(&self.file), self.begun);
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(STEP);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
            loop {
                tokio::select! {
                    () = stopped.cancelled() => return Ok(()),
                    _ = ticks.tick() => {}
                }
                let line = sample(&meter, begun.elapsed());
                file.lock().unwrap_or_else(PoisonError::into_inner).write_all(line.as_bytes())?;
            }
        });
        Sampler { stop, task }
    }
}

impl Sampler {
    /// Ends it.
    ///
    /// # Errors
    /// When a line could not be written.
    pub(super) async fn stop(self) -> Result<(), CliError> {
        self.stop.cancel();
        match self.task.await {
            Ok(written) => written.map_err(|e| failed(&e)),
            Err(e) => Err(CliError::failure(format!("bench: --series: {e}; this is a defect"))),
        }
    }
}

fn sample(meter: &Meter, at: Duration) -> String {
    let text = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
    let (phase, p99) = meter.look();
    let pid = meter.server_pid.load(Ordering::Relaxed);
    let rss = (pid != 0).then(|| memory(pid)).flatten().map(|memory| memory.resident);
    let disk = meter.dir.as_deref().map(disk_bytes);
    format!(
        "{:.1},{phase},{},{},{},{},{}\n",
        at.as_secs_f64(),
        meter.enqueued.load(Ordering::Relaxed),
        meter.runs.load(Ordering::Relaxed),
        text(rss),
        text(disk),
        text(p99),
    )
}
