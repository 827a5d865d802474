//! `windlass server`: one node, until it is told to stop.

use std::io::{ErrorKind, Write};

use serde_json::json;
use windlass_core::time::millis;

use super::error::{CliError, Exit};
use super::output::{self, Output};
use super::process::{Signals, raise_file_limit};
use crate::config::{Config, LogFormat, ServerFlags, StoreKind, resolve};
use crate::fault;
use crate::node::{Memory, Node, NodeConfig, RunningNode, StartError};
use crate::store::{OpenError, StoreConfig};
use crate::telemetry;

/// Arguments of `windlass server`.
#[derive(Debug, clap::Args)]
#[command(before_help = "\
Examples:
  windlass server --data-dir /var/lib/windlass
  windlass server --config /etc/windlass/windlass.toml --log-format json
  windlass server --http 127.0.0.1:0 --native 127.0.0.1:0 --faktory off --gossip off --store memory --json")]
pub(crate) struct ServerArgs {
    #[command(flatten)]
    flags: ServerFlags,
}

/// Runs `windlass server`.
///
/// # Errors
/// Exit code 2 for the configuration, 4 for a store or port that is taken, 1 for anything else.
pub(crate) fn run(args: ServerArgs, out: Output) -> Result<(), CliError> {
    let config = resolve(&args.flags, &|name| std::env::var(name).ok())?.config;
    start_log(&config)?;
    fault::arm_from_environment().map_err(|e| CliError::usage(e.to_string()))?;
    raise_file_limit();
    super::connect::block_on(async move {
        // Before anything else: whoever sees the ready line may send a signal.
        let mut signals = Signals::listen()?;
        let node = start(&config, &mut signals).await?;
        announce(&node, out)?;
        until_stopped(&node, &mut signals).await
    })
}

/// Log lines go to stderr, so that stdout stays free for data.
///
/// # Errors
/// Usage, for a filter that cannot be read.
pub(super) fn start_log(config: &Config) -> Result<(), CliError> {
    let format = match config.log_format {
        LogFormat::Auto => telemetry::Format::Auto,
        LogFormat::Text => telemetry::Format::Text,
        LogFormat::Json => telemetry::Format::Json,
    };
    telemetry::init(&config.log, format)
        .map_err(|why| CliError::usage(format!("log: {why}; the default is info")))
}

/// Starts a node, with the errors of a start turned into advice. A signal ends a start that takes long, which is the same to
/// the store as a crash and loses nothing.
///
/// # Errors
/// Exit code 4 for an address or a directory in use, 6 for a damaged store, 1 otherwise.
pub(super) async fn start(config: &Config, signals: &mut Signals) -> Result<RunningNode, CliError> {
    let settings = node_config(config);
    let starting = tokio::task::spawn_blocking(move || Node::start(settings));
    tokio::select! {
        started = starting => match started {
            Ok(started) => started.map_err(|e| advise(config, &e)),
            Err(e) => Err(CliError::failure(format!("server: the start failed: {e}; this is a defect"))),
        },
        name = signals.next() => Err(CliError::failure(format!("server: {name} before it was ready; nothing was served"))),
    }
}

fn node_config(config: &Config) -> NodeConfig {
    let mut store = match config.store {
        StoreKind::Sled => StoreConfig::sled(&config.data_dir),
        StoreKind::Memory => StoreConfig::memory(),
        StoreKind::Postgres => {
            let database = config.database.clone().expect("a checked configuration names it");
            StoreConfig::postgres(database)
        }
    };
    let memory = Memory(config.memory);
    store.overlay_bytes = memory.overlay_bytes();
    store.sled_cache_bytes = memory.sled_cache_bytes();
    let mut node = NodeConfig::new(store);
    node.memory = memory;
    node.http = config.http;
    node.native = Some(config.native);
    node.faktory = config.faktory;
    node.faktory_password.clone_from(&config.faktory_password);
    node.admin_token.clone_from(&config.admin_token);
    node.own_token.clone_from(&config.own_token);
    node.gossip = config.gossip;
    node.tls = config.tls_files();
    node.cluster.clone_from(&config.cluster);
    node.name.clone_from(&config.name);
    node.advertise.clone_from(&config.advertise);
    node.hosts.clone_from(&config.hosts);
    node.seeds.clone_from(&config.seeds);
    node.insecure_bind = config.insecure_bind;
    node.read_only_dashboard = config.read_only_dashboard;
    node.lease_ms = millis(config.lease);
    node.heartbeat_ms = millis(config.heartbeat);
    node.resume_grace_ms = millis(config.grace);
    node
}

