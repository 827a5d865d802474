//! `windlass dev`: everything in one process, to try things out.

use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use windlass_core::id::NodeName;
use windlass_worker::Worker;

use super::error::CliError;
use super::output::{self, Output};
use super::process::{Signals, raise_file_limit};
use super::{demo, runner, server, shell};
use crate::access::AdminToken;
use crate::config::{Config, NATIVE_DEFAULT, Origin, ServerFlags, StoreKind, resolve};
use crate::node::RunningNode;

/// Between the ports of one server and the next.
const PORTS_APART: u16 = 10;
/// Time that running commands have to end when everything stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Arguments of `windlass dev`.
#[derive(Debug, clap::Args)]
#[command(before_help = "\
Examples:
  windlass dev                 a durable server, the dashboard, and a worker for shell commands
  windlass dev --demo          the same with steady sample traffic
  windlass dev --ephemeral     keep nothing
  windlass dev --nodes 3 --store postgres://windlass@localhost/jobs   three servers: end one, and another goes on")]
pub(crate) struct DevArgs {
    /// Add steady sample traffic: several queues and kinds, delays, failures, dead jobs, a schedule
    #[arg(long)]
    demo: bool,
    /// Keep jobs in memory only
    #[arg(long, conflicts_with_all = ["store", "data_dir"])]
    ephemeral: bool,
    /// Servers over one PostgreSQL, all in this process, each at ports ten above those of the last
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// Shell commands at a time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=4096))]
    concurrency: u32,
    #[command(flatten)]
    flags: ServerFlags,
}

/// Runs `windlass dev`.
///
/// # Errors
/// As `windlass server`.
pub(crate) fn run(args: DevArgs, out: Output) -> Result<(), CliError> {
    let flags = if args.ephemeral { args.flags.or("store", "memory") } else { args.flags };
    let resolved = resolve(&flags, &|name| std::env::var(name).ok())?;
    let mut config = resolved.config;
    if config.tls_files().is_some() {
        let text = "dev: speaks no TLS, since it is for this machine alone; use `windlass server`, or leave tls_cert and tls_key out";
        return Err(CliError::usage(text));
    }
    let log_is_default = resolved.settings.iter().any(|s| s.key == "log" && s.origin == Origin::Default);
    if log_is_default {
        // The banner is what a newcomer should read; problems still show.
        "warn,windlass_worker=error".clone_into(&mut config.log);
    }
    if args.nodes > 1 && config.store != StoreKind::Postgres {
        let text =
            "dev: several servers share a PostgreSQL; name it with --store postgres://user@host/database";
        return Err(CliError::usage(text));
    }
    server::start_log(&config)?;
    raise_file_limit();
    let shown = Shown { concurrency: args.concurrency, demo: args.demo, nodes: args.nodes };
    runner::block_on(serve(config, shown, out))
}

async fn serve(mut config: Config, shown: Shown, out: Output) -> Result<(), CliError> {
    let mut signals = Signals::listen()?;
    // What works in here is let in whatever tokens the store has, or gets while it runs.
    let token: String = rand::random::<[u8; 32]>().iter().map(|byte| format!("{byte:02x}")).collect();
    config.own_token = AdminToken::new(&token).ok();
    let nodes = start_nodes(&config, shown.nodes, &mut signals).await?;
    let node = &nodes[0];
    let native = node.native_addr().unwrap_or(config.native);
    let natives = nodes.iter().filter_map(RunningNode::native_addr).map(reachable);
    let all = natives.collect::<Vec<_>>().join(",");
    let mut worker = runner::start(&all, shell_worker(&all, &token, shown.concurrency));
    let traffic = if shown.demo { Some(demo::start(&all, &token).await?) } else { None };
    announce(&nodes, &config, native, &shown, out)?;
    tokio::select! {
        _ = signals.next() => {}
        ended = worker.ended() => return ended,
        () = node.stopped() => {
            return Err(CliError::failure("dev: the node has ended by itself; its last log lines say why"));
        }
    }
    output::note("\nstopping; once more ends at once");
    let stop = async {
        if let Some(traffic) = traffic {
            traffic.stop().await;
        }
        worker.stop().await
    };
    tokio::select! {
        stopped = stop => stopped?,
        () = signals.next_is_immediate() => {}
    }
    // The owner last, so that the work does not move from one that ends to the next.
    for node in nodes.iter().rev() {
        server::stop(node, &mut signals).await;
    }
    Ok(())
}

/// The servers, one after the other, each with the gossip of the first as its seed.
async fn start_nodes(
    config: &Config,
    count: u16,
    signals: &mut Signals,
) -> Result<Vec<RunningNode>, CliError> {
    let mut nodes: Vec<RunningNode> = Vec::new();
    for at in 0..count {
        let mut config = config.clone();
        if count > 1 {
            let place =
                |addr: SocketAddr| SocketAddr::new(addr.ip(), addr.port().saturating_add(at * PORTS_APART));
            let native = config.native;
            config.native = place(native);
            config.http = config.http.map(place);
            config.faktory = config.faktory.map(place);
            config.gossip = config.gossip.map(place);
            let name = NodeName::new(&format!("dev-{}", at + 1));
            config.name = Some(name.map_err(|e| CliError::failure(format!("dev: {e}")))?);
            config.seeds =
                nodes.first().and_then(RunningNode::gossip_addr).iter().map(ToString::to_string).collect();
        }
        nodes.push(server::start(&config, signals).await?);
    }
    Ok(nodes)
}

