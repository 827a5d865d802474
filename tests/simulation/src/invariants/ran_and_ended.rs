//! **Promise.** At least once: a confirmed job runs and ends, unless somebody cancelled or deleted it, it expired, or it went
//! dead.
//!
//! **How it is judged.** A life that ended as succeeded was received by a worker, which reported success with the token that it
//! was given. At the end no life is still open.

use std::collections::BTreeSet;

use windlass_core::job::JobState;
use windlass_core::wire::{Token, Verdict as Report};

use super::{Verdict, wrong};
use crate::facts::{Facts, Phase};
use crate::history::{Event, Key};

const NAME: &str = "a job runs and ends";

/// The judge.
#[derive(Debug, Default)]
pub struct Judge {
    received: BTreeSet<(Key, Token)>,
    done: BTreeSet<Key>,
}

impl Judge {
    pub(super) fn hear(&mut self, event: &Event) {
        match event {
            Event::Received { key, token, .. } => {
                self.received.insert((*key, *token));
            }
            Event::ReportSent { key, token, verdict: Report::Done(_), .. }
                if self.received.contains(&(*key, *token)) =>
            {
                self.done.insert(*key);
            }
            _ => {}
        }
    }

    pub(super) fn finish(&self, facts: &Facts) -> Verdict {
        for (key, book) in &facts.jobs {
            match book.solid.phase {
                Phase::Live => return wrong(NAME, *key, "it is still open at the end"),
                Phase::Kept(JobState::Succeeded, _) | Phase::Ended(JobState::Succeeded, _)
                    if !self.done.contains(key) =>
                {
                    return wrong(NAME, *key, "it succeeded, but no worker that had received it said so");
                }
                _ => {}
            }
        }
        Ok(())
    }
}
