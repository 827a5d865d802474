//! `windlass job enqueue`: one job, the same job many times, or a stream of jobs.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;
use windlass_core::api::{Enqueued, Request, Response};
use windlass_core::id::JobId;
use windlass_core::job::{JobSpec, RunAt};
use windlass_core::time::{Timestamp, millis};

use super::{batch, wait};
use crate::cli::connect::{ClientArgs, Server, new_id, unexpected};
use crate::cli::error::CliError;
use crate::cli::output::{self, Output};
use crate::cli::spec::SpecFlags;
use crate::cli::value;

/// Jobs sent in one request by `--count`.
const CHUNK_JOBS: u64 = 1_000;
/// Payload bytes in one request, unless a single job has more.
const CHUNK_BYTES: u64 = 1024 * 1024;

/// Arguments of `windlass job enqueue`.
#[derive(Debug, clap::Args)]
#[command(before_help = "\
Examples:
  windlass job enqueue shell --payload '\"sha256sum README.md\"' --wait
  windlass job enqueue send_email --queue mail --payload '{\"to\":\"ada@example.org\"}' --delay 5m
  windlass job enqueue resize --payload @photo.json --max-attempts 3 --backoff exp:1s:2:1h
  windlass job enqueue --batch jobs.ndjson    lines like {\"kind\":\"resize\",\"payload\":7}")]
pub(super) struct EnqueueArgs {
    /// Which handler runs it, such as send_email
    #[arg(required_unless_present = "batch")]
    kind: Option<String>,
    #[command(flatten)]
    spec: SpecFlags,
    /// Not before this much later
    #[arg(long, value_name = "DURATION", value_parser = value::duration, conflicts_with = "run_at")]
    delay: Option<Duration>,
    /// Not before this instant
    #[arg(long, value_name = "RFC3339", value_parser = value::instant)]
    run_at: Option<Timestamp>,
    /// Never, if no worker took it within this time
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    expires_in: Option<Duration>,
    /// Id of the job; the same id again is not a second job [default: a new one]
    #[arg(long, conflicts_with = "count")]
    id: Option<JobId>,
    /// The same job this many times
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Wait for the end and print the result; with a duration, not longer than that
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, value_parser = value::duration)]
    wait: Option<Option<Duration>>,
    /// Jobs from a file (or - for stdin), one JSON object per line with the keys of the HTTP API; flags are their defaults
    #[arg(long, value_name = "FILE.ndjson|-", conflicts_with_all = ["id", "count", "wait"])]
    batch: Option<PathBuf>,
}

/// What `--json` prints when more than one job was enqueued.
#[derive(Debug, Default, Serialize)]
pub(super) struct Summary {
    /// Jobs that are new.
    pub(super) enqueued: u64,
    /// Jobs of which the id was known.
    pub(super) duplicates: u64,
}

/// Runs `windlass job enqueue`.
pub(super) async fn run(args: EnqueueArgs, client: &ClientArgs, out: Output) -> Result<(), CliError> {
    let mut spec = args.spec.spec(args.kind.as_deref().unwrap_or("unnamed"))?;
    let now = value::now();
    spec.run_at = match (args.delay, args.run_at) {
        (Some(delay), _) => RunAt::AfterMs(millis(delay)),
        (None, Some(at)) => RunAt::At(at),
        (None, None) => RunAt::Now,
    };
    if let Some(expiry) = args.expires_in {
        spec.options_mut().expires_at = Some(now.plus_ms(millis(expiry)));
    }
    spec.validate(now)?;
    if let Some(path) = &args.batch {
        let defaults = batch::Defaults { kind: args.kind.clone(), queue: args.spec.queue.clone(), spec };
        return batch::run(path, &defaults, client, out).await;
    }
    let server = Server::connect(client).await?;
    if args.count > 1 {
        return many(&server, &args, &spec, out).await;
    }
    spec.id = Some(args.id.unwrap_or_else(new_id));
    let enqueued = send(&server, &args, vec![spec]).await?;
    let Some(first) = enqueued.first() else { return Ok(()) };
    match args.wait {
        Some(limit) => {
            let job = wait::until_end(&server, first.id, limit).await?;
            wait::conclude(&job, out)
        }
        None => announce(first, out),
    }
}

fn announce(enqueued: &Enqueued, out: Output) -> Result<(), CliError> {
    if out.json {
        return out.enqueued(enqueued);
    }
    out.line(enqueued.id.to_string())?;
    if enqueued.duplicate {
        out.hint("this id was known already; no second job was made");
    } else {
        out.hint(format!("its result: windlass job wait {}", enqueued.id));
    }
    Ok(())
}

/// Sends one request; every job carries its id, so that repeating it after a refusal is harmless.
async fn send(server: &Server, args: &EnqueueArgs, jobs: Vec<JobSpec>) -> Result<Vec<Enqueued>, CliError> {
    match server.call_patiently(Request::Enqueue { queue: args.spec.queue.clone(), jobs }).await? {
        Response::Enqueued(entries) => Ok(entries),
        other => Err(unexpected(&other)),
    }
}

async fn many(server: &Server, args: &EnqueueArgs, spec: &JobSpec, out: Output) -> Result<(), CliError> {
    let mut summary = Summary::default();
    let mut ids = Vec::new();
    let mut left = args.count;
    let chunk_jobs = (CHUNK_BYTES / (spec.payload.data.len() as u64).max(1)).clamp(1, CHUNK_JOBS);
    while left > 0 {
        let chunk = left.min(chunk_jobs);
        let jobs = (0..chunk).map(|_| JobSpec { id: Some(new_id()), ..spec.clone() }).collect();
        for entry in send(server, args, jobs).await? {
            summary.enqueued += 1;
            if args.wait.is_some() {
                ids.push(entry.id);
            } else if !out.json {
                out.line(entry.id.to_string())?;
            }
        }
        left -= chunk;
    }
    let Some(limit) = args.wait else {
        out.hint(format!("{} jobs enqueued", output::count(summary.enqueued)));
        return if out.json { out.json_value(&summary) } else { Ok(()) };
    };
    let mut verdict = Ok(());
    for id in ids {
        let job = wait::until_end(server, id, limit).await?;
        verdict = verdict.and(wait::conclude(&job, out));
    }
    verdict
}
