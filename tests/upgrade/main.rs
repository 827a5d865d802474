//! `upgrade`: a rolling upgrade with programs of two versions, and back again, under load; `tests/upgrade/run` builds them and starts it.
//!
//! `upgrade --old DIR --new DIR [--calm SECONDS]`: each directory holds `windlass` and `soak`. Three nodes over one PostgreSQL begin as
//! old ones. Clients and workers of both versions work all the time, while one node after the other is stopped in order and started
//! as the other version: first upwards, then downwards, if the older version still takes the store, and at last an owner is killed while both
//! versions stand by. It prints what happened in each step and ends with 1 when a confirmed job was lost, when one ran twice
//! although every node was stopped in order, or when any other promise was broken.

mod nodes;
mod producers;
mod table;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use windlass_core::job::JobState;
use windlass_tests::check::{self, Options};
use windlass_tests::dump::Dump;
use windlass_tests::fleet::{WorkerPlan, WorkerProcess};
use windlass_tests::history::Recorder;
use windlass_tests::postgres::Postgres;
use windlass_worker::Client;

use nodes::{Nodes, Version};
use producers::Producers;
use table::Table;

/// Files of the history.
const PARTS: usize = 16;
/// Longest time until everything that was taken on has ended.
const REST: Duration = Duration::from_secs(120);
/// The queues of the load.
const QUEUES: [&str; 2] = ["alpha", "beta"];

/// What the command line wants.
struct Wanted {
    old: PathBuf,
    new: PathBuf,
    /// Time between two steps.
    calm: Duration,
}

fn main() -> Result<()> {
    let wanted = read(std::env::args().skip(1))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run(&wanted))
}

fn read(mut args: impl Iterator<Item = String>) -> Result<Wanted> {
    let (mut old, mut new, mut calm) = (None, None, Duration::from_secs(3));
    while let Some(flag) = args.next() {
        let value = args.next().with_context(|| format!("{flag} wants a value"))?;
        match flag.as_str() {
            "--old" => old = Some(PathBuf::from(value)),
            "--new" => new = Some(PathBuf::from(value)),
            "--calm" => calm = Duration::try_from_secs_f64(value.parse()?)?,
            _ => bail!("there is no {flag}; write --old, --new or --calm"),
        }
    }
    Ok(Wanted { old: old.context("--old DIR is missing")?, new: new.context("--new DIR is missing")?, calm })
}

async fn run(wanted: &Wanted) -> Result<()> {
    let Some(postgres) = Postgres::start()? else { return Ok(()) };
    let history = tempfile::Builder::new().prefix("windlass-upgrade-").tempdir()?;
    let recorder = Recorder::create(history.path(), "upgrade", PARTS)?;
    let mut table = Table::begin(recorder.clone());
    let versions = Version::both(&wanted.old, &wanted.new);
    let mut nodes = Nodes::start(postgres, &versions[0], recorder.clone())?;
    let servers = nodes.addresses().join(",");
    let mut workers = workers(&versions, &servers, history.path(), &recorder)?;
    let producers = Producers::start(&versions[0], &nodes.addresses(), &recorder).await?;
    table.step(&nodes, "all old, calm");
    tokio::time::sleep(wanted.calm).await;
    let orderly = roll(&mut nodes, &versions, wanted.calm, &mut table).await;
    let orderly_until = table.step(&nodes, "an owner killed, both versions");
    let killed = match orderly {
        Ok(()) => kill_an_owner(&mut nodes, &versions, wanted.calm).await,
        Err(error) => Err(error),
    };
    table.step(&nodes, "rest");
    let ended = producers.stop().await;
    let client = Client::connect(servers).await?;
    let outcome = killed.and(ended).and(rest(&client).await);
    let dump = Dump::take(&client).await;
    let stopped = workers.iter_mut().map(WorkerProcess::stop).fold(Ok(()), Result::and);
    let figures = table.print(history.path())?;
    if let Err(error) = outcome.and(stopped) {
        bail!("{error:#}\nthe history is kept in {}", history.keep().display());
    }
    let report = check::must_hold(history, dump?, &Options { torn_max: 0, ..Options::default() })?;
    println!("{report}");
    let again = figures.again_before(orderly_until);
    ensure!(again == 0, "{again} jobs ran twice although every node was stopped in order");
    println!("0 confirmed jobs lost, none ran twice where nodes were stopped in order");
    Ok(())
}

/// Two workers of each version, one of each with all addresses and one with the first alone.
fn workers(
    versions: &[Version; 2],
    servers: &str,
    history: &Path,
    recorder: &Recorder,
) -> Result<Vec<WorkerProcess>> {
    let mut workers = Vec::new();
    for version in versions {
        for number in 1..=2 {
            let plan = WorkerPlan {
                server: servers.to_owned(),
                history: history.to_owned(),
                name: format!("{}-worker-{number}", version.name),
                queues: QUEUES.map(str::to_owned).to_vec(),
                concurrency: 16,
                gossip: number == 1,
            };
            workers.push(WorkerProcess::of(&version.program("soak"), plan, recorder)?);
        }
    }
    Ok(workers)
}

/// Upwards and, if the older version takes the store as it then is, downwards again; standbys first, the owner last.
async fn roll(nodes: &mut Nodes, versions: &[Version; 2], calm: Duration, table: &mut Table) -> Result<()> {
    let [old, new] = versions;
    for to in [new, old] {
        if to.name == old.name
            && let Err(why) = nodes.takes_the_store(old)
        {
            println!("there is no way back: {why:#}");
            return Ok(());
        }
        for name in nodes.standbys_first()? {
            let part = if nodes.owner()? == name { "owner" } else { "standby" };
            table.step(nodes, &format!("{part} {name} becomes {}", to.name));
            nodes.replace(&name, to).await?;
            tokio::time::sleep(calm).await;
        }
        table.step(nodes, &format!("all {}, calm", to.name));
        tokio::time::sleep(calm).await;
    }
    Ok(())
}

/// One standby is of the other version than the owner, which is killed.
async fn kill_an_owner(nodes: &mut Nodes, versions: &[Version; 2], calm: Duration) -> Result<()> {
    let standby = nodes.standbys_first()?.swap_remove(0);
    let other = if nodes.version(&standby) == versions[0].name { &versions[1] } else { &versions[0] };
    nodes.replace(&standby, other).await?;
    nodes.kill_the_owner().await?;
    tokio::time::sleep(calm).await;
    Ok(())
}

/// Waits until all that was taken on has ended.
async fn rest(client: &Client) -> Result<()> {
    let end = std::time::Instant::now() + REST;
    loop {
        let queues = client.list_queues().await?;
        let open = |(state, count): (&JobState, &u64)| if state.is_final() { 0 } else { *count };
        let left: u64 = queues.iter().flat_map(|queue| queue.counts.iter()).map(open).sum();
        if left == 0 {
            return Ok(());
        }
        ensure!(std::time::Instant::now() < end, "{left} jobs have not ended within {REST:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
