//! A node that is none: queues, jobs in every state, workers and schedules in memory, behind the same trait.
//!
//! It follows the contract of the requests closely enough for pages and API, and runs nothing.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use windlass_core::access::{Caller, Grant, Operation, Principal, Role, TokenId, allows};
use windlass_core::api::{
    ApiError, AttemptView, AuditEntry, AuditPage, BulkAct, BulkSpec, ClusterView, Enqueued, ErrorCode,
    HistoryPoint, JobPage, JobSearch, JobView, NewToken, NodeView, Overview, QueueView, Request, Response,
    ScheduleView, Standing, StateCounts, TokenView, WorkRequest, WorkResponse, WorkerView,
};
use windlass_core::filter::Filter;
use windlass_core::id::{JobId, QueueName, WorkerId};
use windlass_core::job::{AttemptOutcome, JobSpec, JobState, Payload, RunAt};
use windlass_core::schedule::{ScheduleSpec, When};
use windlass_core::store::StoreStats;
use windlass_core::time::Timestamp;
use windlass_core::wire::{ReportResult, Token};
use windlass_dashboard::{Answer, Backend, WorkAnswer};

use super::made::{alone, bulk, counted, fetched};

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is after 1970");
    Timestamp(windlass_core::time::millis(since))
}

/// The fake node. Cheap to clone; all clones are the same node.
#[derive(Clone, Default)]
pub(crate) struct Fake {
    pub(crate) world: Arc<Mutex<World>>,
}

/// What it holds.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) jobs: BTreeMap<JobId, JobView>,
    pub(crate) paused: BTreeMap<QueueName, Timestamp>,
    pub(crate) schedules: BTreeMap<String, ScheduleView>,
    pub(crate) workers: Vec<WorkerView>,
    pub(crate) problems: Vec<String>,
    /// Operations that were asked for.
    pub(crate) begun: Vec<BulkSpec>,
    /// Every call fails with this while it is set.
    pub(crate) broken: Option<ApiError>,
    /// Who is let in; everybody while it is empty.
    pub(crate) tokens: BTreeMap<String, Role>,
    /// The cluster, if there are several nodes.
    pub(crate) cluster: Option<ClusterView>,
    /// Nodes that were told to give up what they own.
    pub(crate) drained: Vec<String>,
    serial: u128,
}

impl Backend for Fake {
    fn call(&self, caller: &Arc<Caller>, request: Request) -> Answer {
        let allowed = allows(&caller.grant, Operation::of(&request), None);
        let answer = match allowed {
            Ok(()) => self.world.lock().expect("no test panics with the lock").call(request),
            Err(refused) => Err(ApiError::new(ErrorCode::Denied, refused.to_string())),
        };
        Box::pin(async move { answer })
    }

    fn identify(&self, token: Option<&str>, from: &str) -> Result<Caller, ApiError> {
        let world = self.world.lock().expect("no test panics with the lock");
        if world.tokens.is_empty() {
            return Ok(Caller::unlimited(Principal::Anyone, "anyone").at(from));
        }
        let role = token.and_then(|token| world.tokens.get(token)).copied();
        let role = role.ok_or_else(|| ApiError::new(ErrorCode::Denied, "no good token"))?;
        let name = token.unwrap_or_default();
        Ok(Caller { grant: Grant { role, queues: Vec::new() }, ..Caller::unlimited(Principal::Root, name) })
    }

    fn is_live(&self, caller: &Caller) -> bool {
        let world = self.world.lock().expect("no test panics with the lock");
        world.tokens.is_empty() || world.tokens.contains_key(&caller.name)
    }

    fn leave(&self, _: &Arc<Caller>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
    }

