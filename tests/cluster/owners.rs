//! Goal: whatever becomes of the owner, another node goes on within seconds, nothing confirmed is lost, and nobody writes who does
//! not own the shard. Method: three nodes under load whose owner is killed, stopped, asked to go, or only cut off from the gossip.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use windlass_core::api::{NodeState, Request, Response};
use windlass_core::limits;
use windlass_tests::process::cycles;
use windlass_worker::Client;

use crate::fleet::{Fleet, firings, load, schedule_every_second};
use crate::raw::{Native, dial};

const NAMES: [&str; 3] = ["n1", "n2", "n3"];
/// Within which enqueue and delivery go on after an owner was killed.
const RESUMED_MS: u64 = 5_000;

fn percentile(sorted: &[u64], part: f64) -> u64 {
    sorted[((sorted.len() as f64 * part).ceil() as usize).clamp(1, sorted.len()) - 1]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_node_goes_on_when_the_owner_is_killed() -> Result<()> {
    let Some(mut fleet) = Fleet::start(&NAMES, false)? else { return Ok(()) };
    let running = load(&fleet.addresses(), 6, 3).await?;
    let kills = cycles(4);
    let (mut enqueues, mut runs) = (Vec::new(), Vec::new());
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        running.load.longest_enqueue.take();
        running.load.longest_run.take();
        let (owner, epoch) = fleet.owner()?;
        fleet.node(&owner).kill()?;
        let (next, later) = fleet.owned_by_another(&owner, Duration::from_secs(20)).await?;
        ensure!(later > epoch && next != owner, "epoch {later} of {next} after {epoch} of {owner}");
        tokio::time::sleep(Duration::from_secs(2)).await;
        fleet.node(&owner).restart()?;
        tokio::time::sleep(Duration::from_millis(1_000)).await;
        enqueues.push(running.load.longest_enqueue.take());
        runs.push(running.load.longest_run.take());
    }
    let (confirmed, ran, again) = running.settle(Duration::from_secs(60)).await?;
    enqueues.sort_unstable();
    runs.sort_unstable();
    println!(
        "{kills} owners killed: {confirmed} jobs confirmed, {ran} run, {again} runs again; longest without an enqueue {} ms \
         (p50 {}, p99 {}), without a start {} ms (p50 {}, p99 {})",
        enqueues[enqueues.len() - 1],
        percentile(&enqueues, 0.5),
        percentile(&enqueues, 0.99),
        runs[runs.len() - 1],
        percentile(&runs, 0.5),
        percentile(&runs, 0.99),
    );
    ensure!(confirmed > 100, "only {confirmed} jobs were confirmed: the test tested little");
    ensure!(enqueues.iter().chain(&runs).all(|gap| *gap < RESUMED_MS), "{enqueues:?} {runs:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_was_stopped_writes_nothing_when_it_goes_on() -> Result<()> {
    let Some(mut fleet) = Fleet::start(&NAMES, false)? else { return Ok(()) };
    let running = load(&fleet.addresses(), 6, 3).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (owner, epoch) = fleet.owner()?;
    fleet.node(&owner).process().signal(rustix::process::Signal::STOP)?;
    let (_, later) = fleet.owned_by_another(&owner, Duration::from_secs(20)).await?;
    ensure!(later > epoch);
    let stopped = if cycles(0) > 0 { 60 } else { 6 };
    tokio::time::sleep(Duration::from_secs(stopped)).await;
    fleet.node(&owner).process().signal(rustix::process::Signal::CONT)?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    // Nobody took the shard back, and the one that was stopped knows where it is and serves through the owner.
    let (still, same) = fleet.owner()?;
    ensure!(same == later && still != owner, "epoch {same} of {still} after {later}");
    ensure!(fleet.get(&owner, "/readyz")?.0 == 200);
    let (confirmed, ran, again) = running.settle(Duration::from_secs(60)).await?;
    println!("stopped for {stopped} s: {confirmed} jobs confirmed, {ran} run, {again} runs again");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_do_not_hear_each_other_leave_the_owner_alone() -> Result<()> {
    let Some(mut fleet) = Fleet::start(&NAMES, true)? else { return Ok(()) };
    let (owner, epoch) = fleet.owner()?;
    let running = load(&fleet.addresses(), 3, 3).await?;
    tokio::time::sleep(Duration::from_secs(8)).await;
    ensure!(fleet.owner()? == (owner.clone(), epoch), "the shard moved although its owner lives");
    // A dead owner is replaced all the same, by its silence in the database and its closed port.
    let killed = Instant::now();
    fleet.node(&owner).kill()?;
    let (_, later) = fleet.owned_by_another(&owner, Duration::from_secs(20)).await?;
    println!("taken over without gossip after {:?}", killed.elapsed());
    ensure!(later > epoch);
    // By the silence alone it would have been three seconds.
    let why = fleet.postgres.sql(&format!("SELECT why FROM windlass.move WHERE epoch = {later}"))?;
    let silent_ms = why.split(' ').find_map(|word| word.parse::<u64>().ok()).with_context(|| why.clone())?;
    ensure!(silent_ms < limits::SILENCE_MS, "nobody knocked at its port: {why}");
    fleet.node(&owner).restart()?;
    running.settle(Duration::from_secs(60)).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_stops_in_order_hands_over_at_once_and_nothing_runs_twice() -> Result<()> {
    let Some(mut fleet) = Fleet::start(&NAMES, false)? else { return Ok(()) };
    let running = load(&fleet.addresses(), 6, 3).await?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut longest = Duration::ZERO;
    for _ in 0..cycles(2) {
        let (owner, _) = fleet.owner()?;
        let asked = Instant::now();
        fleet.node(&owner).stop()?;
        fleet.owned_by_another(&owner, Duration::from_secs(20)).await?;
        longest = longest.max(asked.elapsed());
        fleet.node(&owner).restart()?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let (confirmed, ran, again) = running.settle(Duration::from_secs(60)).await?;
    println!("hand-over within {longest:?}: {confirmed} jobs confirmed, {ran} run, {again} runs again");
    ensure!(again == 0, "{again} jobs ran twice");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drained_owner_hands_over_and_everybody_knows_who_owns_what() -> Result<()> {
    let Some(fleet) = Fleet::start(&NAMES, false)? else { return Ok(()) };
    let running = load(&fleet.addresses(), 6, 3).await?;
    let client = Client::connect(fleet.addresses().join(",")).await?;
    // More often than there are nodes, so that one owns it a second time.
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        let (owner, epoch) = fleet.owner()?;
        let Response::Cluster(view) = client.call(Request::GetCluster).await? else {
            bail!("not the cluster")
        };
        ensure!(view.shards[0].owner.as_deref() == Some(&owner) && view.shards[0].epoch == epoch, "{view:?}");
        ensure!(view.nodes.len() == 3 && view.nodes[0].name == owner, "{:?}", view.nodes);
        ensure!(
            view.nodes.iter().filter(|node| node.state == NodeState::Standby).count() == 2,
            "{:?}",
            view.nodes
        );
        let asked = Instant::now();
        client.call(Request::DrainNode { node: Some(owner.clone()), hold_ms: 1_000 }).await?;
        let (next, later) = fleet.owned_by_another(&owner, Duration::from_secs(20)).await?;
        println!("{owner} drained, {next} owns epoch {later} after {:?}", asked.elapsed());
    }
    // The history tells it, newest first.
    let Response::Cluster(view) = client.call(Request::GetCluster).await? else { bail!("not the cluster") };
    ensure!(view.moves.len() == 5 && view.moves[0].to == view.shards[0].owner, "{:?}", view.moves);
    let (confirmed, ran, again) = running.settle(Duration::from_secs(60)).await?;
    println!("{confirmed} jobs confirmed, {ran} run, {again} runs again");
    ensure!(again == 0, "{again} jobs ran twice");
    Ok(())
}

/// A client that hears nothing asks again, and then the next owner would give the shard up as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_orders_a_drain_is_answered_before_the_connection_ends() -> Result<()> {
    let Some(fleet) = Fleet::start(&["n1", "n2"], false)? else { return Ok(()) };
    for round in 0..6 {
        let (owner, epoch) = fleet.owner()?;
        let standby = if owner == "n1" { "n2" } else { "n1" };
        // A node that hears nobody refuses, and so does one that has just been told to hold off.
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        let asked = if round % 2 == 0 { &owner } else { standby };
        let mut client = Native::open(dial("127.0.0.1", fleet.nodes[asked].native)?, b"")?;
        let answer = client.call(Request::DrainNode { node: Some(owner.clone()), hold_ms: 1_000 });
        answer.with_context(|| format!("round {round}: {owner} of epoch {epoch} through {asked}"))?;
        fleet.owned_by_another(&owner, Duration::from_secs(20)).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_fires_once_per_time_whoever_owns_it() -> Result<()> {
    let Some(mut fleet) = Fleet::start(&NAMES, false)? else { return Ok(()) };
    let client = Client::connect(fleet.addresses().pop().expect("three")).await?;
    schedule_every_second(&client).await?;
    let kills = cycles(3);
    for _ in 0..kills {
        tokio::time::sleep(Duration::from_millis(2_300)).await;
        let (owner, _) = fleet.owner()?;
        fleet.node(&owner).kill()?;
        fleet.owned_by_another(&owner, Duration::from_secs(20)).await?;
        fleet.node(&owner).restart()?;
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let (fired, twice, missing) = firings(&client).await?;
    println!("{fired} firings over {kills} kills");
    ensure!(twice == 0 && missing == 0, "{twice} fired twice, {missing} missing, of {fired}");
    ensure!(fired > usize::try_from(kills)? * 2, "only {fired} firings");
    Ok(())
}

/// A node of an older version must not take the shard from which it cannot read what a newer owner has written: here it is told that
/// the last group has a format of tomorrow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_cannot_read_what_the_owner_wrote_does_not_take_the_shard() -> Result<()> {
    let Some(mut fleet) = Fleet::start(&NAMES[..2], false)? else { return Ok(()) };
    let (owner, epoch) = fleet.owner()?;
    let standby = NAMES.iter().find(|name| **name != owner).expect("two nodes");
    let client = Client::connect(fleet.nodes[*standby].address()).await?;
    let id = client.enqueue(windlass_worker::Job::new("kept", &1)?).await?.id;
    fleet.node(&owner).kill()?;
    let format = |number: &str| {
        format!(
            "UPDATE windlass.journal SET data = overlay(data PLACING '\\x{number}000000'::bytea FROM 1 FOR 4) \
             WHERE seq = (SELECT max(seq) FROM windlass.journal)"
        )
    };
    fleet.postgres.sql(&format("63"))?;
    // Twice as long as it would take to claim.
    tokio::time::sleep(Duration::from_secs(8)).await;
    ensure!(fleet.owner()? == (owner.clone(), epoch), "it was claimed: {:?}", fleet.owner()?);
    let url = fleet.postgres.url();
    let checked = std::process::Command::new(windlass_tests::process::binary())
        .args(["store", "check", &url])
        .output()?;
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    ensure!(!checked.status.success() && said.contains("the journal has format 99"), "{said}");
    fleet.postgres.sql(&format("01"))?;
    fleet.owned_by_another(&owner, Duration::from_secs(30)).await?;
    ensure!(client.status(id).await?.is_some(), "the confirmed job is gone");
    Ok(())
}
