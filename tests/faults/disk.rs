//! Goal: a disk that fails, lies about its space or takes its time never makes the server promise what it cannot keep.
//! Method: `strace` makes the server's own calls fail, wait or do half of their work, while producers and a worker go on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use windlass_core::api::ErrorCode;
use windlass_tests::http;
use windlass_tests::inject::Injected;
use windlass_tests::probe;
use windlass_tests::process::Server;
use windlass_worker::{Client, Job};

use crate::account::{Account, Crew, KIND, LONG, Producers, until};

const PRODUCERS: usize = 4;
/// Time for anything that should come soon.
const PATIENCE: Duration = Duration::from_secs(20);

fn strace() -> Result<()> {
    probe::tools(&[("strace", "strace")])
}

/// Lets a store fail under load in the way of `fault`; the first reason must be kept and nothing confirmed be lost.
async fn fail_for_good(faults: &[&str], reason: &str) -> Result<()> {
    strace()?;
    let dir = tempfile::tempdir()?;
    let mut server = Server::start(dir.path(), &[])?;
    let account = Arc::new(Account::default());
    let producers = Producers::start(&server.address(), &account, PRODUCERS, 100).await?;
    until("jobs are confirmed", PATIENCE, async || account.confirmed() > 100).await?;
    let fault = Injected::into(server.process().pid(), faults)?;
    let failed = async || account.refusals().contains_key(&ErrorCode::StoreFailed);
    until("producers are told that the store has failed", PATIENCE, failed).await?;
    // The disk is well again, and the store must not trust it: what the failed call did nobody knows.
    fault.heal()?;
    let confirmed = account.confirmed();
    tokio::time::sleep(Duration::from_millis(300)).await;
    ensure!(account.confirmed() == confirmed, "a store that had failed went on confirming");
    // Before the store itself failed, its preparations may have.
    let typed = |code: &ErrorCode| matches!(code, ErrorCode::StoreFailed | ErrorCode::StoreFull);
    ensure!(account.refusals().keys().all(typed), "{:?}", account.refusals());
    let texts = account.texts();
    ensure!(texts.iter().all(|text| text.contains(reason)), "the first reason is not kept: {texts:?}");
    says_that_it_failed(&server, reason).await?;
    producers.stop(PATIENCE).await?;
    server.kill()?;
    server.restart()?;
    let crew = Crew::start(&server.address(), &account, 64, Duration::ZERO);
    account.settled(Duration::from_secs(60)).await?;
    let client = Client::connect(server.address()).await?;
    account.enqueue(&client, Job::new(KIND, "after")?).await?;
    crew.stop().await?;
    println!("{faults:?}: {confirmed} jobs confirmed before, all there after; told as {:?}", texts[0]);
    server.stop()
}

/// Readiness and the overview name the trouble; the process lives and answers.
async fn says_that_it_failed(server: &Server, reason: &str) -> Result<()> {
    let (health, _) = http::get(server.http, "/healthz")?;
    ensure!(health == 200, "a server that can still be read is called dead: {health}");
    let (ready, text) = http::get(server.http, "/readyz")?;
    ensure!(ready == 503 && text.contains("stopped writing"), "not ready is told as {ready} {text}");
    ensure!(text.contains(reason), "the first reason is missing in {text}");
    let client = Client::connect(server.address()).await?;
    let problems = client.overview().await?.problems;
    ensure!(problems.iter().any(|text| text.contains(reason)), "the overview says {problems:?}");
    Ok(())
}

pub(crate) async fn a_failed_sync_stops_the_store_and_loses_nothing() -> Result<()> {
    fail_for_good(&["fdatasync,fsync:error=EIO"], "Input/output error").await
}

pub(crate) async fn a_failed_write_stops_the_store_and_loses_nothing() -> Result<()> {
    fail_for_good(&["pwrite64:error=EIO"], "Input/output error").await
}