    fn work(&self, caller: &Arc<Caller>, request: WorkRequest) -> WorkAnswer {
        if let Err(refused) = allows(&caller.grant, Operation::of_work(&request), None) {
            return Box::pin(async move { Err(ApiError::new(ErrorCode::Denied, refused.to_string())) });
        }
        let broken = self.world.lock().expect("no test panics with the lock").broken.clone();
        let answer = match (broken, request) {
            (Some(error), _) => Err(error),
            (None, WorkRequest::Fetch(fetch)) => Ok(WorkResponse::Fetched(fetched(&fetch))),
            (None, WorkRequest::Report { .. }) => Ok(WorkResponse::Reported(ReportResult::Recorded)),
            (None, WorkRequest::Heartbeat { leases }) => {
                Ok(WorkResponse::Standing { leases: vec![Standing::Held; leases.len()], lease_ms: 8_000 })
            }
            (None, WorkRequest::Progress { .. }) => {
                Ok(WorkResponse::Standing { leases: vec![Standing::Cancelled], lease_ms: 8_000 })
            }
            (None, WorkRequest::Leave { .. }) => Ok(WorkResponse::Left),
        };
        Box::pin(async move { answer })
    }

    fn ready(&self) -> Result<(), Vec<String>> {
        match &self.world.lock().expect("no test panics with the lock").broken {
            Some(error) => Err(vec![error.message.clone()]),
            None => Ok(()),
        }
    }
}

fn token_view(name: &str, role: Role) -> TokenView {
    TokenView {
        id: TokenId(1),
        name: name.to_owned(),
        role,
        queues: Vec::new(),
        created_at: now(),
        expires_at: None,
        faktory: false,
    }
}

pub(crate) fn queue(name: &str) -> QueueName {
    name.parse().expect("the names here follow the rules")
}

pub(crate) fn worker_id(n: u8) -> WorkerId {
    WorkerId([n; 16])
}

fn missing(what: &str) -> ApiError {
    ApiError::new(ErrorCode::NotFound, format!("there is no such {what}"))
}

