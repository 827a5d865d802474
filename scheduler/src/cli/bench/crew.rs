//! Workers inside this process, with handlers that do nothing but count.

use std::sync::{Arc, Mutex, PoisonError};

use windlass_core::id::QueueName;
use windlass_worker::{Handler, JobCtx, Worker};

use super::load::{KIND, Latencies, latencies, number_in, record};
use super::stage::Bench;
use crate::cli::connect::token_of_environment;
use crate::cli::error::CliError;
use crate::cli::runner::{self, Running};

/// Running workers.
pub(super) struct Crew(Vec<Running>);

impl Crew {
    /// Starts `workers`, each with a connection of its own.
    pub(super) fn start<M: 'static, H: Handler<M>>(
        bench: &Bench,
        workers: u32,
        concurrency: u32,
        handler: &H,
    ) -> Crew {
        let queue = std::slice::from_ref(&bench.queue);
        Crew((0..workers).map(|_| hire(bench, queue, concurrency, handler)).collect())
    }

    /// Starts a worker per share of the queues.
    pub(super) fn for_shares<M: 'static, H: Handler<M>>(
        bench: &Bench,
        shares: &[&[QueueName]],
        concurrency: u32,
        handler: &H,
    ) -> Crew {
        Crew(shares.iter().map(|queues| hire(bench, queues, concurrency, handler)).collect())
    }

    /// Stops them in order; returns when the server has confirmed every end.
    ///
    /// # Errors
    /// The first that could not stop in order.
    pub(super) async fn stop(self) -> Result<(), CliError> {
        for worker in self.0 {
            worker.stop().await?;
        }
        Ok(())
    }
}

fn hire<M: 'static, H: Handler<M>>(
    bench: &Bench,
    queues: &[QueueName],
    concurrency: u32,
    handler: &H,
) -> Running {
    let mut builder = Worker::builder(bench.server());
    if let Some(token) = token_of_environment() {
        builder = builder.token(token);
    }
    let worker = builder
        .name("bench")
        .queues(queues.iter().map(QueueName::as_str))
        .concurrency(concurrency)
        .handle(KIND, handler.clone())
        .build();
    runner::start(bench.server(), worker)
}

/// A handler that counts.
pub(super) fn counting(
    bench: &Bench,
) -> impl Fn(JobCtx) -> std::future::Ready<()> + Clone + Send + Sync + use<> {
    let meter = bench.meter();
    move |_job| {
        meter.ran();
        std::future::ready(())
    }
}

/// Latencies that handlers share; only where asked for, because it costs a lock per job.
#[derive(Clone)]
pub(super) struct Starts(Arc<Mutex<Latencies>>);

impl Starts {
    /// None yet.
    pub(super) fn new() -> Starts {
        Starts(Arc::new(Mutex::new(latencies())))
    }

    /// Adds one.
    pub(super) fn record(&self, latency: std::time::Duration) {
        record(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner), latency);
    }

    /// All of them.
    pub(super) fn take(&self) -> Latencies {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A handler that counts, and notes the time from its job's request to its own start.
pub(super) fn timing(
    bench: &Bench,
    starts: &Starts,
) -> impl Fn(JobCtx) -> std::future::Ready<()> + Clone + Send + Sync + use<> {
    let (meter, starts, origin) = (bench.meter(), starts.clone(), bench.origin);
    move |job| {
        if let Some(us) = number_in(job.payload()) {
            let latency = origin.elapsed().saturating_sub(std::time::Duration::from_micros(us));
            starts.record(latency);
            meter.note(latency);
        }
        meter.ran();
        std::future::ready(())
    }
}
