//! TCP ports: who is let in, how many at a time, how long they have to say who they are, and TLS. Knows no protocol.
//!
//! ```text
//!   Port ──accept──► within the limits? ──► TLS, where it is on ──► Serve: hello, then the conversation
//!                          │ no                    │ not spoken
//!                          └────────► an excuse in the words of the protocol, and the end
//! ```
//!
//! The native and the Faktory port share this loop. HTTP has its own server, on threads of its own, and takes the TLS from here.
//!
//! # Limits before a peer is known
//! - connections in all: what the caller allows, since descriptors are shared out between the doors
//! - connections that have not said hello: [`UNGREETED_MAX`]; the next ones wait in the system's queue
//! - time until TLS and hello are done: [`limits::HANDSHAKE_MS_MAX`]
//! - bytes before hello: [`limits::FRAME_BYTES_MAX_UNGREETED`], and what TLS needs for a handshake, 64 KiB
//!
//! # Relays
//! A node that relays to this one says first for whom (`introduction`). Under TLS that is read here, before the handshake. Without
//! it is left to the protocol (`Origin::settle`), since only that one knows who speaks first.

mod accept;
mod hush;
mod identity;
mod introduction;
mod places;
mod port;
mod stream;
mod tls;

pub use accept::{Door, Excuse, Serve};
pub use identity::{TlsError, TlsFiles};
pub use introduction::{IntroductionKey, Introductions, Origin};
pub use places::{Pass, Places};
pub use port::{Begun, Listen, Port};
pub use stream::{Reader, Stream, Writer};
pub use tls::Tls;

pub(crate) use accept::part;
pub(crate) use hush::Hush;
pub(crate) use port::settle;
pub(crate) use tls::{is_gone, opening};

use windlass_core::limits;

/// Connections of one port that have not said hello yet: each may cost 64 KiB in a TLS handshake, so all of them cost 64 MiB at worst.
pub const UNGREETED_MAX: usize = 1_024;

const _: () = assert!(UNGREETED_MAX < limits::CONNECTIONS_MAX, "strangers alone cannot fill the native port");
