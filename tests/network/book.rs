//! What everybody saw, in one order: the trace that a replay must repeat byte by byte, and what the rules judge.

use std::cell::Cell;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use windlass_core::api::ErrorCode;
use windlass_core::id::JobId;
use windlass_core::job::JobState;
use windlass_core::store::Epoch;
use windlass_core::wire::{ClientFrame, ServerFrame, Token};

/// A connection, as the server counts them.
pub(crate) type Conn = u64;

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Event {
    /// What the disturber did.
    Fault(String),
    /// The server's process is up.
    Up { epoch: Epoch },
    /// The server's process has ended; what was submitted before `durable_through` is on its disk.
    Down { durable_through: u64 },
    /// The server took a frame off a connection.
    Heard { conn: Conn, frame: ClientFrame },
    /// The server put a frame on a connection.
    Said { conn: Conn, frame: ServerFrame },
    /// The server closed its side.
    Closed { conn: Conn },
    /// The process of a worker begins.
    Born { host: &'static str },
    /// The process of a worker has ended.
    Died { host: &'static str },
    /// A worker was told that a lease is lost.
    Learned { host: &'static str, job: JobId, token: Token },
    /// A handler begins.
    Began { host: &'static str, job: JobId, token: Token, attempt: u32 },
    /// A handler has ended, or was dropped.
    Ended { host: &'static str, job: JobId, token: Token, returned: bool },
    /// A producer was told that its job is taken.
    Confirmed { job: JobId },
    /// A producer was told that its job is not taken.
    NotTaken { job: JobId, code: Option<ErrorCode> },
    /// A producer was told how its job ended, and how many workers it seemed to have taken down.
    Outcome { job: JobId, state: JobState, crashes: u32 },
    /// A producer was told that there is no such job.
    Unknown { job: JobId },
    /// A schedule was taken.
    Scheduled,
}

/// An event and when it happened, in virtual milliseconds.
pub(crate) type Entry = (u64, Event);

/// The book that all hosts of one simulation write in.
#[derive(Clone, Default)]
pub(crate) struct Book {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    entries: Vec<Entry>,
    conns: Conn,
    digest: u64,
}

thread_local! {
    /// The time while no host runs.
    static FROZEN: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Virtual milliseconds since the simulation began.
pub(crate) fn millis() -> u64 {
    FROZEN.get().unwrap_or_else(|| {
        let elapsed = turmoil::sim_elapsed().expect("a host runs, or time is frozen");
        u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX)
    })
}

/// Does something between two steps of the simulation. A host that ends there drops what it had, and its own clock is gone.
pub(crate) fn frozen<T>(now: Duration, act: impl FnOnce() -> T) -> T {
    FROZEN.set(Some(u64::try_from(now.as_millis()).unwrap_or(u64::MAX)));
    let done = act();
    FROZEN.set(None);
    done
}

impl Book {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self, event: Event) {
        let now = millis();
        self.lock().entries.push((now, event));
    }

    pub(crate) fn next_conn(&self) -> Conn {
        let mut inner = self.lock();
        inner.conns += 1;
        inner.conns
    }

    /// Mixes the bytes that one host reads into the trace: where they were cut, and when they came.
    pub(crate) fn digest(&self, host: &str, frame: &ServerFrame) {
        let now = millis();
        let mut inner = self.lock();
        let mut digest = inner.digest ^ now;
        for byte in host.bytes().chain(format!("{frame:?}").bytes()) {
            // FNV-1a.
            digest = (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        inner.digest = digest;
    }

    /// Does what ends a host. The order in which a runtime drops its tasks is its own affair, and nobody's who looks on.
    pub(crate) fn in_any_order(&self, act: impl FnOnce()) {
        let begun = self.lock().entries.len();
        act();
        self.lock().entries[begun..].sort_by_cached_key(|entry| format!("{entry:?}"));
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.lock().entries.clone()
    }

    /// Everything as text.
    pub(crate) fn trace(&self) -> String {
        let inner = self.lock();
        let mut text = String::new();
        for (at, event) in &inner.entries {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{at:>7} {event:?}");
        }
        let _ = writeln!(text, "read by workers and producers: {:016x}", inner.digest);
        text
    }
}
