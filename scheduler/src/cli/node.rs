//! `windlass node`: orders to one node of a cluster.

use std::time::Duration;

use clap::Subcommand;
use windlass_core::api::{Request, Response};
use windlass_core::time::millis;

use super::connect::{ClientArgs, Server, block_on, unexpected};
use super::error::CliError;
use super::output::{Output, span};
use super::value;

/// Arguments of `windlass node`.
#[derive(Debug, clap::Args)]
#[command(before_help = "\
Examples:
  windlass node drain                      the owner gives up, another node takes over
  windlass node drain node-7f3a9c --for 5m before the machine is taken away for a while")]
pub(crate) struct NodeArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Let a node give up what it owns, in order, and claim nothing for a while; running jobs go on
    Drain(DrainArgs),
}

#[derive(Debug, clap::Args)]
struct DrainArgs {
    /// The node, as `windlass cluster status` names it [default: the one that owns the queues]
    name: Option<String>,
    /// For how long it claims nothing
    #[arg(long = "for", value_name = "DURATION", default_value = "30s", value_parser = value::duration)]
    hold: Duration,
}

/// Runs `windlass node`.
///
/// # Errors
/// [`CliError`] with the exit code that `docs/cli.md` promises.
pub(crate) fn run(args: NodeArgs, out: Output) -> Result<(), CliError> {
    block_on(async move {
        let server = Server::connect(&args.client).await?;
        let Verb::Drain(DrainArgs { name, hold }) = args.verb;
        let hold_ms = millis(hold);
        // The order names the node: one whose answer is lost is sent again, and must not reach whoever has taken over since.
        let node = match name {
            Some(name) => name,
            None => owner(&server).await?,
        };
        let what = format!("node {node}");
        let request = Request::DrainNode { node: Some(node), hold_ms };
        match server.call(request).await.map_err(|error| error.about(&what))? {
            response if out.json => out.response(&response),
            Response::Done { .. } => {
                out.line(format!("{what} gives up what it owns and claims nothing for {}", span(hold_ms)))?;
                out.hint("see who has taken over: windlass cluster status");
                Ok(())
            }
            other => Err(unexpected(&other)),
        }
    })
}

/// The node that owns the queues.
async fn owner(server: &Server) -> Result<String, CliError> {
    match server.call(Request::GetCluster).await? {
        Response::Cluster(view) => {
            let owner = view.shards.into_iter().find_map(|shard| shard.owner);
            Ok(owner.unwrap_or(view.node))
        }
        other => Err(unexpected(&other)),
    }
}
