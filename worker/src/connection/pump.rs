//! The loop of a worker's connection: reaches a server, resumes, then moves frames one way and outcomes the other until it is
//! told to stop.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::Instant;
use windlass_core::api::ErrorCode;
use windlass_core::wire::{ClientFrame, Delivery, Nodes, ServerFrame, Welcome, encode_frame};

use super::Control;
use super::ledger::Ledger;
use crate::address::Here;
use crate::backoff::Backoff;
use crate::client::ConnectionEvent;
use crate::context::{JobCtx, ProgressNote, Running, Stop, StopReason};
use crate::error::Error;
use crate::executor::{Finished, Slot, execute};
use crate::follow::Follow;
use crate::gossip::Gossip;
use crate::transport::{
    ConnectError, FrameReader, Link, LinkError, OUT_BYTES_HIGH, Way, connect, frame_name, hello,
};
use crate::worker::Plan;

/// Outcomes taken from the handlers at a time.
const OUTCOME_BATCH: usize = 1_024;
/// Progress notes under way; more make their handlers wait.
const PROGRESS_NOTES: usize = 1_024;
/// Under load reports wait this long for company. An idle worker reports at once.
const REPORT_LINGER: Duration = Duration::from_millis(1);
/// So many outcomes do not wait for company, even when many slots are busy.
const REPORT_JOBS_ENOUGH: usize = 512;
/// Unanswered heartbeats, in intervals, before the connection is given up.
const SILENT_BEATS: u32 = 4;
/// Shortest heartbeat interval that a server can ask for.
const BEAT_MIN: Duration = Duration::from_millis(50);
/// Jobs and reports that are on their way have so long to arrive before the worker goes over to the owner.
const SETTLE_MAX: Duration = Duration::from_secs(1);
/// After the last handler was told to stop, time for it to do so and for the server to record the reports.
const FLUSH_MAX: Duration = Duration::from_secs(6);
/// The same when the worker stops at once.
const FLUSH_NOW_MAX: Duration = Duration::from_secs(2);

/// What stops a worker, and how far that is.
#[derive(Debug)]
struct Stopping {
    /// Until then handlers may run on.
    until: Instant,
    /// Whether they were told to stop.
    told: bool,
    /// Then the worker leaves, whatever is left.
    leave_at: Instant,
}

pub(crate) struct Pump {
    plan: Arc<Plan>,
    app: Handle,
    ledger: Ledger,
    orders: mpsc::Receiver<Control>,
    outcomes: mpsc::Receiver<Finished>,
    outcomes_in: mpsc::Sender<Finished>,
    progress: mpsc::Receiver<ProgressNote>,
    progress_in: mpsc::Sender<ProgressNote>,
    stopping: Option<Stopping>,
    gossip: Gossip,
    /// Heartbeat after Quiet whose answer is awaited: when it is there, no job is on its way any more.
    quiet_beat: Option<u64>,
    /// Whether a server has ever taken this worker.
    known: bool,
    follow: Follow,
    /// Until when the connection is left for one to the owner, at the latest.
    leave_by: Option<Instant>,
    reported_at: Instant,
}

/// How a conversation ends in order.
enum End {
    /// The worker has left.
    Left,
    /// It goes over to the owner.
    GoesOver,
}

/// What woke the loop.
enum Woken {
    Frame(Result<ServerFrame, LinkError>),
    Wrote(std::io::Result<()>),
    Outcomes,
    Progress(ProgressNote),
    Way(Result<Way, ConnectError>),
    Order(Option<Control>),
    Beat,
    Time,
}

