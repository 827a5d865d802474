//! Goal: a dead worker costs seconds, a live one keeps its long job, and a restart of the server runs nothing twice.
//! Method: `windlass worker run --shell` processes whose commands append to a file, which is the ledger.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use windlass_core::id::JobId;
use windlass_core::job::JobState;
use windlass_tests::process::{Process, Server};
use windlass_worker::{Client, Job};

/// The promise for a worker that is gone.
const REASSIGNED_WITHIN: Duration = Duration::from_secs(10);

fn worker(server: &Server, name: &str, extra: &[&str]) -> Result<Process> {
    let address = server.address();
    let mut args =
        vec!["worker", "run", "--shell", "--server", &address, "--concurrency", "1", "--name", name];
    args.extend(extra);
    Ok(Process::start(&args)?.0)
}

/// A command that notes its begin, takes a while, and notes its end.
fn noted(file: &Path, seconds: f64) -> Result<Job> {
    let file = file.display();
    let command = format!("echo begin >> '{file}'; sleep {seconds}; echo end >> '{file}'");
    Ok(Job::new("shell", &command)?)
}

fn count(file: &Path, word: &str) -> usize {
    std::fs::read_to_string(file).map_or(0, |text| text.lines().filter(|line| *line == word).count())
}

async fn until(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) -> Result<Duration> {
    let started = Instant::now();
    while !holds() {
        ensure!(started.elapsed() < limit, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(started.elapsed())
}

async fn ended(client: &Client, id: JobId, limit: Duration) -> Result<JobState> {
    Ok(client.wait_end(id, limit).await?.state)
}

/// Takes a worker away with `fault` while it runs a job; another one has to take over in time.
async fn lose(fault: impl AsyncFnOnce(&mut Process) -> Result<()>) -> Result<Duration> {
    let dir = tempfile::tempdir()?;
    let server = Server::start(&dir.path().join("data"), &[])?;
    let notes = dir.path().join("notes");
    let client = Client::connect(server.address()).await?;
    let mut first = worker(&server, "first", &[])?;
    let job = client.enqueue(noted(&notes, 3.0)?).await?;
    until("the first worker begins", Duration::from_secs(10), || count(&notes, "begin") == 1).await?;
    let _second = worker(&server, "second", &[])?;
    // The second worker must be there, and its gossip warm, before the first one goes.
    let both = async || client.list_workers().await.is_ok_and(|workers| workers.len() == 2);
    let waiting = Instant::now();
    while !both().await {
        ensure!(waiting.elapsed() < Duration::from_secs(5), "the second worker does not come");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    fault(&mut first).await?;
    let took = until("another worker begins", REASSIGNED_WITHIN, || count(&notes, "begin") == 2).await?;
    ensure!(
        ended(&client, job.id, Duration::from_secs(20)).await? == JobState::Succeeded,
        "the job did not succeed"
    );
    Ok(took)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_is_replaced() -> Result<()> {
    let took = lose(async |first| first.kill()).await?;
    println!("kill -9 of a worker: its job ran elsewhere after {took:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_worker_is_replaced() -> Result<()> {
    let took = lose(async |first| first.signal(Signal::STOP)).await?;
    println!("SIGSTOP of a worker: its job ran elsewhere after {took:?}");
    Ok(())
}

/// With gossip off everywhere, heartbeats alone must do, for the dead and for the living.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_job_of_a_live_worker_runs_once() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let server = Server::start(&dir.path().join("data"), &["--lease", "2s", "--heartbeat", "400ms"])?;
    let notes = dir.path().join("notes");
    let client = Client::connect(server.address()).await?;
    let _gossips = worker(&server, "gossips", &[])?;
    let _silent = worker(&server, "silent", &["--no-gossip"])?;
    let jobs = [client.enqueue(noted(&notes, 7.0)?).await?, client.enqueue(noted(&notes, 7.0)?).await?];
    for job in jobs {
        ensure!(
            ended(&client, job.id, Duration::from_secs(30)).await? == JobState::Succeeded,
            "{} failed",
            job.id
        );
        let view = client.status(job.id).await?.context("remembered")?;
        ensure!(view.attempt == 1, "{} took {} attempts", job.id, view.attempt);
    }
    ensure!(count(&notes, "begin") == 2, "a job longer than its lease ran twice");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_server_runs_nothing_twice() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut server = Server::start(&dir.path().join("data"), &[])?;
    let notes = dir.path().join("notes");
    let client = Client::connect(server.address()).await?;
    let _workers = [worker(&server, "one", &[])?, worker(&server, "two", &[])?];
    for (round, orderly) in [(1, false), (2, true)] {
        let job = client.enqueue(noted(&notes, 4.0)?).await?;
        until("a worker begins", Duration::from_secs(10), || count(&notes, "begin") == round).await?;
        if orderly {
            server.stop()?;
        } else {
            server.kill()?;
        }
        server.restart()?;
        ensure!(
            ended(&client, job.id, Duration::from_secs(20)).await? == JobState::Succeeded,
            "round {round} failed"
        );
        ensure!(count(&notes, "begin") == round, "round {round}: the job ran twice");
    }
    Ok(())
}

/// A worker that is stopped for longer than its lease comes back and reports: too late, and nothing changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_straggler_changes_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let server = Server::start(&dir.path().join("data"), &[])?;
    let notes = dir.path().join("notes");
    let client = Client::connect(server.address()).await?;
    let straggler = worker(&server, "straggler", &[])?;
    let job = client.enqueue(noted(&notes, 1.0)?).await?;
    until("the straggler begins", Duration::from_secs(10), || count(&notes, "begin") == 1).await?;
    straggler.signal(Signal::STOP)?;
    let _other = worker(&server, "other", &[])?;
    until("the other begins", REASSIGNED_WITHIN, || count(&notes, "begin") == 2).await?;
    straggler.signal(Signal::CONT)?;
    ensure!(
        ended(&client, job.id, Duration::from_secs(20)).await? == JobState::Succeeded,
        "the job did not succeed"
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    let view = client.status(job.id).await?.context("remembered")?;
    ensure!(
        view.attempt == 2 && view.state == JobState::Succeeded,
        "the straggler changed the job: {view:?}"
    );
    Ok(())
}

/// A job that takes its worker down with it goes dead after the third time, and its neighbours run.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poison_job_goes_dead() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let server = Server::start(&dir.path().join("data"), &["--grace", "300ms"])?;
    let client = Client::connect(server.address()).await?;
    // The command kills its worker: the parent of the shell that runs it.
    let poison = client.enqueue(Job::new("shell", "kill -9 $PPID")?).await?;
    for _ in 0..4 {
        let mut victim = worker(&server, "victim", &[])?;
        let dead = async || {
            client.status(poison.id).await.is_ok_and(|v| v.is_some_and(|v| v.state == JobState::Dead))
        };
        let started = Instant::now();
        while victim.is_running()? && !dead().await && started.elapsed() < Duration::from_secs(10) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if dead().await {
            break;
        }
    }
    let view = client.wait_end(poison.id, Duration::from_secs(10)).await?;
    ensure!(
        view.state == JobState::Dead && view.crashes == 3,
        "{} after {} crashes",
        view.state,
        view.crashes
    );
    ensure!(view.reason.contains("3 times"), "the reason does not say why: {}", view.reason);
    Ok(())
}
