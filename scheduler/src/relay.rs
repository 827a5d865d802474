//! What a standby does with its public ports: it carries every connection to the owner, byte by byte, so that a client may talk to
//! any node, whatever its protocol.
//!
//! ```text
//!   peer ──► Door (limits) ──► HTTP: a probe? ──► the owner known, and there? ──► both ways, until one side ends it
//!                                  │                        │ not within OWNER_WAIT        or the owner is another one
//!                                  └─ /healthz, /readyz,    └─ a refusal that says: try again; to a browser, a page
//!                                     /metrics/node            that does
//! ```
//!
//! Knows no frame and no request, and terminates no TLS: where a port speaks it, what passes is what the peer and the owner say to
//! each other, probes included, and who cannot be carried is only closed. An owner that believes introductions is
//! told first who the peer is; another one takes the relay for it.
//!
//! # Limits
//! - connections: half as many as the caller allows descriptors. One too many is told so, as at any door
//! - connections that are not carried yet: [`UNGREETED_MAX`](crate::door::UNGREETED_MAX), each for at most [`OWNER_WAIT`] and
//!   [`CONNECT_MAX`], and over HTTP before that until [`HANDSHAKE_MS_MAX`](windlass_core::limits::HANDSHAKE_MS_MAX) for the first bytes
//! - memory: 4 KiB for each direction of a connection, 64 KiB for as many as [`LARGE_BUFFERS_MAX`] that are busy
//! - a connection on which nothing is said may stay, since the protocols know how long that makes sense; the system asks both ends
//!   after a minute whether they are there. One that is closed by one side alone has [`HALF_OPEN_MAX`] without a byte, and one whose
//!   reader takes nothing [`STALL_MAX`]

mod carry;
mod probe;
mod words;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::door::{Door, Excuse, Hush, IntroductionKey, Origin, Pass, Places, Port, Serve, part, settle};
use crate::session::Phases;
use carry::{Load, carry};
use probe::{Line, Probe, is_whole, languages_of_page, look};

pub use carry::{HALF_OPEN_MAX, LARGE_BUFFERS_MAX, STALL_MAX};
pub use windlass_dashboard::RelayFigures;

/// Time that a connection waits for an owner: most changes of ownership in order are over by then, and clients wait longer.
pub const OWNER_WAIT: Duration = Duration::from_secs(2);
/// Time that the owner has to take a connection; a machine that is gone says nothing.
pub const CONNECT_MAX: Duration = Duration::from_secs(1);
/// Most connections of one port, whatever the descriptors allow.
pub const CONNECTIONS_MAX: u32 = 10_000;
/// Wait before an owner that did not take a connection is asked again.
const REDIAL: Duration = Duration::from_millis(250);
/// Time that refusals have to reach their peers when a relay is closed.
const CLOSE_PATIENCE: Duration = Duration::from_millis(250);
/// Bytes of the head of a request that are looked at to find out who is to be told that there is no owner.
const HEAD_BYTES_MAX: usize = 16 * 1_024;
/// Wait for the rest of that head, which comes at once as a rule.
const HEAD_WAIT: Duration = Duration::from_millis(500);
/// First bytes of an HTTP connection that are read at a time. A probe is told from the rest by less than twenty.
const OPENING_BYTES: usize = 1_024;

const _: () = assert!(
    OWNER_WAIT.as_millis() + CONNECT_MAX.as_millis() < windlass_core::limits::HANDSHAKE_MS_MAX as u128,
    "a client hears the refusal before it gives up by itself"
);

/// What is spoken at a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The native protocol.
    Native,
    /// Pages and HTTP API.
    Http,
    /// The Faktory Work Protocol.
    Faktory,
}

impl Protocol {
    /// All of them.
    pub const ALL: [Protocol; 3] = [Protocol::Native, Protocol::Http, Protocol::Faktory];

    /// The protocol's name in log lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Native => "native",
            Protocol::Http => "http",
            Protocol::Faktory => "faktory",
        }
    }
}

/// Where the owner serves one protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `host:port`. A name is looked up for every connection.
    pub at: Arc<str>,
    /// With which peers are introduced; `None` for an owner that does not understand it.
    pub key: Option<IntroductionKey>,
}

impl Target {
    /// An owner that takes the relay for the peer.
    #[must_use]
    pub fn plain(at: impl Into<Arc<str>>) -> Target {
        Target { at: at.into(), key: None }
    }
}

/// What one port of a standby does.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// What is spoken there.
    pub protocol: Protocol,
    /// The port speaks TLS, so nothing is looked into.
    pub tls: bool,
    /// Where the owner is. `None`: nobody knows; connections to the last one go on, since it may still end them in order. Another
    /// one: connections to the last one are cut, for its process may be stopped, which nobody would notice otherwise. All
    /// connections look at every change, so the same value must not be sent twice.
    pub owner: watch::Receiver<Option<Target>>,
    /// Name of the node, for who asks it for itself.
    pub node: Arc<str>,
    /// Where is counted what is carried.
    pub traffic: Traffic,
    /// What introductions are dated by.
    pub clock: Clock,
    /// Descriptors that the connections may take. Each takes two, so there are half as many connections, and at most
    /// [`CONNECTIONS_MAX`].
    pub descriptors: u32,
}

