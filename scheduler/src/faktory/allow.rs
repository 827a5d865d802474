//! What each command asks of whoever sends it.

use windlass_core::access::{Caller, Operation, Refused, allows};
use windlass_core::id::QueueName;

use super::command::Command;
use super::desk::Desk;
use super::failure::Report;
use super::input;
use super::pushed::{Pushed, queue_name, read_many};

/// The operation of a command. `None` for what changes and tells nothing: errors, the end.
pub(super) fn operation(command: &Command<'_>) -> Option<Operation> {
    Some(match command {
        Command::Push(_) | Command::PushMany(_) => Operation::Enqueue,
        Command::Fetch(_) | Command::FetchNothing => Operation::Fetch,
        Command::Ack(_) | Command::Fail(_) => Operation::Report,
        Command::Beat(_) => Operation::Heartbeat,
        Command::Info => Operation::GetOverview,
        Command::Flush => Operation::Flush,
        Command::Queue(text) => match text.split_whitespace().next().unwrap_or_default() {
            what if what.eq_ignore_ascii_case("PAUSE") => Operation::PauseQueue,
            what if what.eq_ignore_ascii_case("RESUME") => Operation::ResumeQueue,
            what if what.eq_ignore_ascii_case("REMOVE") => Operation::RemoveQueue,
            // LATENCY, and what is no subcommand.
            _ => Operation::ListQueues,
        },
        Command::Mutate(_) => Operation::Mutate,
        Command::Hello(_)
        | Command::Batch
        | Command::Track
        | Command::End
        | Command::Bare(_)
        | Command::Unknown(_) => return None,
    })
}

/// What of a command goes into the audit log: the operation, and what it is done to.
pub(super) fn noted(command: &Command<'_>) -> Option<(Operation, String)> {
    let operation = operation(command).filter(|operation| operation.is_audited())?;
    let target = match command {
        Command::Queue(text) | Command::Mutate(text) => (*text).to_owned(),
        _ => String::new(),
    };
    Some((operation, target))
}

/// Whether a caller may send this command.
///
/// # Errors
/// [`Refused`].
pub(super) fn may(caller: &Caller, desk: &Desk, command: &Command<'_>) -> Result<(), Refused> {
    let Some(operation) = operation(command) else { return Ok(()) };
    allows(&caller.grant, operation, None)?;
    if !caller.grant.is_limited() {
        return Ok(());
    }
    match queues(desk, command) {
        Some(queues) => queues.iter().try_for_each(|queue| allows(&caller.grant, operation, Some(queue))),
        // It names all queues, or tells of all.
        None => Err(Refused::Limited { operation }),
    }
}

/// The queues that a command is about; `None` for all. What cannot be read is answered with an error later.
fn queues(desk: &Desk, command: &Command<'_>) -> Option<Vec<QueueName>> {
    let now = desk.now().wall;
    match command {
        Command::Push(text) => Some(Pushed::read(text, now).map(|job| job.queue).into_iter().collect()),
        Command::PushMany(text) => {
            let jobs = read_many(text, now).unwrap_or_default();
            Some(jobs.into_iter().filter_map(|job| job.ok().map(|job| job.queue)).collect())
        }
        Command::Fetch(names) => Some(names.iter().filter_map(|name| queue_name(name).ok()).collect()),
        Command::Ack(text) => Some(desk.queue_of(&input::jid_of_ack(text).ok()?).into_iter().collect()),
        Command::Fail(text) => Some(desk.queue_of(&Report::read(text).ok()?.jid).into_iter().collect()),
        Command::Queue(text) => {
            let names: Vec<&str> = text.split_whitespace().skip(1).collect();
            (!names.contains(&"*")).then(|| names.iter().filter_map(|name| queue_name(name).ok()).collect())
        }
        Command::FetchNothing | Command::Beat(_) => Some(Vec::new()),
        Command::Info | Command::Flush | Command::Mutate(_) => None,
        Command::Hello(_)
        | Command::Batch
        | Command::Track
        | Command::End
        | Command::Bare(_)
        | Command::Unknown(_) => Some(Vec::new()),
    }
}
