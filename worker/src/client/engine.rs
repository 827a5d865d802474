//! The task behind a client: keeps one connection, writes calls, deals out answers, comes back after a loss.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use windlass_core::wire::{ClientFrame, Hello, Nodes, ServerFrame, encode_frame};

use super::calls::{Calls, Submit};
use super::{Connection, ConnectionEvent, EventSink};
use crate::address::{Addresses, Here};
use crate::backoff::Backoff;
use crate::error::Error;
use crate::follow::Follow;
use crate::surroundings::Surroundings;
use crate::transport::{
    ConnectError, FrameReader, FrameWriter, Link, LinkError, OUT_BYTES_HIGH, Way, connect, frame_name,
};

/// Calls taken from the inbox at a time.
const INBOX_BATCH: usize = 1_024;
/// A server that has said nothing for so long although answers are due is asked for a sign of life.
const QUIET_MAX: Duration = Duration::from_secs(5);
/// Then it has so long before the connection is given up.
const SILENCE_MAX: Duration = Duration::from_secs(10);

/// Calls under way have so long to be answered before the connection goes over to the owner; while they are waited for, nothing new is
/// sent.
const SETTLE_MAX: Duration = Duration::from_secs(1);
/// Time for the farewell to a relay.
const FAREWELL_MAX: Duration = Duration::from_millis(250);

/// What the engine needs to reach a server again.
pub(crate) struct Route {
    pub(crate) addresses: Addresses,
    pub(crate) hello: Hello,
    pub(crate) surroundings: Surroundings,
}

pub(crate) struct Engine {
    pub(crate) route: Arc<Route>,
    pub(crate) inbox: mpsc::Receiver<Submit>,
    pub(crate) calls: Calls,
    pub(crate) connection: Arc<watch::Sender<Connection>>,
    pub(crate) events: EventSink,
    /// How long calls wait for a server that is away; `None` for as long as it takes.
    pub(crate) give_up_after: Option<Duration>,
    /// Whether the client was closed or dropped: what waits is finished, nothing new comes.
    pub(crate) closing: bool,
    pub(crate) follow: Follow,
    /// A connection to the owner itself, until the calls under way are answered.
    pub(crate) over: Option<Over>,
}

/// A connection that is about to be gone over to.
pub(crate) struct Over {
    link: Box<Link>,
    until: Instant,
}

impl Engine {
    /// Runs until the client is closed, or the server says that it never wants it.
    pub(crate) async fn run(mut self, first: Option<Link>) {
        let mut next = first;
        loop {
            let link = match next.take() {
                Some(link) => link,
                None => match self.reach().await {
                    Some(link) => link,
                    None => break,
                },
            };
            let server = link.welcome.server.clone();
            let (address, here) = (link.here.peer, link.here.clone());
            self.connection.send_replace(Connection::Up { server: server.clone(), address });
            self.events.emit(&ConnectionEvent::Connected { server, address });
            match self.converse(link).await {
                Ok(None) => break,
                Ok(over) => {
                    self.follow.leave(&here);
                    self.calls.disconnected();
                    next = over;
                }
                Err(e) => {
                    tracing::warn!(error = %e, "the connection to the windlass server is lost");
                    if matches!(e, LinkError::Silent(_)) {
                        self.route.addresses.doubt(&here);
                    }
                    self.follow.rest();
                    self.away(e.to_string());
                    self.calls.disconnected();
                    next = self.over.take().map(|over| *over.link);
                }
            }
        }
        self.inbox.close();
        self.away("the client is closed".to_owned());
        self.calls.fail_all(|| Error::Closed);
    }

    fn away(&self, reason: String) {
        self.connection.send_replace(Connection::Away { reason: reason.clone() });
        self.events.emit(&ConnectionEvent::Lost { reason });
    }

