//! The Faktory door through its socket: what real clients depend on, byte by byte; real clients of several languages, unchanged; and
//! what happens when servers, workers and connections die.
//!
//! Clients from registries (Node, Python, the Rust client's own suite) are installed by name in a directory of the test. Where that is not
//! possible the test prints `SKIP`; with `WINDLASS_REQUIRE_CLIENTS=1` it fails instead, as in CI.

#![expect(clippy::unwrap_used, reason = "a test's helpers are tests, and fail like them")]

mod beats;
mod clients;
mod doors;
mod garbage;
mod kill;
mod peer;
mod protocol;
mod rate;
mod reserved;
mod rust_client;
mod sets;
