//! `windlass cluster`: which node owns what, who stands by, how ownership has moved.

use std::io::IsTerminal;
use std::time::Duration;

use clap::Subcommand;
use windlass_core::api::{ClusterNode, ClusterView, MoveView, NodeState, Request, Response, ShardView};
use windlass_core::time::Timestamp;

use super::connect::{ClientArgs, Server, block_on, unexpected};
use super::error::CliError;
use super::output::{Output, Word, cell, count, relative, span};
use super::value;

/// Time between two looks of `--watch`.
const INTERVAL: Duration = Duration::from_secs(1);
/// Moves in the table; `--json` has all that are remembered.
const MOVES_SHOWN: usize = 5;
/// Silence below this is none: nodes speak once a second, and their words take a moment.
const SILENCE_MS: u64 = 3_000;

/// Arguments of `windlass cluster`.
#[derive(Debug, clap::Args)]
#[command(before_help = "\
Examples:
  windlass cluster status            nodes, what they own, the last moves
  windlass cluster status --watch    the same every second, until Ctrl-C
  windlass cluster status --json     ends with 1 when a shard has no owner")]
pub(crate) struct ClusterArgs {
    #[command(flatten)]
    client: ClientArgs,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print which node owns what; ends with 1 when a shard has no owner that lives
    Status(StatusArgs),
}

#[derive(Debug, clap::Args)]
struct StatusArgs {
    /// Look every second, until Ctrl-C
    #[arg(long)]
    watch: bool,
}

/// Runs `windlass cluster`.
///
/// # Errors
/// [`CliError`] with the exit code that `docs/cli.md` promises.
pub(crate) fn run(args: ClusterArgs, out: Output) -> Result<(), CliError> {
    block_on(async move {
        let server = Server::connect(&args.client).await?;
        let Verb::Status(StatusArgs { watch }) = args.verb;
        if !watch {
            let view = look(&server).await?;
            print(&view, out)?;
            return healthy(&view);
        }
        loop {
            let view = look(&server).await?;
            if !out.json && std::io::stdout().is_terminal() {
                // Back to the upper left corner of an empty screen.
                out.bytes(b"\x1b[2J\x1b[H")?;
            }
            print(&view, out)?;
            if !out.json {
                out.line("")?;
            }
            tokio::time::sleep(INTERVAL).await;
        }
    })
}

async fn look(server: &Server) -> Result<ClusterView, CliError> {
    match server.call(Request::GetCluster).await? {
        Response::Cluster(view) => Ok(*view),
        other => Err(unexpected(&other)),
    }
}

fn print(view: &ClusterView, out: Output) -> Result<(), CliError> {
    if out.json {
        return out.json_value(view);
    }
    let now = value::now();
    out.line(format!(
        "cluster {}, store {}, answered by {}",
        cell(&view.name),
        view.store,
        cell(&view.node)
    ))?;
    if let Some(trouble) = &view.trouble {
        out.line(out.paint(31, &cell(trouble)))?;
    }
    out.line("")?;
    out.table(&SHARDS, view.shards.iter().map(|shard| shard_row(view, shard, now)).collect())?;
    out.line("")?;
    out.table(&NODES, view.nodes.iter().map(|node| node_row(view, node)).collect())?;
    if !view.moves.is_empty() {
        out.line("")?;
        let shown = view.moves.iter().take(MOVES_SHOWN);
        out.table(&MOVES, shown.map(|step| move_row(step, now)).collect())?;
    }
    Ok(())
}

/// What a script wants to know: whether every shard has an owner that lives.
fn healthy(view: &ClusterView) -> Result<(), CliError> {
    let sick = |shard: &&ShardView| !is_owned(view, shard);
    match view.shards.iter().find(sick) {
        None if view.shards.is_empty() => Err(CliError::failure("cluster: the server knows of no shard yet")),
        None => Ok(()),
        Some(shard) => Err(CliError::failure(format!(
            "shard {}: has no owner that lives, so none of its jobs is handed out; start a node, or look at the log of one that runs",
            shard.shard
        ))),
    }
}

fn is_owned(view: &ClusterView, shard: &ShardView) -> bool {
    let gone =
        |owner: &String| view.nodes.iter().any(|node| node.name == *owner && node.state == NodeState::Gone);
    shard.owner.as_ref().is_some_and(|owner| !gone(owner))
}

