//! `windlass bench`: what this machine does, measured from outside through the client library.
//!
//! Each phase says what it measured; the processor time of server and clients and the disk's sync time stand beside the
//! rates, so that a reader sees what bound them.

mod child;
mod crew;
mod idle;
mod late;
mod load;
mod machine;
mod page;
mod phases;
mod report;
mod scale;
mod series;
mod stage;

use std::path::PathBuf;
use std::time::Duration;

use tokio::runtime::Builder;
use windlass_core::limits;

use super::error::CliError;
use super::output::{self, Output};
use super::{runner, value};
use series::Series;
use stage::{Bench, Measured};

/// Arguments of `windlass bench`.
#[derive(Debug, clap::Args)]
#[command(before_help = "\
Examples:
  windlass bench                                     the short set, on a server of its own here
  windlass bench enqueue stream --jobs 1000000 --payload-bytes 1000
  windlass bench drain --workers 1,2,8
  windlass bench backlog --jobs 10000000 --series backlog.csv
  windlass bench run --concurrency 64 --server 10.0.0.5:7421
  windlass bench --json > rates.json")]
pub(crate) struct BenchArgs {
    /// What is measured; every scenario gets a fresh server
    #[arg(value_enum, default_value = "all")]
    what: Vec<What>,
    /// Jobs per phase; phases that take one job at a time end after --seconds [default: 100000; backlog 1000000]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    jobs: Option<u64>,
    /// Bytes of each payload
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(20..=limits::PAYLOAD_BYTES_MAX as i64))]
    payload_bytes: u32,
    /// Producers, each with a connection of its own
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    producers: u32,
    /// Jobs per request where jobs are enqueued in batches
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=limits::BATCH_JOBS_MAX as i64))]
    batch: u32,
    /// Requests that each producer of batches keeps under way
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=64))]
    in_flight: u32,
    /// Workers, each with a connection of its own; drain takes several numbers [default: 1; drain 1,2,8]
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1024))]
    workers: Vec<u32>,
    /// Jobs that each worker runs at a time
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=limits::WORKER_SLOTS_MAX as i64))]
    concurrency: u32,
    /// Longest time of a phase that takes one job at a time
    #[arg(long, default_value = "10s", value_parser = value::duration)]
    seconds: Duration,
    /// Queues of the scenario queues
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=limits::QUEUES_MAX as i64 - 1))]
    queues: u32,
    /// Idle workers of the scenario connections
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=limits::CONNECTIONS_MAX as i64 - 10))]
    connections: u32,
    /// Write a line per 100 ms to this file: jobs confirmed and run, memory, disk, p99
    #[arg(long, value_name = "FILE.csv")]
    series: Option<PathBuf>,
    /// Measure this server instead of a temporary one [default: an own process in a directory here, removed at the end]
    #[arg(long, value_name = "HOST:PORT")]
    server: Option<String>,
    /// Store of the temporary server: sled or memory
    #[arg(long, default_value = "sled", conflicts_with = "server")]
    store: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// The short set: enqueue, run, both at once, latency at 200/s
    All,
    /// One job per request by one producer and by many; then in batches
    Enqueue,
    /// The client's bulk call over one endless list: one producer, then four
    Stream,
    /// A backlog, run by the workers
    Run,
    /// The same with 1, 2 and 8 workers
    Drain,
    /// Producing and running at the same time
    Both,
    /// From the request to the start of the handler, at 200/s and at half load
    Latency,
    /// Payloads of 100 B, 1 KB and 64 KB
    Payloads,
    /// Many waiting jobs: rates, memory, disk, job list, restart after SIGKILL
    Backlog,
    /// Many queues with a few jobs each
    Queues,
    /// Many idle workers, each with a connection
    Connections,
    /// Delayed jobs, all due in the same second: how late, and was any early
    Timers,
    /// Jobs that fail once and are run again
    Retries,
}

