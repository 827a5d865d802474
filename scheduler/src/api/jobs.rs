//! Requests about one job, given by its id alone: the queues are asked which of them knows it.

use std::time::Duration;

use futures_util::future::join_all;
use windlass_core::api::{ApiError, ErrorCode, JobView};
use windlass_core::id::{JobId, QueueName, RequestId};
use windlass_core::limits;

use super::ApiParts;
use crate::queue::{Act, Op, QueueHandle, next_request, stopping};

/// Queues that are asked about an id at the same time.
const ASKED_AT_ONCE: usize = 512;

/// Takes a wait back when nobody waits any more: its request was dropped, or its time is over.
struct Watch {
    queue: QueueHandle,
    request: RequestId,
    id: JobId,
}

impl Drop for Watch {
    fn drop(&mut self) {
        // A queue that is too busy to hear this answers a wait that nobody hears.
        self.queue.post_or_refuse(Op::Unwatch { request: self.request, id: self.id });
    }
}

impl ApiParts {
    pub(super) async fn get_job(&self, id: JobId) -> Result<Box<JobView>, ApiError> {
        let mut failed = None;
        for some in self.registry.all().chunks(ASKED_AT_ONCE) {
            for answer in join_all(some.iter().map(|queue| queue.ask(|then| Op::Get { id, then }))).await {
                match answer {
                    Ok(Some(mut view)) => {
                        self.name_workers(std::slice::from_mut(&mut *view)).await;
                        return Ok(view);
                    }
                    Ok(None) => {}
                    Err(error) => failed = Some(error),
                }
            }
        }
        Err(failed.unwrap_or_else(|| no_job(id)))
    }

    /// The name of the queue that knows the job.
    pub(crate) async fn queue_of(&self, id: JobId) -> Result<QueueName, ApiError> {
        self.locate(id).await.map(|queue| queue.name().clone())
    }

    /// The first queue, by name, that knows the job.
    async fn locate(&self, id: JobId) -> Result<QueueHandle, ApiError> {
        let mut failed = None;
        for some in self.registry.all().chunks(ASKED_AT_ONCE) {
            let answers = join_all(some.iter().map(|queue| queue.ask(|then| Op::Knows { id, then }))).await;
            for (queue, answer) in some.iter().zip(answers) {
                match answer {
                    Ok(true) => return Ok(queue.clone()),
                    Ok(false) => {}
                    Err(error) => failed = Some(error),
                }
            }
        }
        Err(failed.unwrap_or_else(|| no_job(id)))
    }

    pub(super) async fn act(&self, id: JobId, act: Act) -> Result<Option<Box<JobView>>, ApiError> {
        let queue = self.locate(id).await?;
        let mut view = queue.ask(|then| Op::Job { act, id, then }).await?;
        if let Some(view) = &mut view {
            self.name_workers(std::slice::from_mut(&mut **view)).await;
        }
        Ok(view)
    }

    pub(super) async fn wait_job(&self, id: JobId, timeout_ms: u64) -> Result<Box<JobView>, ApiError> {
        if timeout_ms > limits::WAIT_MS_MAX {
            let text = format!("a wait lasts at most {} ms; wait again when it is over", limits::WAIT_MS_MAX);
            return Err(ApiError::new(ErrorCode::Invalid, text));
        }
        let queue = self.locate(id).await?;
        let request = next_request();
        let watch = Watch { queue: queue.clone(), request, id };
        let ended = queue.ask(|then| Op::Watch { request, id, then });
        let answer = tokio::time::timeout(Duration::from_millis(timeout_ms), ended).await;
        drop(watch);
        let Ok(answer) = answer else {
            let text = format!("job {id} has not ended within {timeout_ms} ms; wait again");
            return Err(ApiError::new(ErrorCode::Timeout, text));
        };
        let mut view = answer?.ok_or_else(stopping)?;
        self.name_workers(std::slice::from_mut(&mut *view)).await;
        Ok(view)
    }

    /// Puts names to the workers of the attempts, as far as they are remembered.
    pub(super) async fn name_workers(&self, jobs: &mut [JobView]) {
        let ids: std::collections::BTreeSet<_> =
            jobs.iter().flat_map(|job| &job.attempts).map(|attempt| attempt.worker).collect();
        if ids.is_empty() {
            return;
        }
        let ids: Vec<_> = ids.into_iter().collect();
        let mut names = self.faktory.names(&ids);
        names.extend(self.hub.names(ids).await);
        for attempt in jobs.iter_mut().flat_map(|job| &mut job.attempts) {
            if let Some(name) = names.get(&attempt.worker) {
                attempt.worker_name.clone_from(name);
            }
        }
    }
}

pub(crate) fn no_job(id: JobId) -> ApiError {
    let text = format!("there is no job {id}; finished jobs are remembered for a limited time");
    ApiError::new(ErrorCode::NotFound, text)
}
