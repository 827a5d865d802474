//! Rates and history: once a second the figures that queues publish are read and remembered.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use windlass_core::api::HistoryPoint;
use windlass_core::id::QueueName;
use windlass_core::time::{Mono, Now};

use crate::clock::Clock;
use crate::queue::{Figures, Registry};

/// Length of an interval of the history.
pub(super) const STEP_MS: u64 = 1_000;
/// Intervals that are remembered: ten minutes.
pub(super) const POINTS_MAX: usize = 600;
/// Intervals over which rates are taken.
const RATE_STEPS: usize = 10;

/// Totals of a queue, or of all, at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sample {
    at: Mono,
    pub enqueued: u64,
    pub succeeded: u64,
    pub failed: u64,
    pub dead: u64,
}

/// Per second, over the last ten seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rates {
    pub enqueued: f64,
    pub succeeded: f64,
    pub failed: f64,
}

/// A cheap handle of the history.
#[derive(Clone, Default)]
pub struct History {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    points: VecDeque<HistoryPoint>,
    all: VecDeque<Sample>,
    queues: HashMap<QueueName, VecDeque<Sample>>,
}

impl History {
    /// Starts to sample once a second. Must run on the arbiter; ends with it.
    pub fn follow(&self, registry: Registry, clock: Clock) {
        let history = self.clone();
        actix_rt::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(STEP_MS));
            // After a stall one sample covers it all; catching up would only draw a wrong curve.
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                history.sample(&registry, clock.now());
            }
        });
    }

    fn sample(&self, registry: &Registry, now: Now) {
        let mut total = Sample { at: now.mono, ..Sample::default() };
        let mut ready = 0;
        let mut inner = self.lock();
        for queue in registry.all() {
            let sample = Sample::of(queue.figures(), now.mono);
            total.add(&sample);
            ready += queue.figures().ready.load(Ordering::Relaxed);
            remember(inner.queues.entry(queue.name().clone()).or_default(), sample);
        }
        let last = inner.all.back().copied().unwrap_or_default();
        let point = HistoryPoint {
            at: now.wall,
            enqueued: total.enqueued.saturating_sub(last.enqueued),
            succeeded: total.succeeded.saturating_sub(last.succeeded),
            failed: total.failed.saturating_sub(last.failed),
            ready,
        };
        remember(&mut inner.all, total);
        if inner.points.len() >= POINTS_MAX {
            inner.points.pop_front();
        }
        inner.points.push_back(point);
    }

    /// The history, oldest first.
    pub(super) fn points(&self) -> Vec<HistoryPoint> {
        self.lock().points.iter().copied().collect()
    }

    /// Rates of a queue, up to this sample.
    pub(super) fn rates_of(&self, queue: &QueueName, now: &Sample) -> Rates {
        self.lock().queues.get(queue).map(|samples| rates(samples, now)).unwrap_or_default()
    }

    /// Rates of all queues together, up to this sample.
    pub(super) fn rates(&self, now: &Sample) -> Rates {
        rates(&self.lock().all, now)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Figures for people: whatever a panic left behind is replaced within a second.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sample {
    pub(super) fn of(figures: &Figures, at: Mono) -> Sample {
        Sample {
            at,
            enqueued: figures.enqueued.load(Ordering::Relaxed),
            succeeded: figures.succeeded.load(Ordering::Relaxed),
            failed: figures.failed.load(Ordering::Relaxed),
            dead: figures.dead.load(Ordering::Relaxed),
        }
    }

    pub(super) fn at(at: Mono) -> Sample {
        Sample { at, ..Sample::default() }
    }

    pub(super) fn add(&mut self, other: &Sample) {
        self.enqueued += other.enqueued;
        self.succeeded += other.succeeded;
        self.failed += other.failed;
        self.dead += other.dead;
    }
}

fn remember(samples: &mut VecDeque<Sample>, sample: Sample) {
    if samples.len() > RATE_STEPS {
        samples.pop_front();
    }
    samples.push_back(sample);
}

fn rates(samples: &VecDeque<Sample>, now: &Sample) -> Rates {
    let Some(first) = samples.front() else { return Rates::default() };
    let ms = now.at.0.saturating_sub(first.at.0);
    // Over a moment only, a single job would look like a flood.
    if ms < STEP_MS / 2 {
        return Rates::default();
    }
    let per_second = |to: u64, from: u64| to.saturating_sub(from) as f64 * 1_000.0 / ms as f64;
    Rates {
        enqueued: per_second(now.enqueued, first.enqueued),
        succeeded: per_second(now.succeeded, first.succeeded),
        failed: per_second(now.failed, first.failed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_per_second_over_what_is_remembered() {
        let mut samples = VecDeque::new();
        for second in 0..30_u64 {
            remember(
                &mut samples,
                Sample { at: Mono(second * 1_000), enqueued: second * 50, ..Sample::default() },
            );
        }
        let now = Sample { at: Mono(29_500), enqueued: 29 * 50, ..Sample::default() };
        let rate = rates(&samples, &now).enqueued;
        assert!((45.0..55.0).contains(&rate), "{rate}");
        assert_eq!(rates(&VecDeque::new(), &now), Rates::default());
    }
}
