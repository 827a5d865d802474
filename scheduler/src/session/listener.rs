//! The native port: accepts connections within the limit, goes on when the system is out of descriptors, stops on request.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

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
/// Connections that are told "too many" at the same time; beyond, they are only closed. Their descriptors are some of those
/// that are kept for the node itself, so they are few.
const TURN_AWAY_MAX: usize = 8;

/// The open native port.
pub struct Door {
    stop: CancellationToken,
    sessions: TaskTracker,
    phases: Phases,
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

    /// Starts to accept.
    #[must_use]
    pub fn open(self, parts: SessionParts) -> Door {
        let door = Door {
            stop: CancellationToken::new(),
            sessions: TaskTracker::new(),
            phases: parts.phases.clone(),
        };
        let (stop, sessions) = (door.stop.clone(), door.sessions.clone());
        actix_rt::spawn(async move {
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                () = accept(self.listener, parts, sessions) => {}
            }
        });
        door
    }
}

impl Door {
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

async fn accept(listener: TcpListener, parts: SessionParts, sessions: TaskTracker) {
    let turned_away = TaskTracker::new();
    let failures = Hush::default();
    loop {
        let (stream, peer) = match listener.accept().await {
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
                    serve(stream, peer, parts).await;
                    drop(connected);
                });
            }
            None if turned_away.len() < TURN_AWAY_MAX => {
                turned_away.spawn_local(turn_away(stream, peer, Arc::clone(&parts.budget)));
            }
            None => {}
        }
    }
}
