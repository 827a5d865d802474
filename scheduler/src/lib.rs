//! The Windlass node: actors around the pure core, stores, gossip, doors, and the command line.
//!
//! # Who owns what
//! - [`store`]: opening a store, the sled engine, the group-committing writer.
//! - [`queue`]: an actor per queue; translates messages to `core::queue` commands and carries out the effects.
//! - [`door`]: TCP ports: who is let in, limits before a peer is known, TLS.
//! - [`session`]: an actor per native connection; a worker's session is its actor on the server.
//! - [`faktory`]: the door for clients and workers of the Faktory Work Protocol.
//! - [`relay`]: what a standby does with its ports: it carries connections to the owner.
//! - [`cluster`]: gossip; who is alive.
//! - [`schedules`]: the actor that fires schedules.
//! - [`bulk`]: operations on many jobs.
//! - [`api`]: one dispatcher for every request, whichever door it came through.
//! - [`node`]: the composition root; start order and stop order.
//! - [`fault`]: places at which tests let this process fail.
//! - [`lifeline`]: a part that panics takes the node with it.
//! - [`testing`]: a server inside the process of a test.
//! - [`cli`]: the command line, a client of the node like any other.

pub mod access;
pub mod api;
pub mod bulk;
pub mod chance;
pub mod cli;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod door;
pub mod faktory;
pub mod fault;
pub mod lifeline;
pub mod node;
pub mod queue;
pub mod relay;
pub mod schedules;
pub mod session;
pub mod store;
pub mod telemetry;
pub mod testing;