/// An address to connect to: a server that listens on all addresses is reached by loopback.
fn reachable(at: SocketAddr) -> String {
    let ip = if at.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { at.ip() };
    SocketAddr::new(ip, at.port()).to_string()
}

fn shell_worker(servers: &str, token: &str, concurrency: u32) -> Worker {
    Worker::builder(servers)
        .token(token)
        .name("dev shell")
        .queues(["default"])
        .concurrency(concurrency)
        .stop_deadline(STOP_TIMEOUT)
        .handle(shell::KIND, shell::handle)
        .build()
}

/// What the banner says besides the addresses.
struct Shown {
    concurrency: u32,
    demo: bool,
    nodes: u16,
}

fn announce(
    nodes: &[RunningNode],
    config: &Config,
    native: SocketAddr,
    shown: &Shown,
    out: Output,
) -> Result<(), CliError> {
    let node = &nodes[0];
    output::note(banner(nodes, config, native, shown));
    if config.insecure_bind {
        output::note("warning: --insecure-bind lets everybody on the network run shell commands here");
    }
    if !out.json {
        return Ok(());
    }
    out.json_value(&json!({
        "ready": true, "pid": std::process::id(), "version": env!("CARGO_PKG_VERSION"),
        "http": node.http_addr(), "native": native, "faktory": node.faktory_addr(), "gossip": node.gossip_addr(),
    }))
}

fn banner(nodes: &[RunningNode], config: &Config, native: SocketAddr, shown: &Shown) -> String {
    let plain =
        std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()) || !std::io::stderr().is_terminal();
    let paint =
        |code: &str, text: &str| if plain { text.to_owned() } else { format!("\x1b[{code}m{text}\x1b[0m") };
    let row = |name: &str, value: &str, remark: &str| {
        let remark = if remark.is_empty() { String::new() } else { paint("2", &format!("  {remark}")) };
        format!("  {} {value}{remark}", paint("2", &format!("{name:<10}")))
    };
    let mut lines = vec![
        String::new(),
        format!(
            "  {} {}",
            paint("1;36", "windlass"),
            paint("2", concat!(env!("CARGO_PKG_VERSION"), ", development"))
        ),
        String::new(),
    ];
    let node = &nodes[0];
    match node.http_addr() {
        Some(http) => {
            let url = format!("http://{}", reachable(http));
            lines.push(row("dashboard", &paint("1;4", &format!("{url}/")), ""));
            lines.push(row("HTTP API", &format!("{url}/api/v1"), ""));
        }
        None => lines.push(row("dashboard", "off", "")),
    }
    lines.push(row("native", &native.to_string(), "workers and clients connect here"));
    match node.faktory_addr() {
        Some(faktory) => {
            lines.push(row("Faktory", &faktory.to_string(), "for clients and workers of Faktory"));
        }
        None => lines.push(row("Faktory", "off", "")),
    }
    let (place, remark) = data(config);
    lines.push(row("data", &place, remark));
    for (at, other) in nodes.iter().enumerate().skip(1) {
        if let (Some(http), Some(native)) = (other.http_addr(), other.native_addr()) {
            let text = format!("http://{}/ and {}", reachable(http), reachable(native));
            lines.push(row(&format!("server {}", at + 1), &text, "the same through another server"));
        }
    }
    let worker = format!("kind shell, queue default, {} at a time", shown.concurrency);
    lines.push(row("worker", &worker, ""));
    if shown.demo {
        lines.push(row("demo", "about ten sample jobs a second", "see the dashboard"));
    }
    let program = program();
    let server = if native.to_string() == NATIVE_DEFAULT {
        String::new()
    } else {
        format!(" --server {}", reachable(native))
    };
    lines.push(String::new());
    lines.push(format!("  {}", paint("2", "try in another terminal:")));
    lines.push(format!("    {program} job enqueue shell --payload '\"sha256sum README.md\"' --wait{server}"));
    lines.push(format!("    {program} top{server}"));
    if !shown.demo {
        lines.push(format!(
            "    {program} dev --demo {}",
            paint("2", "(instead of this one: sample traffic)")
        ));
    }
    lines.push(String::new());
    lines.push(format!("  {}", paint("2", "Ctrl-C stops it in order")));
    lines.push(String::new());
    lines.join("\n")
}

/// Where jobs are kept, and a remark.
fn data(config: &Config) -> (String, &'static str) {
    match (config.store, &config.database) {
        (StoreKind::Memory, _) => ("in memory".to_owned(), "gone when this ends"),
        (StoreKind::Postgres, Some(database)) => (database.place(), "shared with other servers"),
        _ => (config.data_dir.display().to_string(), "kept; --ephemeral keeps nothing"),
    }
}

/// How the user can call this program again: by its name, unless it was called by a path, as `cargo run` does.
fn program() -> String {
    let called = std::env::args().next().unwrap_or_default();
    if !called.contains('/') {
        return "windlass".to_owned();
    }
    let here = std::env::current_dir().unwrap_or_default();
    Path::new(&called).strip_prefix(&here).map_or(called.clone(), |path| path.display().to_string())
}
