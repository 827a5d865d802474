//! The `windlass` binary: server, development setup, worker and client in one.

use std::process::ExitCode;

fn main() -> ExitCode {
    windlass_scheduler::cli::main()
}
