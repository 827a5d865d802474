//! The Faktory port: accepts connections within the limit, stops on request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio_util::task::TaskTracker;
use windlass_core::access::{Caller, Principal};

use super::connection::{Budget, serve};
use super::desk::Desk;
use super::greeting::{Challenge, Hello, Password, hi};
use super::keeper::keep;
use super::reply::Reply;
use crate::access::{Access, Audit};
use crate::session::{Door, Listen, Phases};

/// Wait after a failed accept: mostly there are no descriptors left, and asking at once would only burn the processor.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);
/// Connections that are told "too many" at the same time; beyond, they are only closed.
const TURN_AWAY_MAX: usize = 8;
/// Time that it may take to tell one.
const TURN_AWAY_TIME: Duration = Duration::from_secs(1);

/// What all connections are served with.
#[derive(Clone)]
pub struct FaktoryParts {
    pub(super) desk: Desk,
    pub(super) password: Option<Password>,
    pub(super) access: Access,
    pub(super) audit: Audit,
    pub(super) phases: Phases,
    pub(super) budget: Budget,
    connections_max: u32,
    next_connection: Arc<AtomicU32>,
}

impl FaktoryParts {
    /// Connections at `desk`, at most so many, who know the password or that of a token, if there is one.
    #[must_use]
    pub fn new(
        desk: Desk,
        password: Option<Password>,
        (access, audit): (Access, Audit),
        phases: Phases,
        connections_max: u32,
    ) -> FaktoryParts {
        let next_connection = Arc::new(AtomicU32::new(1));
        FaktoryParts {
            desk,
            password,
            access,
            audit,
            phases,
            budget: Budget::new(),
            connections_max,
            next_connection,
        }
    }

    /// Whether a password is asked for.
    pub(super) fn is_closed(&self) -> bool {
        self.password.is_some() || self.access.is_closed()
    }

    /// Who answers the challenge.
    pub(super) fn recognise(&self, challenge: &Challenge, hello: &Hello) -> Option<Caller> {
        let tokens = self.access.faktory_words();
        let password = self
            .password
            .as_ref()
            .map(|word| (Caller::unlimited(Principal::Password, "faktory password"), word.as_str()));
        let tokens = tokens.iter().map(|(caller, word)| (caller.clone(), word.as_str()));
        challenge.met_by(hello, password.into_iter().chain(tokens))
    }

    /// A number for a connection. After four thousand million they repeat.
    pub(super) fn number_connection(&self) -> u32 {
        self.next_connection.fetch_add(1, Ordering::Relaxed)
    }
}

/// Starts to accept. Must run on the arbiter.
#[must_use]
pub fn open(listener: impl Listen, parts: FaktoryParts) -> Door {
    // Leases are kept to the last: a stop must not look like the death of every worker.
    let (closing, desk) = (parts.phases.closing.clone(), parts.desk.clone());
    actix_rt::spawn(async move {
        tokio::select! {
            biased;
            () = closing.cancelled() => {}
            () = keep(desk) => {}
        }
    });
    Door::start(parts.phases.clone(), |sessions| accept(listener, parts, sessions))
}

async fn accept(listener: impl Listen, parts: FaktoryParts, sessions: TaskTracker) {
    let turned_away = TaskTracker::new();
    loop {
        let (reader, mut writer, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "accept failed");
                tokio::time::sleep(ACCEPT_RETRY).await;
                continue;
            }
        };
        match parts.desk.connect(parts.connections_max) {
            Some(connected) => {
                let parts = parts.clone();
                sessions.spawn_local(async move {
                    serve(reader, writer, peer, parts).await;
                    drop(connected);
                });
            }
            None if turned_away.len() < TURN_AWAY_MAX => {
                let text = format!("too many connections: {}", parts.connections_max);
                turned_away.spawn_local(async move {
                    let mut out = bytes::BytesMut::from(hi(None).as_str());
                    Reply::error(text).write(&mut out);
                    let _ = tokio::time::timeout(TURN_AWAY_TIME, writer.write_all(&out)).await;
                });
            }
            None => {}
        }
    }
}