    /// Tries until a server answers; takes calls meanwhile. `None`: there is no point in going on.
    async fn reach(&mut self) -> Option<Link> {
        let route = Arc::clone(&self.route);
        let events = self.events.clone();
        let attempts = async move {
            let mut backoff = Backoff::default();
            loop {
                tokio::time::sleep(backoff.next(route.surroundings.fraction())).await;
                match connect(&route.addresses, &route.hello, &route.surroundings).await {
                    Ok(link) => return Ok(link),
                    Err(e) if e.is_final() => return Err(e),
                    Err(e) => events.emit(&ConnectionEvent::Unreachable {
                        reason: e.to_string(),
                        attempts: backoff.failures(),
                    }),
                }
            }
        };
        tokio::pin!(attempts);
        let mut batch = Vec::new();
        let give_up_at = self.give_up_after.map(|patience| Instant::now() + patience);
        loop {
            if self.closing && self.calls.is_empty() {
                return None;
            }
            let impatient = give_up_at.filter(|_| !self.calls.is_empty());
            tokio::select! {
                // In this order, so that callers who never pause do not keep the others waiting.
                biased;
                link = &mut attempts => match link {
                    Ok(link) => return Some(link),
                    Err(ConnectError::Refused(e)) => {
                        tracing::error!(error = %e, "the windlass server does not want this client");
                        self.calls.fail_all(|| Error::Refused(e.clone()));
                        return None;
                    }
                    Err(ConnectError::Unreachable(_) | ConnectError::Untrusted { .. }) => return None,
                },
                () = tokio::time::sleep_until(impatient.unwrap_or_else(Instant::now)), if impatient.is_some() => {
                    let addresses = self.route.addresses.to_string();
                    let reason = format!("the server has been away for {:?}", self.give_up_after.unwrap_or_default());
                    self.calls.fail_all(|| Error::Unreachable { addresses: addresses.clone(), reason: reason.clone() });
                }
                count = self.inbox.recv_many(&mut batch, INBOX_BATCH), if !self.closing => self.take(&mut batch, count),
            }
        }
    }

    fn take(&mut self, batch: &mut Vec<Submit>, count: usize) {
        self.closing |= count == 0;
        for submit in batch.drain(..) {
            self.closing |= matches!(submit, Submit::Close);
            self.calls.accept(submit);
        }
    }

    /// Talks until the client is closed (`Ok(None)`), goes over to another connection, or the connection breaks.
    async fn converse(&mut self, link: Link) -> Result<Option<Link>, LinkError> {
        let Link { mut reader, mut writer, welcome, here, nodes, .. } = link;
        let frame_bytes_max = welcome.frame_bytes_max as usize;
        let mut out = BytesMut::new();
        let mut batch = Vec::new();
        let mut pulse = Pulse::default();
        self.told(nodes, &here);
        loop {
            self.calls.wake(Instant::now());
            if let Some(link) = self.settled(&here) {
                farewell(&mut writer, &mut out).await;
                return Ok(Some(link));
            }
            if self.over.is_none() {
                self.calls.write(&mut out, OUT_BYTES_HIGH, frame_bytes_max);
            }
            if self.closing && self.calls.is_empty() {
                encode_frame(&mut out, &ClientFrame::Goodbye);
                // The answers are all there; a server that is gone by now does not need the goodbye.
                let _ = writer.finish(&mut out).await;
                return Ok(None);
            }
            let room = out.len() < OUT_BYTES_HIGH;
            let retry = self.calls.next_retry();
            let settle_by = self.over.as_ref().map(|over| over.until);
            tokio::select! {
                // In this order, so that a process that was stopped reads what came before it finds the server silent.
                biased;
                frame = reader.next() => self.hear(frame?, &mut reader, &mut pulse, &here)?,
                wrote = writer.push(&mut out), if writer.has_work(&out) => wrote?,
                count = self.inbox.recv_many(&mut batch, INBOX_BATCH), if room && !self.closing => {
                    self.take(&mut batch, count);
                    // Callers that are ready to run get their turn first, so that their calls share this write.
                    tokio::task::yield_now().await;
                    while let Ok(submit) = self.inbox.try_recv() {
                        batch.push(submit);
                        if batch.len() == INBOX_BATCH {
                            break;
                        }
                    }
                    if !batch.is_empty() {
                        let count = batch.len();
                        self.take(&mut batch, count);
                    }
                }
                () = tokio::time::sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => {}
                way = self.follow.tried() => self.found(way, &here),
                () = tokio::time::sleep_until(settle_by.unwrap_or_else(Instant::now)), if settle_by.is_some() => {}
                () = tokio::time::sleep_until(pulse.next()), if !self.calls.is_empty() => pulse.beat(&mut out)?,
            }
        }
    }

