//! Real processes, real sockets, real signals: what the server promises when things die.
//!
//! `WINDLASS_CHAOS=100 cargo test -p windlass-tests --test chaos` repeats each fault a hundred times.

mod backlog;
mod delays;
mod disk_full;
mod garbage;
mod kill_server;
mod worker_loss;
