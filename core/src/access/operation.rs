//! Everything that can be asked, as one list, and where each request belongs in it. The matches name every request, so that a
//! new one cannot be forgotten.

use super::Need;
use crate::api::{Request, WorkRequest};
use crate::id::{JobId, QueueName};
use crate::wire::ClientFrame;

macro_rules! operations {
    ($($variant:ident $name:literal $need:ident $doc:literal;)+) => {
        /// What can be asked, at whichever door.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Operation {
            $(#[doc = $doc] $variant,)+
        }

        impl Operation {
            /// All of them.
            pub const ALL: &'static [Operation] = &[$(Operation::$variant,)+];

            /// Its name, in errors and in the audit log.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Operation::$variant => $name,)+ }
            }

            /// What it asks of a role.
            #[must_use]
            pub fn need(self) -> Need {
                match self { $(Operation::$variant => Need::$need,)+ }
            }
        }
    };
}

operations! {
    Greet "greet" Known "Say hello, live, leave.";
    Enqueue "job.enqueue" Enqueue "Enqueue jobs.";
    GetJob "job.get" Look "Look at one job.";
    WaitJob "job.wait" Look "Wait until a job ends.";
    ListJobs "job.list" Read "List jobs.";
    SearchJobs "job.search" Read "Look for jobs by a filter.";
    CancelJob "job.cancel" Steer "Cancel a job.";
    RetryJob "job.retry" Steer "Make a job ready at once.";
    DeleteJob "job.delete" Steer "Delete a job.";
    RetryDead "dead.retry" Steer "Retry the dead jobs of a queue.";
    DeleteDead "dead.delete" Steer "Delete the dead jobs of a queue.";
    StartBulk "bulk.start" Steer "Begin an operation on many jobs.";
    ListBulks "bulk.list" Read "List operations on many jobs.";
    GetBulk "bulk.get" Read "Look at one operation.";
    CancelBulk "bulk.cancel" Steer "Stop an operation.";
    ListQueues "queue.list" Read "List queues.";
    PauseQueue "queue.pause" Steer "Hand out no more jobs of a queue.";
    ResumeQueue "queue.resume" Steer "Hand out jobs again.";
    SetRetention "queue.retention" Steer "Set how many finished jobs a queue remembers.";
    RemoveQueue "queue.remove" Steer "Delete what waits in a queue.";
    ListWorkers "worker.list" Read "List workers.";
    GetOverview "overview" Read "Totals of the node.";
    GetCluster "cluster.get" Read "Look at the cluster.";
    DrainNode "node.drain" Steer "Let a node give up what it owns.";
    PutSchedule "schedule.put" Steer "Create or replace a schedule.";
    ListSchedules "schedule.list" Read "List schedules.";
    GetSchedule "schedule.get" Read "Look at one schedule.";
    PauseSchedule "schedule.pause" Steer "Pause a schedule.";
    ResumeSchedule "schedule.resume" Steer "Resume a schedule.";
    TriggerSchedule "schedule.trigger" Steer "Fire a schedule now.";
    DeleteSchedule "schedule.delete" Steer "Remove a schedule.";
    Fetch "work.fetch" Work "Take jobs.";
    Report "work.report" Work "Report the end of an attempt.";
    Heartbeat "work.heartbeat" Work "Say that leases are still run.";
    Progress "work.progress" Work "Say how far a run is.";
    Leave "work.leave" Work "End a worker.";
    Mutate "faktory.mutate" Steer "Change a set of jobs, by the Faktory protocol.";
    Flush "faktory.flush" Manage "Wipe everything, by the Faktory protocol.";
    CreateToken "token.create" Manage "Make an access token.";
    ListTokens "token.list" Manage "List access tokens.";
    RevokeToken "token.revoke" Manage "End an access token.";
    ListAudit "audit.list" Review "Read what operators did.";
}

