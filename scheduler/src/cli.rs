//! The command line: one file per noun. It is a client of the node like any other, except for `server` and `dev`,
//! which start one, and `doctor`, which reads a store at rest.
//!
//! Data goes to stdout, talk to stderr, and the exit code says what happened; `docs/cli.md` is the promise.

mod allocator;
mod audit;
mod bench;
mod bulk;
mod check;
mod checks;
mod cluster;
mod connect;
mod demo;
mod dev;
mod doctor;
mod error;
mod job;
mod node;
mod output;
mod process;
mod queue;
mod runner;
mod schedule;
mod server;
mod shell;
mod spec;
mod store;
mod token;
mod top;
mod value;
mod worker;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub use error::{CliError, Exit};
use output::Output;

/// A durable job queue and task scheduler: one binary, no dependency to start with.
#[derive(Debug, Parser)]
#[command(
    name = "windlass",
    version,
    max_term_width = 110,
    before_help = "\
Examples:
  windlass dev                                   server, dashboard and shell worker
  windlass job enqueue shell --payload '\"date\"' --wait   a command as a job, and its result
  windlass top                                   watch queues and workers
  windlass server --data-dir /var/lib/windlass   a server for real"
)]
struct Cli {
    /// Data as JSON on stdout, with the keys of the HTTP API; errors as JSON on stderr
    #[arg(long, global = true, help_heading = "Output")]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Server, dashboard and a worker with the kind `shell`, for trying things out
    Dev(dev::DevArgs),
    /// Run a server
    Server(server::ServerArgs),
    /// Enqueue, look at, wait for, cancel, retry and delete jobs
    #[command(visible_alias = "jobs")]
    Job(job::JobArgs),
    /// Retry, cancel or delete whatever a filter finds, counted first
    Bulk(bulk::BulkArgs),
    /// List, pause and resume queues
    #[command(visible_alias = "queues")]
    Queue(queue::QueueArgs),
    /// List worker processes, or run one that executes shell commands
    #[command(visible_alias = "workers")]
    Worker(worker::WorkerArgs),
    /// Create and steer schedules (cron and intervals)
    #[command(visible_alias = "schedules")]
    Schedule(schedule::ScheduleArgs),
    /// Create, list and revoke access tokens
    #[command(visible_alias = "tokens")]
    Token(token::TokenArgs),
    /// Read what operators did
    Audit(audit::AuditArgs),
    /// Show which node owns what, and who stands by
    Cluster(cluster::ClusterArgs),
    /// Give orders to one node of a cluster
    #[command(visible_alias = "nodes")]
    Node(node::NodeArgs),
    /// Watch queues and workers live
    Top(top::TopArgs),
    /// Measure: enqueue and run no-op jobs, print rates and latencies
    Bench(bench::BenchArgs),
    /// Make, check and copy stores
    Store(store::StoreArgs),
    /// Examine the store of a server that does not run
    Doctor(doctor::DoctorArgs),
    /// Print the configuration in force, with the origin of each value
    Check(check::CheckArgs),
    /// Print completions for a shell
    Completions(CompletionsArgs),
    /// Print the version
    Version,
}

#[derive(Debug, clap::Args)]
#[command(before_help = "\
Examples:
  windlass completions bash > ~/.local/share/bash-completion/completions/windlass
  windlass completions zsh > ~/.zfunc/_windlass
  windlass completions fish > ~/.config/fish/completions/windlass.fish")]
struct CompletionsArgs {
    /// The shell
    shell: clap_complete::Shell,
}

/// Examples stand before the options, because most people read no further.
const HELP_TEMPLATE: &str =
    "{about-with-newline}\n{before-help}{usage-heading} {usage}\n\n{all-args}{after-help}";

/// The whole command tree, as the parser, the completions and the documents use it.
#[must_use]
pub fn command() -> clap::Command {
    fn with_template(command: clap::Command) -> clap::Command {
        command.help_template(HELP_TEMPLATE).mut_subcommands(with_template)
    }
    with_template(Cli::command())
}

/// Parses the arguments of this process, runs the command, reports an error, and returns the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let parsed = command().try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come as "errors", too.
            return refuse(&error);
        }
    };
    let out = Output::new(cli.json);
    match run(cli.command, out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            report(&error, out);
            error.exit.into()
        }
    }
}

/// What the parser says: help and version on stdout, mistakes on stderr.
fn refuse(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // A reader that hung up is no reason to fail.
        let _ = error.print();
        return Exit::Ok.into();
    }
    // The flags could not be parsed, so `--json` is looked for by hand.
    if std::env::args().any(|argument| argument == "--json") {
        let text = error.to_string();
        let line = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
        report(&CliError::usage(line), Output::new(true));
    } else {
        let _ = error.print();
    }
    Exit::Usage.into()
}

fn run(command: Command, out: Output) -> Result<(), CliError> {
    if matches!(command, Command::Dev(_) | Command::Server(_)) {
        allocator::give_back_soon();
    }
    match command {
        Command::Dev(args) => dev::run(args, out),
        Command::Server(args) => server::run(args, out),
        Command::Job(args) => job::run(args, out),
        Command::Bulk(args) => bulk::run(args, out),
        Command::Queue(args) => queue::run(args, out),
        Command::Worker(args) => worker::run(args, out),
        Command::Schedule(args) => schedule::run(args, out),
        Command::Token(args) => token::run(args, out),
        Command::Audit(args) => audit::run(args, out),
        Command::Cluster(args) => cluster::run(args, out),
        Command::Node(args) => node::run(args, out),
        Command::Top(args) => top::run(args, out),
        Command::Bench(args) => bench::run(args, out),
        Command::Store(args) => store::run(args, out),
        Command::Doctor(args) => doctor::run(args, out),
        Command::Check(args) => check::run(args, out),
        Command::Completions(args) => completions(args, out),
        Command::Version => version(out),
    }
}

/// The error as one line, or as one JSON object.
fn report(error: &CliError, out: Output) {
    if error.text.is_empty() {
        return;
    }
    if out.json {
        let body = serde_json::json!({ "error": { "code": error.code, "exit": error.exit as u8, "message": error.text } });
        output::note(body.to_string());
    } else {
        output::note(format!("windlass: {error}"));
    }
}

fn completions(args: CompletionsArgs, out: Output) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command(), "windlass", &mut script);
    out.bytes(&script)
}

fn version(out: Output) -> Result<(), CliError> {
    let version = env!("CARGO_PKG_VERSION");
    if out.json {
        let protocol = windlass_core::wire::PROTOCOL;
        return out.json_value(&serde_json::json!({ "version": version, "protocol": protocol }));
    }
    out.line(format!("windlass {version}"))
}

#[cfg(test)]
mod tests {
    /// clap finds clashing flags only when the tree is built in debug mode.
    #[test]
    fn the_command_tree_is_sound() {
        super::command().debug_assert();
    }

    /// Every noun shows by example what it is for.
    #[test]
    fn nouns_begin_with_examples() {
        for noun in super::command().get_subcommands().filter(|noun| noun.get_name() != "version") {
            let examples = noun.get_before_help().map(ToString::to_string).unwrap_or_default();
            assert!(examples.starts_with("Examples:\n  windlass "), "windlass {} --help", noun.get_name());
        }
    }
}