impl What {
    /// Whether it restarts the server, or leaves something on it that only goes with its directory.
    fn needs_own_server(self) -> bool {
        matches!(self, What::Backlog | What::Queues)
    }

    fn jobs_default(self) -> u64 {
        if self == What::Backlog { 1_000_000 } else { 100_000 }
    }
}

/// What all phases know.
#[derive(Debug, Clone)]
struct Setting {
    jobs: u64,
    payload_bytes: usize,
    producers: u32,
    batch: usize,
    in_flight: u32,
    /// Empty when the scenario is to decide.
    workers: Vec<u32>,
    concurrency: u32,
    seconds: Duration,
    queues: u32,
    connections: u32,
}

impl Setting {
    fn new(args: &BenchArgs, what: What) -> Setting {
        Setting {
            jobs: args.jobs.unwrap_or(what.jobs_default()),
            payload_bytes: args.payload_bytes as usize,
            producers: args.producers,
            batch: args.batch as usize,
            in_flight: args.in_flight,
            workers: args.workers.clone(),
            concurrency: args.concurrency,
            seconds: args.seconds,
            queues: args.queues,
            connections: args.connections,
        }
    }

    /// Workers where one number is wanted.
    fn workers(&self) -> u32 {
        self.workers.first().copied().unwrap_or(1)
    }
}

/// Runs `windlass bench`.
///
/// # Errors
/// [`CliError`] when the server cannot be started or reached, or refuses the jobs.
pub(crate) fn run(args: BenchArgs, out: Output) -> Result<(), CliError> {
    if let Some(what) = args.what.iter().find(|what| what.needs_own_server() && args.server.is_some()) {
        let name = format!("{what:?}").to_lowercase();
        return Err(CliError::usage(format!(
            "bench {name}: it needs a server of its own, to restart and to throw away; leave out --server"
        )));
    }
    if cfg!(debug_assertions) {
        output::note("windlass: this is a debug build; rates are several times lower than with --release");
    }
    super::process::raise_file_limit();
    // The other half is the server's. With a thread per processor they would wake each other for every confirmation, on the
    // processors that the server needs: on two, a third fewer confirmations a second for one producer.
    let threads = (machine::processors() / 2).max(1);
    runner::block_on_runtime(Builder::new_multi_thread().worker_threads(threads), async move {
        let machine = machine::examine(args.server.is_none());
        let series = args.series.as_deref().map(Series::create).transpose()?;
        let mut all = Vec::new();
        for what in &args.what {
            all.extend(scenario(&args, *what, series.as_ref(), out).await?);
        }
        report::print(&args, &machine, &all, out)
    })
}

/// Runs one scenario; the first failure ends it, because half a benchmark misleads.
async fn scenario(
    args: &BenchArgs,
    what: What,
    series: Option<&Series>,
    out: Output,
) -> Result<Vec<Measured>, CliError> {
    let mut bench = Bench::open(args, what, out).await?;
    let sampler = series.map(|series| series.follow(bench.meter()));
    let measured = match what {
        What::All => phases::all(&bench).await,
        What::Enqueue => phases::enqueue(&bench).await,
        What::Stream => phases::stream(&bench).await,
        What::Run => phases::run(&bench).await,
        What::Drain => phases::drain(&bench).await,
        What::Both => phases::both(&bench).await,
        What::Latency => phases::latency(&bench).await,
        What::Payloads => phases::payloads(&bench).await,
        What::Backlog => scale::backlog(&mut bench).await,
        What::Queues => scale::queues(&bench).await,
        What::Connections => idle::connections(&bench).await,
        What::Timers => late::timers(&bench).await,
        What::Retries => late::retries(&bench).await,
    };
    let written = match sampler {
        Some(sampler) => sampler.stop().await,
        None => Ok(()),
    };
    bench.close().await;
    let measured = measured?;
    written?;
    Ok(measured)
}
