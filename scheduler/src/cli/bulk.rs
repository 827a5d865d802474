//! `windlass bulk`: retry, cancel or delete whatever a filter finds, counted first.

use std::io::{BufRead, IsTerminal};
use std::time::Duration;

use clap::Subcommand;
use windlass_core::api::{BulkAct, BulkSpec, BulkState, BulkView, Request, Response};
use windlass_core::filter::Filter;

use super::connect::{ClientArgs, Server, block_on, unexpected};
use super::error::CliError;
use super::output::{self, Output};
use super::value;

/// How often a running operation is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// Arguments of `windlass bulk`.
#[derive(Debug, clap::Args)]
#[command(before_help = "\
Examples:
  windlass bulk retry 'state:dead kind:send_* error:\"timed out\"' --reason 'the relay is back' --pace 100
  windlass bulk delete 'state:dead age>30d' --dry-run
  windlass bulk list")]
pub(crate) struct BulkArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make jobs ready at once: dead, cancelled, expired or waiting ones
    Retry(ActArgs),
    /// Cancel jobs; running ones are asked to stop
    Cancel(ActArgs),
    /// Remove jobs that do not run, with their history
    Delete(ActArgs),
    /// List operations, newest first
    #[command(visible_alias = "ls")]
    List,
    /// Show one operation
    #[command(visible_alias = "get")]
    Show(OneArgs),
    /// Stop an operation; what was done stays done
    Stop(OneArgs),
}

#[derive(Debug, clap::Args)]
struct OneArgs {
    /// Number of the operation
    id: u64,
}

#[derive(Debug, clap::Args)]
struct ActArgs {
    /// Terms that every job has to satisfy
    #[arg(required = true)]
    filter: Vec<String>,
    /// Why, for the log and the list
    #[arg(long, default_value = "")]
    reason: String,
    /// Jobs per second at most [default: as fast as the store takes them]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pace: Option<u32>,
    /// Only count
    #[arg(long)]
    dry_run: bool,
    /// Do not ask before it begins
    #[arg(long, short)]
    yes: bool,
    /// Do not wait for the end
    #[arg(long)]
    detach: bool,
}

/// Runs `windlass bulk`.
///
/// # Errors
/// [`CliError`] with the exit code that `docs/cli.md` promises.
pub(crate) fn run(args: BulkArgs, out: Output) -> Result<(), CliError> {
    let client = args.client;
    block_on(async move {
        let server = Server::connect(&client).await?;
        match args.verb {
            Verb::Retry(args) => act(&server, BulkAct::Retry, args, out).await,
            Verb::Cancel(args) => act(&server, BulkAct::Cancel, args, out).await,
            Verb::Delete(args) => act(&server, BulkAct::Delete, args, out).await,
            Verb::List => list(&server, out).await,
            Verb::Show(args) => show(&ask(&server, Request::GetBulk { id: args.id }).await?, out),
            Verb::Stop(args) => show(&ask(&server, Request::CancelBulk { id: args.id }).await?, out),
        }
    })
}

async fn act(server: &Server, act: BulkAct, args: ActArgs, out: Output) -> Result<(), CliError> {
    let filter = args.filter.join(" ");
    Filter::parse(&filter).map_err(|e| CliError::usage(format!("the filter: {e}\n  {filter}")))?;
    let spec = BulkSpec { act, filter, reason: args.reason, pace: args.pace, dry_run: true };
    let asks = !args.dry_run && !args.yes;
    if asks && !std::io::stdin().is_terminal() {
        let text = format!("bulk {}: asks before it begins, and there is no terminal; say --yes", act.name());
        return Err(CliError::usage(text));
    }
    if args.dry_run || asks {
        let counted = until_over(server, ask(server, Request::StartBulk(spec.clone())).await?, out).await?;
        if args.dry_run || counted.state != BulkState::Done {
            return conclude(&counted, out);
        }
        let (matched, scanned) = (output::count(counted.matched), output::count(counted.scanned));
        output::note(format!("{} {matched} jobs (of {scanned} looked at)? [y/N]", act.name()));
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        if !matches!(answer.trim(), "y" | "Y" | "yes") {
            output::note("nothing was done");
            return Ok(());
        }
    }
    let started = ask(server, Request::StartBulk(BulkSpec { dry_run: false, ..spec })).await?;
    if args.detach {
        return show(&started, out);
    }
    out.hint(format!("operation {}; stop it with: windlass bulk stop {0}", started.id));
    conclude(&until_over(server, started, out).await?, out)
}

async fn ask(server: &Server, request: Request) -> Result<BulkView, CliError> {
    match server.call(request).await? {
        Response::Bulk(view) => Ok(*view),
        other => Err(unexpected(&other)),
    }
}

async fn until_over(server: &Server, mut view: BulkView, out: Output) -> Result<BulkView, CliError> {
    let mut said = String::new();
    while !view.state.is_over() {
        let now = progress(&view);
        if now != said {
            out.hint(&now);
            said = now;
        }
        tokio::time::sleep(LOOK).await;
        view = ask(server, Request::GetBulk { id: view.id }).await?;
    }
    Ok(view)
}

fn progress(view: &BulkView) -> String {
    match view.state {
        BulkState::Counting => {
            format!("counting: {} of {}", output::count(view.matched), output::count(view.scanned))
        }
        _ => {
            let (done, matched) = (output::count(view.done), output::count(view.matched));
            let skipped = output::count(view.skipped);
            format!("{}: {done} of {matched}, {skipped} had changed", view.state.name())
        }
    }
}

fn conclude(view: &BulkView, out: Output) -> Result<(), CliError> {
    show(view, out)?;
    match view.state {
        BulkState::Failed => Err(CliError::usage(format!("the operation failed: {}", view.error))),
        _ => Ok(()),
    }
}

fn show(view: &BulkView, out: Output) -> Result<(), CliError> {
    if out.json {
        return out.json_value(view);
    }
    if view.dry_run {
        let (matched, scanned) = (output::count(view.matched), output::count(view.scanned));
        return out.line(format!("{matched} jobs would be touched, of {scanned} looked at"));
    }
    out.line(format!("{} {}: {}", view.id, view.act.name(), progress(view)))
}

async fn list(server: &Server, out: Output) -> Result<(), CliError> {
    let response = server.call(Request::ListBulks).await?;
    if out.json {
        return out.response(&response);
    }
    let Response::Bulks(views) = response else { return Err(unexpected(&response)) };
    let now = value::now();
    let row = |view: &BulkView| {
        vec![
            view.id.to_string().into(),
            view.act.name().into(),
            progress(view).into(),
            output::relative(view.started_at, now).into(),
            output::cell(&view.filter).into(),
            output::cell(&view.reason).into(),
        ]
    };
    out.table(&["ID", "ACT", "STATE", "BEGAN", "FILTER", "REASON"], views.iter().map(row).collect())
}
