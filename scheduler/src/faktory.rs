//! The Faktory door: clients and workers of the Faktory Work Protocol, unchanged. A job pushed here is a job like any other,
//! visible and steerable through every other door; a job enqueued elsewhere can be fetched here.
//!
//! ```text
//!   socket ──lines──► connection ──Op──► queue actors
//!                        │   ▲               │
//!             reservation│   │answer         │FromQueue
//!                        ▼   └───────────────┘
//!                       desk ◄── keeper: renews leases, ends those whose time or worker is gone
//! ```
//!
//! - Pure: `line`, `command`, `reply` (the wire), `json`, `jid`, `pushed`, `fetched`, `failure`, `glob`, `greeting` (what stands in
//!   it), `reservations`, `workers` (who holds what, who lives).
//! - [`Desk`] is what all connections share; `keeper` acts on the time that passes; `connection` serves one peer.
//!
//! A session decides nothing about jobs: each command becomes operations on queue actors. What the protocol promises beyond
//! them, such as a reservation that outlives its connection, is kept here on top of leases (docs/adr/0014). Speaks the protocol
//! as real clients meet it; docs/faktory.md says what maps to what.

mod admin;
mod allow;
mod command;
mod connection;
mod desk;
mod failure;
mod fetch;
mod fetched;
mod glob;
mod greeting;
mod handle;
mod info;
mod input;
mod jid;
mod json;
mod keeper;
mod line;
mod listener;
mod mutate;
mod push;
mod pushed;
mod reply;
mod reservations;
mod settle;
mod workers;

pub use desk::{Desk, DeskParts};
pub use greeting::Password;
pub(crate) use listener::refusal;
pub use listener::{FaktoryParts, open};

use std::time::Duration;

use windlass_core::limits;

/// Longest line, in bytes: a `PUSHB` of a thousand jobs, or one job of the largest payload, with room to spare.
pub const LINE_BYTES_MAX: usize = limits::FRAME_BYTES_MAX;
/// Longest line before the peer has said `HELLO`, so that strangers cannot make the server allocate.
pub const LINE_BYTES_MAX_UNGREETED: usize = limits::FRAME_BYTES_MAX_UNGREETED;
/// Buffer of a connection that costs nobody a share of the budget for long lines.
pub const READ_BUFFER_BYTES: usize = 64 * 1024;
/// Bytes of long lines that may be arriving or be worked on at the same time, over all connections.
pub const ARRIVING_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Most connections; the reference allows 2,000.
pub const CONNECTIONS_MAX: u32 = 4_000;
/// Most jobs that may be reserved at the same time, so that clients which fetch and never finish are held up.
pub const RESERVATIONS_MAX: usize = 100_000;
/// Most workers that are remembered at the same time; one more is served, but not listed or watched.
pub const WORKERS_MAX: usize = 10_000;
/// Most queues of one `FETCH`.
pub const FETCH_QUEUES_MAX: usize = limits::WORKER_QUEUES_MAX;
/// Most jobs of one `PUSHB`.
pub const PUSH_JOBS_MAX: usize = limits::BATCH_JOBS_MAX;

/// Time that a `FETCH` waits for a job. Clients give up after 5 s.
const FETCH_WAIT: Duration = Duration::from_secs(2);
/// Time that a started line may take to arrive.
const LINE_TIME: Duration = Duration::from_secs(30);
/// Time that a peer may take to read an answer.
const WRITE_TIME: Duration = Duration::from_secs(10);

const _: () = assert!(ARRIVING_BYTES_MAX >= 2 * LINE_BYTES_MAX, "two can send their longest line at once");
const _: () =
    assert!(LINE_BYTES_MAX > 2 * limits::PAYLOAD_BYTES_MAX, "a job of the largest payload fits into a line");

/// The decoders, for suites that feed them arbitrary bytes.
pub mod fuzz {
    use bytes::BytesMut;
    use windlass_core::time::Timestamp;

    /// Lines and commands, then what each command carries. Returns how many lines there were.
    #[must_use]
    pub fn conversation(bytes: &[u8]) -> usize {
        let mut buffer = BytesMut::from(bytes);
        let mut lines = super::line::Lines::new(super::LINE_BYTES_MAX);
        let mut seen = 0;
        while let Ok(Some(line)) = lines.next(&mut buffer) {
            seen += 1;
            if let Ok(text) = std::str::from_utf8(&line) {
                argument(super::command::Command::read(text));
            }
        }
        seen
    }

    /// A job as `PUSH` brings it, and as `FETCH` hands it out; `None` when it is refused.
    #[must_use]
    pub fn job(text: &str) -> Option<String> {
        let now = Timestamp(1_700_000_000_000);
        super::pushed::Pushed::read(text, now).ok().map(|pushed| pushed.round_trip(now))
    }

    fn argument(command: super::command::Command<'_>) {
        use super::command::Command;
        match command {
            Command::Push(text) => {
                let _ = job(text);
            }
            Command::PushMany(text) => {
                let _ = super::pushed::read_many(text, Timestamp(1_700_000_000_000));
            }
            Command::Ack(text) => {
                let _ = super::input::jid_of_ack(text);
            }
            Command::Fail(text) => {
                let _ = super::failure::Report::read(text).map(|report| report.to_error());
            }
            Command::Beat(text) => {
                let _ = super::input::Beat::read(text);
            }
            Command::Mutate(text) => {
                let _ = super::mutate::Mutation::read(text);
            }
            Command::Hello(text) => {
                let _ = super::greeting::Hello::read(text);
            }
            _ => {}
        }
    }
}
