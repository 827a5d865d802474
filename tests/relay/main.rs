//! Standbys that carry connections to the owner, and clients that know several addresses, with real nodes and clients.

mod carried;
mod moves;
mod standby;
