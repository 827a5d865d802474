//! Jobs whose payload says how long they run and how each attempt ends, and the handler that does it and records it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use windlass_core::id::JobId;
use windlass_core::job::Payload;
use windlass_worker::{Backoff, Job, JobCtx, State, Verdict};

use crate::history::{Recorder, Verb};

/// The kind of these jobs.
pub const KIND: &str = "scripted";

/// What the handler is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// How long it runs.
    pub ms: u64,
    /// How each attempt ends, one letter each, the last one for all that follow: `d` done, `r` retry at once, `x` dead, `s` snooze or done, as the token falls,
    /// `p` panic.
    pub plan: String,
    /// Only there to have a size.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub padding: String,
}

/// A job to be enqueued, with all that a checker needs to know of it.
#[derive(Debug, Clone)]
pub struct Work {
    /// Its id, made by the producer, so that an enqueue that is sent twice is one job.
    pub id: JobId,
    /// Its queue.
    pub queue: String,
    /// What happens.
    pub script: Script,
    /// Starts no sooner than so many milliseconds after it was enqueued.
    pub after_ms: Option<u64>,
    /// Starts no sooner than this, in milliseconds since the epoch.
    pub run_at: Option<u64>,
    /// Attempts that it may use.
    pub max_attempts: u32,
    /// Whether its result is kept durably.
    pub kept: bool,
}

impl Work {
    /// A job that runs for a moment and succeeds.
    #[must_use]
    pub fn plain(queue: &str) -> Work {
        Work {
            id: JobId::v7(windlass_core::time::Timestamp(crate::history::wall_ms()), rand::random()),
            queue: queue.to_owned(),
            script: Script { ms: 0, plan: "d".to_owned(), padding: String::new() },
            after_ms: None,
            run_at: None,
            max_attempts: 20,
            kept: false,
        }
    }

    /// With a script.
    #[must_use]
    pub fn script(mut self, ms: u64, plan: &str) -> Work {
        (self.script.ms, self.script.plan) = (ms, plan.to_owned());
        self
    }

    /// With a delay.
    #[must_use]
    pub fn after(mut self, delay: Duration) -> Work {
        // A job has one time; the last one that is asked for counts.
        self.run_at = None;
        self.after_ms = Some(u64::try_from(delay.as_millis()).expect("a short delay"));
        self
    }

    /// Kept when it has ended.
    #[must_use]
    pub fn kept(mut self) -> Work {
        self.kept = true;
        self
    }

    /// As the client takes it.
    pub fn job(&self) -> Job {
        let payload = serde_json::to_vec(&self.script).expect("a script is plain data");
        let mut job = Job::raw(KIND, Payload::json(payload))
            .queue(&self.queue)
            .id(self.id)
            .max_attempts(self.max_attempts)
            .backoff(Backoff::Fixed { delay_ms: 50, jitter_percent: 0 });
        if let Some(ms) = self.after_ms {
            job = job.delay(Duration::from_millis(ms));
        }
        if let Some(ms) = self.run_at {
            job = job.run_at(std::time::UNIX_EPOCH + Duration::from_millis(ms));
        }
        if self.kept {
            job = job.retention(Duration::from_secs(24 * 3600));
        }
        job
    }
}

/// Runs a scripted job and records it. A handler that is told to stop waits to be dropped: what it would say does not count.
pub async fn run(script: Script, job: JobCtx, State(recorder): State<Recorder>) -> Verdict {
    recorder.run(Verb::Start, &job, None);
    tokio::select! {
        biased;
        () = tokio::time::sleep(Duration::from_millis(script.ms)) => {}
        () = job.cancelled() => {
            recorder.run(Verb::Stopped, &job, None);
            return std::future::pending().await;
        }
    }
    let turn = usize::try_from(job.attempt().saturating_sub(1)).unwrap_or(0);
    let letter = script.plan.chars().nth(turn).or_else(|| script.plan.chars().last()).unwrap_or('d');
    let token = (job.token().epoch, job.token().delivery);
    let (name, verdict) = match letter {
        'r' => ("retry", Verdict::retry_in(Duration::from_millis(20), "scripted")),
        'x' => ("dead", Verdict::dead("scripted")),
        's' if token.1 % 2 == 1 => ("snooze", Verdict::Snooze(Duration::from_millis(50))),
        'p' => ("retry", Verdict::retry("panic")),
        _ => ("done", Verdict::result(&json!({ "token": token }))),
    };
    recorder.run(Verb::End, &job, Some(name));
    assert!(letter != 'p', "the script says so");
    verdict
}
