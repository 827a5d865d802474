//! **Promise.** What was confirmed is durable; no confirmed job is lost.
//!
//! **How it is judged.** Two ways. An answer that leaves a queue must not be ahead of the disk: its batch is durable by then. And
//! from the producers' side alone: at every crash, and at the end, each job whose enqueue a producer heard confirmed is
//! known in durable form, alive or ended by something that is durable too. (That the store really holds what is durable by
//! the history is the business of [`super::conservation`].)

use std::collections::BTreeSet;

use super::{Verdict, wrong};
use crate::facts::Facts;
use crate::history::{Event, Key};

const NAME: &str = "confirmed jobs are kept";

/// The judge.
#[derive(Debug, Default)]
pub struct Judge {
    confirmed: BTreeSet<Key>,
}

impl Judge {
    pub(super) fn hear(&mut self, event: &Event, facts: &Facts) -> Verdict {
        match event {
            Event::Confirmed { queue, ticket } if *ticket > facts.queues[*queue].tickets.1 => {
                let durable = facts.queues[*queue].tickets.1;
                let what = format!(
                    "an answer of queue {queue} about batch {ticket} left when {durable} was durable"
                );
                Err(super::Wrong { invariant: NAME, what, key: None })
            }
            Event::EnqueueOk { queue, answers, .. } => {
                self.confirmed.extend(answers.iter().map(|(id, _)| (*queue, *id)));
                Ok(())
            }
            // The book still holds what was not durable; it forgets that after this.
            Event::ServerDied => self.finish(facts),
            _ => Ok(()),
        }
    }

    pub(super) fn finish(&self, facts: &Facts) -> Verdict {
        match self.confirmed.iter().find(|key| facts.job(key).solid.life == 0) {
            Some(key) => wrong(NAME, *key, "its enqueue was confirmed, and it was never durable"),
            None => Ok(()),
        }
    }
}