/// What a request is about, as far as the request says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target<'a> {
    /// A queue.
    Queue(&'a QueueName),
    /// A job, whose queue has to be looked up.
    Job(JobId),
    /// A schedule, whose queue has to be looked up.
    Schedule(&'a str),
    /// A schedule and the queue that it will enqueue to.
    ScheduleInto(&'a str, &'a QueueName),
    /// Nothing in particular.
    Nothing,
}

impl Operation {
    /// The operation of a request.
    #[must_use]
    pub fn of(request: &Request) -> Operation {
        match request {
            Request::Enqueue { .. } => Operation::Enqueue,
            Request::GetJob { .. } => Operation::GetJob,
            Request::ListJobs(_) => Operation::ListJobs,
            Request::CancelJob { .. } => Operation::CancelJob,
            Request::RetryJob { .. } => Operation::RetryJob,
            Request::DeleteJob { .. } => Operation::DeleteJob,
            Request::WaitJob { .. } => Operation::WaitJob,
            Request::RetryDead { .. } => Operation::RetryDead,
            Request::DeleteDead { .. } => Operation::DeleteDead,
            Request::ListQueues => Operation::ListQueues,
            Request::PauseQueue { .. } => Operation::PauseQueue,
            Request::ResumeQueue { .. } => Operation::ResumeQueue,
            Request::SetRetention { .. } => Operation::SetRetention,
            Request::ListWorkers => Operation::ListWorkers,
            Request::GetOverview => Operation::GetOverview,
            Request::PutSchedule(_) => Operation::PutSchedule,
            Request::ListSchedules => Operation::ListSchedules,
            Request::GetSchedule { .. } => Operation::GetSchedule,
            Request::PauseSchedule { .. } => Operation::PauseSchedule,
            Request::ResumeSchedule { .. } => Operation::ResumeSchedule,
            Request::TriggerSchedule { .. } => Operation::TriggerSchedule,
            Request::DeleteSchedule { .. } => Operation::DeleteSchedule,
            Request::SearchJobs(_) => Operation::SearchJobs,
            Request::StartBulk(_) => Operation::StartBulk,
            Request::ListBulks => Operation::ListBulks,
            Request::GetBulk { .. } => Operation::GetBulk,
            Request::CancelBulk { .. } => Operation::CancelBulk,
            Request::CreateToken(_) => Operation::CreateToken,
            Request::ListTokens => Operation::ListTokens,
            Request::RevokeToken { .. } => Operation::RevokeToken,
            Request::ListAudit { .. } => Operation::ListAudit,
            Request::GetCluster => Operation::GetCluster,
            Request::DrainNode { .. } => Operation::DrainNode,
        }
    }

    /// The operation of a worker's request over HTTP.
    #[must_use]
    pub fn of_work(request: &WorkRequest) -> Operation {
        match request {
            WorkRequest::Fetch(_) => Operation::Fetch,
            WorkRequest::Report { .. } => Operation::Report,
            WorkRequest::Heartbeat { .. } => Operation::Heartbeat,
            WorkRequest::Progress { .. } => Operation::Progress,
            WorkRequest::Leave { .. } => Operation::Leave,
        }
    }

    /// The operation of a frame of the native protocol.
    #[must_use]
    pub fn of_frame(frame: &ClientFrame) -> Operation {
        match frame {
            // A client's heartbeat renews nothing unless it is a worker, which was checked when it said hello.
            ClientFrame::Hello(_) | ClientFrame::Heartbeat { .. } | ClientFrame::Goodbye => Operation::Greet,
            ClientFrame::Call { body, .. } => Operation::of(body),
            ClientFrame::Subscribe(_) | ClientFrame::Credit { .. } | ClientFrame::Quiet => Operation::Fetch,
            ClientFrame::Resume(_) => Operation::Heartbeat,
            ClientFrame::Report(_) => Operation::Report,
            ClientFrame::Progress { .. } => Operation::Progress,
        }
    }

    /// Whether it is written into the audit log: what operators and admins change.
    #[must_use]
    pub fn is_audited(self) -> bool {
        matches!(self.need(), Need::Steer | Need::Manage) && self != Operation::ListTokens
    }

    /// Whether it acts on, or tells of, more than one queue in a way that cannot be cut down to some of them.
    #[must_use]
    pub fn reaches_everything(self) -> bool {
        let spans = matches!(
            self,
            Operation::StartBulk | Operation::CancelBulk | Operation::ListBulks | Operation::GetBulk
        );
        spans
            || matches!(self, Operation::Mutate | Operation::DrainNode)
            || matches!(self.need(), Need::Manage | Need::Review)
    }
}

impl<'a> Target<'a> {
    /// What a request is about.
    #[must_use]
    pub fn of(request: &'a Request) -> Target<'a> {
        match request {
            Request::Enqueue { queue, .. }
            | Request::RetryDead { queue, .. }
            | Request::DeleteDead { queue, .. }
            | Request::PauseQueue { queue }
            | Request::ResumeQueue { queue }
            | Request::SetRetention { queue, .. } => Target::Queue(queue),
            Request::GetJob { id }
            | Request::CancelJob { id }
            | Request::RetryJob { id }
            | Request::DeleteJob { id }
            | Request::WaitJob { id, .. } => Target::Job(*id),
            Request::ListJobs(query) => query.queue.as_ref().map_or(Target::Nothing, Target::Queue),
            Request::PutSchedule(spec) => Target::ScheduleInto(&spec.name, &spec.queue),
            Request::GetSchedule { name }
            | Request::PauseSchedule { name }
            | Request::ResumeSchedule { name }
            | Request::TriggerSchedule { name }
            | Request::DeleteSchedule { name } => Target::Schedule(name),
            Request::ListQueues
            | Request::ListWorkers
            | Request::GetOverview
            | Request::ListSchedules
            | Request::SearchJobs(_)
            | Request::StartBulk(_)
            | Request::ListBulks
            | Request::GetBulk { .. }
            | Request::CancelBulk { .. }
            | Request::CreateToken(_)
            | Request::ListTokens
            | Request::RevokeToken { .. }
            | Request::ListAudit { .. }
            | Request::GetCluster
            | Request::DrainNode { .. } => Target::Nothing,
        }
    }

    /// The queues that a worker's request names.
    #[must_use]
    pub fn of_work(request: &'a WorkRequest) -> Vec<&'a QueueName> {
        match request {
            WorkRequest::Fetch(fetch) => fetch.queues.iter().map(|(queue, _)| queue).collect(),
            WorkRequest::Report { lease, .. } | WorkRequest::Progress { lease, .. } => {
                vec![&lease.lease.queue]
            }
            WorkRequest::Heartbeat { leases } => leases.iter().map(|held| &held.lease.queue).collect(),
            WorkRequest::Leave { .. } => Vec::new(),
        }
    }

    /// The queues that a frame of the native protocol names.
    #[must_use]
    pub fn of_frame(frame: &'a ClientFrame) -> Vec<&'a QueueName> {
        match frame {
            ClientFrame::Subscribe(subscription) => {
                subscription.queues.iter().map(|(queue, _)| queue).collect()
            }
            ClientFrame::Resume(leases) => leases.iter().map(|lease| &lease.queue).collect(),
            ClientFrame::Report(report) => report.outcomes.iter().map(|outcome| &outcome.queue).collect(),
            ClientFrame::Progress { lease, .. } => vec![&lease.queue],
            // What a call is about is looked up when it is carried out.
            ClientFrame::Hello(_)
            | ClientFrame::Call { .. }
            | ClientFrame::Credit { .. }
            | ClientFrame::Heartbeat { .. }
            | ClientFrame::Quiet
            | ClientFrame::Goodbye => Vec::new(),
        }
    }
}
