//! Three servers over one PostgreSQL, of which the one that does the work is killed under load; the ledger shows that nothing was
//! lost.
//!
//! `WINDLASS_EXAMPLE_DATABASE=postgres://user@host/database cargo run -p windlass-examples --example three_nodes`
//!
//! The database must be empty, or an earlier run's. Without the variable the example says so and ends.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use windlass_core::id::NodeName;
use windlass_examples::{PATIENCE, fresh_queue};
use windlass_scheduler::node::{Node, NodeConfig};
use windlass_scheduler::store::{DatabaseUrl, StoreConfig};
use windlass_worker::{Client, Job, JobCtx, JobId, State, Worker};

const DATABASE: &str = "WINDLASS_EXAMPLE_DATABASE";
const NAMES: [&str; 3] = ["anna", "bert", "cleo"];
/// How long jobs are enqueued, with the kill in the middle.
const LOAD: Duration = Duration::from_secs(6);

/// A server as a process of its own, so that it can be killed like one.
struct Server {
    process: Child,
    native: String,
    gossip: String,
}

/// The server process: this program, called with a name, the database and where to find others.
async fn serve(name: &str, database: &str, seed: &str) -> anyhow::Result<()> {
    let free = Some("127.0.0.1:0".parse()?);
    let store = StoreConfig::postgres(DatabaseUrl::parse(database).map_err(anyhow::Error::msg)?);
    let mut config = NodeConfig::new(store);
    config.name = Some(NodeName::new(name)?);
    config.seeds = if seed == "none" { Vec::new() } else { vec![seed.to_owned()] };
    (config.native, config.gossip, config.http, config.faktory) = (free, free, None, None);
    let node = tokio::task::spawn_blocking(move || Node::start(config)).await??;
    let native = node.native_addr().context("it has a native port")?;
    println!("{native} {}", node.gossip_addr().context("it gossips")?);
    // Until it is killed, or whoever started it is gone.
    let mut line = String::new();
    BufReader::new(tokio::io::stdin()).read_line(&mut line).await?;
    node.stop().await;
    Ok(())
}

async fn start(name: &str, database: &str, seed: &str) -> anyhow::Result<Server> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["serve", name, database, seed]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = command.kill_on_drop(true).spawn()?;
    let mut out = BufReader::new(process.stdout.take().context("it has an output")?);
    let mut line = String::new();
    tokio::time::timeout(PATIENCE, out.read_line(&mut line)).await??;
    let (native, gossip) = line.trim().split_once(' ').context("the server did not start")?;
    Ok(Server { process, native: native.to_owned(), gossip: gossip.to_owned() })
}

/// How often each job was run.
type Ledger = Arc<Mutex<BTreeMap<JobId, u32>>>;

async fn count(_: u32, job: JobCtx, State(ledger): State<Ledger>) {
    *ledger.lock().expect("nobody panics").entry(job.id()).or_default() += 1;
}

async fn show(database: &str) -> anyhow::Result<()> {
    let mut servers = BTreeMap::new();
    let mut seed = "none".to_owned();
    for name in NAMES {
        let server = start(name, database, &seed).await?;
        seed.clone_from(&server.gossip);
        println!("{name} listens on {}", server.native);
        servers.insert(name, server);
    }
    // Each client knows all of them and talks to any: whoever does not own the work carries it to the one who does.
    let all = servers.values().map(|server| server.native.as_str()).collect::<Vec<_>>().join(",");
    let (queue, ledger) = (fresh_queue("ledger"), Ledger::default());
    let worker = Worker::builder(all.clone()).queues([&queue]).concurrency(16).state(ledger.clone());
    let (quit, quitted) = tokio::sync::oneshot::channel::<()>();
    let worker = tokio::spawn(worker.handle("count", count).build().run_until(async {
        // Dropped or told, the worker ends.
        let _ = quitted.await;
    }));

    let client = Client::connect(all).await?;
    let (begun, mut killed, mut confirmed) = (Instant::now(), None, Vec::new());
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    while begun.elapsed() < LOAD {
        if killed.is_none() && begun.elapsed() > LOAD / 3 {
            // The first that was started took the work.
            servers.get_mut(NAMES[0]).expect("it runs").process.kill().await?;
            println!("{} is killed after {} confirmed jobs", NAMES[0], confirmed.len());
            killed = Some(Instant::now());
        }
        // An error means that nothing was promised; the job is simply enqueued again.
        if let Ok(enqueued) = client.enqueue(Job::new("count", &7)?.queue(&queue)).await {
            confirmed.push(enqueued.id);
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
    }
    println!("{} jobs confirmed; the longest wait for a confirmation was {longest:?}", confirmed.len());

    let settled = async {
        while confirmed.iter().any(|id| !ledger.lock().expect("nobody panics").contains_key(id)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.context("confirmed jobs are lost")?;
    let again = ledger.lock().expect("nobody panics").values().filter(|runs| **runs > 1).count();
    println!("every confirmed job has run, {again} of them twice");
    assert!(killed.is_some() && !confirmed.is_empty());
    assert!(longest < Duration::from_secs(5), "another server took over within {longest:?}");
    let _ = quit.send(());
    worker.await??;
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if let [what, name, database, seed] = &args[..]
        && what == "serve"
    {
        return serve(name, database, seed).await;
    }
    match std::env::var(DATABASE) {
        Ok(database) => show(&database).await,
        Err(_) => {
            println!("SKIP: {DATABASE} names no PostgreSQL, such as postgres://user@host/database");
            Ok(())
        }
    }
}