/// Nobody writes when the disk fails: the seal of the journal finds it, and no queue hears of it.
pub(crate) async fn an_idle_store_that_fails_says_so() -> Result<()> {
    strace()?;
    let dir = tempfile::tempdir()?;
    let mut server = Server::start(dir.path(), &[])?;
    let client = Client::connect(server.address()).await?;
    let account = Arc::new(Account::default());
    // The keeper seals and does nothing else that syncs data.
    let fault = Injected::into_thread(server.process().pid(), "store-keeper", &["fdatasync:error=EIO"])?;
    account.enqueue(&client, Job::new(KIND, "before")?).await?;
    let told = async || http::get(server.http, "/readyz").is_ok_and(|(status, _)| status == 503);
    until("an idle server says that its store has failed", PATIENCE, told).await?;
    says_that_it_failed(&server, "failed to seal the journal: Input/output error").await?;
    fault.heal()?;
    let refused = account.enqueue(&client, Job::new(KIND, "never")?).await.err().context("taken")?;
    ensure!(refused.code() == Some(ErrorCode::StoreFailed), "{refused}");
    server.kill()?;
    server.restart()?;
    let crew = Crew::start(&server.address(), &account, 1, Duration::ZERO);
    account.settled(PATIENCE).await?;
    crew.stop().await?;
    server.stop()
}

/// ENOSPC of the disk's own preparations, whatever the figures of the file system say: refused as full, and waited for.
pub(crate) async fn a_disk_that_says_full_is_waited_for() -> Result<()> {
    strace()?;
    let dir = tempfile::tempdir()?;
    let mut server = Server::start(dir.path(), &[])?;
    let account = Arc::new(Account::default());
    let crew = Crew::start(&server.address(), &account, 64, Duration::ZERO);
    let producers = Producers::start(&server.address(), &account, PRODUCERS, 200_000).await?;
    until("jobs are confirmed", PATIENCE, async || account.confirmed() > 20).await?;
    // The journal's segments are used up, and no new one can be made.
    let fault = Injected::into(server.process().pid(), &["openat:error=ENOSPC"])?;
    let full = async || account.refusals().contains_key(&ErrorCode::StoreFull);
    until("producers are told that the store is full", Duration::from_secs(60), full).await?;
    let (ready, text) = http::get(server.http, "/readyz")?;
    ensure!(ready == 503, "a server that takes nothing calls itself ready: {text}");
    fault.heal()?;
    let confirmed = account.confirmed();
    let healed = until("new work is taken again", PATIENCE, async || account.confirmed() > confirmed).await?;
    producers.stop(PATIENCE).await?;
    account.settled(Duration::from_secs(60)).await?;
    crew.stop().await?;
    println!(
        "ENOSPC: {confirmed} jobs confirmed before, service is back {healed:?} after; {:?}",
        account.texts()
    );
    server.stop()
}

/// Heartbeats do not wait for a disk: while it takes seconds for every write, nobody loses a job.
pub(crate) async fn a_slow_disk_ends_no_lease() -> Result<()> {
    strace()?;
    let dir = tempfile::tempdir()?;
    let mut server = Server::start(dir.path(), &["--lease", "3s", "--heartbeat", "300ms"])?;
    let client = Client::connect(server.address()).await?;
    let account = Arc::new(Account::default());
    let crew = Crew::start(&server.address(), &account, 8, Duration::from_secs(7));
    for n in 0..4 {
        account.enqueue(&client, Job::new(LONG, &n)?).await?;
    }
    let mut ages = Vec::new();
    for (delay_us, seconds) in [(200_000_u32, 2), (2_000_000, 5)] {
        let fault = Injected::into(server.process().pid(), &[&format!("fdatasync:delay_enter={delay_us}")])?;
        account.take_slowest();
        let producers = Producers::start(&server.address(), &account, PRODUCERS, 100).await?;
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            ages.extend(client.list_workers().await?.iter().map(|worker| worker.heartbeat_age_ms));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        producers.stop(PATIENCE).await?;
        let slowest = account.take_slowest();
        ensure!(
            slowest >= Duration::from_micros(delay_us.into()),
            "an enqueue took {slowest:?} on a slow disk"
        );
        fault.heal()?;
        println!("every sync takes {} ms: the slowest enqueue took {slowest:?}", delay_us / 1_000);
    }
    ages.sort_unstable();
    let p99 = ages[ages.len() * 99 / 100];
    ensure!(p99 < 1_500, "p99 of the age of heartbeats is {p99} ms, half of a lease");
    account.settled(Duration::from_secs(120)).await?;
    ensure!(account.again() == 0, "{} runs again: live workers lost their leases", account.again());
    ensure!(account.refusals().is_empty(), "refused on a disk that is only slow: {:?}", account.texts());
    crew.stop().await?;
    println!("a slow disk: {} jobs, none ran twice, p99 age of heartbeats {p99} ms", account.ended());
    server.stop()
}
