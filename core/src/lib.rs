//! The domain of Windlass: what a job is, how a queue behaves, what a store must promise, what travels on the wire.
//!
//! This crate is pure. It has no runtime, no actor, no socket, no thread, no clock and no randomness: time and
//! seeds are arguments, and every decision is returned as plain data ([`queue::Effects`]) that the outside carries out.
//! That is what makes thousands of simulated crashes per second possible, so no rule of a queue may live elsewhere.
//!
//! # Map
//! - [`id`], [`time`], [`limits`], [`near`]: the small vocabulary.
//! - [`job`]: what a client submits, what the store keeps, the states and their transitions.
//! - [`retry`]: attempt and seed to delay.
//! - [`queue`]: the state machine, `apply(now, command) -> effects`.
//! - [`schedule`]: cron and intervals, the rule at daylight-saving changes.
//! - [`cluster`]: who owns a shard of a shared store, and how an owner knows that it no longer does.
//! - [`store`]: the contract of an engine, the memory engine, the conformance suite.
//! - [`api`]: requests and responses, the same for the wire, HTTP and the dashboard.
//! - [`access`]: roles, tokens, what each may do.
//! - [`filter`]: the language in which jobs are looked for.
//! - [`wire`]: frames, handshake, codec.
//!
//! # Invariants
//! - An effect that promises durability is [`queue::Release::Durable`] and leaves only after its commit.
//! - A refusal changes nothing.
//! - Nothing here reads a clock or iterates a randomly ordered map.

pub mod access;
pub mod api;
pub mod cluster;
pub mod filter;
pub mod id;
pub mod job;
pub mod limits;
pub mod near;
pub mod queue;
pub mod retry;
pub mod schedule;
pub mod store;
pub mod time;
pub mod wire;
