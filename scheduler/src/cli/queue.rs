//! `windlass queue`: what waits where, and whether it is handed out.

use clap::Subcommand;
use windlass_core::api::{QueueView, Request, Response};
use windlass_core::id::QueueName;
use windlass_core::job::JobState;

use super::connect::{ClientArgs, Server, block_on, unexpected};
use super::error::CliError;
use super::output::{Output, Word, count, span};

/// Arguments of `windlass queue`.
#[derive(Debug, clap::Args)]
#[command(before_help = "\
Examples:
  windlass queue list
  windlass queue pause mail
  windlass queue retention mail 10000    remember the last 10,000 finished jobs")]
pub(crate) struct QueueArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List queues with what waits in them and how fast they move
    #[command(visible_alias = "ls")]
    List,
    /// Hand out no more jobs; survives restarts, running jobs go on
    Pause(NameArgs),
    /// Hand out jobs again
    Resume(NameArgs),
    /// Set how many finished jobs a queue remembers
    Retention(RetentionArgs),
}

#[derive(Debug, clap::Args)]
struct NameArgs {
    /// The queues
    #[arg(required = true)]
    names: Vec<QueueName>,
}

#[derive(Debug, clap::Args)]
struct RetentionArgs {
    /// The queue
    name: QueueName,
    /// Finished jobs remembered in memory
    finished_max: u32,
}

/// Runs `windlass queue`.
///
/// # Errors
/// [`CliError`] with the exit code that `docs/cli.md` promises.
pub(crate) fn run(args: QueueArgs, out: Output) -> Result<(), CliError> {
    block_on(async move {
        let server = Server::connect(&args.client).await?;
        match args.verb {
            Verb::List => list(&server, out).await,
            Verb::Pause(args) => {
                for queue in args.names {
                    order(&server, Request::PauseQueue { queue: queue.clone() }, &queue, "paused", out)
                        .await?;
                }
                Ok(())
            }
            Verb::Resume(args) => {
                for queue in args.names {
                    order(&server, Request::ResumeQueue { queue: queue.clone() }, &queue, "resumed", out)
                        .await?;
                }
                Ok(())
            }
            Verb::Retention(RetentionArgs { name: queue, finished_max }) => {
                let done = format!("remembers its last {} finished jobs", count(u64::from(finished_max)));
                order(
                    &server,
                    Request::SetRetention { queue: queue.clone(), finished_max },
                    &queue,
                    &done,
                    out,
                )
                .await
            }
        }
    })
}

async fn order(
    server: &Server,
    request: Request,
    queue: &QueueName,
    done: &str,
    out: Output,
) -> Result<(), CliError> {
    match server.call(request).await.map_err(|e| e.about(format!("queue {queue}")))? {
        response if out.json => out.response(&response),
        Response::Done { .. } => out.line(format!("queue {queue} {done}")),
        other => Err(unexpected(&other)),
    }
}

async fn list(server: &Server, out: Output) -> Result<(), CliError> {
    match server.call(Request::ListQueues).await? {
        response if out.json => out.response(&response),
        Response::Queues(queues) if queues.is_empty() => {
            out.hint("no queues yet; the first job makes one");
            Ok(())
        }
        Response::Queues(queues) => out.table(&HEADERS, queues.iter().map(row).collect()),
        other => Err(unexpected(&other)),
    }
}

/// Heads of the table, the same in `windlass top`.
pub(super) const HEADERS: [&str; 11] = [
    "QUEUE",
    "READY",
    "RUNNING",
    "SCHEDULED",
    "RETRYING",
    "HELD",
    "DEAD",
    "OLDEST",
    "IN/S",
    "DONE/S",
    "WORKERS",
];

/// The cells of one queue.
pub(super) fn row(queue: &QueueView) -> Vec<Word> {
    let of = |state: JobState| count(queue.counts.get(&state).copied().unwrap_or(0));
    let name = match queue.paused {
        true => Word::tinted(33, format!("{} (paused)", queue.name)),
        false => queue.name.as_str().into(),
    };
    let oldest = if queue.oldest_wait_ms == 0 { "-".to_owned() } else { span(queue.oldest_wait_ms) };
    let (rate_in, rate_done) = (format!("{:.1}", queue.enqueue_rate), format!("{:.1}", queue.done_rate));
    let mut row = vec![name];
    row.extend([JobState::Ready, JobState::Running, JobState::Scheduled].map(|state| of(state).into()));
    row.extend([JobState::Retrying, JobState::Held, JobState::Dead].map(|state| of(state).into()));
    row.extend([oldest, rate_in, rate_done, queue.workers.to_string()].map(Word::from));
    row
}
