//! The node: everything put together, started in one order and stopped in another.
//!
//! A node has a thread of its own with one arbiter for all actors, so it can be embedded in a program or a test as well as be
//! the program. HTTP runs on two more threads, the store writer on one.
//!
//! # Start order
//! 1. doors are bound, so that a taken port is an error before anything else happens; nobody is served yet
//! 2. the store is opened, its writer started
//! 3. queues are rebuilt, with their leases
//! 4. hub, schedules, requests
//! 5. gossip
//! 6. doors are opened: Faktory, which first makes reservations of the leases of the last run, native, then HTTP
//!
//! # Stop order
//! 1. what operators have asked for is done and answered, a drain for one
//! 2. no new connections; peers are told, so that they reconnect elsewhere or later; pages' streams end
//! 3. HTTP finishes what it is doing
//! 4. schedules fire no more
//! 5. queues make durable what they have taken on, and its answers leave
//! 6. Faktory and native connections end; workers keep their jobs and come back with them
//! 7. gossip ends
//! 8. the writer commits what is left and closes the store
//!
//! Stopping twice is legal, and so is stopping a node that has ended by itself.

mod board;
mod config;
mod descriptors;
mod http;
mod kin;
mod knock;
mod local;
mod ports;
mod run;
mod running;
mod terms;

pub use config::{FAKTORY_PORT, GOSSIP_PORT, HTTP_PORT, Memory, NATIVE_PORT, NodeConfig};
pub use local::LocalNode;
pub use running::{Node, RunningNode};

use std::net::SocketAddr;

use crate::cluster::GossipError;
use crate::door::TlsError;
use crate::queue::RecoverError;
use crate::schedules::LoadError;
use crate::store::OpenError;

/// Why a node did not start. Nothing is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address that others can reach, without anything that keeps them out.
    #[error(
        "{door} would listen on {addr}, which others can reach, and there is no access token: start once with 127.0.0.1, run \
         `windlass token create NAME --role admin` and start again, or give --admin-token-file, or insist with --insecure-bind"
    )]
    Exposed {
        /// Which door.
        door: &'static str,
        /// Its address.
        addr: SocketAddr,
    },
    /// An address that cannot be bound.
    #[error("{door} cannot listen on {addr}: {source}")]
    Bind {
        /// Which door.
        door: &'static str,
        /// Its address.
        addr: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// Certificate or key cannot be used.
    #[error("TLS: {0}")]
    Tls(#[from] TlsError),
    /// Times that do not fit together.
    #[error("{0}")]
    Timing(String),
    /// The database that is to be shared cannot be used.
    #[error("{0}")]
    Database(String),
    /// The store was not opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The queues cannot be rebuilt.
    #[error("the store cannot be read: {0}")]
    Recover(#[from] RecoverError),
    /// The schedules cannot be loaded.
    #[error("the schedules cannot be loaded: {0}")]
    Schedules(#[from] LoadError),
    /// The gossip cannot start.
    #[error(transparent)]
    Gossip(#[from] GossipError),
    /// The system gives no thread, or no runtime.
    #[error("the system gives no thread: {0}")]
    System(#[from] std::io::Error),
    /// Something that should not happen.
    #[error("the node did not start: {0}")]
    Failed(String),
}