/// The exit code of a failed start, and what to do about the commonest one.
fn advise(config: &Config, error: &StartError) -> CliError {
    let text = format!("server: {error}");
    match error {
        StartError::Exposed { .. } | StartError::Timing(_) | StartError::Tls(_) => CliError::usage(text),
        StartError::Store(OpenError::Locked { .. }) => CliError::new(Exit::Refused, text),
        StartError::Store(OpenError::Damaged(_)) => CliError::new(Exit::CheckFailed, text),
        StartError::Bind { addr, source, .. } if source.kind() == ErrorKind::AddrInUse => {
            let doors = [
                ("http", config.http),
                ("native", Some(config.native)),
                ("faktory", config.faktory),
                ("gossip", config.gossip),
            ];
            let flag = doors.iter().find(|(_, at)| *at == Some(*addr)).map_or("native", |(flag, _)| flag);
            let advice = format!(
                "another process has it (`ss -lntup 'sport = :{}'` names it): stop that one, or choose another port with --{flag} {}:{}",
                addr.port(),
                addr.ip(),
                addr.port().wrapping_add(1000).max(1024),
            );
            CliError::new(Exit::Refused, format!("{text}; {advice}"))
        }
        _ => CliError::failure(text),
    }
}

/// Says on stderr where the doors are, and with `--json` on stdout too, on one line that a parent process can read.
fn announce(node: &RunningNode, out: Output) -> Result<(), CliError> {
    let text = |at: Option<std::net::SocketAddr>| at.map_or_else(|| "off".to_owned(), |at| at.to_string());
    let (http, native, gossip) = (node.http_addr(), node.native_addr(), node.gossip_addr());
    let faktory = node.faktory_addr();
    output::note(format!(
        "windlass is ready: http {}, native {}, faktory {}, gossip {}",
        text(http),
        text(native),
        text(faktory),
        text(gossip)
    ));
    if out.json {
        let ready = json!({
            "ready": true, "pid": std::process::id(), "http": http, "native": native, "faktory": faktory, "gossip": gossip,
            "version": env!("CARGO_PKG_VERSION"),
        });
        let mut stdout = std::io::stdout().lock();
        // A parent that does not read is no reason to stop serving.
        let _ = writeln!(stdout, "{ready}").and_then(|()| stdout.flush());
    }
    Ok(())
}

/// Serves until a signal, then stops in order; a second signal ends at once.
///
/// # Errors
/// Exit code 1 when the node ended by itself, because its store failed.
async fn until_stopped(node: &RunningNode, signals: &mut Signals) -> Result<(), CliError> {
    let name = tokio::select! {
        name = signals.next() => name,
        () = node.stopped() => {
            return Err(CliError::failure("server: the node has ended by itself; its last log lines say why"));
        }
    };
    output::note(format!("windlass: {name}, stopping; once more ends at once"));
    stop(node, signals).await;
    output::note("windlass: stopped");
    Ok(())
}

/// Stops the node in order, unless a signal asks for less patience.
pub(super) async fn stop(node: &RunningNode, signals: &mut Signals) {
    tokio::select! {
        () = node.stop() => {}
        () = signals.next_is_immediate() => {}
    }
}
