//! `QUEUE …` and `FLUSH`.

use windlass_core::api::{ApiError, JobQuery, JobView};
use windlass_core::filter::Filter;
use windlass_core::job::JobState;
use windlass_core::limits;
use windlass_core::wire::Verdict;

use super::desk::Desk;
use super::json::Object;
use super::pushed::queue_name;
use super::reply::Reply;
use crate::queue::{Act, DeadAct, Op, QueueHandle};

impl Desk {
    /// `QUEUE SUBCOMMAND name…`.
    pub(super) async fn queue_command(&self, text: &str) -> Reply {
        let mut words = text.split_whitespace();
        let what = words.next().unwrap_or_default().to_ascii_uppercase();
        let names: Vec<&str> = words.collect();
        if !matches!(what.as_str(), "PAUSE" | "RESUME" | "REMOVE" | "LATENCY") {
            return Reply::error(format!("no such QUEUE subcommand: {what}"));
        }
        if names.is_empty() {
            return Reply::error(format!("QUEUE {what} needs the name of a queue"));
        }
        if what == "LATENCY" {
            return self.latency(&names).await;
        }
        for queue in self.named(&names) {
            let done = match what.as_str() {
                "PAUSE" => queue.ask(|then| Op::SetPaused { paused: true, then }).await.map(|_| ()),
                "RESUME" => queue.ask(|then| Op::SetPaused { paused: false, then }).await.map(|_| ()),
                _ => self.remove_queue(&queue).await,
            };
            if let Err(error) = done {
                return Reply::error(error);
            }
        }
        Reply::Ok
    }

    /// The queues with these names; names that no queue has are passed over, and `*` stands for all.
    fn named(&self, names: &[&str]) -> Vec<QueueHandle> {
        if names.contains(&"*") {
            return self.registry().all();
        }
        let find = |name: &&str| self.registry().find(&queue_name(name).ok()?);
        names.iter().filter_map(find).collect()
    }

    async fn latency(&self, names: &[&str]) -> Reply {
        if names.contains(&"*") {
            return Reply::error("QUEUE LATENCY does not support wildcards");
        }
        let mut out = Object::new();
        for name in names {
            let queue = queue_name(name).ok().and_then(|name| self.registry().find(&name));
            let ms = match queue {
                Some(queue) => match queue.ask(|then| Op::Snapshot { then }).await {
                    Ok(view) => view.oldest_wait_ms,
                    Err(error) => return Reply::error(error),
                },
                None => 0,
            };
            out.raw(name, &format!("{}.{:03}", ms / 1_000, ms % 1_000));
        }
        Reply::Bulk(out.end())
    }

    /// Deletes what waits in a queue and lists it no more until it has a job again. Jobs of the sets stay.
    async fn remove_queue(&self, queue: &QueueHandle) -> Result<(), ApiError> {
        self.state().hidden.insert(queue.name().clone());
        self.delete_all(queue, JobState::Ready).await?;
        queue.ask(|then| Op::SetPaused { paused: false, then }).await.map(|_| ())
    }

    /// `FLUSH`: every job that waits, is planned or dead, in every queue, and every run of this door. What runs on workers of
    /// another door goes on.
    pub(super) async fn flush(&self) -> Reply {
        let totals = self.totals();
        let held = {
            let mut state = self.state();
            state.flushed = totals;
            state.reservations.take_all()
        };
        for held in held {
            let verdict = Verdict::Cancelled { reason: "FLUSH wiped everything".to_owned() };
            if let Err(error) = self.report(held, verdict).await {
                return Reply::error(error);
            }
        }
        for queue in self.registry().all() {
            if let Err(error) = self.wipe(&queue).await {
                return Reply::error(error);
            }
        }
        Reply::Ok
    }

    async fn wipe(&self, queue: &QueueHandle) -> Result<(), ApiError> {
        for state in [JobState::Scheduled, JobState::Retrying] {
            self.delete_all(queue, state).await?;
        }
        queue.ask(|then| Op::Dead { act: DeadAct::Delete, kind: None, then }).await?;
        self.remove_queue(queue).await
    }

    async fn delete_all(&self, queue: &QueueHandle, state: JobState) -> Result<(), ApiError> {
        let mut page = self.page(queue, state, None).await?;
        loop {
            let next = page.1.take();
            self.act_on_all(queue, Act::Delete, page.0).await?;
            match next {
                Some(cursor) => page = self.page(queue, state, Some(cursor)).await?,
                None => return Ok(()),
            }
        }
    }

    /// A page of jobs in a state, and where the next one begins.
    pub(super) async fn page(
        &self,
        queue: &QueueHandle,
        state: JobState,
        cursor: Option<String>,
    ) -> Result<(Vec<JobView>, Option<String>), ApiError> {
        let (queue, state) = (Some(queue.name().clone()), Some(state));
        let filter = Filter::of_query(&JobQuery { queue, state, ..JobQuery::default() });
        let (cursor, limit) = (cursor.as_deref(), Some(limits::PAGE_MAX));
        let page = self.registry().list_jobs(&filter, cursor, limit, self.now().wall).await?;
        Ok((page.jobs, page.next))
    }

    /// Does something with each of these jobs; those that are in another state meanwhile are passed over.
    pub(super) async fn act_on_all(
        &self,
        queue: &QueueHandle,
        act: Act,
        jobs: Vec<JobView>,
    ) -> Result<(), ApiError> {
        if jobs.is_empty() {
            return Ok(());
        }
        let (tell, mut told) = tokio::sync::mpsc::channel(jobs.len());
        let op = |job: JobView| {
            let tell = tell.clone();
            let then = Box::new(move |result: Result<_, ApiError>| {
                // There is room for one answer of each.
                let _ = tell.try_send(result.map(|_| ()));
            });
            Op::Job { act, id: job.id, then }
        };
        let ops = jobs.into_iter().map(op).collect();
        drop(tell);
        if let Err(back) = queue.post(ops) {
            back.refuse();
        }
        use windlass_core::api::ErrorCode::{Conflict, NotFound};
        while let Some(result) = told.recv().await {
            match result {
                Err(error) if !matches!(error.code, Conflict | NotFound) => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}
