//! A node with pages, and workers that do what a test wants.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use windlass_core::api::{JobView, Request, Response};
use windlass_core::id::{JobId, QueueName};
use windlass_core::job::JobState;
use windlass_scheduler::node::NodeConfig;
use windlass_scheduler::testing::TestServer;
use windlass_worker::{Client, Job, JobCtx, RawPayload, Verdict, Worker};

/// A node and a client of it.
pub(crate) struct Site {
    pub(crate) server: TestServer,
    pub(crate) client: Client,
    pub(crate) url: String,
    workers: Vec<(watch::Sender<bool>, JoinHandle<()>)>,
}

impl Site {
    pub(crate) async fn start() -> Result<Site> {
        Site::with(|_| {}).await
    }

    /// A node with settings of the test's own.
    pub(crate) async fn with(change: impl FnOnce(&mut NodeConfig)) -> Result<Site> {
        let mut config = TestServer::config();
        change(&mut config);
        let server = TestServer::with(config)?;
        let client = Client::connect(server.native_addr().to_string()).await?;
        let url = server.http_url().context("the node has pages")?;
        Ok(Site { server, client, url, workers: Vec::new() })
    }

    pub(crate) fn page(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// A worker with three kinds: `quick` is done at once, `broken` fails for good, `slow` runs until it is cancelled.
    pub(crate) fn work(&mut self, queues: &[&str]) {
        let worker = Worker::builder(self.server.native_addr().to_string())
            .queues(queues.iter().copied())
            .concurrency(4)
            .handle("quick", async |RawPayload(_): RawPayload, job: JobCtx| -> Verdict {
                if job.attempt() == 1 && job.tags().iter().any(|tag| tag == "fails-first") {
                    Verdict::dead("the first attempt fails for good")
                } else {
                    Verdict::result(&json!({"exact": 9_007_199_254_740_993_u64}))
                }
            })
            .handle("slow", async |RawPayload(_): RawPayload, job: JobCtx| -> Verdict {
                job.progress(40, "halfway, nearly").await;
                job.cancelled().await;
                Verdict::cancel("asked to stop")
            })
            .build();
        let (stop, mut stopped) = watch::channel(false);
        let running = tokio::spawn(async move {
            let until = async move {
                let _ = stopped.wait_for(|stopped| *stopped).await;
            };
            worker.run_until(until).await.expect("the worker of the test runs");
        });
        self.workers.push((stop, running));
    }

    pub(crate) async fn enqueue(&self, queue: &str, kind: &str) -> Result<JobId> {
        let job = Job::new(kind, &json!({"to": "ada@example.org"}))?.queue(queue);
        Ok(self.client.enqueue(job).await?.id)
    }

    /// Enqueues a job that dies of its first attempt and succeeds when it is retried by hand.
    pub(crate) async fn dead(&self, queue: &str) -> Result<JobId> {
        let job = Job::new("quick", &json!({"n": 1}))?.queue(queue).tag("fails-first");
        let id = self.client.enqueue(job).await?.id;
        let view = self.client.wait_end(id, Duration::from_secs(20)).await?;
        anyhow::ensure!(view.state == JobState::Dead, "the job is {}", view.state);
        Ok(id)
    }

    pub(crate) async fn job(&self, id: JobId) -> Result<JobView> {
        self.client.status(id).await?.context("the job is known")
    }

    /// Waits until the node has the job in a state.
    pub(crate) async fn until(&self, id: JobId, state: JobState) -> Result<JobView> {
        let began = std::time::Instant::now();
        loop {
            let view = self.job(id).await?;
            if view.state == state {
                return Ok(view);
            }
            anyhow::ensure!(
                began.elapsed() < Duration::from_secs(20),
                "the job is {} and not {state}",
                view.state
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn is_paused(&self, queue: &str) -> Result<bool> {
        let queue: QueueName = queue.parse()?;
        match self.client.call(Request::ListQueues).await? {
            Response::Queues(queues) => {
                let view = queues.into_iter().find(|view| view.name == queue);
                Ok(view.context("the queue is known")?.paused)
            }
            other => anyhow::bail!("{other:?}"),
        }
    }

    /// Ends workers and node in order.
    pub(crate) async fn stop(self) -> Result<()> {
        for (stop, running) in self.workers {
            stop.send_replace(true);
            running.await?;
        }
        self.client.close().await;
        self.server.stop().await;
        Ok(())
    }
}