/// What the relays of a node carry, and have carried since it started: it may stand by more than once.
#[derive(Debug, Clone, Default)]
pub struct Traffic(Arc<[Load; 3]>);

impl Traffic {
    /// At the port of one protocol.
    #[must_use]
    pub fn figures(&self, protocol: Protocol) -> RelayFigures {
        self.load(protocol).figures()
    }

    /// At all ports, by protocol.
    #[must_use]
    pub fn all(&self) -> Vec<(&'static str, RelayFigures)> {
        Protocol::ALL.into_iter().map(|protocol| (protocol.name(), self.figures(protocol))).collect()
    }

    /// Open connections at all ports.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.0.iter().map(|load| load.figures().connections).sum()
    }

    fn load(&self, protocol: Protocol) -> &Load {
        &self.0[protocol as usize]
    }
}

/// A port whose connections are carried to the owner. Ends with [`close`](Relay::close) or its token, not by being dropped.
pub struct Relay {
    door: Door,
    traffic: Traffic,
    protocol: Protocol,
}

impl Relay {
    /// Starts to accept at `listener`, which must not block, until `stop` is cancelled. Must run on the arbiter.
    ///
    /// # Errors
    /// What the system says to the listener.
    pub fn open(
        listener: TcpListener,
        config: RelayConfig,
        stop: &CancellationToken,
    ) -> std::io::Result<Relay> {
        // Who is introduced by another relay is so to the owner, too.
        let port = Port::adopt(listener, None, None)?;
        let here = port.addr();
        let places = Arc::new(Places::new((config.descriptors / 2).clamp(1, CONNECTIONS_MAX)));
        let (traffic, protocol) = (config.traffic.clone(), config.protocol);
        let phases = Phases { closing: stop.child_token(), ..Phases::default() };
        let carrier = Carrier { config, here, closing: phases.closing.clone(), hush: Arc::default() };
        let door = Door::open(port, carrier, places, phases);
        Ok(Relay { door, traffic, protocol })
    }

    /// Takes no more connections: those that come wait in the system's queue for whoever listens next. Those that are carried go
    /// on.
    pub fn hold(&self) {
        self.door.drain();
    }

    /// Cuts all connections, tells those that wait for an owner to try again, and waits for that a moment.
    pub async fn close(&self) {
        self.door.close(CLOSE_PATIENCE).await;
    }

    /// What was carried at this port so far, by earlier relays too.
    #[must_use]
    pub fn figures(&self) -> RelayFigures {
        self.traffic.figures(self.protocol)
    }
}

/// Carries connections.
#[derive(Clone)]
struct Carrier {
    config: RelayConfig,
    here: SocketAddr,
    closing: CancellationToken,
    hush: Arc<Hush>,
}

/// How a connection begins.
enum Opening {
    /// It goes to the owner, after these bytes.
    Carried(Bytes),
    /// It is answered here.
    Answered(Bytes),
    /// It is closed without a word.
    Dropped,
}

impl Serve for Carrier {
    const NAME: &'static str = "relay";

    async fn serve<R, W>(self, mut reader: R, writer: W, origin: Origin, mut pass: Pass)
    where
        R: AsyncRead + Unpin + 'static,
        W: AsyncWrite + Unpin + 'static,
    {
        let load = self.config.traffic.load(self.config.protocol);
        let _open = load.enter();
        let said = match self.opening(&mut reader, &pass).await {
            Opening::Carried(said) => said,
            Opening::Answered(answer) => return part(reader, writer, answer).await,
            Opening::Dropped => return,
        };
        let dialled = tokio::select! {
            biased;
            () = self.closing.cancelled() => Err("this node takes another part; try again".to_owned()),
            dialled = self.dial(origin.peer()) => dialled,
        };
        let (owner, target) = match dialled {
            Ok(dialled) => dialled,
            Err(why) => {
                load.refused();
                self.say(origin.peer(), &why);
                let page = self.page(&mut reader, said, &pass).await;
                return part(reader, writer, words::unavailable(&self.config, why, page)).await;
            }
        };
        pass.greeted();
        tokio::select! {
            biased;
            // First, so that what has come by now is passed on: it may be the last words of an owner that gives up in order.
            () = carry((reader, writer), owner.into_split(), said, load) => {}
            () = self.closing.cancelled() => {}
            () = self.replaced(&target) => load.cut(),
        }
    }