impl World {
    pub(crate) fn add(
        &mut self,
        queue_name: &str,
        kind: &str,
        payload: &str,
        state: JobState,
        age_ms: u64,
    ) -> JobId {
        let at = Timestamp(now().0 - age_ms);
        let spec = JobSpec::new(kind, Payload::json(payload.as_bytes().to_vec()));
        let id = self.enqueue(&queue(queue_name), spec, at);
        let view = self.jobs.get_mut(&id).expect("just added");
        view.state = state;
        match state {
            JobState::Scheduled => view.run_at = now().plus_ms(age_ms),
            JobState::Running => {
                view.attempt = 1;
                view.attempts.push(attempt(1, at.plus_ms(40), None, None, ""));
            }
            JobState::Retrying => {
                view.attempt = 2;
                view.run_at = now().plus_ms(95_000);
                view.attempts.push(failed(1, at.plus_ms(300)));
                view.attempts.push(failed(2, at.plus_ms(12_300)));
            }
            JobState::Dead => {
                view.attempt = 3;
                view.max_attempts = 3;
                view.attempts.extend([
                    failed(1, at.plus_ms(300)),
                    failed(2, at.plus_ms(4_300)),
                    failed(3, at.plus_ms(9_900)),
                ]);
                view.ended_at = Some(at.plus_ms(10_400));
                "out of attempts".clone_into(&mut view.reason);
            }
            JobState::Succeeded => {
                view.attempt = 1;
                let end = Some(at.plus_ms(1_520));
                view.attempts.push(attempt(1, at.plus_ms(20), end, Some(AttemptOutcome::Succeeded), ""));
                view.ended_at = end;
                view.result = Some(Payload::json(r#"{"delivered":true,"message_id":9007199254740993}"#));
            }
            JobState::Cancelled | JobState::Expired => view.ended_at = Some(at.plus_ms(900)),
            JobState::Ready | JobState::Held => {}
        }
        id
    }

    fn enqueue(&mut self, queue: &QueueName, spec: JobSpec, at: Timestamp) -> JobId {
        self.serial += 1;
        let id =
            spec.id.unwrap_or_else(|| JobId::v7(at, self.serial.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c)));
        let options = spec.options.unwrap_or_default();
        let run_at = match spec.run_at {
            RunAt::Now => at,
            RunAt::At(run_at) => run_at,
            RunAt::AfterMs(ms) => at.plus_ms(ms),
        };
        let view = JobView {
            id,
            queue: queue.clone(),
            kind: spec.kind,
            state: if run_at > now() { JobState::Scheduled } else { JobState::Ready },
            priority: spec.priority,
            payload: spec.payload,
            enqueued_at: at,
            run_at,
            ended_at: None,
            expires_at: options.expires_at,
            timeout_ms: options.timeout_ms,
            attempt: 0,
            max_attempts: options.max_attempts.unwrap_or(20),
            backoff: options.backoff.unwrap_or_default(),
            retention_ms: options.retention_ms,
            crashes: 0,
            attempts: Vec::new(),
            result: None,
            reason: String::new(),
            progress: None,
            cancel_requested: false,
            tags: options.tags,
            headers: options.headers,
        };
        self.jobs.insert(id, view);
        id
    }

    fn call(&mut self, request: Request) -> Result<Response, ApiError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        match request {
            Request::Enqueue { queue, jobs } => {
                let taken = jobs.into_iter().map(|spec| {
                    let known = spec.id.filter(|id| self.jobs.contains_key(id));
                    let id = known.unwrap_or_else(|| self.enqueue(&queue, spec, now()));
                    Enqueued { id, duplicate: known.is_some() }
                });
                Ok(Response::Enqueued(taken.collect()))
            }
            Request::GetJob { id } => self.job(id),
            Request::SearchJobs(search) => self.list(&search),
            Request::CancelJob { id } => {
                let view = self.jobs.get_mut(&id).ok_or_else(|| missing("job"))?;
                if view.state.is_final() {
                    return Err(ApiError::new(
                        ErrorCode::Conflict,
                        format!("the job is {} already", view.state),
                    ));
                }
                if view.state == JobState::Running {
                    view.cancel_requested = true;
                } else {
                    view.state = JobState::Cancelled;
                    view.ended_at = Some(now());
                }
                self.job(id)
            }
            Request::RetryJob { id } => {
                let view = self.jobs.get_mut(&id).ok_or_else(|| missing("job"))?;
                if matches!(view.state, JobState::Running | JobState::Succeeded) {
                    return Err(ApiError::new(ErrorCode::Conflict, format!("the job is {}", view.state)));
                }
                view.state = JobState::Ready;
                view.ended_at = None;
                self.job(id)
            }
            Request::DeleteJob { id } => {
                if self.jobs.get(&id).ok_or_else(|| missing("job"))?.state == JobState::Running {
                    return Err(ApiError::new(ErrorCode::Conflict, "the job is running; cancel it first"));
                }
                self.jobs.remove(&id);
                Ok(Response::Done { count: 1 })
            }
            Request::WaitJob { id, .. } => {
                let view = self.jobs.get(&id).ok_or_else(|| missing("job"))?;
                if view.state.is_final() {
                    self.job(id)
                } else {
                    Err(ApiError::new(ErrorCode::Timeout, "not done yet"))
                }
            }
            Request::ListQueues => Ok(Response::Queues(self.queues())),
            Request::ListWorkers => Ok(Response::Workers(self.workers.clone())),
            Request::GetOverview => Ok(Response::Overview(Box::new(self.overview()))),
            other => self.queue_call(other),
        }
    }

