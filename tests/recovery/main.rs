//! What the store survives: a process that is killed, a power cut, a full disk, damaged files.
//!
//! Each suite has a small number of rounds that fits into every run, and an environment variable for more:
//!
//! | suite | variable | rounds by default |
//! |---|---|---|
//! | [`corruption`] | `WINDLASS_CORRUPTION_TRIALS` | 1,000 |
//! | [`power_cut`] | `WINDLASS_POWER_CUTS` | 6 |
//! | [`killed`] | `WINDLASS_STORE_KILLS` | 12 |
//! | [`disk_full`] | – | 1 |
//!
//! `WINDLASS_SEED` repeats a run. Suites that need root (mounts) say why they are skipped where it is missing.

#![expect(clippy::unwrap_used, reason = "a test's helpers are tests, and fail like them")]

mod corruption;
mod disk_full;
mod killed;
mod power_cut;
mod support;
mod writer;
