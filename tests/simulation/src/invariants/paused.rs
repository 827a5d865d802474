//! **Promise.** A paused queue hands nothing out, from the moment it decided to pause; once confirmed, across restarts.
//!
//! **How it is judged.** At each hand-out, by the book and by what the operator heard last.

use std::collections::BTreeMap;

use super::{Verdict, wrong};
use crate::facts::Facts;
use crate::history::Event;

const NAME: &str = "paused queues rest";

/// The judge.
#[derive(Debug, Default)]
pub struct Judge {
    /// Queues that the operator knows to be paused.
    known: BTreeMap<usize, ()>,
}

impl Judge {
    pub(super) fn hear(&mut self, event: &Event, facts: &Facts) -> Verdict {
        match event {
            Event::PauseSent { queue, paused: false, .. } => {
                self.known.remove(queue);
            }
            // An order to go on may still be under way, sent before and heard later.
            Event::PauseOk { queue, paused: true, .. } if facts.queues[*queue].is_paused() => {
                self.known.insert(*queue, ());
            }
            Event::Paused { queue, paused: false, .. } => {
                self.known.remove(queue);
            }
            Event::HandedOut { key, .. } if facts.queues[key.0].is_paused() => {
                return wrong(NAME, *key, "handed out by a queue that has paused");
            }
            Event::HandedOut { key, .. } if self.known.contains_key(&key.0) => {
                return wrong(NAME, *key, "handed out by a queue that was confirmed to be paused");
            }
            _ => {}
        }
        Ok(())
    }
}
