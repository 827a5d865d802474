//! How soon the allocator gives memory back to the system.
//!
//! It learns of its settings from the environment alone, and reads them before `main`. So a server that finds none there
//! starts itself over with one, in the same process: a millisecond, once.

use std::os::unix::process::CommandExt;

/// Where the allocator looks.
const PURGE_DELAY: &str = "MIMALLOC_PURGE_DELAY";
/// Milliseconds that memory stays with the process after it was freed. The allocator's own second keeps whatever a burst took, half as
/// much again as the server ever uses at a time; with less than some ten of these milliseconds the same pages come and go.
const PURGE_DELAY_MS: &str = "40";

/// Returns when there is nothing to do: the environment says something already, or the process cannot be started over, which costs
/// some memory and nothing else.
pub(super) fn give_back_soon() {
    if std::env::var_os(PURGE_DELAY).is_some() {
        return;
    }
    let Ok(program) = std::env::current_exe() else { return };
    let mut command = std::process::Command::new(program);
    let mut arguments = std::env::args_os();
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    // It comes back only when the system refused.
    let _ = command.args(arguments).env(PURGE_DELAY, PURGE_DELAY_MS).exec();
}
