//! `windlass schedule`: cron entries and intervals.

use std::time::Duration;

use clap::Subcommand;
use windlass_core::api::{Request, Response, ScheduleView};
use windlass_core::schedule::{CatchUp, ScheduleSpec, When};
use windlass_core::time::{Timestamp, millis};

use super::connect::{ClientArgs, Server, block_on, unexpected};
use super::error::CliError;
use super::output::{Output, Word, cell, count, relative, span};
use super::spec::SpecFlags;
use super::value;

/// Arguments of `windlass schedule`.
#[derive(Debug, clap::Args)]
#[command(before_help = "\
Examples:
  windlass schedule add nightly --cron '30 3 * * *' --zone Europe/Berlin --kind report
  windlass schedule add poll --every 5m --kind poll
  windlass schedule list
  windlass schedule trigger nightly")]
pub(crate) struct ScheduleArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Create a schedule, or replace the one of that name
    #[command(visible_alias = "put")]
    Add(Box<AddArgs>),
    /// List schedules with their next firing
    #[command(visible_alias = "ls")]
    List,
    /// Show one schedule with its next five firings
    Show(NameArgs),
    /// Fire no more
    Pause(NameArgs),
    /// Fire again; what was missed is not caught up
    Resume(NameArgs),
    /// Fire once now, beside the plan
    Trigger(NameArgs),
    /// Remove a schedule; jobs it enqueued stay
    #[command(visible_alias = "rm")]
    Delete(NameArgs),
}

#[derive(Debug, clap::Args)]
struct NameArgs {
    /// The schedule
    name: String,
}

#[derive(Debug, clap::Args)]
#[command(before_help = "\
Examples:
  windlass schedule add nightly --cron '30 3 * * *' --zone Europe/Berlin --kind report
  windlass schedule add weekdays --cron '0 9 * * Mon-Fri' --kind digest --payload '{\"to\":\"team\"}'
  windlass schedule add poll --every 5m --kind shell --payload '\"curl -fsS https://example.org/feed\"'")]
