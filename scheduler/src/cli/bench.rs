//! `windlass bench`: what this machine does, measured from outside through the client library.
//!
//! Each phase says what it measured, the server's processor time and the disk's sync time stand beside the rates, so that
//! a reader sees what bound them.

mod child;
mod load;
mod machine;
mod phases;
mod report;

use std::time::Duration;

use windlass_core::id::QueueName;
use windlass_core::limits;

use super::error::CliError;
use super::output::{self, Output};
use super::{runner, value};
use child::OwnServer;

/// Arguments of `windlass bench`.
#[derive(Debug, clap::Args)]
#[command(before_help = "\
Examples:
  windlass bench                                  everything, on a server of its own in this directory
  windlass bench enqueue --jobs 1000000 --payload-bytes 1000
  windlass bench run --concurrency 64 --server 10.0.0.5:7421
  windlass bench --json > rates.json")]
pub(crate) struct BenchArgs {
    /// What is measured
    #[arg(value_enum, default_value = "all")]
    what: What,
    /// Jobs per phase; phases that take one job at a time end after --seconds
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    jobs: u64,
    /// Bytes of each payload
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(20..=limits::PAYLOAD_BYTES_MAX as i64))]
    payload_bytes: u32,
    /// Producers, each with a connection of its own
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1024))]
    producers: u32,
    /// Jobs per request where jobs are enqueued in batches
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=limits::BATCH_JOBS_MAX as i64))]
    batch: u32,
    /// Jobs that the worker runs at a time
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=limits::WORKER_SLOTS_MAX as i64))]
    concurrency: u32,
    /// Longest time of a phase that takes one job at a time
    #[arg(long, default_value = "10s", value_parser = value::duration)]
    seconds: Duration,
    /// Measure this server instead of a temporary one [default: an own process in a directory here, removed at the end]
    #[arg(long, value_name = "HOST:PORT")]
    server: Option<String>,
    /// Store of the temporary server: sled or memory
    #[arg(long, default_value = "sled", conflicts_with = "server")]
    store: String,
}

/// Payload bytes of one request at most, so that its frame stays below the limit.
const REQUEST_BYTES: usize = limits::FRAME_BYTES_MAX / 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// Enqueue only
    Enqueue,
    /// Run only, after enqueueing in batches
    Run,
    /// Enqueue, run, both at once, and latency
    All,
}

/// What all phases know.
#[derive(Debug, Clone)]
struct Setting {
    server: String,
    /// A queue of its own, so that a running system's jobs are neither taken nor delayed.
    queue: QueueName,
    jobs: u64,
    payload_bytes: usize,
    producers: u32,
    batch: usize,
    concurrency: u32,
    seconds: Duration,
    /// Process id of the server, when it is ours.
    server_pid: Option<u32>,
}

/// Runs `windlass bench`.
///
/// # Errors
/// [`CliError`] when the server cannot be started or reached, or refuses the jobs.
pub(crate) fn run(args: BenchArgs, out: Output) -> Result<(), CliError> {
    if cfg!(debug_assertions) {
        output::note("windlass: this is a debug build; rates are several times lower than with --release");
    }
    runner::block_on(async move {
        let own = match &args.server {
            Some(_) => None,
            None => Some(OwnServer::start(&args.store).await?),
        };
        let setting = setting(&args, own.as_ref());
        let machine = machine::examine(own.as_ref().map(OwnServer::dir));
        let measured = phases::run(&setting, args.what, out).await;
        if let Some(own) = own {
            own.stop().await;
        }
        report::print(&args, &machine, &measured?, out)
    })
}

fn setting(args: &BenchArgs, own: Option<&OwnServer>) -> Setting {
    let server = own.map_or_else(|| args.server.clone().unwrap_or_default(), |own| own.native().to_owned());
    let queue = format!("bench-{:08x}", rand::random::<u32>());
    Setting {
        server,
        queue: QueueName::new(&queue).expect("hexadecimal digits are allowed in names"),
        jobs: args.jobs,
        payload_bytes: args.payload_bytes as usize,
        producers: args.producers,
        batch: (args.batch as usize).min(REQUEST_BYTES / args.payload_bytes as usize).max(1),
        concurrency: args.concurrency,
        seconds: args.seconds,
        server_pid: own.map(OwnServer::pid),
    }
}
