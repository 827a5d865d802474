//! **Promise.** Each request is answered once, and no queue finds itself wrong.
//!
//! **How it is judged.** The server keeps who waits; an answer that nobody waits for is a second one. A queue that finds fewer
//! jobs than it has counted says so with a fault, and there is no honest reason for one.

use super::{Verdict, Wrong};
use crate::history::Event;

pub(super) fn hear(event: &Event) -> Verdict {
    let what = match event {
        Event::StrayReply { queue, request } => {
            format!("queue {queue} answered request {request}, which nobody waits for")
        }
        Event::Fault { queue, text } => format!("queue {queue} found itself wrong: {text}"),
        _ => return Ok(()),
    };
    Err(Wrong { invariant: "answered once", what, key: None })
}
