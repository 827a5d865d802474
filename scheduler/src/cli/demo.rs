//! Sample traffic for `windlass dev --demo`: enough of everything that the dashboard has something to show.
//!
//! About ten jobs a second in four queues; some are delayed, some fail and are tried again, a few go dead; a batch now and
//! then, and two schedules. Nothing of it leaves the process.

use std::time::Duration;

use serde_json::json;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use windlass_core::api::Request;
use windlass_core::id::QueueName;
use windlass_core::job::{JobSpec, Payload, RunAt};
use windlass_core::retry::Backoff;
use windlass_core::schedule::{CatchUp, ScheduleSpec, When};
use windlass_worker::{JobCtx, Verdict, Worker};

use super::connect::{Server, new_id};
use super::error::CliError;
use super::runner::{self, Running};

/// Mean time between two jobs.
const INTERVAL: Duration = Duration::from_millis(100);
/// One batch per so many jobs.
const BATCH_EVERY: u64 = 300;
/// Jobs in a batch.
const BATCH_JOBS: u64 = 60;

/// Running sample traffic.
pub(crate) struct Demo {
    worker: Running,
    producer: JoinHandle<()>,
    stop: CancellationToken,
}

impl Demo {
    /// Ends the traffic; running sample jobs are given back.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        // The producer ends by the token; how it ended is of no interest any more.
        let _ = self.producer.await;
        let _ = self.worker.stop().await;
    }
}

/// Starts traffic and its worker.
///
/// # Errors
/// When the server cannot be reached or refuses the schedules.
pub(crate) async fn start(server: &str, token: &str) -> Result<Demo, CliError> {
    let connection = Server::at(server, Some(token.to_owned())).await?;
    for schedule in [nightly(), heartbeat()] {
        connection.call(Request::PutSchedule(schedule)).await?;
    }
    let worker = runner::start(server, worker(server, token));
    let stop = CancellationToken::new();
    let producer = tokio::spawn(produce(connection, stop.clone()));
    Ok(Demo { worker, producer, stop })
}

fn queue(name: &str) -> QueueName {
    QueueName::new(name).expect("the names of this file follow the rules")
}

fn job(kind: &str, payload: &serde_json::Value) -> JobSpec {
    let mut spec = JobSpec::new(kind, Payload::json(payload.to_string()));
    spec.id = Some(new_id());
    spec.options_mut().tags.push("demo".to_owned());
    spec
}

fn nightly() -> ScheduleSpec {
    ScheduleSpec {
        name: "demo-nightly-report".to_owned(),
        when: When::Cron("30 3 * * *".to_owned()),
        zone: "Europe/Berlin".to_owned(),
        catch_up: CatchUp::Latest,
        queue: queue("reports"),
        job: job("build_report", &json!({ "report": "nightly" })),
    }
}

fn heartbeat() -> ScheduleSpec {
    ScheduleSpec {
        name: "demo-heartbeat".to_owned(),
        when: When::EveryMs(30_000),
        zone: "UTC".to_owned(),
        catch_up: CatchUp::Skip,
        queue: queue("mail"),
        job: job("send_email", &json!({ "to": "ops@example.org", "subject": "still here" })),
    }
}

/// A number below `most`, at random.
fn dice(most: u64) -> u64 {
    rand::random::<u64>() % most
}

async fn produce(server: Server, stop: CancellationToken) {
    for number in 0u64.. {
        let pause = Duration::from_millis(dice(2 * INTERVAL.as_millis() as u64));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
        let (name, jobs) = if number % BATCH_EVERY == BATCH_EVERY - 1 {
            ("images", (0..BATCH_JOBS).map(|_| image()).collect())
        } else {
            one(number)
        };
        // A refusal (a full disk, a stop) costs the sample job and nothing else.
        let sent = server.call(Request::Enqueue { queue: queue(name), jobs });
        tokio::select! {
            _ = sent => {}
            () = stop.cancelled() => return,
        }
    }
}

fn image() -> JobSpec {
    let width = [320, 640, 1280, 2560][dice(4) as usize];
    let mut spec =
        job("resize_image", &json!({ "image": format!("photo-{:05}.jpg", dice(100_000)), "width": width }));
    spec.priority = if width == 320 { 5 } else { 0 };
    spec
}

/// The next single job: mostly mails and images, now and then a report or a charge.
fn one(number: u64) -> (&'static str, Vec<JobSpec>) {
    match dice(20) {
        0..=9 => {
            let to = ["ada", "grace", "edsger", "barbara", "alan"][dice(5) as usize];
            let mut spec = job("send_email", &json!({ "to": format!("{to}@example.org"), "order": number }));
            if dice(8) == 0 {
                spec.run_at = RunAt::AfterMs(2_000 + dice(58_000));
            }
            spec.options_mut().backoff = Some(Backoff::Exponential {
                base_ms: 2_000,
                factor_tenths: 20,
                max_ms: 60_000,
                jitter_percent: 20,
            });
            ("mail", vec![spec])
        }
        10..=15 => ("images", vec![image()]),
        16..=17 => {
            let mut spec = job("build_report", &json!({ "report": "sales", "month": 1 + dice(12) }));
            spec.options_mut().timeout_ms = Some(20_000);
            ("reports", vec![spec])
        }
        _ => {
            let mut spec =
                job("charge_card", &json!({ "customer": dice(10_000), "cents": 100 + dice(50_000) }));
            spec.priority = 10;
            spec.options_mut().max_attempts = Some(3);
            spec.options_mut().backoff =
                Some(Backoff::List { delays_ms: vec![1_000, 4_000], jitter_percent: 20 });
            ("billing", vec![spec])
        }
    }
}

fn worker(server: &str, token: &str) -> Worker {
    Worker::builder(server)
        .token(token)
        .name("demo")
        .queues(["mail", "images", "reports", "billing"])
        .concurrency(12)
        .stop_deadline(Duration::from_secs(1))
        .handle("send_email", send_email)
        .handle("resize_image", resize_image)
        .handle("build_report", build_report)
        .handle("charge_card", charge_card)
        .build()
}

async fn send_email(job: JobCtx) -> Verdict {
    work(50 + dice(250)).await;
    match dice(20) {
        0 => Verdict::retry("the mail server answered 451: try again later"),
        _ => Verdict::result(&json!({ "message_id": job.id() })),
    }
}

async fn resize_image() -> Verdict {
    work(100 + dice(700)).await;
    match dice(60) {
        0 => Verdict::dead("the file is no image: unexpected end of data at byte 2,048"),
        _ => Verdict::result(&json!({ "bytes": 20_000 + dice(400_000) })),
    }
}

async fn charge_card(job: JobCtx) -> Verdict {
    work(100 + dice(400)).await;
    match dice(5) {
        0 => Verdict::retry("the bank declined: insufficient funds (code 51)"),
        _ => Verdict::result(&json!({ "receipt": format!("R-{}", job.attempt()) })),
    }
}

/// A slow job with progress.
async fn build_report(job: JobCtx) -> Verdict {
    const STEPS: u8 = 10;
    for step in 1..=STEPS {
        work(200 + dice(600)).await;
        job.progress(step * 10, format!("page {step} of {STEPS}")).await;
    }
    Verdict::result(&json!({ "pages": STEPS, "url": "https://example.org/report.pdf" }))
}

async fn work(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
