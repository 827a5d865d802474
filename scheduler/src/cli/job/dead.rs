//! Retrying, cancelling and deleting: some jobs by id, or all dead ones of a queue.

use std::io::{BufRead, IsTerminal};

use windlass_core::api::{Request, Response};
use windlass_core::id::{JobId, QueueName};
use windlass_core::job::JobState;

use crate::cli::connect::{Server, unexpected};
use crate::cli::error::CliError;
use crate::cli::output::{self, Output};

/// Which jobs: ids, or all dead ones.
#[derive(Debug, clap::Args)]
#[command(before_help = "\
Examples:
  windlass job retry 01890a5d-ac96-774b-bcce-b302099a8057
  windlass job retry --dead --queue mail
  windlass job delete --dead --queue mail --kind send_email --yes")]
pub(super) struct ManyArgs {
    /// The jobs
    #[arg(required_unless_present = "dead")]
    ids: Vec<JobId>,
    /// All dead jobs of a queue
    #[arg(long, requires = "queue", conflicts_with = "ids")]
    dead: bool,
    /// The queue of the dead jobs
    #[arg(long, short, requires = "dead")]
    queue: Option<QueueName>,
    /// Only dead jobs of this kind
    #[arg(long, requires = "dead")]
    kind: Option<String>,
    /// Do not ask before deleting
    #[arg(long, short)]
    yes: bool,
}

/// What is done to the jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// They shall not run (any more).
    Cancel,
    /// They shall run again.
    Retry,
    /// They shall be forgotten.
    Delete,
}

impl Act {
    fn request(self, id: JobId) -> Request {
        match self {
            Act::Cancel => Request::CancelJob { id },
            Act::Retry => Request::RetryJob { id },
            Act::Delete => Request::DeleteJob { id },
        }
    }
}

/// Runs `windlass job retry` and `windlass job delete`.
pub(super) async fn run(server: &Server, args: ManyArgs, act: Act, out: Output) -> Result<(), CliError> {
    let Some(queue) = args.queue.filter(|_| args.dead) else {
        return each(server, &args.ids, act, out).await;
    };
    let request = match act {
        Act::Delete => {
            if !args.yes && !confirm(server, &queue, args.kind.as_deref()).await? {
                output::note("nothing was deleted");
                return Ok(());
            }
            Request::DeleteDead { queue: queue.clone(), kind: args.kind }
        }
        Act::Retry | Act::Cancel => Request::RetryDead { queue: queue.clone(), kind: args.kind },
    };
    match server.call(request).await.map_err(|e| e.about(format!("queue {queue}")))? {
        response if out.json => out.response(&response),
        Response::Done { count } => {
            let done = if act == Act::Delete { "deleted" } else { "made ready" };
            out.line(format!("{} dead jobs of queue {queue} {done}", output::count(count)))
        }
        other => Err(unexpected(&other)),
    }
}

/// Does it to each job; all are tried, and the first error decides the exit code.
pub(super) async fn each(server: &Server, ids: &[JobId], act: Act, out: Output) -> Result<(), CliError> {
    let mut first = None;
    for id in ids {
        match server.call(act.request(*id)).await {
            Ok(response) if out.json => out.response(&response)?,
            Ok(Response::Job(job)) if act == Act::Cancel && !job.state.is_final() => {
                out.line(format!("{id} {} (asked to stop)", job.state))?;
            }
            Ok(Response::Job(job)) => out.line(format!("{id} {}", job.state))?,
            Ok(Response::Done { .. }) => out.line(format!("{id} deleted"))?,
            Ok(other) => return Err(unexpected(&other)),
            Err(error) => {
                let error = error.about(format!("job {id}"));
                if let Some(earlier) = first.replace(error) {
                    // The last one is reported by the caller; the others must not go unsaid.
                    output::note(format!("windlass: {earlier}"));
                }
            }
        }
    }
    first.map_or(Ok(()), Err)
}

/// Asks a person. A script that cannot answer is refused, not blocked.
async fn confirm(server: &Server, queue: &QueueName, kind: Option<&str>) -> Result<bool, CliError> {
    if !std::io::stdin().is_terminal() {
        return Err(CliError::usage(
            "delete --dead: asks before it deletes, and there is no terminal; say --yes",
        ));
    }
    let dead = match server.call(Request::ListQueues).await? {
        Response::Queues(queues) => {
            let counts = queues.into_iter().find(|q| q.name == *queue).map(|q| q.counts);
            counts.and_then(|c| c.get(&JobState::Dead).copied()).unwrap_or(0)
        }
        other => return Err(unexpected(&other)),
    };
    let which = match kind {
        Some(kind) => format!("those of kind {kind} among the {} dead jobs", output::count(dead)),
        None => format!("{} dead jobs", output::count(dead)),
    };
    output::note(format!("delete {which} of queue {queue}, with payloads and errors? [y/N]"));
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