    fn excuse(&self, why: Excuse) -> Bytes {
        match why {
            Excuse::TooMany(max) => words::too_many(&self.config, max),
            // The port itself is opened without it.
            Excuse::SpeaksTls => Bytes::new(),
        }
    }
}

impl Carrier {
    /// Reads as much of an HTTP connection as shows whether it is a probe. Everything else goes on as it is.
    async fn opening(&self, reader: &mut (impl AsyncRead + Unpin), pass: &Pass) -> Opening {
        if self.config.protocol != Protocol::Http || self.config.tls {
            return Opening::Carried(Bytes::new());
        }
        let mut said = BytesMut::with_capacity(OPENING_BYTES);
        let reading = async {
            loop {
                match reader.read_buf(&mut said).await {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                }
                match look(&said) {
                    Line::Unfinished => {}
                    Line::Other => return Some(None),
                    Line::Probe(probe) => return Some(Some(probe)),
                }
            }
        };
        let read = timeout_at(pass.deadline(), reading).await;
        match read {
            Ok(Some(None)) => Opening::Carried(said.freeze()),
            Ok(Some(Some(probe))) => Opening::Answered(self.answer(probe)),
            Err(_) if !said.is_empty() => Opening::Answered(Bytes::from_static(words::LATE.as_bytes())),
            // Gone, or a browser's connection in reserve.
            Ok(None) | Err(_) => Opening::Dropped,
        }
    }

    fn answer(&self, probe: Probe) -> Bytes {
        match probe {
            Probe::Health { body } => words::fine("ok\n", body),
            Probe::Ready { body } if self.config.owner.borrow().is_some() => words::fine("ready\n", body),
            Probe::Ready { body } => words::not_ready(body),
            Probe::Metrics { body } => words::metrics(&self.config, body),
        }
    }

    /// In which languages somebody is to be told in a page that there is no owner: one who sits before a browser. `said` is what was
    /// read of the request; the rest of its head is waited for a moment.
    async fn page(&self, reader: &mut (impl AsyncRead + Unpin), said: Bytes, pass: &Pass) -> Option<String> {
        if self.config.protocol != Protocol::Http || self.config.tls {
            return None;
        }
        let mut head = BytesMut::from(said);
        let reading = async {
            while !is_whole(&head) && head.len() < HEAD_BYTES_MAX {
                if !reader.read_buf(&mut head).await.is_ok_and(|read| read > 0) {
                    break;
                }
            }
        };
        let deadline = pass.deadline().min(Instant::now() + HEAD_WAIT);
        let _ = timeout_at(deadline, reading).await;
        languages_of_page(&head)
    }

    /// A connection to the owner. Waits for one, and for one that is gone to come back or to be replaced, within [`OWNER_WAIT`].
    async fn dial(&self, peer: SocketAddr) -> Result<(TcpStream, Target), String> {
        let mut owner = self.config.owner.clone();
        let deadline = Instant::now() + OWNER_WAIT;
        let mut why = "no node owns the queues at this moment; try again".to_owned();
        loop {
            let known = owner.borrow_and_update().clone();
            let again = match known {
                None => deadline,
                Some(target) => match self.connect(&target, peer).await {
                    Ok(stream) => return Ok((stream, target)),
                    Err(error) => {
                        why = format!("the owner at {} cannot be reached ({error}); try again", target.at);
                        deadline.min(Instant::now() + REDIAL)
                    }
                },
            };
            if Instant::now() >= deadline {
                return Err(why);
            }
            tokio::select! {
                changed = owner.changed() => if changed.is_err() { return Err(why) },
                () = sleep_until(again) => {}
            }
        }
    }

    /// Resolves when somebody else than `target` is the owner.
    async fn replaced(&self, target: &Target) {
        let mut owner = self.config.owner.clone();
        if owner.wait_for(|owner| owner.as_ref().is_some_and(|owner| owner != target)).await.is_err() {
            // Who knew the owner is gone; whoever that was closes the relay.
            std::future::pending::<()>().await;
        }
    }

    /// Connects, and says who the peer is where that is understood.
    async fn connect(&self, target: &Target, peer: SocketAddr) -> std::io::Result<TcpStream> {
        let connecting = async {
            let mut stream = TcpStream::connect(&*target.at).await?;
            settle(&stream);
            if let Some(key) = &target.key {
                let (door, now) = (self.config.protocol.name(), self.config.clock.system_wall());
                stream.write_all(&key.introduce(door, peer, self.here, now)).await?;
            }
            Ok(stream)
        };
        timeout(CONNECT_MAX, connecting)
            .await
            .map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?
    }

    fn say(&self, peer: SocketAddr, why: &str) {
        if let Some(left_out) = self.hush.pass() {
            let door = self.config.protocol.name();
            tracing::warn!(door, %peer, why, left_out, "connection not carried to the owner");
        }
    }
}

#[cfg(test)]
#[path = "relay/relay_test.rs"]
mod tests;
