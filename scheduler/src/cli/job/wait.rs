//! Waiting for the end of a job.

use std::time::{Duration, Instant};

use windlass_core::api::{JobView, Request, Response};
use windlass_core::id::JobId;
use windlass_core::job::JobState;
use windlass_core::limits;
use windlass_core::time::millis;

use crate::cli::connect::{Server, unexpected};
use crate::cli::error::{CliError, Exit};
use crate::cli::output::{self, Output, payload_text, span};
use crate::cli::value;

/// Longest single wait that is asked of the server: short enough that a middlebox does not forget the connection.
const SLICE: Duration = Duration::from_secs(60);

/// Arguments of `windlass job wait`.
#[derive(Debug, clap::Args)]
#[command(before_help = "\
Examples:
  windlass job wait 01890a5d-ac96-774b-bcce-b302099a8057
  windlass job wait 01890a5d-ac96-774b-bcce-b302099a8057 --timeout 30s --json")]
pub(super) struct WaitArgs {
    /// The jobs, one after the other
    #[arg(required = true)]
    ids: Vec<JobId>,
    /// Longest wait for each [default: until it ends]
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    timeout: Option<Duration>,
}

/// Runs `windlass job wait`.
pub(super) async fn run(server: &Server, args: &WaitArgs, out: Output) -> Result<(), CliError> {
    let mut verdict = Ok(());
    for id in &args.ids {
        let job = until_end(server, *id, args.timeout).await?;
        // All are waited for and shown; the first that did not succeed decides the exit code.
        verdict = verdict.and(conclude(&job, out));
    }
    verdict
}

/// The job in its final state.
///
/// # Errors
/// Exit code 1 when it did not end in time, 3 when there is no such job.
pub(super) async fn until_end(
    server: &Server,
    id: JobId,
    limit: Option<Duration>,
) -> Result<Box<JobView>, CliError> {
    let begun = Instant::now();
    loop {
        let left = limit.map_or(SLICE, |limit| limit.saturating_sub(begun.elapsed()).min(SLICE));
        // The server refuses a wait of nothing at all.
        let timeout_ms = millis(left).clamp(1, limits::WAIT_MS_MAX);
        match server.call(Request::WaitJob { id, timeout_ms }).await {
            Ok(Response::Job(job)) if job.state.is_final() => return Ok(job),
            Ok(Response::Job(_)) => {}
            Ok(other) => return Err(unexpected(&other)),
            Err(e) if e.code == "timeout" => {}
            Err(e) => return Err(e.about(format!("job {id}"))),
        }
        if let Some(limit) = limit.filter(|limit| begun.elapsed() >= *limit) {
            let text = format!(
                "job {id}: has not ended within {}; it goes on, look at it with `windlass job get {id}`",
                span(millis(limit))
            );
            return Err(CliError { exit: Exit::Failure, code: "timeout", text });
        }
    }
}

/// Prints how the job ended: its result, or an error.
///
/// # Errors
/// Exit code 1 for a job that did not succeed.
pub(super) fn conclude(job: &JobView, out: Output) -> Result<(), CliError> {
    if out.json {
        out.json_value(job)?;
    } else if let (JobState::Succeeded, Some(result)) = (job.state, &job.result) {
        match result.is_json() {
            true => out.bytes(payload_text(result).as_bytes())?,
            false => out.bytes(&result.data)?,
        }
    } else if job.state == JobState::Succeeded {
        out.hint(format!("job {}: succeeded without a result", job.id));
    }
    if job.state == JobState::Succeeded {
        return Ok(());
    }
    let said = job.attempts.last().map_or("", |attempt| attempt.error.trim());
    let reason =
        [said, job.reason.trim()].into_iter().find(|text| !text.is_empty()).unwrap_or("no reason was given");
    // One line: a stack trace stands in `job get`.
    let reason = output::cell(reason.lines().next().unwrap_or(reason));
    let tries = if job.attempt == 1 { "attempt" } else { "attempts" };
    let advice = format!("look at it with `windlass job get {}`", job.id);
    Err(CliError::failure(format!(
        "job {}: {} after {} {tries}: {reason}; {advice}",
        job.id, job.state, job.attempt
    )))
}
