//! Runs seeds of the simulation and ends in a verdict.

mod command;

fn main() -> std::process::ExitCode {
    command::main()
}