    fn queue_call(&mut self, request: Request) -> Result<Response, ApiError> {
        match request {
            Request::RetryDead { queue, kind } => {
                let ids = self.dead(&queue, kind.as_deref());
                for id in &ids {
                    self.jobs.get_mut(id).expect("listed").state = JobState::Ready;
                }
                Ok(Response::Done { count: ids.len() as u64 })
            }
            Request::DeleteDead { queue, kind } => {
                let ids = self.dead(&queue, kind.as_deref());
                for id in &ids {
                    self.jobs.remove(id);
                }
                Ok(Response::Done { count: ids.len() as u64 })
            }
            Request::PauseQueue { queue } => {
                self.paused.insert(queue, now());
                Ok(Response::Done { count: 1 })
            }
            Request::ResumeQueue { queue } => {
                self.paused.remove(&queue);
                Ok(Response::Done { count: 1 })
            }
            Request::SetRetention { .. } => Ok(Response::Done { count: 1 }),
            other => self.schedule_call(other),
        }
    }

    fn schedule_call(&mut self, request: Request) -> Result<Response, ApiError> {
        let mut change = |name: &str, change: fn(&mut ScheduleView)| {
            let view = self.schedules.get_mut(name).ok_or_else(|| missing("schedule"))?;
            change(view);
            Ok(Response::Schedule(Box::new(view.clone())))
        };
        match request {
            Request::PutSchedule(spec) => {
                if matches!(&spec.when, When::Cron(cron) if cron.split_whitespace().count() < 5) {
                    return Err(ApiError::new(
                        ErrorCode::Invalid,
                        "a cron expression has five, six or seven fields",
                    ));
                }
                let view = schedule(spec);
                self.schedules.insert(view.spec.name.clone(), view.clone());
                Ok(Response::Schedule(Box::new(view)))
            }
            Request::ListSchedules => Ok(Response::Schedules(self.schedules.values().cloned().collect())),
            Request::GetSchedule { name } => change(&name, |_| {}),
            Request::PauseSchedule { name } => change(&name, |view| view.paused = true),
            Request::ResumeSchedule { name } => change(&name, |view| view.paused = false),
            Request::TriggerSchedule { name } => {
                let spec = self.schedules.get(&name).ok_or_else(|| missing("schedule"))?.spec.clone();
                let id = self.enqueue(&spec.queue, spec.job, now());
                Ok(Response::Enqueued(vec![Enqueued { id, duplicate: false }]))
            }
            Request::DeleteSchedule { name } => {
                self.schedules.remove(&name).ok_or_else(|| missing("schedule"))?;
                Ok(Response::Done { count: 1 })
            }
            other => self.other_call(other),
        }
    }

    fn other_call(&mut self, request: Request) -> Result<Response, ApiError> {
        match request {
            Request::CreateToken(spec) => Ok(Response::TokenMade(Box::new(NewToken {
                view: token_view(&spec.name, spec.role),
                secret: "wl_x".to_owned(),
                faktory_password: None,
            }))),
            Request::ListTokens => {
                Ok(Response::Tokens(self.tokens.iter().map(|(name, role)| token_view(name, *role)).collect()))
            }
            Request::RevokeToken { token } => Ok(Response::Tokens(vec![token_view(&token, Role::Viewer)])),
            Request::ListAudit { .. } => {
                let entry = AuditEntry {
                    seq: 1,
                    at: now(),
                    who: "me".to_owned(),
                    token: Some(TokenId(1)),
                    from: "127.0.0.1:1".to_owned(),
                    operation: "queue.pause".to_owned(),
                    target: "queue <mail>".to_owned(),
                    count: 1,
                    error: None,
                };
                Ok(Response::Audit(AuditPage { entries: vec![entry], next: None }))
            }
            Request::StartBulk(spec) if spec.filter.is_empty() => {
                Err(ApiError::new(ErrorCode::Invalid, "an operation on many jobs needs a filter"))
            }
            Request::StartBulk(spec) => {
                let view = bulk(spec.act, &spec.filter);
                self.begun.push(spec);
                Ok(Response::Bulk(Box::new(view)))
            }
            Request::ListBulks => Ok(Response::Bulks(vec![bulk(BulkAct::Delete, "state:dead")])),
            Request::GetBulk { id: 1 } | Request::CancelBulk { id: 1 } => {
                Ok(Response::Bulk(Box::new(bulk(BulkAct::Cancel, "kind:a"))))
            }
            Request::GetBulk { id: 2 } => Ok(Response::Bulk(Box::new(counted()))),
            Request::GetCluster => {
                let view = self.cluster.clone().unwrap_or_else(alone);
                Ok(Response::Cluster(Box::new(view)))
            }
            Request::DrainNode { .. } if self.cluster.is_none() => {
                let text = "there is no other node to take over; stop the server instead";
                Err(ApiError::new(ErrorCode::Conflict, text))
            }
            Request::DrainNode { node, .. } => {
                self.drained.extend(node);
                Ok(Response::Done { count: 1 })
            }
            other => Err(ApiError::new(ErrorCode::Unsupported, format!("{other:?}"))),
        }
    }

