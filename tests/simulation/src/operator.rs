//! The operator: pauses and resumes queues, cancels, retries and deletes jobs, clears the dead, sets schedules. Its calls are
//! not repeated when no answer comes: then it does not know.

use std::collections::BTreeMap;

use crate::history::{Act, Acted, Event, Key};
use crate::rng::Rng;
use crate::world::{Answer, Body, Event as WorldEvent, World};

/// Patience of the operator.
const TIMEOUT_MS: u64 = 1_000;

/// What it has asked for.
#[derive(Debug, Clone, Copy)]
enum Asked {
    Act(Act, Key),
    Pause(usize, bool),
    Schedule(usize, Option<bool>),
    Dead,
}

/// The operator.
#[derive(Debug)]
pub struct Operator {
    rng: Rng,
    asked: BTreeMap<u64, Asked>,
    /// What must be so before the end: queues that go on, schedules that rest.
    wants: Vec<(bool, usize)>,
}

impl Operator {
    /// An operator.
    #[must_use]
    pub fn new(seed: u64) -> Operator {
        Operator { rng: Rng::new(seed, 3), asked: BTreeMap::new(), wants: Vec::new() }
    }

    /// Whether everything is as it must be for the end.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.wants.is_empty()
    }
}

impl World {
    fn operator_client(&self) -> usize {
        self.setup.workers + self.setup.producers
    }

    /// The operator looks around.
    pub(crate) fn operator_wakes(&mut self) {
        if self.healed_at.is_some() {
            return;
        }
        let wait_ms = self.operator.rng.between(1, self.setup.operate_ms * 2);
        self.later(wait_ms, WorldEvent::Operator);
        let queue = self.operator.rng.below(self.setup.queues as u64) as usize;
        let asked = match self.operator.rng.below(12) {
            0 => Asked::Pause(queue, true),
            1 => Asked::Pause(queue, false),
            2 => Asked::Dead,
            3 if !self.setup.schedules.is_empty() => {
                let index = self.operator.rng.below(self.setup.schedules.len() as u64) as usize;
                let pause = self.setup.schedules[index].steered;
                Asked::Schedule(
                    index,
                    if pause { self.operator.rng.pick(&[Some(true), Some(false), None]) } else { None },
                )
            }
            roll => {
                let Some(ids) = self.ids.get(&queue).filter(|ids| !ids.is_empty()) else { return };
                let id = ids[self.operator.rng.below(ids.len() as u64) as usize];
                let act = match roll % 3 {
                    0 => Act::Cancel,
                    1 => Act::Retry,
                    _ => Act::Delete,
                };
                Asked::Act(act, (queue, id))
            }
        };
        self.operator_asks(queue, asked);
    }

    fn operator_asks(&mut self, queue: usize, asked: Asked) {
        let call = self.next_call();
        let body = match asked {
            Asked::Act(act, key) => {
                self.emit(Event::ActSent { call, act, key });
                Body::Act { queue: key.0, act, id: key.1 }
            }
            Asked::Pause(queue, paused) => {
                self.emit(Event::PauseSent { call, queue, paused });
                Body::Pause { queue, paused }
            }
            Asked::Dead => Body::Dead { queue, retry: self.operator.rng.chance(700) },
            Asked::Schedule(index, pause) => Body::Schedule { index, pause },
        };
        self.operator.asked.insert(call, asked);
        let client = self.operator_client();
        self.post_call(client, call, body, false);
        self.later(TIMEOUT_MS, WorldEvent::Timeout { client, call });
    }

    /// The answer to the operator.
    pub(crate) fn operator_hears(&mut self, call: u64, answer: &Answer) {
        match (self.operator.asked.remove(&call), answer) {
            (Some(Asked::Act(act, key)), Answer::Acted(acted)) => {
                self.emit(Event::ActAnswered { call, act, key, acted: *acted });
            }
            (Some(Asked::Act(act, key)), Answer::Refused(_)) => {
                self.emit(Event::ActAnswered { call, act, key, acted: Acted::Refused });
            }
            (Some(Asked::Pause(queue, paused)), Answer::Acted(_)) => {
                self.emit(Event::PauseOk { call, queue, paused });
                self.operator.wants.retain(|want| paused || *want != (true, queue));
            }
            (Some(Asked::Schedule(index, Some(true))), Answer::Done) => {
                self.operator.wants.retain(|want| *want != (false, index));
            }
            _ => {}
        }
        if self.healed_at.is_some() && self.operator.asked.is_empty() && !matches!(answer, Answer::Refused(_))
        {
            self.operator_tidies();
        }
    }

    /// The operator has lost its patience.
    pub(crate) fn operator_timeout(&mut self, call: u64) {
        self.operator.asked.remove(&call);
    }

    /// After the faults: what keeps jobs from ending is undone.
    pub(crate) fn operator_begins_to_tidy(&mut self) {
        self.operator.asked.clear();
        self.operator_looks();
    }

    /// An order of before may have arrived late: what it changed is undone too.
    pub(crate) fn operator_looks(&mut self) {
        if !self.operator.asked.is_empty() {
            return;
        }
        let paused = (0..self.setup.queues).filter(|queue| self.facts.queues[*queue].is_paused());
        let wants: Vec<_> = paused.map(|queue| (true, queue)).collect();
        let firing = (0..self.setup.schedules.len()).filter(|index| {
            let record = self.node.entries().get(*index).and_then(|entry| entry.record.as_ref());
            record.is_some_and(|record| record.paused_at.is_none())
        });
        self.operator.wants = wants.into_iter().chain(firing.map(|index| (false, index))).collect();
        self.operator_tidies();
    }

    fn operator_tidies(&mut self) {
        match self.operator.wants.first() {
            Some(&(true, queue)) => self.operator_asks(queue, Asked::Pause(queue, false)),
            Some(&(false, index)) => self.operator_asks(0, Asked::Schedule(index, Some(true))),
            None => {}
        }
    }
}
