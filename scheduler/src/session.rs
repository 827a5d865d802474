//! The native door: an actor per connection. The session of a worker is the worker's actor on the server.
//!
//! ```text
//!   socket ──► reader ──frames, in batches──► SessionActor ──ops per queue──► queue actors
//!   socket ◄── writer ◄── Outgoing ◄── replies, deliveries ◄─────────────────────┘
//! ```
//!
//! A session decides nothing about jobs. It keeps a worker's credit (`fetch`), remembers which leases it holds so that one
//! heartbeat renews them all, and tells the `hub` when it ends.
//!
//! Every buffer has a bound: frames are limited before memory is taken for them, large frames share one budget, requests under
//! way are counted, and a peer that does not read what it is sent is closed.

mod actor;
mod connection;
mod fetch;
mod hub;
mod joins;
mod link;
mod listener;
mod nodes;
mod poll;
mod worker;

pub use hub::{Hub, HubParts, Listed};
pub use listener::open;
pub(crate) use listener::refusal;
pub use nodes::Peers;
pub use poll::{PollParts, Polls};

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use windlass_core::limits;

use crate::access::Access;
use crate::api::ApiHandle;
use crate::chance::Chance;
use crate::clock::Clock;
use crate::door::{Hush, Places};
use crate::queue::Registry;

/// Requests of one connection that may be under way; more are answered with `Busy`. Waits for results count too.
pub const CALLS_IN_FLIGHT_MAX: u32 = 8_192;
/// Bytes of jobs on their way into queues, over all connections, where nobody says otherwise; more are answered with `Busy`.
pub const ENQUEUE_BYTES_DEFAULT: usize = 64 * 1024 * 1024;
/// Bytes that wait to be sent to one peer; a peer that is further behind is closed.
pub const OUTGOING_BYTES_MAX: usize = 48 * 1024 * 1024;
/// Bytes that wait to be sent to a worker, above which it is given no more jobs for the moment.
pub const OUTGOING_BYTES_SOFT: usize = 4 * 1024 * 1024;
/// Time without any progress after which a peer that does not read is closed.
pub const WRITE_STALL_MS_MAX: u64 = 10_000;
/// Time that a started frame may take to arrive.
pub const FRAME_MS_MAX: u64 = 30_000;
/// Buffer of a connection that costs nobody a share of the budget.
pub const READ_BUFFER_BYTES: usize = 64 * 1024;
/// Bytes of large frames that may be arriving at the same time, over all connections.
pub const ARRIVING_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Frames decoded into one message to the session actor.
pub const FRAMES_PER_MESSAGE_MAX: usize = 512;
/// Messages that wait for one session; a session that is further behind is closed and settles with its leases.
pub const MAILBOX_MESSAGES_MAX: usize = 2_048;
/// Bytes of jobs in one delivery frame, unless a single job is larger.
pub const DELIVER_BYTES_MAX: usize = 1024 * 1024;
/// Jobs asked of a queue at once.
pub const FETCH_JOBS_MAX: u32 = 1_024;

const _: () = assert!(
    OUTGOING_BYTES_MAX > windlass_core::limits::FRAME_BYTES_MAX * 2,
    "a full frame fits behind another"
);
const _: () =
    assert!(ARRIVING_BYTES_MAX >= 2 * windlass_core::limits::FRAME_BYTES_MAX, "two can send at once");

/// What the node says about itself to a peer.
#[derive(Debug, Clone, Default)]
pub struct Greeting {
    /// Server name and version.
    pub server: String,
    /// Stable id of the node.
    pub node: String,
    /// Gossip address, empty without gossip.
    pub gossip_addr: String,
    /// Gossip cluster id.
    pub cluster: String,
}

/// How far the node's stop has come, as far as sessions are concerned.
#[derive(Debug, Clone, Default)]
pub struct Phases {
    /// Peers are told that the server is about to stop.
    pub draining: CancellationToken,
    /// Connections end.
    pub closing: CancellationToken,
}

/// What all sessions share.
#[derive(Clone)]
pub struct SessionParts {
    /// The queues.
    pub registry: Registry,
    /// Everything else that can be asked.
    pub api: ApiHandle,
    /// The workers.
    pub hub: Hub,
    /// The node's clock.
    pub clock: Clock,
    /// Where draws between queues come from.
    pub chance: Chance,
    /// What peers are told.
    pub greeting: Arc<Greeting>,
    /// The nodes that clients are told of; `None` where there can be no others.
    pub peers: Option<Peers>,
    /// Who is let in.
    pub access: Access,
    /// Interval of heartbeats.
    pub heartbeat_ms: u64,
    /// Silence after which a worker is lost.
    pub lease_ms: u64,
    /// Time a lost session has to come back.
    pub resume_grace_ms: u64,
    /// Shared bounds.
    pub budget: Arc<Budget>,
    /// How far the node's stop has come.
    pub phases: Phases,
}

/// Bounds over all connections.
#[derive(Debug)]
pub struct Budget {
    places: Arc<Places>,
    /// Lines about peers that break rules, of which there may be as many as somebody likes.
    strangers: Hush,
    enqueue_bytes: AtomicUsize,
    enqueue_bytes_max: usize,
    /// One permit per KiB of a large frame that is arriving.
    arriving: Arc<Semaphore>,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget::new(u32::try_from(limits::CONNECTIONS_MAX).unwrap_or(u32::MAX), ENQUEUE_BYTES_DEFAULT)
    }
}

impl Budget {
    /// Bounds with so many connections, for which there are descriptors, and so many bytes of jobs on their way into queues.
    #[must_use]
    pub fn new(connections_max: u32, enqueue_bytes_max: usize) -> Budget {
        Budget {
            places: Arc::new(Places::new(connections_max)),
            strangers: Hush::default(),
            enqueue_bytes: AtomicUsize::new(0),
            enqueue_bytes_max,
            arriving: Arc::new(Semaphore::new(ARRIVING_BYTES_MAX / 1024)),
        }
    }

    /// Open connections.
    #[must_use]
    pub fn connections(&self) -> u32 {
        self.places.taken()
    }

    /// Bounds of the connections.
    fn places(&self) -> Arc<Places> {
        Arc::clone(&self.places)
    }

    /// A share of the bytes on their way into queues; `None` when there is too much already. Given back on drop.
    fn take(self: &Arc<Self>, bytes: usize) -> Option<Share> {
        let before = self.enqueue_bytes.fetch_add(bytes, Ordering::Relaxed);
        let share = Share { budget: Arc::clone(self), bytes };
        // One request alone always passes, or it never would.
        (before == 0 || before.saturating_add(bytes) <= self.enqueue_bytes_max).then_some(share)
    }
}

/// Bytes on their way into a queue.
struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.enqueue_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
