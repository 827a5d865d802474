//! **Promise.** A job that ended, was deleted, went dead or expired is not handed out again unless somebody wants it.
//!
//! **How it is judged.** By the book: what is handed out is alive and not expired. And by what clients heard: once a worker
//! has heard that its success is recorded, or the operator that a job is cancelled or deleted, no crash brings that life
//! back; cancelled while it ran, it is not handed out again however that run ends. A retry or a new enqueue, heard by the
//! queue later, begins anew.

use std::collections::BTreeMap;

use windlass_core::job::JobState;
use windlass_core::wire::{Token, Verdict as Report};

use super::{Verdict, wrong};
use crate::facts::{Facts, Phase};
use crate::history::{Act, Acted, Event, Key};

const NAME: &str = "no resurrection";

/// The judge.
#[derive(Debug, Default)]
pub struct Judge {
    /// Ends that a queue has decided and that nobody has heard of yet, by report and by call.
    reports: BTreeMap<(Key, Token), ()>,
    calls: BTreeMap<u64, Key>,
    /// Ends that were heard of.
    ended: BTreeMap<Key, &'static str>,
}

impl Judge {
    pub(super) fn hear(&mut self, event: &Event, facts: &Facts) -> Verdict {
        match event {
            Event::HandedOut { key, wall, .. } => {
                let fact = facts.job(key).latest();
                if fact.phase != Phase::Live {
                    return wrong(NAME, *key, format!("handed out, but it is {:?}", fact.phase));
                }
                if fact.may_be_expired(*wall) {
                    return wrong(NAME, *key, "handed out after its expiry");
                }
                if let Some(how) = self.ended.get(key) {
                    return wrong(NAME, *key, format!("handed out, but somebody heard that it was {how}"));
                }
            }
            Event::Judged { key, token, verdict: Report::Done(_), recorded: true, .. } => {
                self.reports.insert((*key, *token), ());
            }
            Event::ReportAnswered { key, token, recorded: true, .. } => {
                let decided = self.reports.remove(&(*key, *token));
                self.ended.extend(decided.map(|()| (*key, "done")));
            }
            Event::ActedOn { call, key, act: Act::Cancel | Act::Delete, acted, .. }
                if *acted != Acted::Refused =>
            {
                self.calls.insert(*call, *key);
            }
            Event::ActAnswered { call, act, acted, .. } if *acted != Acted::Refused => {
                if let Some(key) = self.calls.remove(call) {
                    let cancelled = *acted == Acted::Job(JobState::Cancelled) || *act == Act::Cancel;
                    self.ended.insert(key, if cancelled { "cancelled" } else { "deleted" });
                }
            }
            Event::ActedOn { key, act: Act::Retry, acted, .. } if *acted != Acted::Refused => {
                self.wanted(key);
            }
            Event::Accepted { key, duplicate: false, .. } => self.wanted(key),
            Event::DeadActed { queue, retry: true, page, .. } => {
                page.iter().for_each(|(id, _)| self.wanted(&(*queue, *id)));
            }
            _ => {}
        }
        Ok(())
    }

    fn wanted(&mut self, key: &Key) {
        self.ended.remove(key);
        self.reports.retain(|(of, _), ()| of != key);
        self.calls.retain(|_, of| of != key);
    }
}
