//! The actors of connections, and the hub that knows which worker is connected, away or lost.

use std::collections::BTreeSet;

use windlass_core::id::JobId;
use windlass_core::wire::{Token, Verdict};

use super::fetcher::Fetcher;
use super::shell::WorkerEvent;
use super::{Local, Op, Then};
use crate::history::{Key, Process};
use crate::world::{NodeEvent, Planted, World};

/// From a worker.
#[expect(missing_docs, reason = "the fields are named after what they hold")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToServer {
    /// The worker begins.
    Hello,
    /// It still runs these, or has reports about them.
    Resume(Vec<(Key, Token)>),
    /// It takes jobs from these queues.
    Subscribe(Vec<usize>, bool),
    /// More free slots.
    Credit(u32),
    /// Ends of attempts in one queue.
    Report { request: u64, queue: usize, outcomes: Vec<(JobId, Token, Verdict)> },
    /// A sign of life, sent then.
    Heartbeat(u64),
    /// It leaves.
    Goodbye,
}

/// To a worker.
#[expect(missing_docs, reason = "the fields are named after what they hold")]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToWorker {
    /// The server knows it.
    Welcome,
    /// Jobs.
    Deliver(Vec<(Key, Token, u32)>),
    /// What became of a report.
    Reported { request: u64, results: Vec<bool> },
    /// Which presented leases go on.
    Resumed { queue: usize, kept: Vec<(JobId, Token)>, lost: Vec<(JobId, Token)> },
    /// Stop this handler: somebody wants it.
    Cancel(Key, Token),
    /// Stop this handler: the lease is gone.
    LeaseLost(Key, Token),
    /// A sign of life was heard.
    HeartbeatAck,
}

/// The actor of a connection.
#[derive(Debug)]
pub struct Session {
    of: Process,
    fetcher: Fetcher,
    touched: BTreeSet<usize>,
    held: BTreeSet<(Key, Token)>,
    inherited: BTreeSet<usize>,
    seen: u64,
}

/// What the hub knows of a worker.
#[derive(Debug)]
pub struct HubRecord {
    session: u64,
    away_since: Option<u64>,
    touched: BTreeSet<usize>,
}

impl World {
    /// A frame has arrived at the server.
    pub(crate) fn heard(&mut self, session: u64, frame: ToServer) {
        if frame == ToServer::Hello {
            return self.arrive(session);
        }
        let mono = self.clock.now(self.at).mono.0;
        let Some(known) = self.node.sessions.get_mut(&session) else { return };
        known.seen = mono;
        let of = known.of;
        match frame {
            ToServer::Hello => {}
            ToServer::Resume(leases) => self.resume(session, leases),
            ToServer::Subscribe(queues, strict) => {
                if !known.inherited.is_empty() {
                    self.resume(session, Vec::new());
                }
                if let Some(known) = self.node.sessions.get_mut(&session) {
                    known.fetcher.subscribe(&queues, strict);
                }
            }
            ToServer::Credit(add) => known.fetcher.add_credit(add),
            ToServer::Report { request, queue, outcomes } => {
                let ids = outcomes.iter().map(|(id, token, _)| (*id, *token)).collect();
                let then = Then::Report { session, request, outcomes: ids };
                self.node.local.push_back(Local::Queue(queue, Op::Report { outcomes, then }));
            }
            ToServer::Heartbeat(sent_at) => {
                let queues: BTreeSet<usize> = known.held.iter().map(|(key, _)| key.0).collect();
                for queue in queues {
                    self.node.local.push_back(Local::Queue(queue, Op::Renew { worker: of, sent_at }));
                }
                self.send_to_worker(session, ToWorker::HeartbeatAck);
            }
            ToServer::Goodbye => {
                self.lose(of, "its worker left without giving it back");
            }
        }
        self.pump(session);
    }

    fn arrive(&mut self, session: u64) {
        let Some(of) = self.net.streams.get(&session).map(|stream| stream.of) else { return };
        let mut inherited = BTreeSet::new();
        if let Some(old) = self.node.hub.remove(&of) {
            inherited = old.touched;
            if let Some(old_session) = self.node.sessions.remove(&old.session) {
                inherited.extend(old_session.touched);
                inherited.extend(old_session.inherited);
            }
            self.cut(old.session);
        }
        let touched = inherited.clone();
        self.node.hub.insert(of, HubRecord { session, away_since: None, touched });
        let seen = self.clock.now(self.at).mono.0;
        let fetcher = Fetcher::default();
        let held = BTreeSet::new();
        self.node
            .sessions
            .insert(session, Session { of, fetcher, touched: BTreeSet::new(), held, inherited, seen });
        self.send_to_worker(session, ToWorker::Welcome);
        self.node_event(self.setup.lease_ms, NodeEvent::HubLooks(of));
    }

    /// The leases that the worker says it runs; what it does not name it never received, in every queue that knows it.
    fn resume(&mut self, session: u64, leases: Vec<(Key, Token)>) {
        let Some(known) = self.node.sessions.get_mut(&session) else { return };
        let mut queues = std::mem::take(&mut known.inherited);
        queues.extend(leases.iter().map(|(key, _)| key.0));
        known.touched.extend(&queues);
        known.held.extend(leases.iter().copied());
        let worker = known.of;
        for queue in queues {
            let mine = leases.iter().filter(|(key, _)| key.0 == queue);
            let leases = mine.map(|(key, token)| (key.1, *token)).collect();
            let then = Then::Resume { session };
            self.node.local.push_back(Local::Queue(queue, Op::Resume { worker, session, leases, then }));
        }
    }

