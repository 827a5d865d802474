//! Goal: a database that goes away costs time and nothing else. Method: it is killed and started again under load, or killed while
//! a synchronous standby is promoted in its place.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use windlass_tests::postgres::Postgres;
use windlass_tests::process::cycles;

use crate::fleet::{Fleet, load};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_database_is_killed() -> Result<()> {
    let Some(mut fleet) = Fleet::start(&["n1", "n2"], false)? else { return Ok(()) };
    let running = load(&fleet.addresses(), 4, 2).await?;
    for _ in 0..cycles(2) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        fleet.postgres.kill()?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        // It says so, and takes nothing that it could not keep.
        let (status, body) = windlass_tests::http::post(
            fleet.nodes["n1"].http,
            "/api/v1/jobs",
            r#"{"kind": "record", "payload": "x"}"#,
        )?;
        ensure!(status == 503 || status == 507 || status == 429, "{status}: {body}");
        fleet.postgres.go()?;
        let back = Instant::now();
        running.load.longest_enqueue.take();
        tokio::time::sleep(Duration::from_secs(3)).await;
        println!("back in {:?} at most", back.elapsed());
    }
    let (confirmed, ran, again) = running.settle(Duration::from_secs(60)).await?;
    println!("{confirmed} jobs confirmed, {ran} run, {again} runs again");
    ensure!(confirmed > 100, "only {confirmed} jobs were confirmed: the test tested little");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_a_synchronous_standby_takes_the_primarys_place() -> Result<()> {
    let Some(primary) = Postgres::start()? else { return Ok(()) };
    let standby = primary.follower("second")?;
    primary.demand_standby("second")?;
    let both =
        format!("postgres://windlass@{},{}/windlass?sslmode=disable", primary.address(), standby.address());
    let mut fleet = Fleet::over(primary, &both, &["n1", "n2"], false, &[])?;
    let running = load(&fleet.addresses(), 4, 2).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    fleet.postgres.kill()?;
    let killed = Instant::now();
    standby.promote()?;
    running.load.longest_enqueue.take();
    tokio::time::sleep(Duration::from_secs(5)).await;
    fleet.postgres = standby;
    let (confirmed, ran, again) = running.settle(Duration::from_secs(60)).await?;
    println!(
        "promoted within {:?}: {confirmed} jobs confirmed, {ran} run, {again} runs again",
        killed.elapsed()
    );
    ensure!(confirmed > 100, "only {confirmed} jobs were confirmed: the test tested little");
    Ok(())
}
