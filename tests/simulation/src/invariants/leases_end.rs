//! **Promise.** A dead worker costs seconds: a lease without a sign of life ends when its time has run out, and not much later.
//!
//! **How it is judged.** When a queue ends a lease on its own: not later than a lease time after the last sign of life from its
//! worker, plus a slack for what a server that stands still, or reads slowly, may add.

use std::collections::BTreeMap;

use super::{Verdict, wrong};
use crate::facts::Facts;
use crate::history::{Event, Process};
use crate::world::Setup;

/// A pause of the server, a slow read and a nap of its timer.
const SLACK_MS: u64 = 12_000;

/// The judge.
#[derive(Debug)]
pub struct Judge {
    lease_ms: u64,
    heard: BTreeMap<(usize, Process), u64>,
}

impl Judge {
    pub(super) fn new(setup: &Setup) -> Judge {
        Judge { lease_ms: setup.lease_ms, heard: BTreeMap::new() }
    }

    pub(super) fn hear(&mut self, at: u64, event: &Event, facts: &Facts) -> Verdict {
        match event {
            Event::HandedOut { key, to, .. } => {
                self.heard.insert((key.0, *to), at);
            }
            Event::Renewed { queue, of, .. }
            | Event::Resumed { queue, of, .. }
            | Event::Away { queue, of } => {
                self.heard.insert((*queue, *of), at);
            }
            Event::ServerUp { .. } => {
                let leases = facts.jobs.iter().filter_map(|(key, book)| Some((key, book.solid.lease?)));
                self.heard = leases.map(|(key, lease)| ((key.0, lease.of), at)).collect();
            }
            Event::LeaseEnded { key, of, .. } => {
                let since = self.heard.get(&(key.0, *of)).copied().unwrap_or(at);
                let silent_ms = at - since;
                if silent_ms > self.lease_ms + SLACK_MS {
                    return wrong(
                        "leases end",
                        *key,
                        format!("its lease ended after {silent_ms} ms of silence"),
                    );
                }
            }
            _ => {}
        }
        Ok(())
    }
}
