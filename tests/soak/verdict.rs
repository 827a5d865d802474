//! What a soak has shown, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;
use windlass_tests::check::Report;
use windlass_tests::load::Seen;

/// Memory that one server process may gain once it has warmed up, under the same load.
const GROWTH_MAX: u64 = 96 * 1024 * 1024;
/// Part of a server's life in which it warms up.
const WARM_UP: usize = 5;
/// Memory that a server may ever have in a soak.
const RESIDENT_MAX: u64 = 1024 * 1024 * 1024;

/// A look at the server.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    pub(crate) pid: u32,
    pub(crate) at: Duration,
    pub(crate) resident: u64,
    pub(crate) handles: u64,
    pub(crate) disk: u64,
    pub(crate) confirmed: u64,
    pub(crate) errors: u64,
}

/// Figures beside the judgement.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    pub(crate) seconds: u64,
    pub(crate) seed: u64,
    pub(crate) kills: u64,
    faults: BTreeMap<&'static str, u64>,
    resident_start: u64,
    resident_end: u64,
    resident_max: u64,
    /// Growth that a straight line through the samples of the last server shows.
    slope_mib_per_hour: f64,
    disk_max: u64,
    disk_end: u64,
    handles_start: u64,
    handles_end: u64,
    errors: u64,
    enqueue_p50: Duration,
    enqueue_p99: Duration,
    outage: Duration,
}

impl Figures {
    pub(crate) fn of(samples: &[Sample], faults: &BTreeMap<&'static str, u64>, seen: &Seen) -> Figures {
        let Some(last) = samples.last() else { return Figures::default() };
        // Memory is compared within one process, the last, which lives longest.
        let lived: Vec<&Sample> = samples.iter().filter(|sample| sample.pid == last.pid).collect();
        let warm = &lived[lived.len() / WARM_UP..];
        let first = warm[0];
        // Memory goes up and down with every checkpoint: what counts is its mean, early and late.
        let third = warm.len().div_ceil(3);
        let mean = |some: &[&Sample]| some.iter().map(|s| s.resident).sum::<u64>() / some.len().max(1) as u64;
        Figures {
            faults: faults.clone(),
            resident_start: mean(&warm[..third]),
            resident_end: mean(&warm[warm.len() - third..]),
            resident_max: samples.iter().map(|s| s.resident).max().unwrap_or(0),
            slope_mib_per_hour: slope(warm),
            disk_max: samples.iter().map(|s| s.disk).max().unwrap_or(0),
            disk_end: last.disk,
            handles_start: first.handles,
            handles_end: last.handles,
            errors: seen.errors.load(Ordering::Relaxed),
            enqueue_p50: seen.quantile(0.5),
            enqueue_p99: seen.quantile(0.99),
            outage: seen.longest_outage(),
            ..Figures::default()
        }
    }
}

/// Least squares over resident memory, in MiB per hour.
#[expect(clippy::cast_precision_loss, reason = "a figure for people")]
fn slope(samples: &[&Sample]) -> f64 {
    let points: Vec<(f64, f64)> =
        samples.iter().map(|s| (s.at.as_secs_f64() / 3_600.0, s.resident as f64 / 1_048_576.0)).collect();
    let n = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / n, y + point.1 / n));
    let over: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let under: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    if under > 0.0 { over / under } else { 0.0 }
}

/// The end of a soak.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) report: Report,
    pub(crate) figures: Figures,
    pub(crate) samples: Vec<Sample>,
}

impl Verdict {
    /// Whether every promise held.
    pub(crate) fn holds(&self) -> bool {
        self.complaints().is_empty()
    }

    fn complaints(&self) -> Vec<String> {
        let mut all: Vec<String> = self.report.violations.iter().map(ToString::to_string).collect();
        let figures = &self.figures;
        if figures.resident_end > figures.resident_start + GROWTH_MAX {
            all.push(format!(
                "memory grew from {} to {} MiB",
                mib(figures.resident_start),
                mib(figures.resident_end)
            ));
        }
        if figures.resident_max > RESIDENT_MAX {
            all.push(format!("the server took {} MiB", mib(figures.resident_max)));
        }
        if self.report.confirmed == 0 {
            all.push("nothing was confirmed, so nothing was tested".to_owned());
        }
        all
    }

    /// Writes `verdict.txt` and `verdict.json`.
    pub(crate) fn write(&self, dir: &Path) -> Result<()> {
        fs::write(dir.join("verdict.txt"), format!("{self}\n"))?;
        let (report, figures) = (&self.report, &self.figures);
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let value = json!({
            "holds": self.holds(), "complaints": self.complaints(), "evidence": report.evidence,
            "seconds": figures.seconds, "seed": figures.seed, "kills": figures.kills, "faults": figures.faults,
            "jobs": { "confirmed": report.confirmed, "unsure": report.unsure, "run": report.run, "again": report.again,
                "dead": report.dead, "firings": report.firings, "reports_refused": report.refused },
            "enqueue": { "p50_ms": ms(figures.enqueue_p50), "p99_ms": ms(figures.enqueue_p99),
                "longest_outage_ms": ms(figures.outage), "errors": figures.errors },
            "resident_bytes": { "start": figures.resident_start, "end": figures.resident_end, "max": figures.resident_max,
                "slope_mib_per_hour": figures.slope_mib_per_hour },
            "disk_bytes": { "max": figures.disk_max, "end": figures.disk_end },
            "handles": { "start": figures.handles_start, "end": figures.handles_end },
            "samples": self.samples.iter().map(|s| json!([s.at.as_secs(), s.resident, s.handles, s.disk, s.confirmed]))
                .collect::<Vec<_>>(),
        });
        Ok(fs::write(dir.join("verdict.json"), serde_json::to_vec_pretty(&value)?)?)
    }
}

fn mib(bytes: u64) -> u64 {
    bytes / (1024 * 1024)
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>5} s: {} jobs confirmed, {} refused or unsure, {} MiB resident, {} MiB on disk, {} handles",
            self.at.as_secs(),
            self.confirmed,
            self.errors,
            mib(self.resident),
            mib(self.disk),
            self.handles
        )
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = &self.figures;
        writeln!(
            f,
            "verdict of {} s with seed {}: {}",
            figures.seconds,
            figures.seed,
            if self.holds() { "every promise held" } else { "BROKEN" }
        )?;
        writeln!(f, "  jobs      {}", self.report)?;
        for (fault, count) in &figures.faults {
            writeln!(f, "  fault     {count:>5} × {fault}")?;
        }
        writeln!(
            f,
            "  enqueue   p50 {:?}, p99 {:?} (outages included), longest outage {:?}",
            figures.enqueue_p50, figures.enqueue_p99, figures.outage
        )?;
        writeln!(
            f,
            "  memory    {} MiB of the last server when warm, {} towards the end (means), {} of any at most; slope {:.1} MiB/h",
            mib(figures.resident_start),
            mib(figures.resident_end),
            mib(figures.resident_max),
            figures.slope_mib_per_hour
        )?;
        writeln!(
            f,
            "  disk      {} MiB at most, {} at the end",
            mib(figures.disk_max),
            mib(figures.disk_end)
        )?;
        write!(f, "  handles   {} at the start, {} at the end", figures.handles_start, figures.handles_end)?;
        for complaint in self.complaints().iter().take(20) {
            write!(f, "\n  BROKEN    {complaint}")?;
        }
        for evidence in &self.report.evidence {
            write!(f, "\n{evidence}")?;
        }
        Ok(())
    }
}
