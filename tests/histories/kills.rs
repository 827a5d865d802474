//! Goal: whatever is killed, and whenever, no promise breaks. Method: a mixed load over two worker processes and a server, of which
//! one or several are killed at random moments; the history judges.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use windlass_tests::check::Options;
use windlass_tests::field::{Field, FieldPlan};
use windlass_tests::load::{Load, Mix};
use windlass_tests::process::cycles;
use windlass_worker::Client;

/// Longest time until everything has ended after the last fault.
const REST: Duration = Duration::from_secs(120);

/// Who is killed.
#[derive(Clone, Copy)]
enum Victims {
    Server,
    Workers,
    Both,
}

async fn kill_at_random(victims: Victims, rounds: u32) -> Result<()> {
    let mut field = Field::start(FieldPlan::default())?;
    let client = Client::connect(field.server.address()).await?;
    field.schedule(&client, &[1]).await?;
    let load = Load::start(&field.server.address(), &field.recorder, &Mix::default()).await?;
    let mut rng = SmallRng::seed_from_u64(u64::from(rounds));
    let (started, mut told) = (Instant::now(), Instant::now());
    for round in 0..rounds {
        tokio::time::sleep(Duration::from_millis(rng.random_range(60..600))).await;
        let server = match victims {
            Victims::Server => true,
            Victims::Workers => false,
            Victims::Both => rng.random_bool(0.5),
        };
        if server {
            field.kill_server()?;
        } else {
            field.kill_worker(rng.random_range(0..2))?;
        }
        if told.elapsed() > Duration::from_secs(10) {
            told = Instant::now();
            println!("{} of {rounds} kills after {:?}", round + 1, started.elapsed());
        }
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let seen = load.stop().await?;
    field.rest(&client, REST).await?;
    let report = field.judge(&client, Options::default()).await?;
    println!(
        "{rounds} kills in {:?}: {report}; longest outage {:?}",
        started.elapsed(),
        seen.longest_outage()
    );
    ensure!(report.confirmed > u64::from(rounds) * 5, "the test tested little: {report}");
    ensure!(report.firings > 0, "no schedule fired: {report}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_promise_breaks_when_the_server_is_killed() -> Result<()> {
    kill_at_random(Victims::Server, cycles(8)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_promise_breaks_when_workers_are_killed() -> Result<()> {
    kill_at_random(Victims::Workers, cycles(8)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_promise_breaks_when_both_are_killed() -> Result<()> {
    kill_at_random(Victims::Both, cycles(10)).await
}