    fn job(&self, id: JobId) -> Result<Response, ApiError> {
        self.jobs.get(&id).map(|view| Response::Job(Box::new(view.clone()))).ok_or_else(|| missing("job"))
    }

    fn list(&self, query: &JobSearch) -> Result<Response, ApiError> {
        let limit = query.limit.unwrap_or(50) as usize;
        let after: Option<JobId> = match &query.cursor {
            Some(text) => Some(
                text.parse().map_err(|_| ApiError::new(ErrorCode::Invalid, "not a cursor of this list"))?,
            ),
            None => None,
        };
        let filter = Filter::parse(&query.filter).expect("the dashboard has read it");
        let now = now();
        let fits = |view: &&JobView| filter.matches(view, now);
        let mut jobs: Vec<JobView> = self.jobs.values().filter(fits).cloned().collect();
        jobs.sort_by_key(|view| (view.state, view.id));
        let scanned = self.jobs.len() as u64;
        let start = after.map_or(0, |id| jobs.iter().position(|view| view.id == id).map_or(0, |at| at + 1));
        let mut jobs = jobs.split_off(start.min(jobs.len()));
        let next = (jobs.len() > limit).then(|| jobs[limit - 1].id.to_string());
        jobs.truncate(limit);
        Ok(Response::Jobs(JobPage { jobs, next, scanned }))
    }

    fn dead(&self, queue: &QueueName, kind: Option<&str>) -> Vec<JobId> {
        let fits = |view: &&JobView| {
            view.state == JobState::Dead && view.queue == *queue && kind.is_none_or(|kind| view.kind == kind)
        };
        self.jobs.values().filter(fits).map(|view| view.id).collect()
    }

    fn queues(&self) -> Vec<QueueView> {
        let mut counts: BTreeMap<QueueName, StateCounts> = BTreeMap::new();
        for view in self.jobs.values() {
            *counts.entry(view.queue.clone()).or_default().entry(view.state).or_default() += 1;
        }
        for queue in self.paused.keys() {
            counts.entry(queue.clone()).or_default();
        }
        let view = |(index, (name, counts)): (usize, (QueueName, StateCounts))| {
            let ready = counts.get(&JobState::Ready).copied().unwrap_or(0);
            let oldest = self.jobs.values().filter(|v| v.queue == name && v.state == JobState::Ready);
            let oldest_wait_ms =
                oldest.map(|v| now().since_ms(v.enqueued_at)).max().unwrap_or(0) / 1_000 * 1_000;
            QueueView {
                paused: self.paused.contains_key(&name),
                paused_at: self.paused.get(&name).copied(),
                oldest_wait_ms,
                enqueued_total: 120_000 / (index as u64 + 1),
                succeeded_total: 118_400 / (index as u64 + 1),
                failed_total: 740 / (index as u64 + 1),
                dead_total: counts.get(&JobState::Dead).copied().unwrap_or(0),
                enqueue_rate: 84.2 / (index as f64 + 1.0),
                done_rate: 82.9 / (index as f64 + 1.0),
                workers: self.workers.iter().filter(|w| w.queues.iter().any(|(q, _)| *q == name)).count()
                    as u32,
                finished_max: 1_000,
                counts: counts.into_iter().chain([(JobState::Ready, ready)]).collect(),
                name,
            }
        };
        counts.into_iter().enumerate().map(view).collect()
    }

