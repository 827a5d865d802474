//! **Promise.** A dead worker costs seconds: a lease without a sign of life ends when its time has run out, and not much later.
//!
//! **How it is judged.** When a queue ends a lease on its own: not later than a lease time after the last sign of life from its
//! worker, plus a slack for a server that reads slowly. Time in which the server stood still does not count: it heard nobody.

use std::collections::BTreeMap;

use super::{Verdict, wrong};
use crate::facts::Facts;
use crate::fault::What;
use crate::history::{Event, Process};
use crate::world::Setup;

/// A slow read, a nap of the timer, and what the server's clock counts of the times it stood still.
const SLACK_MS: u64 = 10_000;

/// The judge.
#[derive(Debug)]
pub struct Judge {
    lease_ms: u64,
    /// By the server's own time: without that in which it stood still.
    heard: BTreeMap<(usize, Process), u64>,
    /// How long the server stood still so far, and until when it does.
    still_ms: u64,
    still_until: u64,
    up: bool,
}

impl Judge {
    pub(super) fn new(setup: &Setup) -> Judge {
        Judge { lease_ms: setup.lease_ms, heard: BTreeMap::new(), still_ms: 0, still_until: 0, up: false }
    }

    /// A server that is down does not stand still, and one that dies stands still no longer.
    fn note_pause(&mut self, at: u64, event: &Event) {
        match event {
            Event::ServerUp { .. } => self.up = true,
            Event::ServerDied => {
                self.up = false;
                self.still_ms -= self.still_until.saturating_sub(at);
                self.still_until = self.still_until.min(at);
            }
            Event::Wrong { what: What::ServerPause { ms } } if self.up => {
                let until = at + ms;
                self.still_ms += until.saturating_sub(self.still_until.max(at));
                self.still_until = self.still_until.max(until);
            }
            _ => {}
        }
    }

    pub(super) fn hear(&mut self, at: u64, event: &Event, facts: &Facts) -> Verdict {
        self.note_pause(at, event);
        // What a server does while it stands still it does when it goes on.
        let at = at.max(self.still_until) - self.still_ms;
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
