//! Logs: where they go, in which form, and the list of what is said.
//!
//! Text on a terminal, one JSON object per line elsewhere or on request. The same field names everywhere:
//! `queue`, `job_id`, `worker`, `worker_name`, `peer`, `node`, `epoch`, `error`.
//!
//! | event | level | meaning |
//! |---|---|---|
//! | `node started` | info | all doors are open; carries their addresses |
//! | `node stopping`, `node stopped` | info | the graceful stop began, ended |
//! | `queues recovered` | info | how many queues and jobs, and how long it took |
//! | `queue created` | info | first use of a name |
//! | `queue stopped writing` | error | a commit failed; the first reason; only a restart helps |
//! | `queue found a fault in itself` | error | a defect: the rule that was broken; the queue went on |
//! | `the store is full` | warn | batches wait until there is space |
//! | `worker connected`, `worker away`, `worker back` | info | sessions |
//! | `worker lost` | warn | its leases end; how it is known |
//! | `connection refused`, `connection broke a rule` | warn | the peer and the rule; ten lines in ten seconds, the rest in `left_out` |
//! | `introduction not believed` | warn | somebody said for whom they come, and is no node of this cluster, or its clock is off |
//! | `accept failed` | warn | out of file descriptors, mostly; it goes on; limited like those above |
//! | `the system's clock was set back` | warn | by how much; what is due by the wall clock waits for its time |
//! | `only work already taken on is finished` | warn | space, or something else that the store needs, is missing |
//! | `gossip stopped` | warn | it is started again |
//! | `the node stood still` | warn | it was stopped or the machine suspended; leases do not count that time |
//! | `member joined`, `member dead` | info | the gossip's view |
//!
//! Payloads, results and tokens are never logged. Metrics are rendered by the dashboard crate from the same snapshots that
//! its pages show.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Form of the log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// Text.
    Text,
    /// One JSON object per line.
    Json,
}

/// Libraries that are quiet unless the filter names them, with the level that is left to them: what a stranger sends to the
/// HTTP port is no error of ours.
const QUIET: [(&str, &str); 3] = [("chitchat", "error"), ("actix_server", "warn"), ("actix_http", "off")];

/// Sends logs to standard error. `filter` follows the `tracing` syntax, such as `info` or `windlass_scheduler=debug`.
/// Legal twice: the first call wins.
///
/// # Errors
/// A filter that cannot be read, with the reason.
pub fn init(filter: &str, format: Format) -> Result<(), String> {
    let unnamed = QUIET.iter().filter(|(library, _)| !filter.contains(library));
    let filter = unnamed.fold(filter.to_owned(), |all, (library, level)| format!("{all},{library}={level}"));
    let filter =
        EnvFilter::try_new(&filter).map_err(|e| format!("the log filter {filter:?} cannot be read: {e}"))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let json = match format {
        Format::Auto => !std::io::stderr().is_terminal(),
        Format::Text => false,
        Format::Json => true,
    };
    // An error means that a subscriber is set already, by the program that embeds the node.
    let _ = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder.with_target(false).try_init()
    };
    Ok(())
}
