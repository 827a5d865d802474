//! One job, several doors: pushed here and seen, steered and run elsewhere; enqueued elsewhere and fetched here.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use windlass_core::api::JobQuery;
use windlass_core::job::JobState;
use windlass_tests::http;
use windlass_worker::{Client, Job, JobCtx, RawPayload, Worker};

use crate::peer::{Answer, Home, ok};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pushed_job_is_seen_and_steered_elsewhere() -> Result<()> {
    let home = Home::start(&[]);
    let mut worker = home.worker("w1");
    let uuid = "01890a5d-ac96-774b-bcce-b302099a8057";
    worker.push(uuid, &json!({ "at": "2031-01-01T00:00:00Z", "jobtype": "mail", "args": [{ "to": 1 }], "queue": "q", "priority": 7 }));
    let client = Client::connect(home.server.address()).await?;
    let id = uuid.parse()?;
    let job = client.status(id).await?.context("a jid that is a UUID is the id everywhere")?;
    ensure!(
        job.state == JobState::Scheduled && job.kind == "mail" && job.priority == 2 && job.max_attempts == 26
    );
    ensure!(job.payload.data.as_ref() == br#"[{"to":1}]"#);
    let (status, body) = http::get(home.server.http, &format!("/api/v1/jobs/{uuid}"))?;
    let seen: Value = serde_json::from_str(&body)?;
    ensure!(status == 200 && seen["payload"] == json!([{ "to": 1 }]) && seen["queue"] == "q", "{body}");
    // Made ready through HTTP, fetched here, seen running there, under the worker's name.
    let (status, _) = http::post(home.server.http, &format!("/api/v1/jobs/{uuid}/retry"), "{}")?;
    ensure!(status == 200);
    ensure!(worker.fetch("q")["jid"] == uuid);
    let running = client.status(id).await?.context("it runs")?;
    ensure!(running.state == JobState::Running);
    let by = running.attempts.last().context("an attempt")?;
    ensure!(by.worker_name == "w1", "{:?}", by.worker_name);
    let workers = client.list_workers().await?;
    let listed = workers.iter().find(|listed| listed.name == "w1").context("the worker is listed")?;
    ensure!(
        listed.running_count == 1 && listed.running[0].id == id && listed.pid == 7 && listed.host == "test"
    );
    ensure!(listed.queues.iter().any(|(queue, _)| queue.as_str() == "q"));
    ensure!(worker.fail(uuid) == ok());
    let failed = client.status(id).await?.context("it waits for its retry")?;
    ensure!(
        failed.state == JobState::Retrying && failed.reason.starts_with("Oops: it broke"),
        "{}",
        failed.reason
    );
    client.cancel(id).await?;
    ensure!(worker.sets() == [0, 0, 0, 0]);
    let page = client.list_jobs(JobQuery { kind: Some("mail".to_owned()), ..JobQuery::default() }).await?;
    ensure!(page.jobs.len() == 1 && page.jobs[0].state == JobState::Cancelled);
    let (_, page) = http::get(home.server.http, "/workers")?;
    ensure!(page.contains("w1"), "the dashboard lists it");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_another_door_is_fetched_here() -> Result<()> {
    let home = Home::start(&[]);
    let mut peer = home.peer();
    let client = Client::connect(home.server.address()).await?;
    let enqueued = client.enqueue(Job::new("resize", &json!({ "width": 10 }))?.max_attempts(2)).await?;
    let jid = enqueued.id.to_string();
    let job = peer.fetch("default");
    ensure!(
        job["jid"] == json!(jid) && job["jobtype"] == "resize" && job["args"] == json!([{ "width": 10 }]),
        "{job}"
    );
    ensure!(job["retry"] == 1 && job["queue"] == "default");
    ensure!(peer.fail(&jid) == ok());
    let requeue = format!(r#"MUTATE {{"cmd":"requeue","target":"retries","filter":{{"jids":["{jid}"]}}}}"#);
    ensure!(peer.ask(&requeue) == ok());
    ensure!(peer.fetch("default")["failure"]["retry_count"] == 0);
    peer.ack(&jid);
    ensure!(client.wait_end(enqueued.id, Duration::from_secs(5)).await?.state == JobState::Succeeded);
    let (status, body) =
        http::post(home.server.http, "/api/v1/jobs", r#"{"kind":"list","payload":[1,{"a":2}]}"#)?;
    ensure!(status < 300, "{body}");
    ensure!(peer.fetch("default")["args"] == json!([1, { "a": 2 }]));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pushed_job_is_run_by_a_worker_of_our_own() -> Result<()> {
    async fn sum(payload: RawPayload, _job: JobCtx) -> Result<u64, String> {
        let numbers: Vec<u64> = serde_json::from_slice(&payload.0.data).map_err(|error| error.to_string())?;
        Ok(numbers.iter().sum())
    }
    let home = Home::start(&[]);
    let (quit, quitted) = tokio::sync::oneshot::channel::<()>();
    let worker = Worker::builder(home.server.address()).queues(["default"]).handle("sum", sum).build();
    let worker = tokio::spawn(worker.run_until(async move {
        let _ = quitted.await;
    }));
    let uuid = "01890a5d-ac96-774b-bcce-b302099a8058";
    let mut peer = home.peer();
    peer.push(uuid, &json!({ "jobtype": "sum", "args": [1, 2, 3] }));
    let client = Client::connect(home.server.address()).await?;
    ensure!(client.wait::<u64>(uuid.parse()?, Duration::from_secs(10)).await? == 6);
    ensure!(peer.ask("FETCH default") == Answer::Null);
    let _ = quit.send(());
    worker.await??;
    Ok(())
}