struct AddArgs {
    /// Its name
    name: String,
    /// Five, six or seven cron fields, or @daily and its kin
    #[arg(long, value_name = "EXPR", required_unless_present = "every", conflicts_with = "every")]
    cron: Option<String>,
    /// An interval, counted from now; at least 1s
    #[arg(long, value_name = "DURATION", value_parser = value::duration)]
    every: Option<Duration>,
    /// IANA zone in which the cron expression is read
    #[arg(long, default_value = "UTC")]
    zone: String,
    /// What happens to times that passed while no server ran
    #[arg(long, value_enum, default_value = "latest")]
    catch_up: CatchUpFlag,
    /// Which handler runs its jobs
    #[arg(long)]
    kind: String,
    #[command(flatten)]
    spec: SpecFlags,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum CatchUpFlag {
    /// Fire once, for the latest missed time
    Latest,
    /// Fire for none of them
    Skip,
}

/// Runs `windlass schedule`.
///
/// # Errors
/// [`CliError`] with the exit code that `docs/cli.md` promises.
pub(crate) fn run(args: ScheduleArgs, out: Output) -> Result<(), CliError> {
    block_on(async move {
        let (request, name) = match args.verb {
            Verb::Add(add) => {
                let spec = add.spec()?;
                let name = spec.name.clone();
                (Request::PutSchedule(spec), name)
            }
            Verb::List => (Request::ListSchedules, String::new()),
            Verb::Show(NameArgs { name }) => (Request::GetSchedule { name: name.clone() }, name),
            Verb::Pause(NameArgs { name }) => (Request::PauseSchedule { name: name.clone() }, name),
            Verb::Resume(NameArgs { name }) => (Request::ResumeSchedule { name: name.clone() }, name),
            Verb::Trigger(NameArgs { name }) => (Request::TriggerSchedule { name: name.clone() }, name),
            Verb::Delete(NameArgs { name }) => (Request::DeleteSchedule { name: name.clone() }, name),
        };
        let server = Server::connect(&args.client).await?;
        let about = |e: CliError| if name.is_empty() { e } else { e.about(format!("schedule {name}")) };
        let response = server.call(request).await.map_err(about)?;
        match &response {
            Response::Enqueued(entries) if out.json => {
                entries.iter().try_for_each(|entry| out.enqueued(entry))
            }
            other if out.json => out.response(other),
            Response::Schedules(all) => list(all, out),
            Response::Schedule(schedule) => show(schedule, out),
            Response::Enqueued(entries) => {
                entries.iter().try_for_each(|entry| out.line(entry.id.to_string()))
            }
            Response::Done { .. } => out.line(format!("schedule {name} deleted")),
            other => Err(unexpected(other)),
        }
    })
}

impl AddArgs {
    fn spec(self) -> Result<ScheduleSpec, CliError> {
        let when = match (self.cron, self.every) {
            (Some(expression), _) => When::Cron(expression),
            (None, Some(every)) => When::EveryMs(millis(every)),
            (None, None) => {
                return Err(CliError::usage("schedule add: when should it fire? say --cron or --every"));
            }
        };
        let catch_up = match self.catch_up {
            CatchUpFlag::Latest => CatchUp::Latest,
            CatchUpFlag::Skip => CatchUp::Skip,
        };
        let job = self.spec.spec(&self.kind)?;
        Ok(ScheduleSpec { name: self.name, when, zone: self.zone, catch_up, queue: self.spec.queue, job })
    }
}

fn when(spec: &ScheduleSpec) -> String {
    match &spec.when {
        When::Cron(expression) => format!("{expression} ({})", spec.zone),
        When::EveryMs(ms) => format!("every {}", span(*ms)),
    }
}

fn list(all: &[ScheduleView], out: Output) -> Result<(), CliError> {
    if all.is_empty() {
        out.hint("no schedules; make one with `windlass schedule add`");
        return Ok(());
    }
    let now = value::now();
    let row = |schedule: &ScheduleView| {
        let next = match schedule.next.first() {
            _ if schedule.paused => Word::tinted(33, "paused"),
            Some(at) => relative(*at, now).into(),
            None => "never".into(),
        };
        let last = schedule.last_fired.map_or_else(|| "-".to_owned(), |at| relative(at, now));
        let fired = count(schedule.fired_total);
        let [name, when, queue] =
            [&schedule.spec.name, &cell(&when(&schedule.spec)), schedule.spec.queue.as_str()];
        vec![name.into(), when.into(), queue.into(), next, last.into(), fired.into()]
    };
    out.table(&["SCHEDULE", "WHEN", "QUEUE", "NEXT", "LAST", "FIRED"], all.iter().map(row).collect())
}

fn show(schedule: &ScheduleView, out: Output) -> Result<(), CliError> {
    let now = value::now();
    let at = |t: Timestamp| format!("{} ({})", t.to_rfc3339(), relative(t, now));
    let spec = &schedule.spec;
    let catch_up = match spec.catch_up {
        CatchUp::Latest => "the latest missed time",
        CatchUp::Skip => "nothing",
    };
    let mut lines = vec![
        ("schedule", spec.name.clone()),
        ("when", when(spec)),
        ("queue", spec.queue.to_string()),
        ("kind", spec.job.kind.clone()),
        ("catches up", catch_up.to_owned()),
        ("state", if schedule.paused { out.paint(33, "paused") } else { out.paint(32, "active") }),
        ("fired", format!("{} times", count(schedule.fired_total))),
    ];
    if schedule.skipped_total > 0 {
        lines.push(("skipped", format!("{} times", count(schedule.skipped_total))));
    }
    lines.extend(schedule.last_fired.map(|t| ("last", at(t))));
    lines.extend(schedule.last_job.map(|id| ("last job", id.to_string())));
    lines.extend(schedule.next.iter().map(|t| ("next", at(*t))));
    for (name, value) in lines {
        out.line(format!("{name:<11} {value}"))?;
    }
    Ok(())
}
