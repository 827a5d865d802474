//! The core with bugs planted in it.
//!
//! Goal: a checker that never fails proves nothing. Each plant is a plausible mistake; switched on, it must make the simulator or
//! the model test fail. With no switch on, this crate behaves as the core does.
//!
//! Method: `build.rs` copies the core's sources and sets the plants of [`plants`] into the copy, all at once, each behind its
//! switch in [`planted`]. So one build serves every mutant, and the product's sources know nothing of it.

pub mod planted;
pub mod plants;

include!(concat!(env!("OUT_DIR"), "/lib.rs"));
