//! The `windlass` binary: server, development setup, worker and client in one.

use std::process::ExitCode;

/// Jobs are made on one thread and dropped on another, a few small pieces each. glibc's allocator spends a fifth of the server's
/// time on that, and keeps what a backlog has fragmented.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    windlass_scheduler::cli::main()
}
