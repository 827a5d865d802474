//! Operations on many jobs, under way and remembered. Each reads the lists that everybody reads and sends the requests that
//! everybody sends, a few at a time, so that other work gets its turn between; no rule of a queue is here.
//!
//! They live as long as the node: after a restart an operation is started again by whoever wants it, and finds what is left.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use windlass_core::api::{
    ApiError, BulkAct, BulkSpec, BulkState, BulkView, ErrorCode, JobPage, JobView, Response,
};
use windlass_core::filter::Filter;
use windlass_core::job::clip;
use windlass_core::limits;
use windlass_core::time::Timestamp;

use crate::clock::Clock;
use crate::queue::{Act, Op, Registry};

/// Operations that are remembered, those under way included.
const REMEMBERED_MAX: usize = 100;
/// Operations under way at one time: each reads the store and fills the queues' mailboxes.
const RUNNING_MAX: usize = 4;
/// Jobs that are on their way at one time: as many as a group commit likes.
const AT_ONCE: usize = 64;
/// Longest reason.
const REASON_BYTES_MAX: usize = 512;
/// Wait before a queue that is busy is asked again.
const PAUSE: Duration = Duration::from_millis(20);
/// How often a busy queue is asked before the operation gives up.
const PATIENCE: u32 = 500;

/// A cheap handle of all operations.
#[derive(Clone)]
pub struct Bulks {
    registry: Registry,
    clock: Clock,
    known: Arc<Mutex<BTreeMap<u64, Entry>>>,
}

struct Entry {
    view: BulkView,
    stop: CancellationToken,
}

/// Why an operation ended before its end.
enum End {
    Stopped,
    Failed(ApiError),
}

impl From<ApiError> for End {
    fn from(error: ApiError) -> End {
        End::Failed(error)
    }
}

impl Bulks {
    /// No operations yet.
    #[must_use]
    pub fn new(registry: Registry, clock: Clock) -> Bulks {
        Bulks { registry, clock, known: Arc::default() }
    }

    /// Begins an operation; it goes on by itself on the present runtime.
    ///
    /// # Errors
    /// `Invalid` for the filter, `Busy` when too many are under way.
    pub fn start(&self, spec: BulkSpec) -> Result<Response, ApiError> {
        let invalid = |text: String| ApiError::new(ErrorCode::Invalid, text);
        let filter = Filter::parse(&spec.filter).map_err(|e| invalid(format!("the filter: {e}")))?;
        if filter.is_empty() {
            let text = "an operation on many jobs needs a filter, such as state:dead; state!=held means all";
            return Err(invalid(text.to_owned()));
        }
        if spec.pace == Some(0) {
            return Err(invalid(
                "a pace of 0 jobs per second never ends; leave it out for no limit".to_owned(),
            ));
        }
        let stop = CancellationToken::new();
        let started_at = self.clock.now().wall;
        let view = {
            let mut known = self.lock();
            if known.values().filter(|entry| !entry.view.state.is_over()).count() >= RUNNING_MAX {
                let text =
                    format!("{RUNNING_MAX} operations are under way already; wait for one, or cancel it");
                return Err(ApiError::new(ErrorCode::Busy, text));
            }
            while known.len() >= REMEMBERED_MAX {
                let over = known.iter().find(|(_, entry)| entry.view.state.is_over()).map(|(id, _)| *id);
                over.and_then(|id| known.remove(&id));
            }
            let id = known.last_key_value().map_or(1, |(id, _)| id + 1);
            let view = BulkView {
                id,
                act: spec.act,
                filter: filter.to_string(),
                reason: clip(spec.reason, REASON_BYTES_MAX),
                pace: spec.pace,
                dry_run: spec.dry_run,
                state: BulkState::Counting,
                scanned: 0,
                matched: 0,
                done: 0,
                skipped: 0,
                error: String::new(),
                started_at,
                ended_at: None,
            };
            known.insert(id, Entry { view: view.clone(), stop: stop.clone() });
            view
        };
        let (act, reason) = (view.act.name(), view.reason.clone());
        tracing::info!(
            bulk = view.id,
            act,
            filter = view.filter,
            reason,
            dry_run = view.dry_run,
            "bulk operation begins"
        );
        let run = Run { bulks: self.clone(), id: view.id, act: view.act, filter, started_at, stop };
        tokio::spawn(run.drive(view.pace, view.dry_run));
        Ok(Response::Bulk(Box::new(view)))
    }

    /// All that are remembered, newest first.
    #[must_use]
    pub fn list(&self) -> Response {
        Response::Bulks(self.lock().values().rev().map(|entry| entry.view.clone()).collect())
    }

