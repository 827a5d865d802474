//! The loop that accepts: goes on when the system is out of descriptors, turns away what is too much, stops on request.

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use windlass_core::limits;

use super::hush::Hush;
use super::introduction::Origin;
use super::places::{Pass, Places};
use super::port::{Begun, Listen};
use super::tls::is_gone;
use crate::session::Phases;

/// Wait after a failed accept: mostly there are no descriptors left, and asking at once would only burn the processor.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// Connections that are told "too many" at the same time; beyond, they are only closed. Their descriptors are some of those
/// that are kept for the node itself, so they are few.
const TURN_AWAY_MAX: usize = 8;
/// Time that it may take to tell one.
const EXCUSE_TIME: Duration = Duration::from_secs(2);
/// Bytes that are read and dropped of a peer that is told no, so that what it is told arrives: a close with bytes unread is a
/// reset, which takes the answer with it.
const EXCUSE_BYTES_MAX: usize = 64 * 1024;

/// Why a connection is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Excuse {
    /// There are as many connections as there may be: so many.
    TooMany(u32),
    /// The port speaks TLS and the peer does not.
    SpeaksTls,
}

/// What stands behind a port: one protocol.
pub trait Serve: Clone + 'static {
    /// The protocol's name in log lines.
    const NAME: &'static str;

    /// Serves one connection until it ends. The pass says when hello must have been said, and is told when it was.
    fn serve<R, W>(
        self,
        reader: R,
        writer: W,
        origin: Origin,
        pass: Pass,
    ) -> impl Future<Output = ()> + 'static
    where
        R: AsyncRead + Unpin + 'static,
        W: AsyncWrite + Unpin + 'static;

    /// Says no in the words of the protocol.
    fn excuse(&self, why: Excuse) -> Bytes;
}

/// An open port.
pub struct Door {
    stop: CancellationToken,
    sessions: TaskTracker,
    phases: Phases,
}

impl Door {
    /// Starts to accept. Must run on the arbiter.
    #[must_use]
    pub fn open(listener: impl Listen, serve: impl Serve, places: Arc<Places>, phases: Phases) -> Door {
        let door = Door { stop: CancellationToken::new(), sessions: TaskTracker::new(), phases };
        let (stop, sessions) = (door.stop.clone(), door.sessions.clone());
        let closing = door.phases.closing.clone();
        actix_rt::spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = closing.cancelled() => {}
                () = accept(listener, serve, places, sessions) => {}
            }
        });
        door
    }

    /// Takes no more connections and tells all peers that the server is about to stop. They go on running their jobs.
    pub fn drain(&self) {
        self.stop.cancel();
        self.phases.draining.cancel();
    }

    /// Ends all connections after what waits for them is sent, and waits for that at most `patience`.
    pub async fn close(&self, patience: Duration) {
        self.stop.cancel();
        self.phases.closing.cancel();
        self.sessions.close();
        let _ = timeout(patience, self.sessions.wait()).await;
    }
}

async fn accept<L: Listen>(listener: L, serve: impl Serve, places: Arc<Places>, sessions: TaskTracker) {
    let turned_away = TaskTracker::new();
    let (failures, strangers) = (Hush::default(), Rc::new(Hush::default()));
    loop {
        // Whoever comes while there are too many strangers waits in the system's queue, in order. Turning them away would
        // turn away the good with the bad, and all workers come at once after a restart.
        let stranger = places.stranger().await;
        let (raw, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if let Some(left_out) = failures.pass() {
                    tracing::warn!(%error, left_out, "accept failed");
                }
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        let (serve, strangers) = (serve.clone(), Rc::clone(&strangers));
        match places.take() {
            Some(place) => {
                let deadline = Instant::now() + Duration::from_millis(limits::HANDSHAKE_MS_MAX);
                let pass = Pass::new(place, stranger, deadline);
                sessions.spawn_local(admit::<L, _>(raw, peer, serve, pass, strangers));
            }
            None if turned_away.len() < TURN_AWAY_MAX => {
                let excuse = serve.excuse(Excuse::TooMany(places.max()));
                turned_away.spawn_local(turn_away::<L>(raw, peer, excuse));
                say(&strangers, &serve, peer, "there are too many connections");
            }
            None => say(&strangers, &serve, peer, "there are too many connections"),
        }
    }
}

/// TLS first, where it is on, then the protocol.
async fn admit<L: Listen, S: Serve>(
    raw: L::Raw,
    peer: SocketAddr,
    serve: S,
    pass: Pass,
    strangers: Rc<Hush>,
) {
    match timeout_at(pass.deadline(), L::begin(raw, peer)).await {
        Ok(Ok(Begun::Ready(reader, writer, origin))) => serve.serve(reader, writer, origin, pass).await,
        Ok(Ok(Begun::Plain(reader, writer))) => {
            say(&strangers, &serve, peer, "the peer does not speak TLS, which this port is set to");
            part(reader, writer, serve.excuse(Excuse::SpeaksTls)).await;
        }
        Ok(Err(error)) if is_gone(&error) => {}
        Ok(Err(error)) => say(&strangers, &serve, peer, error),
        Err(_) => say(&strangers, &serve, peer, "the TLS handshake took too long"),
    }
}

/// A line about a stranger, unless there were many.
fn say<S: Serve>(hush: &Hush, _: &S, peer: SocketAddr, why: impl std::fmt::Display) {
    if let Some(left_out) = hush.pass() {
        tracing::warn!(door = S::NAME, %peer, %why, left_out, "connection not taken");
    }
}

async fn turn_away<L: Listen>(raw: L::Raw, peer: SocketAddr, excuse: Bytes) {
    if let Ok(Ok(Begun::Ready(reader, writer, _) | Begun::Plain(reader, writer))) =
        timeout(EXCUSE_TIME, L::begin(raw, peer)).await
    {
        part(reader, writer, excuse).await;
    }
}

/// Says the last word, and sees to it that it arrives.
pub(crate) async fn part(
    mut reader: impl AsyncRead + Unpin,
    mut writer: impl AsyncWrite + Unpin,
    last: Bytes,
) {
    let parting = async {
        writer.write_all(&last).await?;
        writer.shutdown().await?;
        let (mut scrap, mut left) = ([0; 1024], EXCUSE_BYTES_MAX);
        while left > 0 {
            match reader.read(&mut scrap).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        std::io::Result::Ok(())
    };
    // The peer may be gone already; then there is nobody to tell.
    let _ = timeout(EXCUSE_TIME, parting).await;
}
