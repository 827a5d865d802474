//! Jobs as people read them.

use windlass_core::api::JobView;
use windlass_core::job::{AttemptOutcome, JobState, Payload};
use windlass_core::time::Timestamp;

use crate::cli::error::CliError;
use crate::cli::output::{Output, Word, cell, payload_text, relative, span, state_colour};
use crate::cli::value::now;

/// Longest payload or result shown with a job, in characters; `--json` has it whole.
const BLOCK_CHARS_MAX: usize = 4_000;

/// A list of jobs as a table.
pub(super) fn rows(jobs: &[JobView], out: Output) -> Result<(), CliError> {
    let now = now();
    let row = |job: &JobView| {
        let when = match job.ended_at {
            Some(at) => relative(at, now),
            None if job.run_at > now => relative(job.run_at, now),
            None => relative(job.enqueued_at, now),
        };
        vec![
            job.id.to_string().into(),
            Word::tinted(state_colour(job.state), job.state.name()),
            job.queue.as_str().into(),
            cell(&job.kind).into(),
            format!("{}/{}", job.attempt, job.max_attempts).into(),
            when.into(),
            cell(why(job)).into(),
        ]
    };
    out.table(&["ID", "STATE", "QUEUE", "KIND", "ATTEMPT", "WHEN", "REASON"], jobs.iter().map(row).collect())
}

/// The last error where there is one, since it says more than "failed 3 of 3 attempts".
fn why(job: &JobView) -> &str {
    let last = job.attempts.last().map_or("", |attempt| attempt.error.as_str());
    if job.state == JobState::Succeeded || last.is_empty() { &job.reason } else { last }
}

/// One job with everything that is known about it.
pub(super) fn job(job: &JobView, out: Output) -> Result<(), CliError> {
    let now = now();
    let at = |t: Timestamp| format!("{} ({})", t.to_rfc3339(), relative(t, now));
    let mut lines = vec![
        ("job", job.id.to_string()),
        ("state", out.paint(state_colour(job.state), job.state.name())),
        ("queue", job.queue.to_string()),
        ("kind", job.kind.clone()),
        ("priority", job.priority.to_string()),
        ("enqueued", at(job.enqueued_at)),
    ];
    if !job.state.is_final() && job.run_at > job.enqueued_at {
        lines.push(("runs", at(job.run_at)));
    }
    lines.push(("attempt", format!("{} of {}", job.attempt, job.max_attempts)));
    lines.extend(job.ended_at.map(|t| ("ended", at(t))));
    lines.extend(job.expires_at.map(|t| ("expires", at(t))));
    lines.extend(job.timeout_ms.map(|ms| ("timeout", span(ms))));
    lines.extend(job.retention_ms.map(|ms| ("retention", span(ms))));
    lines.extend(
        job.progress.as_ref().map(|(percent, text)| ("progress", format!("{percent} % {}", cell(text)))),
    );
    if job.crashes > 0 {
        lines.push(("crashes", format!("its worker was lost {} times", job.crashes)));
    }
    if job.cancel_requested {
        lines.push(("cancel", "asked to stop".to_owned()));
    }
    if !job.reason.is_empty() {
        lines.push(("reason", safe(&job.reason)));
    }
    if !job.tags.is_empty() {
        lines.push(("tags", cell(&job.tags.join(", "))));
    }
    lines.extend(job.headers.iter().map(|(name, value)| ("header", cell(&format!("{name}={value}")))));
    for (name, value) in lines {
        out.line(format!("{name:<10} {value}"))?;
    }
    attempts(job, out)?;
    block("payload", &job.payload, out)?;
    job.result.as_ref().map_or(Ok(()), |result| block("result", result, out))
}

fn attempts(job: &JobView, out: Output) -> Result<(), CliError> {
    if job.attempts.is_empty() {
        return Ok(());
    }
    let rows = job.attempts.iter().map(|attempt| {
        let worker = if attempt.worker_name.is_empty() {
            attempt.worker.to_string()
        } else {
            attempt.worker_name.clone()
        };
        let ran = attempt
            .ended_at
            .map_or_else(|| "running".to_owned(), |end| span(end.since_ms(attempt.started_at)));
        let outcome = attempt.outcome.map_or("", outcome_name);
        let started = attempt.started_at.to_rfc3339();
        [attempt.attempt.to_string(), started, ran, cell(&worker), outcome.to_owned(), cell(&attempt.error)]
            .map(Word::from)
            .to_vec()
    });
    out.line("")?;
    out.table(&["#", "STARTED", "RAN", "WORKER", "OUTCOME", "ERROR"], rows.collect())
}

fn outcome_name(outcome: AttemptOutcome) -> &'static str {
    match outcome {
        AttemptOutcome::Succeeded => "succeeded",
        AttemptOutcome::Failed => "failed",
        AttemptOutcome::Snoozed => "snoozed",
        AttemptOutcome::Released => "released",
        AttemptOutcome::Lost => "lost",
        AttemptOutcome::Cancelled => "cancelled",
    }
}

fn block(name: &str, payload: &Payload, out: Output) -> Result<(), CliError> {
    let text = payload_text(payload);
    let mut shown: String = safe(&text).chars().take(BLOCK_CHARS_MAX).collect();
    if text.chars().nth(BLOCK_CHARS_MAX).is_some() {
        shown.push_str("… (cut; --json has it whole)");
    }
    let indented: Vec<_> = shown.trim_end().lines().map(|line| format!("  {line}")).collect();
    out.line(format!("\n{name}\n{}", indented.join("\n")))
}

/// `text` without control characters other than line ends and tabs: a job's output must not steer the terminal.
fn safe(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}
