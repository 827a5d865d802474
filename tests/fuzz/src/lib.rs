//! What the fuzz targets call: the very functions that `tests/decoders` runs in every build.

#[cfg(feature = "node")]
#[path = "../../decoders/node_targets.rs"]
pub mod node_targets;
#[path = "../../decoders/targets.rs"]
pub mod targets;
