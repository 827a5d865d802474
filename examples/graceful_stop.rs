//! What SIGTERM does to a worker: nothing new is taken, what runs may finish, what does not finish in time is given back without
//! using an attempt.
//!
//! `cargo run -p windlass-examples --example graceful_stop`

use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::{Child, Command};
use windlass_examples::{PATIENCE, Server, fresh_queue};
use windlass_worker::{Client, Job, JobCtx, JobId, JobState, Request, Response, Worker};

/// Time that the worker grants its jobs after the signal.
const STOP_DEADLINE: Duration = Duration::from_secs(2);

async fn nap(ms: u64, job: JobCtx) -> Result<u32, std::convert::Infallible> {
    job.progress(0, "begun").await;
    tokio::time::sleep(Duration::from_millis(ms)).await;
    Ok(job.attempt())
}

/// The worker process: this program, called with the server's address and the queue.
async fn work(server: String, queue: String) -> anyhow::Result<()> {
    let worker =
        Worker::builder(server).queues([queue]).stop_deadline(STOP_DEADLINE).handle("nap", nap).build();
    worker.run().await?;
    Ok(())
}

fn start_worker(server: &str, queue: &str) -> anyhow::Result<Child> {
    let program = std::env::current_exe()?;
    Ok(Command::new(program).args(["work", server, queue]).stdin(Stdio::null()).kill_on_drop(true).spawn()?)
}

async fn begun(client: &Client, id: JobId) -> anyhow::Result<()> {
    let seen = async {
        while client.status(id).await?.is_none_or(|job| job.progress.is_none()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(PATIENCE, seen).await?
}

/// Waits until the server knows that the worker takes nothing more.
async fn quiet(client: &Client) -> anyhow::Result<()> {
    let seen = async {
        loop {
            match client.call(Request::ListWorkers).await? {
                Response::Workers(workers) if workers.iter().any(|worker| worker.status == "quiet") => {
                    return Ok(());
                }
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, seen).await?
}

async fn show(server: String, queue: String) -> anyhow::Result<()> {
    let client = Client::connect(server.clone()).await?;
    let mut worker = start_worker(&server, &queue)?;
    let short = client.enqueue(Job::new("nap", &600)?.queue(&queue)).await?.id;
    let long = client.enqueue(Job::new("nap", &3_500)?.queue(&queue)).await?.id;
    begun(&client, short).await?;
    begun(&client, long).await?;

    let pid = worker.id().expect("it runs").to_string();
    let signalled = Instant::now();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().await?.success(), "kill failed");
    quiet(&client).await?;
    let late = client.enqueue(Job::new("nap", &1)?.queue(&queue)).await?.id;
    let status = tokio::time::timeout(PATIENCE, worker.wait()).await??;
    println!("the worker left {:?} after SIGTERM: {status}", signalled.elapsed());
    assert!(status.success(), "a stopped worker ends with status 0");

    let attempt: u32 = client.wait(short, PATIENCE).await?;
    println!("the short job finished at attempt {attempt}");
    let state = client.status(long).await?.map(|job| (job.state, job.attempt));
    println!("the long job was given back: {state:?}");
    assert_eq!(state, Some((JobState::Ready, 0)), "given back without using an attempt");
    let state = client.status(late).await?.map(|job| job.state);
    assert_eq!(state, Some(JobState::Ready), "nothing new was taken after the signal");

    let mut second = start_worker(&server, &queue)?;
    let attempt: u32 = client.wait(long, PATIENCE).await?;
    println!("a second worker finished it at attempt {attempt}");
    assert_eq!(attempt, 1);
    client.wait_end(late, PATIENCE).await?;
    second.kill().await?;
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, role, server, queue] = &arguments[..]
        && role == "work"
    {
        return work(server.clone(), queue.clone()).await;
    }
    let server = Server::start()?;
    show(server.address(), fresh_queue("graceful")).await
}