    /// One of them.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn get(&self, id: u64) -> Result<Response, ApiError> {
        let known = self.lock();
        let entry = known.get(&id).ok_or_else(|| no_bulk(id))?;
        Ok(Response::Bulk(Box::new(entry.view.clone())))
    }

    /// Stops it; what was done stays done.
    ///
    /// # Errors
    /// `NotFound`, or `Conflict` when it is over.
    pub fn cancel(&self, id: u64) -> Result<Response, ApiError> {
        let known = self.lock();
        let entry = known.get(&id).ok_or_else(|| no_bulk(id))?;
        if entry.view.state.is_over() {
            let text = format!("the operation is {} already", entry.view.state.name());
            return Err(ApiError::new(ErrorCode::Conflict, text));
        }
        entry.stop.cancel();
        Ok(Response::Bulk(Box::new(entry.view.clone())))
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut BulkView)) {
        if let Some(entry) = self.lock().get_mut(&id) {
            change(&mut entry.view);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Entry>> {
        // Figures for people, whole after every step.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_bulk(id: u64) -> ApiError {
    let text = format!("there is no operation {id}; they are remembered until the server stops");
    ApiError::new(ErrorCode::NotFound, text)
}

/// One operation under way.
struct Run {
    bulks: Bulks,
    id: u64,
    act: BulkAct,
    filter: Filter,
    started_at: Timestamp,
    stop: CancellationToken,
}

impl Run {
    async fn drive(self, pace: Option<u32>, dry_run: bool) {
        let ended = async {
            self.count().await?;
            if !dry_run {
                self.bulks.change(self.id, |view| view.state = BulkState::Running);
                self.carry_out(pace).await?;
            }
            Ok(())
        };
        let (state, error) = match ended.await {
            Ok(()) => (BulkState::Done, String::new()),
            Err(End::Stopped) => (BulkState::Cancelled, String::new()),
            Err(End::Failed(error)) => (BulkState::Failed, error.message),
        };
        let now = self.bulks.clock.now().wall;
        self.bulks.change(self.id, |view| {
            view.state = state;
            view.error = error;
            view.ended_at = Some(now);
            let (done, skipped) = (view.done, view.skipped);
            tracing::info!(
                bulk = view.id,
                state = state.name(),
                done,
                skipped,
                error = view.error,
                "bulk operation over"
            );
        });
    }

    async fn count(&self) -> Result<(), End> {
        let mut cursor = None;
        loop {
            let page = self.page(cursor.as_deref()).await?;
            let matched = page.jobs.iter().filter(|job| self.wants(job)).count() as u64;
            self.bulks.change(self.id, |view| {
                view.scanned += page.scanned;
                view.matched += matched;
            });
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(()),
            }
        }
    }

    async fn carry_out(&self, pace: Option<u32>) -> Result<(), End> {
        let at_once = pace.map_or(AT_ONCE, |pace| AT_ONCE.min(pace as usize));
        let mut cursor = None;
        let mut next_at = Instant::now();
        loop {
            let page = self.page(cursor.as_deref()).await?;
            let wanted: Vec<JobView> = page.jobs.into_iter().filter(|job| self.wants(job)).collect();
            for some in wanted.chunks(at_once) {
                tokio::select! {
                    biased;
                    () = self.stop.cancelled() => return Err(End::Stopped),
                    () = tokio::time::sleep_until(next_at) => {}
                }
                if let Some(pace) = pace {
                    // From now, not from when it should have been: what was missed is not caught up in a burst.
                    next_at =
                        Instant::now() + Duration::from_secs(1).mul_f64(some.len() as f64 / f64::from(pace));
                }
                let mut failed = None;
                for answer in join_all(some.iter().map(|job| self.touch(job))).await {
                    match answer {
                        Ok(true) => self.bulks.change(self.id, |view| view.done += 1),
                        Ok(false) => self.bulks.change(self.id, |view| view.skipped += 1),
                        Err(error) => failed = Some(error),
                    }
                }
                if let Some(error) = failed {
                    return Err(error.into());
                }
            }
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(()),
            }
        }
    }

    async fn page(&self, cursor: Option<&str>) -> Result<JobPage, End> {
        if self.stop.is_cancelled() {
            return Err(End::Stopped);
        }
        let now = self.bulks.clock.now().wall;
        Ok(self.bulks.registry.list_jobs(&self.filter, cursor, Some(limits::PAGE_MAX), now).await?)
    }

    /// Whether the job is part of it: what came or ended after the beginning is not, or jobs that die again at once would keep
    /// it going for ever.
    fn wants(&self, job: &JobView) -> bool {
        self.act.touches(job.state)
            && job.enqueued_at <= self.started_at
            && job.ended_at.is_none_or(|at| at <= self.started_at)
    }

    /// `false` when the job has changed meanwhile, so that it is left alone.
    async fn touch(&self, job: &JobView) -> Result<bool, ApiError> {
        let act = match self.act {
            BulkAct::Retry => Act::Retry,
            BulkAct::Cancel => Act::Cancel,
            BulkAct::Delete => Act::Delete,
        };
        let Some(queue) = self.bulks.registry.find(&job.queue) else { return Ok(false) };
        let id = job.id;
        for _ in 0..PATIENCE {
            match queue.ask(|then| Op::Job { act, id, then }).await {
                Ok(_) => return Ok(true),
                Err(error) if matches!(error.code, ErrorCode::NotFound | ErrorCode::Conflict) => {
                    return Ok(false);
                }
                Err(error) if error.code == ErrorCode::Busy => tokio::time::sleep(PAUSE).await,
                Err(error) => return Err(error),
            }
        }
        Err(ApiError::new(ErrorCode::Busy, format!("queue {} stayed too busy", job.queue)))
    }
}