impl Pump {
    pub(crate) fn new(plan: Arc<Plan>, app: Handle, orders: mpsc::Receiver<Control>) -> Pump {
        // As many ends as there are slots fit, so that a handler's task never waits to tell its own.
        let (outcomes_in, outcomes) = mpsc::channel(plan.concurrency as usize + 1);
        let (progress_in, progress) = mpsc::channel(PROGRESS_NOTES);
        Pump {
            ledger: Ledger::new(plan.concurrency),
            gossip: Gossip::new(plan.gossip.then_some(plan.id)),
            follow: Follow::new(hello(plan.token.clone(), None), plan.surroundings.clone()),
            leave_by: None,
            plan,
            app,
            orders,
            outcomes,
            outcomes_in,
            progress,
            progress_in,
            stopping: None,
            quiet_beat: None,
            known: false,
            reported_at: Instant::now(),
        }
    }

    /// Runs until the worker has left.
    pub(crate) async fn run(mut self) -> Result<(), Error> {
        loop {
            let Some(link) = self.reach().await? else { break };
            let (server, address, here) = (link.welcome.server.clone(), link.here.peer, link.here.clone());
            tracing::info!(server, %address, "the worker is connected");
            self.plan.events.emit(&ConnectionEvent::Connected { server, address });
            match self.converse(link).await {
                Ok(End::Left) => break,
                // What it was given it presents there, and nothing else was on its way.
                Ok(End::GoesOver) => self.follow.leave(&here),
                // The token was revoked, or does not reach these queues: trying again would not help.
                Err(LinkError::Refused(e)) if e.code == ErrorCode::Denied => {
                    self.ledger.stop_all(StopReason::Now);
                    return Err(Error::Refused(e));
                }
                Err(e) => {
                    tracing::warn!(error = %e, running = self.ledger.running(), "the connection to the server is lost");
                    self.plan.events.emit(&ConnectionEvent::Lost { reason: e.to_string() });
                    if matches!(e, LinkError::Silent(_)) {
                        self.plan.addresses.doubt(&here);
                    }
                }
            }
            self.follow.rest();
            self.ledger.disconnected();
            (self.quiet_beat, self.leave_by) = (None, None);
        }
        if !self.ledger.is_settled() {
            let (running, ended) = (self.ledger.running(), self.ledger.unrecorded());
            tracing::warn!(
                running,
                ended,
                "the worker leaves with jobs whose end the server does not know; they run again"
            );
        }
        Ok(())
    }

    /// Tries until a server answers. `None`: the worker has stopped.
    async fn reach(&mut self) -> Result<Option<Link>, Error> {
        let plan = Arc::clone(&self.plan);
        let attempts = async move {
            let mut backoff = Backoff::default();
            let greeting = hello(plan.token.clone(), Some(plan.introduce()));
            loop {
                match connect(&plan.addresses, &greeting, &plan.surroundings).await {
                    Ok(link) => return Ok(link),
                    Err(e) if e.is_final() => return Err(e),
                    Err(e) => {
                        let (reason, attempts) = (e.to_string(), backoff.failures() + 1);
                        tracing::warn!(reason, attempts, "no server answers; the worker keeps trying");
                        plan.events.emit(&ConnectionEvent::Unreachable { reason, attempts });
                    }
                }
                tokio::time::sleep(backoff.next(plan.surroundings.fraction())).await;
            }
        };
        tokio::pin!(attempts);
        let mut batch = Vec::new();
        loop {
            if self.stop_is_over() {
                return Ok(None);
            }
            let stop_at = self.stop_at();
            tokio::select! {
                biased;
                link = &mut attempts => return match link {
                    Ok(link) => Ok(Some(link)),
                    Err(ConnectError::Refused(e)) => {
                        self.ledger.stop_all(StopReason::Now);
                        Err(Error::Refused(e))
                    }
                    Err(ConnectError::Unreachable(_) | ConnectError::Untrusted { .. }) => Ok(None),
                },
                order = self.orders.recv(), if !self.is_stopping_now() => self.obey(order),
                () = sleep_until(stop_at), if stop_at.is_some() => self.stop_step(),
                _ = self.outcomes.recv_many(&mut batch, OUTCOME_BATCH) => self.finish(&mut batch),
                // Progress is not durable; without a server there is nobody to tell.
                _ = self.progress.recv() => {}
            }
        }
    }

