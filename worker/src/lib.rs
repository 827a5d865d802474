//! Windlass for applications: a [`Client`] that enqueues jobs and a [`Worker`] that runs them.
//!
//! # Enqueue
//! ```no_run
//! use std::time::Duration;
//! use windlass_worker::{Client, Job};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), windlass_worker::Error> {
//!     let client = Client::connect("127.0.0.1:7421").await?;
//!     let job = Job::new("send_email", &serde_json::json!({"to": "ada@example.org"}))?
//!         .queue("mail")
//!         .delay(Duration::from_secs(60));
//!     let enqueued = client.enqueue(job).await?; // durable from here on
//!     println!("job {}", enqueued.id);
//!     let receipt: String = client.wait(enqueued.id, Duration::from_secs(90)).await?;
//!     println!("{receipt}");
//!     Ok(())
//! }
//! ```
//!
//! # Run
//! ```no_run
//! use windlass_worker::{JobCtx, Worker};
//!
//! #[derive(serde::Deserialize)]
//! struct SendEmail { to: String }
//!
//! async fn send_email(mail: SendEmail, job: JobCtx) -> Result<String, std::io::Error> {
//!     job.progress(50, "connected").await;
//!     Ok(format!("sent to {} at attempt {}", mail.to, job.attempt()))
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), windlass_worker::Error> {
//!     Worker::builder("127.0.0.1:7421").queues(["mail"]).handle("send_email", send_email).build().run().await
//! }
//! ```
//!
//! A handler may run more than once for a job (its worker was lost, its report did not arrive), never at the same time under
//! two leases that both count: [`JobCtx::token`] grows with every hand-out, and reports with an older one are refused.
//!
//! # Servers
//! `"a.example:7421,b.example:7421"` names several nodes of one cluster; each of them serves, or carries the connection to the one that
//! does. They are tried in turn without a wait in between, a second at most for a machine that does not answer. Between two rounds in
//! which nobody served there is a random wait of at most 50 ms, later up to a second. After a loss the round begins with the next
//! server, since one that stands still takes connections all the same. A server that stops or knows no owner refuses, and is passed
//! over. Only a token that is denied ends the trying, or that all of them refuse the client for what it is.
//!
//! The server tells of the other nodes of its cluster. A connection that turns out to be carried by a node goes over to the owner
//! itself, without losing anything that is under way, as soon as that one can be reached; until then it stays, and tries again now
//! and then. After a loss the owner by the last word is asked first, then the servers that were named, then those that were
//! learnt, at most sixteen. A learnt address is spoken to as the server that told it: under TLS if that was, and then it has to
//! prove the name that *you* gave; and it has to belong to the same cluster. [`ClientBuilder::follow`] and
//! [`WorkerBuilder::follow`] switch all of this off.
//!
//! A worker presents the leases of its running jobs wherever it comes back, and those that the server still knows go on. It gossips
//! with whoever has greeted it.
//!
//! # Map
//! - [`Client`], [`Job`], [`JobKind`], [`Schedule`]: enqueue, wait, steer.
//! - [`Worker`], [`WorkerBuilder`], [`handler`], [`JobCtx`], [`Verdict`]: run.
//! - [`testing`]: run a worker's handlers without any server.

mod address;
mod backoff;
mod blocking;
mod client;
mod connection;
mod context;
mod error;
mod executor;
mod follow;
mod gossip;
pub mod handler;
mod job;
#[doc(hidden)]
pub mod surroundings;
pub mod testing;
mod tls;
mod transport;
mod verdict;
mod worker;

#[cfg(test)]
mod failover_test;
#[cfg(test)]
mod peer_test;

pub use client::{
    BUFFER_BYTES_DEFAULT, BUFFER_JOBS_DEFAULT, BulkError, BulkSummary, Client, ClientBuilder, Connection,
    ConnectionEvent, EnqueueMany, IntoSchedule, Schedule,
};
pub use context::JobCtx;
pub use error::Error;
pub use handler::{
    BlockingHandler, BoxError, FromJob, Handler, JobService, RawPayload, State, ViaContext, ViaPayload,
};
pub use job::{IntoJob, Job, JobKind};
pub use verdict::{IntoVerdict, Verdict, ViaResult, ViaVerdict, ViaVerdictError};
pub use worker::{CANCEL_GRACE_DEFAULT, CONCURRENCY_DEFAULT, STOP_DEADLINE_DEFAULT, Worker, WorkerBuilder};

pub use windlass_core::api::{
    ApiError, Enqueued, ErrorCode, JobPage, JobQuery, JobView, Overview, QueueView, Request, Response,
    ScheduleView, WorkerView,
};
pub use windlass_core::id::{JobId, QueueName, WorkerId};
pub use windlass_core::job::{JobState, Payload};
pub use windlass_core::retry::Backoff;
pub use windlass_core::time::Timestamp;
pub use windlass_core::wire::Token;
