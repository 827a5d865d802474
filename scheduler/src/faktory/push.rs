//! `PUSH` and `PUSHB`: jobs into queues, confirmed when they are durable.

use std::collections::BTreeMap;

use windlass_core::id::QueueName;
use windlass_core::job::JobSpec;

use super::desk::Desk;
use super::jid::{COPIES_MAX, job_id};
use super::json::Object;
use super::pushed::{NotTaken, Pushed, read_many};
use super::reply::Reply;

impl Desk {
    /// `PUSH`.
    pub(super) async fn push(&self, text: &str) -> Reply {
        let pushed = match Pushed::read(text, self.now().wall) {
            Ok(pushed) => pushed,
            Err(refused) => return Reply::Error(refused.text),
        };
        match self.enqueue(&pushed.queue, vec![(pushed.jid, pushed.spec)]).await {
            Ok(()) => Reply::Ok,
            Err(error) => Reply::Error(error),
        }
    }

    /// `PUSHB`: answers with those that were refused.
    pub(super) async fn push_many(&self, text: &str) -> Reply {
        let jobs = match read_many(text, self.now().wall) {
            Ok(jobs) => jobs,
            Err(error) => return Reply::Error(error),
        };
        let mut refused: Vec<NotTaken> = Vec::new();
        let mut by_queue: BTreeMap<QueueName, Vec<(String, JobSpec)>> = BTreeMap::new();
        for job in jobs {
            match job {
                Ok(job) => by_queue.entry(job.queue).or_default().push((job.jid, job.spec)),
                Err(not_taken) => refused.push(not_taken),
            }
        }
        for (queue, jobs) in by_queue {
            let jids: Vec<String> = jobs.iter().map(|(jid, _)| jid.clone()).collect();
            if let Err(text) = self.enqueue(&queue, jobs).await {
                refused.extend(jids.into_iter().map(|jid| NotTaken { jid, text: text.clone() }));
            }
        }
        let mut out = Object::new();
        for NotTaken { jid, text } in refused {
            out.text(&jid, &text);
        }
        Reply::Bulk(out.end())
    }

    /// Enqueues jobs. A jid that the queue knows already is another job, as clients expect: it gets an id of its own.
    async fn enqueue(&self, queue: &QueueName, mut jobs: Vec<(String, JobSpec)>) -> Result<(), String> {
        for copy in 0..=COPIES_MAX {
            let specs = jobs.iter_mut().map(|(jid, spec)| {
                spec.id = (copy < COPIES_MAX).then(|| job_id(jid, copy));
                spec.clone()
            });
            let enqueued = self.registry().enqueue(queue, specs.collect(), Vec::new()).await;
            let enqueued = enqueued.map_err(|error| error.to_string())?;
            let mut answers = enqueued.into_iter();
            jobs.retain(|_| answers.next().is_some_and(|answer| answer.duplicate));
            if jobs.is_empty() {
                break;
            }
        }
        self.state().hidden.remove(queue);
        Ok(())
    }
}