    fn hear(
        &mut self,
        first: ServerFrame,
        reader: &mut FrameReader,
        pulse: &mut Pulse,
        here: &Here,
    ) -> Result<(), LinkError> {
        pulse.heard();
        let mut next = Some(first);
        while let Some(frame) = next {
            match frame {
                ServerFrame::Reply { request, result } => self.calls.answer(request, result, Instant::now()),
                ServerFrame::Refused(e) => return Err(LinkError::Refused(e)),
                ServerFrame::HeartbeatAck { .. } => {}
                ServerFrame::Draining => tracing::info!("the windlass server is about to stop"),
                ServerFrame::Nodes(nodes) => self.told(Some(nodes), here),
                ServerFrame::Moved { to } => {
                    self.route.addresses.moved(&to, here);
                    self.follow.rest();
                }
                other => tracing::debug!(frame = frame_name(&other), "a frame for workers came to a client"),
            }
            next = reader.buffered()?;
        }
        Ok(())
    }
}

impl Engine {
    /// Takes what the server says of the nodes, and looks for the way to the owner.
    fn told(&mut self, nodes: Option<Nodes>, here: &Here) {
        if let Some(nodes) = nodes {
            self.route.addresses.learn(&nodes, here);
            if self.over.is_none() {
                self.follow.consider(&self.route.addresses, here);
            }
        }
    }

    /// Takes what an attempt to reach the owner has come to.
    fn found(&mut self, way: Result<Way, ConnectError>, here: &Here) {
        match way {
            Ok(Way::Open(link)) => self.over = Some(Over { link, until: Instant::now() + SETTLE_MAX }),
            Ok(Way::Here) => {}
            Err(e) => self.follow.failed(&e.to_string(), &self.route.addresses, here),
        }
    }

    /// The connection to go over to, as soon as nothing is under way that would have to be asked twice.
    fn settled(&mut self, here: &Here) -> Option<Link> {
        let until = self.over.as_ref()?.until;
        if self.calls.only_waits_are_out() {
            return self.over.take().map(|over| *over.link);
        }
        if Instant::now() >= until {
            self.over = None;
            self.follow.failed("calls under way are not answered in time", &self.route.addresses, here);
        }
        None
    }
}

/// Says goodbye to a relay. A server that is gone by now does not need it.
async fn farewell(writer: &mut FrameWriter, out: &mut BytesMut) {
    encode_frame(out, &ClientFrame::Goodbye);
    let _ = tokio::time::timeout(FAREWELL_MAX, writer.finish(out)).await;
}

/// Notices a server that is gone without a word, while answers are due.
struct Pulse {
    heard: Instant,
    asked: Option<Instant>,
    seq: u64,
}

impl Default for Pulse {
    fn default() -> Pulse {
        Pulse { heard: Instant::now(), asked: None, seq: 0 }
    }
}

impl Pulse {
    fn heard(&mut self) {
        self.heard = Instant::now();
        self.asked = None;
    }

    fn next(&self) -> Instant {
        self.asked.map_or(self.heard + QUIET_MAX, |asked| asked + SILENCE_MAX)
    }

    fn beat(&mut self, out: &mut BytesMut) -> Result<(), LinkError> {
        if self.asked.is_some() {
            return Err(LinkError::Silent(self.heard.elapsed()));
        }
        self.seq += 1;
        self.asked = Some(Instant::now());
        encode_frame(out, &ClientFrame::Heartbeat { seq: self.seq });
        Ok(())
    }
}
