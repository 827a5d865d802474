//! **Promise.** A job is leased to at most one worker at a time, and a worker that lives keeps its lease.
//!
//! **How it is judged.** Four ways.
//! 1. By the queue's answers: no hand-out while an earlier lease has not ended by a report, by the queue's own word, or by its
//!    worker's coming back without it.
//! 2. By true time: a queue that ends a lease on its own does so no earlier than a lease after the last sign of life that
//!    it heard, a grace time after it heard that the session is gone, or a grace time after its restart; unless it was
//!    told that the worker is gone. The wall clock has no say.
//! 3. By the workers alone: between receiving a job and letting it go (the report is *sent*, the worker dies, it hears that the
//!    lease is lost, it comes back) nobody else receives it within the shorter of lease and grace after the worker's
//!    last heartbeat that renewed it, *counted from its sending*. A crash that lost the hand-out itself voids the claim:
//!    nothing said that it was durable.
//! 4. A worker receives no token but those that were given to it.

use std::collections::BTreeMap;

use windlass_core::wire::Token;

use super::{Verdict, wrong};
use crate::facts::{Facts, Phase};
use crate::history::{Event, Key, Process};
use crate::world::Setup;

const NAME: &str = "one live lease";

#[derive(Debug, Clone, Copy)]
struct Claim {
    of: Process,
    token: Token,
}

/// The judge.
#[derive(Debug)]
pub struct Judge {
    lease_ms: u64,
    grace_ms: u64,
    /// By queue and worker: when its leases may end at the earliest.
    deadlines: BTreeMap<(usize, Process), u64>,
    claims: BTreeMap<Key, Vec<Claim>>,
    /// To whom each token was given.
    given: BTreeMap<(usize, Token), Process>,
    /// By queue and worker: when the last heartbeat was sent that renewed its leases there.
    alive_at: BTreeMap<(usize, Process), u64>,
}

impl Judge {
    pub(super) fn new(setup: &Setup) -> Judge {
        Judge {
            lease_ms: setup.lease_ms,
            grace_ms: setup.grace_ms,
            deadlines: BTreeMap::new(),
            claims: BTreeMap::new(),
            given: BTreeMap::new(),
            alive_at: BTreeMap::new(),
        }
    }

    pub(super) fn hear(&mut self, at: u64, event: &Event, facts: &Facts) -> Verdict {
        match event {
            Event::HandedOut { key, to, token, .. } => {
                self.deadlines.insert((key.0, *to), at + self.lease_ms);
                if let Some(lease) = facts.job(key).latest().lease {
                    let what = format!("handed to {to:?} while {:?} has it as {:?}", lease.of, lease.token);
                    return wrong(NAME, *key, what);
                }
                self.given.insert((key.0, *token), *to);
                return self.overlap(at, *key, *to);
            }
            Event::LeaseEnded { key, of, told: false, .. } => {
                let due = self.deadlines.get(&(key.0, *of)).copied().unwrap_or(0);
                if at < due {
                    return wrong(
                        NAME,
                        *key,
                        format!("its lease was ended {} ms before it ran out", due - at),
                    );
                }
            }
            Event::Received { by, key, token, .. } => {
                let to = self.given.get(&(key.0, *token));
                if to != Some(by) {
                    return wrong(
                        NAME,
                        *key,
                        format!("{by:?} received {token:?}, which was given to {to:?}"),
                    );
                }
                self.claims.entry(*key).or_default().push(Claim { of: *by, token: *token });
            }
            event => {
                self.time_goes_on(at, event, facts);
                self.let_go(event, facts);
            }
        }
        Ok(())
    }

    /// When leases may end.
    fn time_goes_on(&mut self, at: u64, event: &Event, facts: &Facts) {
        let (queue, of, until) = match event {
            Event::Renewed { queue, of, sent_at } => {
                self.alive_at.insert((*queue, *of), *sent_at);
                (*queue, *of, at + self.lease_ms)
            }
            Event::Resumed { queue, of, .. } => (*queue, *of, at + self.lease_ms),
            Event::Away { queue, of } => (*queue, *of, at + self.grace_ms),
            Event::ServerUp { .. } => {
                let leases = facts.jobs.iter().filter_map(|(key, book)| Some((key.0, book.solid.lease?.of)));
                self.deadlines = leases.map(|holder| (holder, at + self.grace_ms)).collect();
                return;
            }
            _ => return,
        };
        if self.holds(queue, of, facts) {
            self.deadlines.insert((queue, of), until);
        }
    }

    /// Claims end by what their workers say, do or hear.
    fn let_go(&mut self, event: &Event, facts: &Facts) {
        match event {
            Event::ReportSent { by, key, token, .. } | Event::ToldLost { by, key, token } => {
                if let Some(claims) = self.claims.get_mut(key) {
                    claims.retain(|claim| claim.of != *by || claim.token != *token);
                }
            }
            Event::Resumed { queue, of, kept, .. } => {
                let of_queue = self.claims.iter_mut().filter(|(key, _)| key.0 == *queue);
                of_queue.for_each(|(key, claims)| {
                    claims.retain(|claim| claim.of != *of || kept.contains(&(key.1, claim.token)));
                });
            }
            Event::WorkerDied { by } => {
                self.claims.values_mut().for_each(|claims| claims.retain(|claim| claim.of != *by));
            }
            Event::ServerDied => {
                for (key, claims) in &mut self.claims {
                    let durable = facts.job(key).solid.lease.map(|lease| lease.token);
                    claims.retain(|claim| durable == Some(claim.token));
                }
            }
            _ => {}
        }
    }

    fn holds(&self, queue: usize, of: Process, facts: &Facts) -> bool {
        facts.jobs.iter().any(|(key, book)| {
            key.0 == queue
                && book.latest().lease.is_some_and(|lease| lease.of == of)
                && book.latest().phase == Phase::Live
        })
    }

    fn overlap(&self, at: u64, key: Key, to: Process) -> Verdict {
        let sure_ms = self.lease_ms.min(self.grace_ms);
        let alive_at = |of: &Process| self.alive_at.get(&(key.0, *of)).copied().unwrap_or(0);
        let mut claims = self.claims.get(&key).into_iter().flatten();
        match claims.find(|claim| claim.of != to && at < alive_at(&claim.of) + sure_ms) {
            Some(Claim { of, token }) => {
                let silent_ms = at - alive_at(of);
                wrong(
                    NAME,
                    key,
                    format!("handed to {to:?} while {of:?} has {token:?} and was heard {silent_ms} ms ago"),
                )
            }
            None => Ok(()),
        }
    }
}
