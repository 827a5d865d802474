//! Faults of the machine around real processes: disks that fail or are slow, limits that are reached, clocks that jump, wires
//! that lose what they carry. In each, nothing that was confirmed is lost, nothing refused appears, what is wrong is said in
//! typed errors, and the service goes on by itself where that is promised.
//!
//! `WINDLASS_CHAOS=100 cargo test -p windlass-tests --test faults` repeats each fault a hundred times. What a machine cannot
//! do is skipped with a `SKIP(reason)` and counted in the last line.

mod account;
mod disk;

use std::process::ExitCode;

use windlass_tests::process::cycles;
use windlass_tests::runner;
use windlass_tests::trial;

fn main() -> ExitCode {
    let trials = [
        trial!(disk::a_failed_sync_stops_the_store_and_loses_nothing),
        trial!(disk::a_failed_write_stops_the_store_and_loses_nothing),
        trial!(disk::an_idle_store_that_fails_says_so),
        trial!(disk::a_disk_that_says_full_is_waited_for),
        trial!(disk::short_writes_are_completed),
        trial!(disk::a_slow_disk_ends_no_lease),
    ];
    runner::run("faults", &trials, cycles(1))
}
