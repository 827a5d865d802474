//! `windlass top`: queues and workers, live.

mod screen;
mod view;

use std::io::IsTerminal;
use std::time::Duration;

use serde_json::json;
use windlass_core::api::{Overview, QueueView, Request, Response, WorkerView};

use super::connect::{ClientArgs, Server, block_on, unexpected};
use super::error::CliError;
use super::output::{Output, count, span};
use super::{queue, value, worker};

/// Arguments of `windlass top`.
#[derive(Debug, clap::Args)]
#[command(before_help = "\
Examples:
  windlass top
  windlass top --interval 200ms
  windlass top --once            one look, as plain tables
  windlass top --once --json

Keys: ↑ ↓ choose a queue, P pauses or resumes it, p freezes the picture, r refreshes, q quits.
Capital letters change something; small ones do not.")]
pub(crate) struct TopArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Time between two looks
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = value::duration)]
    interval: Duration,
    /// Look once and print it
    #[arg(long)]
    once: bool,
}

/// What one look sees.
#[derive(Debug, Clone)]
struct Picture {
    overview: Overview,
    queues: Vec<QueueView>,
    workers: Vec<WorkerView>,
}

/// Runs `windlass top`.
///
/// # Errors
/// [`CliError`] with the exit code that `docs/cli.md` promises.
pub(crate) fn run(args: TopArgs, out: Output) -> Result<(), CliError> {
    block_on(async move {
        let server = Server::connect(&args.client).await?;
        if args.once || out.json {
            return once(&server, out).await;
        }
        if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
            return Err(CliError::usage("top: needs a terminal; print one look with --once"));
        }
        screen::run(&server, &args.client.server, args.interval.max(Duration::from_millis(100))).await
    })
}

async fn look(server: &Server) -> Result<Picture, CliError> {
    // The three questions travel together on one connection.
    let (overview, queues, workers) = tokio::try_join!(
        server.call(Request::GetOverview),
        server.call(Request::ListQueues),
        server.call(Request::ListWorkers),
    )?;
    match (overview, queues, workers) {
        (Response::Overview(overview), Response::Queues(queues), Response::Workers(workers)) => {
            Ok(Picture { overview: *overview, queues, workers })
        }
        (other, _, _) => Err(unexpected(&other)),
    }
}

async fn once(server: &Server, out: Output) -> Result<(), CliError> {
    let Picture { overview, queues, workers } = look(server).await?;
    if out.json {
        return out.json_value(&json!({ "overview": overview, "queues": queues, "workers": workers }));
    }
    out.line(summary(&overview).join("   "))?;
    out.line("")?;
    out.table(&queue::HEADERS, queues.iter().map(queue::row).collect())?;
    out.line("")?;
    out.table(&worker::HEADERS, workers.iter().map(worker::row).collect())
}

/// The figures of the head line.
fn summary(overview: &Overview) -> Vec<String> {
    use windlass_core::job::JobState::{Dead, Ready, Running};
    let of = |state| count(overview.counts.get(&state).copied().unwrap_or(0));
    vec![
        format!("in {:.1}/s", overview.enqueue_rate),
        format!("done {:.1}/s", overview.done_rate),
        format!("failed {:.1}/s", overview.fail_rate),
        format!("ready {}", of(Ready)),
        format!("running {}", of(Running)),
        format!("dead {}", of(Dead)),
        format!("oldest {}", span(overview.oldest_wait_ms)),
    ]
}
