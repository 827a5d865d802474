//! The queue: a state machine that takes commands and returns effects.
//!
//! ```text
//!     Command + now ──► Queue::apply ──► Effects { writes, outs }
//!                                          │        │
//!                      store (one group) ◄─┘        └─► replies, deliveries, notices:
//!                      durable up to n ──► Durable(n)    at once, or when their commit is durable
//! ```
//!
//! # What is in memory
//! Running jobs, a window of the ready jobs (`ready`), a window of the timers (`timers`), and the last finished jobs
//! (`finished`). The rest of a backlog, the dead and the kept results rest in the store; `filter` tells which ids
//! may be there. A job that has just gone to rest is remembered in `resting` until its commit is durable, so that
//! no answer of the store that is older than the queue's own decisions can be believed.

mod admin;
mod chunks;
mod command;
mod effect;
mod enqueue;
mod filter;
mod finished;
mod handouts;
mod ids;
pub mod invariants;
mod leases;
mod machine;
mod marks;
pub mod read;
mod ready;
mod recover;
mod report;
mod resting;
mod snapshot;
mod timers;
mod waiting;
mod window;

pub use chunks::ChunkShape;
pub use command::{Command, Known, Lookup, NewJobs, Stored, Trace};
pub use effect::{Effects, LoadFrom, Out, Refusal, Release, Reply, Ticket};
pub use handouts::Marks;
pub use machine::{Deadline, Dispatch, Queue, Totals, Tuning, Window};
pub use marks::{HandOut, LeaseMark, QueueRecord};
pub use recover::Recovery;

#[cfg(test)]
mod bounds_test;
#[cfg(test)]
mod rules_test;
