//! `windlass audit`: who did what.

use windlass_core::api::{AuditEntry, Request, Response};

use super::connect::{ClientArgs, Server, block_on, unexpected};
use super::error::CliError;
use super::output::{Output, Word, cell, count};

/// Arguments of `windlass audit`.
#[derive(Debug, clap::Args)]
#[command(before_help = "\
Examples:
  windlass audit                    the last 50 things that operators and admins did
  windlass audit --limit 1000 --json")]
pub(crate) struct AuditArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Entries, newest first
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
    /// Only entries before this number, to read on
    #[arg(long, value_name = "NUMBER")]
    before: Option<u64>,
}

/// Runs `windlass audit`.
///
/// # Errors
/// [`CliError`] with the exit code that `docs/cli.md` promises.
pub(crate) fn run(args: AuditArgs, out: Output) -> Result<(), CliError> {
    block_on(async move {
        let server = Server::connect(&args.client).await?;
        match server.call(Request::ListAudit { before: args.before, limit: Some(args.limit) }).await? {
            response if out.json => out.response(&response),
            Response::Audit(page) if page.entries.is_empty() => {
                out.hint("nothing yet: no operator has changed anything");
                Ok(())
            }
            Response::Audit(page) => {
                out.table(&HEADERS, page.entries.iter().map(row).collect())?;
                if let Some(next) = page.next {
                    out.hint(format!("older ones: windlass audit --before {next}"));
                }
                Ok(())
            }
            other => Err(unexpected(&other)),
        }
    })
}

const HEADERS: [&str; 7] = ["NUMBER", "WHEN", "WHO", "FROM", "OPERATION", "ON", "OUTCOME"];

fn row(entry: &AuditEntry) -> Vec<Word> {
    let outcome: Word = match &entry.error {
        Some(error) => Word::tinted(31, cell(error)),
        None => count(entry.count).into(),
    };
    vec![
        entry.seq.to_string().into(),
        entry.at.to_rfc3339().into(),
        cell(&entry.who).into(),
        cell(&entry.from).into(),
        entry.operation.as_str().into(),
        cell(&entry.target).into(),
        outcome,
    ]
}
