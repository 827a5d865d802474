//! Real processes, killed, stopped and made to fail, with a history that is checked for every promise.
//!
//! `WINDLASS_CHAOS=1000 cargo test -p windlass-tests --test histories -- --nocapture` repeats the faults a thousand times.

mod full;
mod kills;
mod panics;
mod pauses;
mod points;
mod soak;
