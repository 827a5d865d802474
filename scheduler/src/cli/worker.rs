//! `windlass worker`: who works, and a worker that needs no code.

use std::time::Duration;

use clap::Subcommand;
use windlass_core::api::{Request, Response, WorkerView};
use windlass_core::id::QueueName;
use windlass_worker::Worker;

use super::connect::{ClientArgs, Server, unexpected};
use super::error::CliError;
use super::output::{self, Output, Word, cell, relative, span};
use super::process::Signals;
use super::{connect, runner, shell, value};

/// Arguments of `windlass worker`.
#[derive(Debug, clap::Args)]
#[command(before_help = "\
Examples:
  windlass worker list
  windlass worker run --shell --queues default --concurrency 4")]
pub(crate) struct WorkerArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List worker processes with what they run
    #[command(visible_alias = "ls")]
    List,
    /// Run a worker in this process
    Run(RunArgs),
}

#[derive(Debug, clap::Args)]
#[command(before_help = "\
Examples:
  windlass worker run --shell
  windlass worker run --shell --queues mail,default --concurrency 16 --server 10.0.0.5:7421
  windlass worker run --shell --queues urgent=10,default=1     ten times as often from urgent

The payload of a shell job is a command line as a JSON string, or {\"command\": …, \"dir\": …, \"env\": {…}}. Its stdout is the
result; status 0 is done, any other a failed attempt with the end of stderr as the error. It finds its job in WINDLASS_JOB_ID,
WINDLASS_QUEUE, WINDLASS_ATTEMPT and WINDLASS_TOKEN. Cancelling the job, or its timeout, ends the command's whole process group.
Whoever may enqueue to these queues may run commands as the user of this process.")]
struct RunArgs {
    /// Run jobs of the kind `shell` with `sh -c`
    #[arg(long, required = true)]
    shell: bool,
    /// Queues, separated by commas; with weights as in urgent=10,default=1, otherwise earlier ones go first
    #[arg(long, value_delimiter = ',', default_value = "default", value_parser = queue_with_weight)]
    queues: Vec<(QueueName, Option<u32>)>,
    /// Jobs at a time
    #[arg(long, short, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=4096))]
    concurrency: u32,
    /// A name for lists [default: host and process id]
    #[arg(long)]
    name: Option<String>,
    /// Time that running commands have to end when the worker stops; then they are given back
    #[arg(long, value_name = "DURATION", default_value = "25s", value_parser = value::duration)]
    stop_timeout: Duration,
    /// Stay out of the gossip; the server then watches this worker by its heartbeats alone
    #[arg(long)]
    no_gossip: bool,
}

fn queue_with_weight(text: &str) -> Result<(QueueName, Option<u32>), String> {
    let (name, weight) = match text.split_once('=') {
        Some((name, weight)) => {
            let weight = weight.parse::<u32>().ok().filter(|w| *w > 0);
            (name, Some(weight.ok_or("a weight is a number from 1, as in urgent=10")?))
        }
        None => (text, None),
    };
    Ok((name.parse().map_err(|e: windlass_core::id::InvalidName| e.0)?, weight))
}

/// Runs `windlass worker`.
///
/// # Errors
/// [`CliError`] with the exit code that `docs/cli.md` promises.
pub(crate) fn run(args: WorkerArgs, out: Output) -> Result<(), CliError> {
    match args.verb {
        Verb::List => connect::block_on(async {
            let server = Server::connect(&args.client).await?;
            list(&server, out).await
        }),
        Verb::Run(run) => runner::block_on(run_worker(args.client, run, out)),
    }
}

async fn run_worker(client: ClientArgs, args: RunArgs, out: Output) -> Result<(), CliError> {
    let mut signals = Signals::listen()?;
    // A first connection that fails should say so; later ones are the worker's business, which tries again for ever.
    Server::connect(&client).await?;
    let token = client.token()?;
    let names = args.queues.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
    let mut builder = Worker::builder(&client.server)
        .concurrency(args.concurrency)
        .stop_deadline(args.stop_timeout)
        .gossip(!args.no_gossip)
        .follow(!client.no_follow)
        .handle(shell::KIND, shell::handle);
    if let Some(ca) = &client.tls_ca {
        builder = builder.tls_ca(ca);
    }
    if let Some(token) = token {
        builder = builder.token(token);
    }
    if let Some(name) = args.name {
        builder = builder.name(name);
    }
    if args.queues.iter().all(|(_, weight)| weight.is_none()) {
        builder = builder.strict();
    }
    for (queue, weight) in &args.queues {
        builder = builder.queue_weight(queue.as_str(), weight.unwrap_or(1));
    }
    let mut worker = runner::start(&client.server, builder.build());
    output::note(format!(
        "windlass worker: kind shell, queues {names}, {} at a time, server {}",
        args.concurrency, client.server
    ));
    if out.json {
        out.json_value(&serde_json::json!({ "ready": true, "pid": std::process::id() }))?;
    }
    let name = tokio::select! {
        name = signals.next() => name,
        ended = worker.ended() => return ended,
    };
    let patience = span(windlass_core::time::millis(args.stop_timeout));
    output::note(format!(
        "windlass worker: {name}, taking nothing new, running jobs have {patience}; once more ends at once"
    ));
    tokio::select! {
        stopped = worker.stop() => stopped,
        () = signals.next_is_immediate() => Ok(()),
    }
}

async fn list(server: &Server, out: Output) -> Result<(), CliError> {
    match server.call(Request::ListWorkers).await? {
        response if out.json => out.response(&response),
        Response::Workers(workers) if workers.is_empty() => {
            out.hint("no workers; start one with `windlass worker run --shell`");
            Ok(())
        }
        Response::Workers(workers) => out.table(&HEADERS, workers.iter().map(row).collect()),
        other => Err(unexpected(&other)),
    }
}

/// Heads of the table, the same in `windlass top`.
pub(super) const HEADERS: [&str; 8] =
    ["WORKER", "STATUS", "GOSSIP", "QUEUES", "RUNNING", "FREE", "HEARTBEAT", "NOW"];

/// The cells of one worker.
pub(super) fn row(worker: &WorkerView) -> Vec<Word> {
    let queues: Vec<_> = worker.queues.iter().map(|(name, _)| name.as_str()).collect();
    let now = value::now();
    let oldest = worker.running.iter().min_by_key(|job| job.started_at);
    let job = oldest.map_or_else(String::new, |job| {
        format!("{} {} ({})", job.kind, job.id, relative(job.started_at, now))
    });
    [
        cell(&worker.name),
        worker.status.clone(),
        worker.gossip.clone(),
        cell(&queues.join(",")),
        worker.running_count.to_string(),
        worker.free_slots.to_string(),
        span(worker.heartbeat_age_ms),
        cell(&job),
    ]
    .map(Word::from)
    .to_vec()
}
