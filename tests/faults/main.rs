//! Faults of the machine around real processes: disks that fail or are slow, limits that are reached, clocks that jump, wires
//! that lose what they carry. In each, nothing that was confirmed is lost, nothing refused appears, what is wrong is said in
//! typed errors, and the service goes on by itself where that is promised.
//!
//! `WINDLASS_CHAOS=100 cargo test -p windlass-tests --test faults` repeats each fault a hundred times. What a machine cannot
//! do is skipped with a `SKIP(reason)` and counted in the last line.

mod account;
mod clock;
mod disk;
mod gossip;
mod limits;
mod wire;

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
        trial!(disk::a_slow_disk_ends_no_lease),
        trial!(limits::descriptors_that_run_out_stop_nobody_inside),
        trial!(limits::a_backlog_larger_than_memory_kills_nobody),
        trial!(limits::a_limit_of_file_sizes_refuses_and_resumes),
        trial!(limits::a_disk_that_fills_up_again_and_again_is_followed),
        trial!(limits::a_disk_without_inodes_is_waited_for),
        trial!(clock::a_clock_of_the_server_that_jumps_stops_nothing),
        trial!(clock::a_clock_of_a_worker_that_jumps_ends_no_lease),
        trial!(gossip::a_flood_of_garbage_costs_no_job),
        trial!(wire::a_partition_costs_seconds, sync),
        trial!(wire::a_worker_that_is_not_heard_costs_seconds, sync),
        trial!(wire::a_link_that_goes_down_costs_seconds, sync),
        trial!(wire::a_worker_that_does_not_hear_ends_its_job, sync),
        trial!(wire::a_blackhole_is_survived, sync),
        trial!(wire::a_worker_without_gossip_keeps_its_job, sync),
        trial!(wire::a_closed_gossip_port_is_survived, sync),
        trial!(wire::a_lossy_wire_only_slows_down, sync),
        trial!(wire::a_slow_wire_ends_no_lease, sync),
    ];
    runner::run("faults", &trials, cycles(1))
}