    /// Talks until the worker has left, or leaves the connection for another one, or until the connection breaks.
    async fn converse(&mut self, link: Link) -> Result<End, LinkError> {
        let Link { mut reader, mut writer, welcome, local, here, nodes } = link;
        self.gossip.follow(&self.plan, &welcome, local, here.peer);
        let mut out = BytesMut::new();
        let mut pulse = Pulse::new(&welcome);
        let mut batch = Vec::new();
        self.open(&mut out);
        self.told(nodes, &here);
        loop {
            let report_at = self.write(&mut out);
            if self.stopping.is_some() && self.stop_is_over() {
                encode_frame(&mut out, &ClientFrame::Goodbye);
                // The server has recorded everything; when it is gone by now, it does not need the goodbye.
                let _ = tokio::time::timeout(FLUSH_NOW_MAX, writer.finish(&mut out)).await;
                return Ok(End::Left);
            }
            if self.may_go_over() {
                return Ok(End::GoesOver);
            }
            let room = out.len() < OUT_BYTES_HIGH;
            let timers = [report_at, self.stop_at(), self.ledger.next_retry(), self.leave_by];
            let timer = timers.into_iter().flatten().min();
            let woken = tokio::select! {
                // In this order, so that a process that was stopped reads what came before it finds the server silent.
                biased;
                frame = reader.next() => Woken::Frame(frame),
                wrote = writer.push(&mut out), if writer.has_work(&out) => Woken::Wrote(wrote),
                _ = self.outcomes.recv_many(&mut batch, OUTCOME_BATCH), if room => Woken::Outcomes,
                order = self.orders.recv(), if !self.is_stopping_now() => Woken::Order(order),
                () = tokio::time::sleep_until(pulse.next) => Woken::Beat,
                () = sleep_until(timer), if timer.is_some() => Woken::Time,
                way = self.follow.tried() => Woken::Way(way),
                Some(note) = self.progress.recv(), if room => Woken::Progress(note),
            };
            match woken {
                Woken::Frame(frame) => self.hear(frame?, &mut reader, &mut pulse, &here)?,
                Woken::Way(way) => self.found(way, &here, &mut pulse, &mut out),
                Woken::Wrote(wrote) => wrote?,
                Woken::Outcomes => self.finish(&mut batch),
                Woken::Progress(ProgressNote { lease, percent, message }) => {
                    encode_frame(&mut out, &ClientFrame::Progress { lease, percent, message });
                }
                Woken::Order(order) => {
                    self.obey(order);
                    encode_frame(&mut out, &ClientFrame::Quiet);
                    self.quiet_beat = Some(pulse.ask(&mut out));
                }
                Woken::Beat => pulse.beat(&mut out)?,
                Woken::Time => {
                    self.stop_step();
                    self.ledger.wake(Instant::now());
                }
            }
        }
    }

    /// The first frames after the greeting; nothing waits for an answer in between.
    fn open(&mut self, out: &mut BytesMut) {
        if self.known {
            encode_frame(out, &ClientFrame::Resume(self.ledger.leases()));
            self.ledger.write_reports(out, usize::MAX);
        }
        self.known = true;
        if self.stopping.is_none() {
            encode_frame(out, &ClientFrame::Subscribe(self.plan.subscription.clone()));
        }
    }

    /// Writes reports and credit that are due; otherwise says when they will be.
    fn write(&mut self, out: &mut BytesMut) -> Option<Instant> {
        if out.len() >= OUT_BYTES_HIGH {
            return None;
        }
        // Whoever is about to leave sends nothing whose answer could be missed.
        if self.leave_by.is_some() {
            return None;
        }
        let now = Instant::now();
        let ready = self.ledger.reportable();
        if ready > 0 {
            let enough = (self.plan.concurrency as usize / 4).clamp(1, REPORT_JOBS_ENOUGH);
            let due = self.reported_at + REPORT_LINGER;
            if now < due && ready < enough && self.ledger.running() > 0 {
                return Some(due);
            }
            self.reported_at = now;
            self.ledger.write_reports(out, OUT_BYTES_HIGH);
        }
        match self.ledger.credit_due() {
            0 => {}
            add => encode_frame(out, &ClientFrame::Credit { add }),
        }
        None
    }

