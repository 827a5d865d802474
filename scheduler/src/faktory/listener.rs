//! What stands behind the Faktory port.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use windlass_core::access::{Caller, Principal};

use super::connection::{Budget, serve};
use super::desk::Desk;
use super::greeting::{Challenge, Hello, Password, hi};
use super::keeper::keep;
use super::reply::Reply;
use crate::access::{Access, Audit};
use crate::door::{Door, Excuse, Listen, Origin, Pass, Serve};
use crate::session::Phases;

/// What all connections are served with.
#[derive(Clone)]
pub struct FaktoryParts {
    pub(super) desk: Desk,
    pub(super) password: Option<Password>,
    pub(super) access: Access,
    pub(super) audit: Audit,
    pub(super) phases: Phases,
    pub(super) budget: Budget,
    next_connection: Arc<AtomicU32>,
}

impl FaktoryParts {
    /// Connections at `desk` who know the password or that of a token, if there is one.
    #[must_use]
    pub fn new(
        desk: Desk,
        password: Option<Password>,
        (access, audit): (Access, Audit),
        phases: Phases,
    ) -> FaktoryParts {
        let next_connection = Arc::new(AtomicU32::new(1));
        FaktoryParts { desk, password, access, audit, phases, budget: Budget::new(), next_connection }
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

impl Serve for FaktoryParts {
    const NAME: &'static str = "faktory";

    async fn serve<R, W>(self, reader: R, writer: W, origin: Origin, pass: Pass)
    where
        R: AsyncRead + Unpin + 'static,
        W: AsyncWrite + Unpin + 'static,
    {
        serve(reader, writer, origin, self, pass).await;
    }

    fn excuse(&self, why: Excuse) -> Bytes {
        refusal(&match why {
            Excuse::TooMany(max) => format!("too many connections: {max}"),
            Excuse::SpeaksTls => "this port speaks TLS; use tcp+tls:// in the URL".to_owned(),
        })
    }
}

/// What a peer is told that is not served.
pub(crate) fn refusal(text: &str) -> Bytes {
    // Clients read a greeting first.
    let mut out = BytesMut::from(hi(None).as_str());
    Reply::error(text).write(&mut out);
    out.freeze()
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
    let (places, phases) = (parts.desk.places(), parts.phases.clone());
    Door::open(listener, parts, places, phases)
}