    /// Asks the next queue, if there is credit and no answer is awaited.
    pub(crate) fn pump(&mut self, session: u64) {
        let Some(known) = self.node.sessions.get_mut(&session) else { return };
        let worker = known.of;
        if let Some((queue, slots)) = known.fetcher.next(&mut self.rng) {
            known.touched.insert(queue);
            self.node.local.push_back(Local::Queue(queue, Op::Fetch { worker, session, slots }));
        }
        for queue in known.fetcher.unused_notices() {
            self.node.local.push_back(Local::Queue(queue, Op::Fetch { worker, session, slots: 0 }));
        }
    }

    /// A queue tells a worker's session something.
    pub(crate) fn session_told(&mut self, session: u64, queue: usize, events: Vec<WorkerEvent>) {
        for event in events {
            let Some(known) = self.node.sessions.get_mut(&session) else { return };
            match event {
                WorkerEvent::Deliver { mut jobs, drained } => {
                    let granted = known.fetcher.answered(queue, jobs.len() as u32, drained);
                    let unwanted = jobs.split_off(granted as usize);
                    known.held.extend(jobs.iter().map(|(job, token, _)| ((queue, job.id), *token)));
                    if self.planted == Some(Planted::RecordedUnseen) && self.rng.chance(100) {
                        let unseen = jobs.drain(..);
                        let outcomes =
                            unseen.map(|(job, token, _)| (job.id, token, Verdict::Done(None))).collect();
                        let op = Op::Report { outcomes, then: Then::Nobody };
                        self.node.local.push_back(Local::Queue(queue, op));
                    }
                    if !jobs.is_empty() {
                        let jobs: Vec<_> = jobs
                            .iter()
                            .map(|(job, token, attempt)| ((queue, job.id), *token, *attempt))
                            .collect();
                        if self.planted == Some(Planted::DeliverToTwo) {
                            let other = self.node.sessions.keys().find(|other| **other != session).copied();
                            if let Some(other) = other {
                                self.send_to_worker(other, ToWorker::Deliver(jobs.clone()));
                            }
                        }
                        self.send_to_worker(session, ToWorker::Deliver(jobs));
                    }
                    if !unwanted.is_empty() {
                        let outcomes = unwanted
                            .into_iter()
                            .map(|(job, token, _)| (job.id, token, Verdict::Released))
                            .collect();
                        let op = Op::Report { outcomes, then: Then::Nobody };
                        self.node.local.push_back(Local::Queue(queue, op));
                    }
                }
                WorkerEvent::Notice if self.planted == Some(Planted::NoNotices) => {}
                WorkerEvent::Notice => known.fetcher.notice(queue),
                WorkerEvent::CancelRun { id, token } => {
                    self.send_to_worker(session, ToWorker::Cancel((queue, id), token));
                }
                WorkerEvent::LeaseEnded { id, token } => {
                    known.held.remove(&((queue, id), token));
                    self.send_to_worker(session, ToWorker::LeaseLost((queue, id), token));
                }
            }
        }
        self.pump(session);
    }

    /// The answer to a worker's report.
    pub(crate) fn reported(
        &mut self,
        session: u64,
        request: u64,
        queue: usize,
        outcomes: &[(JobId, Token)],
        results: Vec<bool>,
    ) {
        if let Some(known) = self.node.sessions.get_mut(&session) {
            for (id, token) in outcomes {
                known.held.remove(&((queue, *id), *token));
            }
            self.send_to_worker(session, ToWorker::Reported { request, results });
        }
    }

    /// The answer to a worker that came back.
    pub(crate) fn resumed(
        &mut self,
        session: u64,
        queue: usize,
        kept: Vec<(JobId, Token)>,
        lost: Vec<(JobId, Token)>,
    ) {
        if let Some(known) = self.node.sessions.get_mut(&session) {
            for (id, token) in &lost {
                known.held.remove(&((queue, *id), *token));
            }
            self.send_to_worker(session, ToWorker::Resumed { queue, kept, lost });
        }
    }

    /// The server learns that a stream is gone.
    pub(crate) fn stream_ended(&mut self, session: u64) {
        let Some(gone) = self.node.sessions.remove(&session) else { return };
        let Some(record) = self.node.hub.get_mut(&gone.of) else { return };
        record.touched.extend(&gone.touched);
        record.touched.extend(&gone.inherited);
        if record.session != session {
            return;
        }
        record.away_since = Some(self.clock.now(self.at).mono.0);
        for queue in record.touched.clone() {
            self.node.local.push_back(Local::Queue(queue, Op::Away { worker: gone.of, session }));
        }
        self.node_event(self.setup.grace_ms, NodeEvent::HubLooks(gone.of));
    }

    /// The hub looks whether a worker is lost.
    pub(crate) fn hub_looks(&mut self, of: Process) {
        let Some(record) = self.node.hub.get(&of) else { return };
        let (since, bound) = match record.away_since {
            Some(since) => (since, self.setup.grace_ms),
            None => {
                (self.node.sessions.get(&record.session).map_or(0, |known| known.seen), self.setup.lease_ms)
            }
        };
        let silent_ms = self.clock.now(self.at).mono.0.saturating_sub(since);
        if silent_ms >= bound {
            self.lose(of, "its worker was silent");
        } else {
            self.node_event(bound - silent_ms, NodeEvent::HubLooks(of));
        }
    }

    fn lose(&mut self, of: Process, why: &'static str) {
        let Some(record) = self.node.hub.remove(&of) else { return };
        let mut queues = record.touched;
        if let Some(known) = self.node.sessions.remove(&record.session) {
            queues.extend(known.touched);
            queues.extend(known.inherited);
        }
        self.cut(record.session);
        for queue in queues {
            let op = Op::Lost { worker: of, session: record.session, why };
            self.node.local.push_back(Local::Queue(queue, op));
        }
    }
}