    fn hear(
        &mut self,
        first: ServerFrame,
        reader: &mut FrameReader,
        pulse: &mut Pulse,
        here: &Here,
    ) -> Result<(), LinkError> {
        pulse.heard();
        let mut jobs = Vec::new();
        let mut next = Some(first);
        while let Some(frame) = next {
            match frame {
                ServerFrame::Deliver(batch) => jobs.extend(self.admit(batch)),
                ServerFrame::Reported { request, results } => {
                    self.ledger.answered(request, &results, Instant::now(), &self.plan.events);
                }
                ServerFrame::CancelJob(lease) => self.ledger.stop(lease, StopReason::Cancelled),
                ServerFrame::LeaseLost(lease) => self.ledger.stop(lease, StopReason::LeaseLost),
                ServerFrame::Resumed { kept, lost } => {
                    tracing::info!(
                        kept = kept.len(),
                        lost = lost.len(),
                        "the server knows this worker again"
                    );
                    lost.into_iter().for_each(|lease| self.ledger.stop(lease, StopReason::LeaseLost));
                }
                ServerFrame::HeartbeatAck { seq } => {
                    if self.quiet_beat.is_some_and(|awaited| awaited <= seq) {
                        self.quiet_beat = None;
                    }
                }
                ServerFrame::Draining => tracing::info!("the server is about to stop; running jobs go on"),
                ServerFrame::Nodes(nodes) => self.told(Some(nodes), here),
                ServerFrame::Moved { to } => {
                    self.plan.addresses.moved(&to, here);
                    self.follow.rest();
                }
                ServerFrame::Refused(e) => return Err(LinkError::Refused(e)),
                other @ (ServerFrame::Welcome(_) | ServerFrame::Reply { .. }) => {
                    tracing::debug!(frame = frame_name(&other), "a frame that a worker does not expect");
                }
            }
            next = reader.buffered()?;
        }
        self.launch(jobs);
        Ok(())
    }

    /// Takes what the server says of the nodes, and looks for the way to the owner.
    fn told(&mut self, nodes: Option<Nodes>, here: &Here) {
        if let Some(nodes) = nodes {
            self.plan.addresses.learn(&nodes, here);
            if self.leave_by.is_none() {
                self.follow.consider(&self.plan.addresses, here);
            }
        }
    }

    /// Takes what an attempt to reach the owner has come to. Where the way is open, the worker takes nothing new and leaves as soon as
    /// nothing is on its way any more; handlers run on.
    fn found(&mut self, way: Result<Way, ConnectError>, here: &Here, pulse: &mut Pulse, out: &mut BytesMut) {
        match way {
            Ok(Way::Open(_)) if self.stopping.is_none() => {
                self.leave_by = Some(Instant::now() + SETTLE_MAX);
                encode_frame(out, &ClientFrame::Quiet);
                self.quiet_beat = Some(pulse.ask(out));
            }
            Ok(_) => {}
            Err(e) => self.follow.failed(&e.to_string(), &self.plan.addresses, here),
        }
    }

    fn may_go_over(&self) -> bool {
        let settled = self.quiet_beat.is_none() && self.ledger.is_answered();
        self.leave_by.is_some_and(|by| settled || Instant::now() >= by)
    }

    fn admit(&mut self, batch: Vec<Delivery>) -> Vec<JobCtx> {
        let now = Instant::now();
        let (states, progress) = (&self.plan.states, &self.progress_in);
        self.ledger.deliver(batch, |delivery| {
            let deadline = delivery.timeout_ms.and_then(|ms| now.checked_add(Duration::from_millis(ms)));
            let (states, progress) = (Arc::clone(states), progress.clone());
            JobCtx::new(Arc::new(Running { delivery, stop: Stop::default(), deadline, states, progress }))
        })
    }

