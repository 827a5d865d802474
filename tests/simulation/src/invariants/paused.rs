//! **Promise.** A paused queue hands nothing out, from the moment it decided to pause; once confirmed, across restarts.
//!
//! **How it is judged.** At each hand-out, by the book and by what the operator heard last. And no order is confirmed that the
//! queue has not carried out.

use std::collections::{BTreeMap, BTreeSet};

use super::{Verdict, Wrong, wrong};
use crate::facts::Facts;
use crate::history::Event;

const NAME: &str = "paused queues rest";

/// The judge.
#[derive(Debug, Default)]
pub struct Judge {
    /// Queues that the operator knows to be paused.
    known: BTreeSet<usize>,
    /// Orders that a queue has carried out.
    done: BTreeSet<u64>,
    /// The last of them by queue.
    last: BTreeMap<usize, u64>,
}

impl Judge {
    pub(super) fn hear(&mut self, event: &Event, facts: &Facts) -> Verdict {
        match event {
            Event::PauseSent { queue, paused: false, .. } => {
                self.known.remove(queue);
            }
            Event::PauseOk { call, queue, paused } if !self.done.contains(call) => {
                let what = format!("queue {queue} was confirmed to be paused ({paused}), and never did it");
                return Err(Wrong { invariant: NAME, what, key: None });
            }
            // Another order may have been carried out since.
            Event::PauseOk { call, queue, paused: true } if self.last.get(queue) == Some(call) => {
                self.known.insert(*queue);
            }
            Event::Paused { call, queue, paused, .. } => {
                self.done.insert(*call);
                self.last.insert(*queue, *call);
                if !paused {
                    self.known.remove(queue);
                }
            }
            Event::HandedOut { key, .. } if facts.queues[key.0].is_paused() => {
                return wrong(NAME, *key, "handed out by a queue that has paused");
            }
            Event::HandedOut { key, .. } if self.known.contains(&key.0) => {
                return wrong(NAME, *key, "handed out by a queue that was confirmed to be paused");
            }
            _ => {}
        }
        Ok(())
    }
}