    fn overview(&self) -> Overview {
        let mut counts = StateCounts::new();
        for view in self.jobs.values() {
            *counts.entry(view.state).or_default() += 1;
        }
        let end = now().0 / 1_000 * 1_000;
        let wave = |i: u64, base: f64, swing: f64| {
            (base + swing * ((i as f64) / 37.0).sin() + ((i * 7_919) % 13) as f64) as u64
        };
        let point = |i: u64| HistoryPoint {
            at: Timestamp(end - (299 - i) * 1_000),
            enqueued: wave(i, 78.0, 30.0),
            succeeded: wave(i + 9, 74.0, 26.0),
            failed: (i * 31) % 11 / 4,
            ready: 40,
        };
        Overview {
            node: NodeView {
                id: "node-7f3a9c".to_owned(),
                version: "0.1.0".to_owned(),
                started_at: Timestamp(now().0 / 60_000 * 60_000 - 9_000_000),
                epoch: 4,
                rss_bytes: 61 * 1024 * 1024,
                connections: 3,
                members: vec![
                    ("node-7f3a9c".to_owned(), "server".to_owned(), "127.0.0.1:7422".to_owned()),
                    ("worker-1a2b".to_owned(), "worker".to_owned(), "127.0.0.1:41532".to_owned()),
                ],
            },
            store: StoreStats {
                engine: "sled".to_owned(),
                disk_bytes: 214 * 1024 * 1024,
                memory_bytes: 9 * 1024 * 1024,
                journal_bytes: 64 * 1024 * 1024,
                groups: 80_211,
                checkpoints: 12,
                space_low: false,
            },
            counts,
            queues: self.queues().len() as u32,
            workers: self.workers.len() as u32,
            oldest_wait_ms: self.queues().iter().map(|q| q.oldest_wait_ms).max().unwrap_or(0),
            enqueue_rate: if self.jobs.is_empty() { 0.0 } else { 142.6 },
            done_rate: if self.jobs.is_empty() { 0.0 } else { 138.1 },
            fail_rate: if self.jobs.is_empty() { 0.0 } else { 0.8 },
            totals: [1_204_551, 1_200_038, 3_911, 42],
            history: if self.jobs.is_empty() { Vec::new() } else { (0..300).map(point).collect() },
            history_step_ms: 1_000,
            problems: self.problems.clone(),
        }
    }
}

fn attempt(
    n: u32,
    at: Timestamp,
    end: Option<Timestamp>,
    outcome: Option<AttemptOutcome>,
    error: &str,
) -> AttemptView {
    AttemptView {
        attempt: n,
        worker: worker_id(1),
        worker_name: "mailer-1".to_owned(),
        started_at: at,
        ended_at: end,
        outcome,
        error: error.to_owned(),
        token: end.is_none().then_some(Token { epoch: 4, delivery: n.into() }),
    }
}

fn failed(n: u32, at: Timestamp) -> AttemptView {
    let error = "smtp: 451 4.7.1 greylisted, try again later\n  at mailer::deliver (src/mail.rs:214)\n  at mailer::handle (src/main.rs:58)";
    attempt(n, at, Some(at.plus_ms(412)), Some(AttemptOutcome::Failed), error)
}

pub(crate) fn schedule(spec: ScheduleSpec) -> ScheduleView {
    let base = now().0 / 3_600_000 * 3_600_000;
    let next = (1..=5).map(|n| Timestamp(base + n * 3_600_000)).collect();
    ScheduleView {
        spec,
        paused: false,
        last_fired: Some(Timestamp(base)),
        last_job: None,
        fired_total: 1_482,
        skipped_total: 0,
        next,
    }
}

impl Fake {
    /// An empty node.
    pub(crate) fn empty() -> Fake {
        Fake::default()
    }
}
