//! What happens at the ports before anybody is known: TLS and whom it trusts, limits on strangers, input that is none.
//!
//! `WINDLASS_MALFORMED=100000 cargo test -p windlass-tests --release --test doors malformed` throws that many at each port.

mod files;
mod limits;
mod malformed;
mod mixed;
mod renewal;
mod tls;
mod trust;
