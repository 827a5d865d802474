//! `windlass job`: everything that concerns single jobs, and the dead ones of a queue.

mod batch;
mod dead;
mod enqueue;
mod line;
mod show;
mod wait;

use clap::Subcommand;
use windlass_core::api::{JobQuery, JobSearch, Request, Response};
use windlass_core::filter::Filter;
use windlass_core::id::{JobId, QueueName};
use windlass_core::job::JobState;
use windlass_core::limits;

use super::connect::{ClientArgs, Server, block_on, unexpected};
use super::error::CliError;
use super::output::{self, Output};

/// Arguments of `windlass job`.
#[derive(Debug, clap::Args)]
#[command(before_help = "\
Examples:
  windlass job enqueue shell --payload '\"date\"' --wait
  windlass job list --state dead
  windlass job get 01890a5d-ac96-774b-bcce-b302099a8057
  windlass job retry --dead --queue mail")]
pub(crate) struct JobArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Enqueue one job, the same job many times, or a file of jobs
    #[command(visible_alias = "push")]
    Enqueue(Box<enqueue::EnqueueArgs>),
    /// Show one job: state, attempts, payload, result
    #[command(visible_alias = "show")]
    Get(IdArgs),
    /// List jobs, a page at a time
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// Wait until a job ends and print its result; fails when the job did not succeed
    Wait(wait::WaitArgs),
    /// Cancel jobs; a running one is asked to stop
    Cancel(IdsArgs),
    /// Make jobs ready at once: dead, cancelled, expired or waiting ones
    Retry(dead::ManyArgs),
    /// Remove jobs that do not run, with their history
    #[command(visible_alias = "rm")]
    Delete(dead::ManyArgs),
}

#[derive(Debug, clap::Args)]
struct IdArgs {
    /// The job
    id: JobId,
}

#[derive(Debug, clap::Args)]
struct IdsArgs {
    /// The jobs
    #[arg(required = true)]
    ids: Vec<JobId>,
}

#[derive(Debug, clap::Args)]
#[command(before_help = "\
Examples:
  windlass job list --state dead
  windlass job list --queue mail --kind send_email --limit 200
  windlass job list 'state:dead error:\"timed out\" args.user.id:123 age>10m attempt>=3'
  windlass job list --all --json | jq -r '.jobs[].id'")]
struct ListArgs {
    /// Terms that every job has to satisfy, such as state:dead tag:vip error:"timed out" args.user.id:123 age>10m
    filter: Vec<String>,
    /// Only this queue
    #[arg(long, short)]
    queue: Option<QueueName>,
    /// Only this state: scheduled, ready, held, running, retrying, succeeded, dead, cancelled or expired
    #[arg(long)]
    state: Option<JobState>,
    /// Only this kind
    #[arg(long)]
    kind: Option<String>,
    /// Jobs per page, 1 to 1,000
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::PAGE_MAX)))]
    limit: u32,
    /// Where to go on: what the last page ended with
    #[arg(long)]
    cursor: Option<String>,
    /// All pages, one after the other
    #[arg(long)]
    all: bool,
}

/// Runs `windlass job`.
///
/// # Errors
/// [`CliError`] with the exit code that `docs/cli.md` promises.
pub(crate) fn run(args: JobArgs, out: Output) -> Result<(), CliError> {
    let client = args.client;
    block_on(async move {
        // Mistakes in a file or flag are found before a server is needed.
        let prepared = match args.verb {
            Verb::Enqueue(args) => return enqueue::run(*args, &client, out).await,
            other => other,
        };
        let server = Server::connect(&client).await?;
        match prepared {
            Verb::Enqueue(_) => Ok(()),
            Verb::Get(args) => get(&server, args.id, out).await,
            Verb::List(args) => list(&server, args, out).await,
            Verb::Wait(args) => wait::run(&server, &args, out).await,
            Verb::Cancel(args) => dead::each(&server, &args.ids, dead::Act::Cancel, out).await,
            Verb::Retry(args) => dead::run(&server, args, dead::Act::Retry, out).await,
            Verb::Delete(args) => dead::run(&server, args, dead::Act::Delete, out).await,
        }
    })
}

async fn get(server: &Server, id: JobId, out: Output) -> Result<(), CliError> {
    match server.call(Request::GetJob { id }).await.map_err(|e| e.about(format!("job {id}")))? {
        response if out.json => out.response(&response),
        Response::Job(job) => show::job(&job, out),
        other => Err(unexpected(&other)),
    }
}

async fn list(server: &Server, args: ListArgs, out: Output) -> Result<(), CliError> {
    let ListArgs { filter, queue, state, kind, limit, cursor, all } = args;
    let fields = JobQuery { queue, state, kind, cursor: None, limit: Some(limit) };
    let terms = filter.join(" ");
    let filter = Filter::parse(&terms).map_err(|e| CliError::usage(format!("the filter: {e}\n  {terms}")))?;
    let mut request = if filter.is_empty() {
        // Servers of the first version know this one.
        Request::ListJobs(JobQuery { cursor, ..fields })
    } else {
        let filter = Filter::of_query(&fields).and(filter).to_string();
        Request::SearchJobs(JobSearch { filter, cursor, limit: Some(limit) })
    };
    let (mut shown, mut scanned) = (0, 0);
    loop {
        let response = server.call(request.clone()).await?;
        let Response::Jobs(page) = &response else { return Err(unexpected(&response)) };
        if out.json {
            out.response(&response)?;
        } else if !page.jobs.is_empty() {
            show::rows(&page.jobs, out)?;
        }
        shown += page.jobs.len();
        scanned += page.scanned;
        match &page.next {
            Some(next) if all => match &mut request {
                Request::ListJobs(query) => query.cursor = Some(next.clone()),
                Request::SearchJobs(search) => search.cursor = Some(next.clone()),
                _ => break,
            },
            Some(next) => {
                let looked = output::count(scanned);
                out.hint(format!(
                    "\n{looked} jobs were looked at and there are more: --cursor {next}, or --all"
                ));
                break;
            }
            None => break,
        }
    }
    if shown == 0 && !out.json {
        out.hint(format!("no such jobs among {}", output::count(scanned)));
    }
    Ok(())
}