    /// Starts a task per job on the application's runtime.
    fn launch(&self, jobs: Vec<JobCtx>) {
        let slots = jobs.into_iter().map(|job| Slot::new(job, self.outcomes_in.clone())).collect::<Vec<_>>();
        let registry = Arc::clone(&self.plan.registry);
        // One hop to the other runtime for all of them; from there spawning is cheap.
        self.app.spawn(async move {
            for slot in slots {
                tokio::spawn(execute(Arc::clone(&registry), slot));
            }
        });
    }

    fn finish(&mut self, batch: &mut Vec<Finished>) {
        batch.drain(..).for_each(|finished| self.ledger.finish(finished));
    }

    fn obey(&mut self, order: Option<Control>) {
        let now = Instant::now();
        self.ledger.quiet();
        match order {
            Some(Control::Stop) => {
                let until = now + self.plan.stop_deadline;
                self.stopping = Some(Stopping { until, told: false, leave_at: until + FLUSH_MAX });
            }
            // Whoever held the worker has dropped it: there is no time to finish anything.
            Some(Control::StopNow) | None => {
                self.ledger.stop_all(StopReason::Now);
                self.stopping = Some(Stopping { until: now, told: true, leave_at: now + FLUSH_NOW_MAX });
                self.orders.close();
            }
        }
    }

    fn is_stopping_now(&self) -> bool {
        self.orders.is_closed() && self.stopping.is_some()
    }

    /// When the next step of stopping is due.
    fn stop_at(&self) -> Option<Instant> {
        self.stopping.as_ref().map(|s| if s.told { s.leave_at } else { s.until })
    }

    fn stop_step(&mut self) {
        if let Some(stopping) = &mut self.stopping
            && !stopping.told
            && Instant::now() >= stopping.until
        {
            stopping.told = true;
            tracing::warn!(
                running = self.ledger.running(),
                "the stop deadline is over; running jobs are given back"
            );
            self.ledger.stop_all(StopReason::Shutdown);
        }
    }

    /// Whether the worker may leave: nothing comes any more and everything is recorded, or its time is over.
    fn stop_is_over(&self) -> bool {
        let settled = self.ledger.is_settled() && self.quiet_beat.is_none();
        self.stopping.as_ref().is_some_and(|s| settled || Instant::now() >= s.leave_at)
    }
}

async fn sleep_until(at: Option<Instant>) {
    tokio::time::sleep_until(at.unwrap_or_else(Instant::now)).await;
}

/// Heartbeats: renew the leases, and notice a server that is gone without a word.
struct Pulse {
    every: Duration,
    next: Instant,
    seq: u64,
    /// When the oldest heartbeat was sent that nothing has followed.
    asked: Option<Instant>,
}

impl Pulse {
    fn new(welcome: &Welcome) -> Pulse {
        let every = Duration::from_millis(welcome.heartbeat_ms).max(BEAT_MIN);
        Pulse { every, next: Instant::now() + every, seq: 0, asked: None }
    }

    fn heard(&mut self) {
        self.asked = None;
    }

    fn beat(&mut self, out: &mut BytesMut) -> Result<(), LinkError> {
        let now = Instant::now();
        if let Some(asked) = self.asked
            && now.duration_since(asked) >= self.every * SILENT_BEATS
        {
            return Err(LinkError::Silent(now.duration_since(asked)));
        }
        self.ask(out);
        Ok(())
    }

    /// Sends a heartbeat; returns its number.
    fn ask(&mut self, out: &mut BytesMut) -> u64 {
        let now = Instant::now();
        self.asked.get_or_insert(now);
        self.seq += 1;
        self.next = now + self.every;
        encode_frame(out, &ClientFrame::Heartbeat { seq: self.seq });
        self.seq
    }
}

#[cfg(test)]
#[path = "pump_test.rs"]
mod tests;
