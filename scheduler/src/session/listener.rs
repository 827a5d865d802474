//! The native port: accepts connections within the limit, goes on when the system is out of descriptors, stops on request.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{serve, turn_away};
use super::hush::Hush;
use super::{Phases, SessionParts};

/// Wait after a failed accept: mostly there are no descriptors left, and asking at once would only burn the processor.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// Connections that the system holds for us before we accept them.
const BACKLOG: u32 = 1_024;
/// Silence of a connection after which the system asks whether the peer is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// Connections that are told "too many" at the same time; beyond, they are only closed. Their descriptors are some of those
/// that are kept for the node itself, so they are few.
const TURN_AWAY_MAX: usize = 8;

/// An open port: the native one, or that of another protocol.
pub struct Door {
    stop: CancellationToken,
    sessions: TaskTracker,
    phases: Phases,
}

/// Where native connections come from: [`NativePort`], or the network of a simulation.
pub trait Listen: 'static {
    /// What the peer sends.
    type Reader: AsyncRead + Unpin + 'static;
    /// What the peer is sent; shut down in order when the conversation ends.
    type Writer: AsyncWrite + Unpin + 'static;

    /// The next connection, and where it comes from. Dropping the future loses none.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Reader, Self::Writer, SocketAddr)>>;
}

/// The native port, bound but not open: peers may connect and wait.
pub struct NativePort {
    listener: TcpListener,
    addr: SocketAddr,
}

impl NativePort {
    /// Takes the address. Must run on the arbiter.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn bind(addr: SocketAddr) -> std::io::Result<NativePort> {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A restart must not wait until connections of the last run are forgotten by the system.
        socket.set_reuseaddr(true)?;
        socket.bind(addr)?;
        let listener = socket.listen(BACKLOG)?;
        let addr = listener.local_addr()?;
        Ok(NativePort { listener, addr })
    }

    /// The address, with the real port.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Listen for NativePort {
    type Reader = OwnedReadHalf;
    type Writer = OwnedWriteHalf;

    async fn accept(&self) -> io::Result<(OwnedReadHalf, OwnedWriteHalf, SocketAddr)> {
        let (stream, peer) = self.listener.accept().await?;
        // A frame is written as a whole, so waiting for more would only cost time.
        let _ = stream.set_nodelay(true);
        // A client whose machine vanished says nothing for ever; the system finds out. Workers are watched more closely.
        let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE);
        let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive);
        let (reader, writer) = stream.into_split();
        Ok((reader, writer, peer))
    }
}

impl Door {
    /// Starts to accept. Must run on the arbiter.
    #[must_use]
    pub fn open(listener: impl Listen, parts: SessionParts) -> Door {
        Door::start(parts.phases.clone(), |sessions| accept(listener, parts, sessions))
    }

    /// Lets `accept` run until the port takes no more connections; what it spawns on the tracker is waited for at the end.
    pub(crate) fn start<F: Future<Output = ()> + 'static>(
        phases: Phases,
        accept: impl FnOnce(TaskTracker) -> F,
    ) -> Door {
        let door = Door { stop: CancellationToken::new(), sessions: TaskTracker::new(), phases };
        let (stop, accepting) = (door.stop.clone(), accept(door.sessions.clone()));
        actix_rt::spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = accepting => {}
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
        let _ = tokio::time::timeout(patience, self.sessions.wait()).await;
    }
}

async fn accept(listener: impl Listen, parts: SessionParts, sessions: TaskTracker) {
    let turned_away = TaskTracker::new();
    let failures = Hush::default();
    loop {
        let (reader, writer, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if let Some(left_out) = failures.pass() {
                    tracing::warn!(%error, left_out, "accept failed");
                }
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        match parts.budget.connect() {
            Some(connected) => {
                let parts = parts.clone();
                sessions.spawn_local(async move {
                    serve(reader, writer, peer, parts).await;
                    drop(connected);
                });
            }
            None if turned_away.len() < TURN_AWAY_MAX => {
                turned_away.spawn_local(turn_away(reader, writer, peer, Arc::clone(&parts.budget)));
            }
            None => {}
        }
    }
}
