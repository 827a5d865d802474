//! Going over to the owner: who talks through a relay tries the owner's own address, and leaves the relay when that works.

use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use windlass_core::wire::Hello;

use crate::address::{Address, Addresses, Here};
use crate::surroundings::Surroundings;
use crate::transport::{ConnectError, Way, direct};

/// Longest wait before the first attempt: all clients of a node hear of a new owner in the same moment.
const SPREAD: Duration = Duration::from_millis(500);
/// Longest wait before the second attempt, of which at least half is waited; the next ones double it.
const AGAIN_FIRST: Duration = Duration::from_secs(2);
/// Longest wait between two attempts. A firewall seldom changes its mind.
const AGAIN_MAX: Duration = Duration::from_secs(60);

/// The attempts of one client or worker, over all of its connections.
pub(crate) struct Follow {
    hello: Hello,
    surroundings: Surroundings,
    attempt: Option<Attempt>,
    failures: u32,
    /// The owner that is known to be out of reach, so that this is said once.
    said: Option<String>,
    /// Whether the last connection was left for the owner.
    left: bool,
}

struct Attempt {
    owner: String,
    way: BoxFuture<'static, Result<Way, ConnectError>>,
}

impl Follow {
    /// `hello` is that of a client, also for a worker: whether the way is open is tried out by a connection that disturbs no session.
    pub(crate) fn new(hello: Hello, surroundings: Surroundings) -> Follow {
        Follow { hello, surroundings, attempt: None, failures: 0, said: None, left: false }
    }

    /// Looks whether this connection leads to the owner itself, and sees to it that an attempt is under way if it does not.
    pub(crate) fn consider(&mut self, addresses: &Addresses, here: &Here) {
        let Some((owner, cluster)) = addresses.owner() else { return self.rest() };
        if here.is_at(&owner) {
            (self.failures, self.said, self.left) = (0, None, false);
            return self.rest();
        }
        if self.attempt.as_ref().is_some_and(|attempt| attempt.owner == owner.name) {
            return;
        }
        // It was left and led to no owner: the way is not as open as it looked.
        self.failures += u32::from(std::mem::take(&mut self.left));
        self.start(owner, cluster, here.clone());
    }

    fn start(&mut self, owner: Address, cluster: [u8; 16], here: Here) {
        let fraction = self.surroundings.fraction();
        let wait = match self.failures {
            0 => SPREAD.mul_f64(fraction),
            n => {
                let longest = AGAIN_MAX.min(AGAIN_FIRST.saturating_mul(1 << (n - 1).min(16)));
                longest.mul_f64(f64::midpoint(fraction, 1.0))
            }
        };
        let (hello, surroundings) = (self.hello.clone(), self.surroundings.clone());
        let name = owner.name.clone();
        let way = async move {
            tokio::time::sleep(wait).await;
            direct(&owner, cluster, &here, &hello, &surroundings).await
        };
        self.attempt = Some(Attempt { owner: name, way: way.boxed() });
    }

    /// No attempt is wanted.
    pub(crate) fn rest(&mut self) {
        self.attempt = None;
    }

    /// What the attempt under way has come to; waits for ever when there is none. May be dropped at any await.
    pub(crate) async fn tried(&mut self) -> Result<Way, ConnectError> {
        let Some(attempt) = &mut self.attempt else { return std::future::pending().await };
        let way = (&mut attempt.way).await;
        self.attempt = None;
        way
    }

    /// The owner could not be reached, or this is no moment to leave: there will be another attempt, later.
    pub(crate) fn failed(&mut self, why: &str, addresses: &Addresses, here: &Here) {
        let Some((owner, cluster)) = addresses.owner() else { return };
        self.failures = self.failures.saturating_add(1);
        let name = owner.name.clone();
        if self.said.replace(name.clone()).as_ref() == Some(&name) {
            tracing::debug!(owner = name, why, "the connection stays with its relay");
        } else {
            tracing::info!(
                owner = name,
                why,
                "the owner itself cannot be reached; the connection stays with its relay"
            );
        }
        self.start(owner, cluster, here.clone());
    }

    /// The connection is left for the owner.
    pub(crate) fn leave(&mut self, here: &Here) {
        let address = here.address.name.as_str();
        tracing::info!(relay = address, "the connection goes over to the owner");
        self.left = true;
    }
}

#[cfg(test)]
#[path = "follow_test.rs"]
mod tests;
