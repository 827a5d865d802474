//! What is shared between a session's actor, its writer, and the answers that come back from queues: the frames to send,
//! the requests under way, the leases held.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use windlass_core::id::{JobId, QueueName};
use windlass_core::time::Mono;
use windlass_core::wire::{ServerFrame, Token, encode_frame};

use super::{CALLS_IN_FLIGHT_MAX, OUTGOING_BYTES_MAX};
use crate::queue::QueueHandle;

/// The shared part of one connection.
pub(super) struct Link {
    /// Number of the session; later sessions have larger ones.
    pub session: u64,
    /// Ends the connection at once: the peer is gone, too slow, replaced or lost.
    pub broken: CancellationToken,
    /// Ends the connection after everything is sent.
    pub finish: CancellationToken,
    outgoing: Mutex<BytesMut>,
    wake: Notify,
    calls: AtomicU32,
    seen: AtomicU64,
    free_slots: AtomicU32,
    quiet: AtomicBool,
    leases: Mutex<Leases>,
}

#[derive(Default)]
struct Leases {
    /// By their tokens: a job may come back to this worker while the answer to its last report is on its way.
    held: HashMap<QueueName, HashSet<Token, foldhash::fast::RandomState>>,
    /// Queues that know this worker, to be told when it is gone.
    touched: BTreeMap<QueueName, QueueHandle>,
    subscribed: Subscribed,
}

/// What a worker has asked for, for lists.
#[derive(Debug, Clone, Default)]
pub(super) struct Subscribed {
    pub queues: Vec<(QueueName, u32)>,
    pub strict: bool,
}

/// A request under way; counted until it is answered.
pub(super) struct CallGuard(Arc<Link>);

impl Drop for CallGuard {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Link {
    pub(super) fn new(now: Mono) -> Arc<Link> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Link {
            session: NEXT.fetch_add(1, Ordering::Relaxed),
            broken: CancellationToken::new(),
            finish: CancellationToken::new(),
            outgoing: Mutex::default(),
            wake: Notify::new(),
            calls: AtomicU32::new(0),
            seen: AtomicU64::new(now.0),
            free_slots: AtomicU32::new(0),
            quiet: AtomicBool::new(false),
            leases: Mutex::default(),
        })
    }

    /// Sends a frame, or ends the connection when the peer is too far behind.
    pub(super) fn send(&self, frame: &ServerFrame) {
        let mut outgoing = self.outgoing();
        encode_frame(&mut outgoing, frame);
        if outgoing.len() > OUTGOING_BYTES_MAX {
            *outgoing = BytesMut::new();
            self.broken.cancel();
        }
        drop(outgoing);
        self.wake.notify_one();
    }

    /// Bytes that wait to be sent.
    pub(super) fn outgoing_bytes(&self) -> usize {
        self.outgoing().len()
    }

    /// Everything that waits to be sent; waits while there is nothing.
    pub(super) async fn next_outgoing(&self) -> BytesMut {
        loop {
            let chunk = std::mem::take(&mut *self.outgoing());
            if !chunk.is_empty() {
                return chunk;
            }
            self.wake.notified().await;
        }
    }

    /// What is left to be sent, without waiting.
    pub(super) fn take_outgoing(&self) -> BytesMut {
        std::mem::take(&mut *self.outgoing())
    }

    fn outgoing(&self) -> MutexGuard<'_, BytesMut> {
        // Plain bytes: a panic of somebody else cannot leave them half changed in a way that matters.
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request in; `None` when too many are under way.
    pub(super) fn begin_call(self: &Arc<Self>) -> Option<CallGuard> {
        let before = self.calls.fetch_add(1, Ordering::Relaxed);
        let guard = CallGuard(Arc::clone(self));
        (before < CALLS_IN_FLIGHT_MAX).then_some(guard)
    }

    pub(super) fn saw(&self, now: Mono) {
        self.seen.store(now.0, Ordering::Relaxed);
    }

    /// Milliseconds since the last sign of life.
    pub(super) fn silent_ms(&self, now: Mono) -> u64 {
        now.0.saturating_sub(self.seen.load(Ordering::Relaxed))
    }

    pub(super) fn set_free_slots(&self, slots: u32) {
        self.free_slots.store(slots, Ordering::Relaxed);
    }

    pub(super) fn free_slots(&self) -> u32 {
        self.free_slots.load(Ordering::Relaxed)
    }

    pub(super) fn set_quiet(&self) {
        self.quiet.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.quiet.load(Ordering::Relaxed)
    }

    fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The worker holds these leases from now on.
    pub(super) fn hold(&self, queue: &QueueName, leases: impl IntoIterator<Item = (JobId, Token)>) {
        let mut new = leases.into_iter().peekable();
        if new.peek().is_some() {
            let tokens = new.map(|(_, token)| token);
            self.leases().held.entry(queue.clone()).or_default().extend(tokens);
        }
    }

    /// The worker holds these leases no longer.
    pub(super) fn let_go(&self, queue: &QueueName, leases: impl IntoIterator<Item = (JobId, Token)>) {
        let mut state = self.leases();
        if let Some(held) = state.held.get_mut(queue) {
            for (_, token) in leases {
                held.remove(&token);
            }
            if held.is_empty() {
                state.held.remove(queue);
            }
        }
    }

    /// Queues in which the worker holds leases.
    pub(super) fn lease_queues(&self) -> Vec<QueueName> {
        self.leases().held.keys().cloned().collect()
    }

    /// How many leases the worker holds.
    pub(super) fn held_count(&self) -> usize {
        self.leases().held.values().map(HashSet::len).sum()
    }

    /// The queue will know this worker.
    pub(super) fn touch(&self, queue: &QueueHandle) {
        self.leases().touched.entry(queue.name().clone()).or_insert_with(|| queue.clone());
    }

    /// Queues that know this worker.
    pub(super) fn touched(&self) -> Vec<QueueHandle> {
        self.leases().touched.values().cloned().collect()
    }

    pub(super) fn subscribe(&self, subscribed: Subscribed) {
        self.leases().subscribed = subscribed;
    }

    pub(super) fn subscribed(&self) -> Subscribed {
        self.leases().subscribed.clone()
    }
}
