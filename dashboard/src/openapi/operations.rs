//! What each route takes and answers.

use windlass_core::limits;

/// A route, by the key of its description.
pub(crate) struct Op {
    pub(crate) key: &'static str,
    pub(crate) tag: &'static str,
    pub(crate) query: &'static [Query],
    pub(crate) body: Option<Body>,
    pub(crate) answers: &'static [(u16, Answer)],
    /// Problems beside those that every route may have.
    pub(crate) problems: &'static [u16],
}

/// A query parameter.
pub(crate) struct Query {
    pub(crate) name: &'static str,
    pub(crate) value: Value,
    pub(crate) about: &'static str,
}

/// What a query parameter holds.
#[derive(Clone, Copy)]
pub(crate) enum Value {
    Text,
    Queue,
    State,
    Number(f64, f64),
}

/// A body; the name is that of a schema.
pub(crate) enum Body {
    Json(&'static str),
    Optional(&'static str),
    JobBatch,
    Event,
}

/// An answer; the name is that of a schema.
pub(crate) enum Answer {
    One(&'static str),
    List(&'static str),
    Any,
    Text,
}

/// The route with this key.
pub(crate) fn of(key: &str) -> Option<&'static Op> {
    ALL.iter().find(|op| op.key == key)
}

/// What a status means, in a few words.
pub(super) fn meaning(status: u16) -> &'static str {
    match status {
        400 => "the request cannot be read",
        401 => "an access token is needed, or this one is not good",
        403 => "the token does not allow this, the node is read-only, or a page of another site asked",
        404 => "there is no such thing",
        408 => "the body came too slowly",
        409 => "the state does not allow this, or the lease has ended",
        413 => "too large",
        415 => "not a media type that is taken here",
        421 => "the node does not answer to this host name",
        422 => "the request breaks a rule",
        429 => "too much at once; come back later",
        500 => "the store has failed, or the server has a defect",
        503 => {
            "starting, stopping, or the store takes no new jobs, for want of space or of its database; come back later"
        }
        504 => "the wait is over",
        _ => "refused",
    }
}

impl Op {
    /// All statuses that come with a problem.
    pub(crate) fn statuses(&self) -> Vec<u16> {
        let mut all = vec![400, 421, 429, 500, 503];
        if !matches!(self.key, "route.metrics_node" | "route.healthz" | "route.readyz") {
            all.extend([401, 403]);
        }
        if self.body.is_some() {
            all.extend([408, 413, 422]);
        }
        all.extend(self.problems);
        all.retain(|status| self.answers.iter().all(|(known, _)| known != status));
        all.sort_unstable();
        all.dedup();
        all
    }
}

const QUEUE: Query = Query { name: "queue", value: Value::Queue, about: "only this queue" };
const KIND: Query = Query { name: "kind", value: Value::Text, about: "only this kind" };
const LIST: &[Query] = &[
    QUEUE,
    Query { name: "state", value: Value::State, about: "only this state" },
    KIND,
    Query {
        name: "filter",
        value: Value::Text,
        about: "terms that every job satisfies, such as state:dead error:\"timed out\" args.user.id:123 age>10m",
    },
    Query { name: "cursor", value: Value::Text, about: "where the last page ended" },
    Query {
        name: "limit",
        value: Value::Number(1.0, limits::PAGE_MAX as f64),
        about: "entries; 50 by default",
    },
];
const WAIT: &[Query] = &[Query {
    name: "timeout_ms",
    value: Value::Number(0.0, limits::WAIT_MS_MAX as f64),
    about: "longest wait; 30,000 by default",
}];

const HOLD: &[Query] = &[Query {
    name: "hold_ms",
    value: Value::Number(0.0, limits::DRAIN_HOLD_MS_MAX as f64),
    about: "for how long the node claims nothing; 30,000 by default",
}];

const AUDIT: &[Query] = &[
    Query {
        name: "before",
        value: Value::Number(0.0, u64::MAX as f64),
        about: "only entries with smaller numbers",
    },
    Query {
        name: "limit",
        value: Value::Number(1.0, limits::PAGE_MAX as f64),
        about: "entries; 50 by default",
    },
];

macro_rules! op {
    ($tag:literal $key:literal, $answers:expr) => { op!($tag $key, $answers, query &[], body None, problems &[]) };
    ($tag:literal $key:literal, $answers:expr, problems $problems:expr) => {
        op!($tag $key, $answers, query &[], body None, problems $problems)
    };
    ($tag:literal $key:literal, $answers:expr, body $body:expr, problems $problems:expr) => {
        op!($tag $key, $answers, query &[], body Some($body), problems $problems)
    };
    ($tag:literal $key:literal, $answers:expr, query $query:expr, body $body:expr, problems $problems:expr) => {
        Op { key: $key, tag: $tag, query: $query, body: $body, answers: $answers, problems: $problems }
    };
}

const COUNT: &[(u16, Answer)] = &[(200, Answer::One("Count"))];
const JOB: &[(u16, Answer)] = &[(200, Answer::One("Job"))];
const TAKEN: &[(u16, Answer)] = &[(200, Answer::One("Taken")), (201, Answer::One("Taken"))];
const TAKEN_ALL: &[(u16, Answer)] = &[(200, Answer::One("TakenAll")), (201, Answer::One("TakenAll"))];
const SCHEDULE: &[(u16, Answer)] = &[(200, Answer::One("Schedule"))];
const STANDING: &[(u16, Answer)] = &[(200, Answer::One("Standing"))];

/// Every route of the API.
pub(crate) const ALL: &[Op] = &[
    op!("jobs" "route.enqueue", TAKEN, body Body::Json("NewJob"), problems &[]),
    op!("jobs" "route.batch", TAKEN_ALL, body Body::JobBatch, problems &[]),
    op!("jobs" "route.events", TAKEN_ALL, query &[QUEUE], body Some(Body::Event), problems &[415]),
    op!("jobs" "route.jobs", &[(200, Answer::One("JobPage"))], query LIST, body None, problems &[404, 422]),
    op!("jobs" "route.job", JOB, problems &[404]),
    op!("jobs" "route.wait", JOB, query WAIT, body None, problems &[404, 422, 504]),
    op!("jobs" "route.cancel", JOB, problems &[404, 409]),
    op!("jobs" "route.retry", JOB, problems &[404, 409]),
    op!("jobs" "route.delete", COUNT, problems &[404, 409]),
    op!("work" "route.fetch", &[(200, Answer::One("Fetched"))], body Body::Optional("Fetch"), problems &[]),
    op!("work" "route.heartbeat_all", &[(200, Answer::One("Standings"))], body Body::Json("Heartbeat"), problems &[]),
    op!("work" "route.ack", COUNT, body Body::Json("Ack"), problems &[409]),
    op!("work" "route.fail", COUNT, body Body::Json("Fail"), problems &[409]),
    op!("work" "route.snooze", COUNT, body Body::Json("Snooze"), problems &[409]),
    op!("work" "route.release", COUNT, body Body::Json("Lease"), problems &[409]),
    op!("work" "route.heartbeat", STANDING, body Body::Json("Lease"), problems &[409]),
    op!("work" "route.progress", STANDING, body Body::Json("Progress"), problems &[409]),
    op!("bulk" "route.bulk_start", &[(202, Answer::One("Bulk"))], body Body::Json("NewBulk"), problems &[]),
    op!("bulk" "route.bulk_list", &[(200, Answer::List("Bulk"))]),
    op!("bulk" "route.bulk_get", &[(200, Answer::One("Bulk"))], problems &[404]),
    op!("bulk" "route.bulk_cancel", &[(200, Answer::One("Bulk"))], problems &[404, 409]),
    op!("queues" "route.queues", &[(200, Answer::List("Queue"))]),
    op!("queues" "route.pause", COUNT, problems &[404]),
    op!("queues" "route.resume", COUNT, problems &[404]),
    op!("queues" "route.dead_retry", COUNT, query &[KIND], body None, problems &[404]),
    op!("queues" "route.dead_delete", COUNT, query &[KIND], body None, problems &[404]),
    op!("workers" "route.workers", &[(200, Answer::List("Worker"))]),
    op!("work" "route.leave", COUNT, problems &[404]),
    op!("cluster" "route.cluster", &[(200, Answer::One("Cluster"))]),
    op!("cluster" "route.node_drain", COUNT, query HOLD, body None, problems &[404, 409, 422, 504]),
    op!("overview" "route.overview", &[(200, Answer::One("Overview"))]),
    op!("schedules" "route.schedules", &[(200, Answer::List("Schedule"))]),
    op!("schedules" "route.schedule_put", SCHEDULE, body Body::Json("NewSchedule"), problems &[]),
    op!("schedules" "route.schedule", SCHEDULE, problems &[404]),
    op!("schedules" "route.schedule_put_named", SCHEDULE, body Body::Json("NewSchedule"), problems &[]),
    op!("schedules" "route.schedule_delete", COUNT, problems &[404]),
    op!("schedules" "route.schedule_pause", SCHEDULE, problems &[404]),
    op!("schedules" "route.schedule_resume", SCHEDULE, problems &[404]),
    op!("schedules" "route.schedule_trigger", &[(201, Answer::One("Taken"))], problems &[404]),
    op!("access" "route.tokens", &[(200, Answer::List("AccessToken"))]),
    op!("access" "route.token_create", &[(201, Answer::One("AccessTokenMade"))], body Body::Json("NewAccessToken"), problems &[409]),
    op!("access" "route.token_revoke", &[(200, Answer::One("AccessToken"))], problems &[404, 409]),
    op!("access" "route.audit", &[(200, Answer::One("AuditPage"))], query AUDIT, body None, problems &[422]),
    op!("health" "route.metrics", &[(200, Answer::Text)]),
    op!("health" "route.metrics_node", &[(200, Answer::Text)]),
    op!("health" "route.healthz", &[(200, Answer::Text)]),
    op!("health" "route.readyz", &[(200, Answer::Text)]),
    op!("overview" "route.openapi", &[(200, Answer::Any)]),
];