const SHARDS: [&str; 8] = ["SHARD", "OWNER", "EPOCH", "SINCE", "QUEUES", "READY", "RUNNING", "DONE/S"];
const NODES: [&str; 9] =
    ["NODE", "STATE", "EPOCH", "HEARTBEAT", "CLOCK", "DONE/S", "CONNECTIONS", "HTTP", "VERSION"];
const MOVES: [&str; 6] = ["MOVED", "SHARD", "EPOCH", "FROM", "TO", "WHY"];

fn shard_row(view: &ClusterView, shard: &ShardView, now: Timestamp) -> Vec<Word> {
    let owner = match &shard.owner {
        None => Word::tinted(31, "nobody"),
        Some(owner) if is_owned(view, shard) => cell(owner).into(),
        Some(owner) => Word::tinted(31, format!("{} (gone)", cell(owner))),
    };
    vec![
        shard.shard.to_string().into(),
        owner,
        shard.epoch.to_string().into(),
        relative(shard.since, now).into(),
        shard.queues.to_string().into(),
        count(shard.ready).into(),
        count(shard.running).into(),
        format!("{:.1}", shard.rate).into(),
    ]
}

fn node_row(view: &ClusterView, node: &ClusterNode) -> Vec<Word> {
    let here = node.name == view.node;
    let colour = match node.state {
        NodeState::Owner => 32,
        NodeState::Draining => 33,
        NodeState::Standby => 34,
        NodeState::Gone => 31,
    };
    let heartbeat = match node.lag_ms {
        _ if here => "-".to_owned(),
        0..SILENCE_MS => "now".to_owned(),
        ms => format!("{} ago", span(ms)),
    };
    let clock = match node.clock_skew_ms {
        _ if here => "-".to_owned(),
        Some(skew) => format!("{}{}", if skew < 0 { '-' } else { '+' }, span(skew.unsigned_abs())),
        None => "?".to_owned(),
    };
    vec![
        cell(&node.name).into(),
        Word::tinted(colour, node.state.name()),
        if node.epoch == 0 { "-".into() } else { node.epoch.to_string().into() },
        heartbeat.into(),
        clock.into(),
        format!("{:.1}", node.rate).into(),
        node.connections.to_string().into(),
        if node.http.is_empty() { "-".into() } else { cell(&node.http).into() },
        cell(&node.version).into(),
    ]
}

fn move_row(step: &MoveView, now: Timestamp) -> Vec<Word> {
    let name = |name: &Option<String>| name.as_ref().map_or_else(|| "-".to_owned(), |name| cell(name));
    vec![
        relative(step.at, now).into(),
        step.shard.to_string().into(),
        step.epoch.to_string().into(),
        name(&step.from).into(),
        name(&step.to).into(),
        cell(&step.why).into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(owner: Option<&str>, states: &[(&str, NodeState)]) -> ClusterView {
        let node = |(name, state): &(&str, NodeState)| ClusterNode {
            name: (*name).to_owned(),
            state: *state,
            ..ClusterNode::default()
        };
        let shards = vec![ShardView { owner: owner.map(str::to_owned), ..ShardView::default() }];
        ClusterView { shards, nodes: states.iter().map(node).collect(), ..ClusterView::default() }
    }

    #[test]
    fn a_shard_without_an_owner_that_lives_ends_with_1() {
        use NodeState::{Draining, Gone, Owner, Standby};
        let code = |view: ClusterView| healthy(&view).map_err(|error| error.exit as u8);
        assert_eq!(code(view(Some("a"), &[("a", Owner), ("b", Gone)])), Ok(()));
        assert_eq!(code(view(Some("a"), &[("a", Draining), ("b", Standby)])), Ok(()));
        assert_eq!(code(view(Some("a"), &[("a", Gone), ("b", Standby)])), Err(1));
        assert_eq!(code(view(None, &[("b", Standby)])), Err(1));
        assert_eq!(code(ClusterView::default()), Err(1));
    }

    #[test]
    fn silence_and_clocks_are_short() {
        let mut view = view(Some("a"), &[("a", NodeState::Owner), ("b", NodeState::Gone)]);
        view.node = "a".to_owned();
        let texts = |node: &ClusterNode| -> Vec<String> {
            node_row(&view, node).into_iter().map(|w| w.text).collect()
        };
        let other = ClusterNode { lag_ms: 184_000, clock_skew_ms: Some(-2_400), ..view.nodes[1].clone() };
        assert_eq!(texts(&other)[2..5], ["-", "3m 4s ago", "-2.4s"]);
        assert_eq!(texts(&view.nodes[0])[3..5], ["-", "-"], "the node that answers");
    }
}
