//! How an application tests its jobs: one handler alone, and the whole way with a clock that the test moves.
//!
//! `cargo run -p windlass-examples --example testing`

use std::time::{Duration, Instant};

use windlass_examples::PATIENCE;
use windlass_scheduler::testing::TestServer;
use windlass_worker::testing::{perform, perform_attempt};
use windlass_worker::{Client, Job, JobCtx, JobState, Schedule, Verdict, Worker, WorkerBuilder};

async fn remind(name: String, job: JobCtx) -> Result<String, Verdict> {
    if name.is_empty() {
        return Err(Verdict::dead("nobody to remind"));
    }
    if job.is_last_attempt() {
        return Ok(format!("a letter to {name}"));
    }
    Ok(format!("a mail to {name}"))
}

/// What production and tests have in common.
fn handlers(server: &str) -> WorkerBuilder {
    Worker::builder(server).handle("remind", remind)
}

/// No server: the handler with its arguments, layers and timeouts.
async fn one_handler_alone() -> anyhow::Result<()> {
    let worker = handlers("127.0.0.1:7421").build();
    let done = perform(&worker, Job::new("remind", "Ada")?).await?;
    assert_eq!(done.verdict, Verdict::result("a mail to Ada"));
    let last = perform_attempt(&worker, Job::new("remind", "Ada")?.max_attempts(3), 3).await?;
    assert_eq!(last.verdict, Verdict::result("a letter to Ada"));
    let dead = perform(&worker, Job::new("remind", "")?).await?;
    assert_eq!(dead.verdict, Verdict::dead("nobody to remind"));
    println!("the handler does what it should");
    Ok(())
}

/// A real server in this process, on the memory store, whose clock stands still until the test moves it.
async fn a_day_in_a_moment() -> anyhow::Result<()> {
    let begin = Instant::now();
    let server = TestServer::start();
    let address = server.native_addr().to_string();
    let client = Client::connect(address.clone()).await?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(handlers(&address).build().run_until(async {
        let _ = stopped.await;
    }));

    let job = Job::new("remind", "Grace")?.delay(Duration::from_secs(3_600));
    let id = client.enqueue(job).await?.id;
    assert_eq!(client.status(id).await?.map(|job| job.state), Some(JobState::Scheduled));
    server.advance_ms(3_600_000);
    let answer: String = client.wait(id, PATIENCE).await?;
    assert_eq!(answer, "a mail to Grace");

    client.put_schedule(Schedule::cron("daily", "0 9 * * *", Job::new("remind", "Edsger")?)).await?;
    server.advance_ms(24 * 3_600_000);
    let fired = async {
        loop {
            if let Some(job) = client.get_schedule("daily").await?.last_job {
                return client.wait::<String>(job, PATIENCE).await;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, fired).await??, "a mail to Edsger");
    assert_eq!(client.get_schedule("daily").await?.fired_total, 1);

    let _ = stop.send(());
    running.await??;
    server.stop().await;
    println!("25 hours took {:?}", begin.elapsed());
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    one_handler_alone().await?;
    a_day_in_a_moment().await
}
