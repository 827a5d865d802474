//! Between nodes and the database: delays, what is lost, what arrives late, and the falls of the database.
//!
//! What goes over one session keeps its order, and as a rule nothing follows what got lost; a proxy in between may lose a single statement
//! or keep one back.

use windlass_core::cluster::Answer;

use super::database::{Reply, Request, Sent};
use super::fact::Fact;
use super::node::NodeEvent;
use super::world::{Event, World};

/// What lies with a proxy while the database is away, in a thousand requests.
const HELD: u32 = 250;
/// Groups for which a database that is full has no room, in a thousand: somebody else gives some back now and then.
const FULL: u32 = 600;
/// Longest time for which a statement is on its way that arrives late.
const LATE_MS_MAX: u64 = 12_000;
/// Losses and delays, in a thousand, that what is behind on the same session does not share.
const SINGLE: u32 = 300;

/// One direction of a session.
#[derive(Debug, Default)]
pub struct Lane {
    /// When the last one arrives, and the next one at the earliest.
    last_at: u64,
    /// Whether nothing arrives any more.
    broken: bool,
}

impl World {
    /// A node asks the database, and waits for the answer for so long.
    pub(super) fn ask(
        &mut self,
        index: usize,
        call: u64,
        request: Request,
        wait_ms: u64,
        session: Option<u64>,
    ) {
        self.node_later(index, wait_ms, NodeEvent::Timeout(call));
        let node = &self.nodes[index];
        let (lost, unanswered, late, until) = node.lossy;
        let lossy = self.at < until;
        let there = session.map(|session| (session, true));
        if self.at < node.cut_until || lossy && self.rng.chance(lost) {
            return self.break_lane(there);
        }
        let heard = !(lossy && self.rng.chance(unanswered));
        let mut delay_ms = self.delay_ms(index);
        let mut single = false;
        if lossy && self.rng.chance(late) {
            delay_ms += self.rng.between(500, LATE_MS_MAX);
            single = self.rng.chance(SINGLE);
        }
        let process = self.nodes[index].process;
        let Some(at) = self.on_lane(there, delay_ms, single) else { return };
        self.at_time(at, Event::Arrives(Sent { node: index, process, call, request, heard, session }));
    }

    /// Something on this lane is lost, and mostly what follows with it.
    fn break_lane(&mut self, lane: Option<(u64, bool)>) {
        let single = self.rng.chance(SINGLE);
        if let Some(lane) = lane.filter(|_| !single) {
            self.lanes.entry(lane).or_default().broken = true;
        }
    }

    /// When something arrives that is sent now: behind what was sent before it, unless it is a `single` one.
    fn on_lane(&mut self, lane: Option<(u64, bool)>, delay_ms: u64, single: bool) -> Option<u64> {
        let at = self.at + delay_ms;
        let Some(lane) = lane else { return Some(at) };
        let lane = self.lanes.entry(lane).or_default();
        if lane.broken {
            return None;
        }
        if !single {
            lane.last_at = lane.last_at.max(at);
        }
        Some(at.max(lane.last_at))
    }

    fn delay_ms(&mut self, index: usize) -> u64 {
        let (extra_ms, until) = self.nodes[index].slow;
        let slow_ms = if self.at < until { self.rng.below(extra_ms + 1) } else { 0 };
        self.rng.below(3) + slow_ms
    }

    fn answer(&mut self, sent: &Sent, reply: Reply) {
        let back = sent.session.map(|session| (session, false));
        if !sent.heard || self.at < self.nodes[sent.node].cut_until {
            return self.break_lane(back);
        }
        let delay_ms = self.delay_ms(sent.node);
        let Some(at) = self.on_lane(back, delay_ms, false) else { return };
        self.at_time(at, Event::Node(sent.node, sent.process, NodeEvent::Answer(sent.call, reply)));
    }

    /// A request is at the database.
    pub(super) fn arrives(&mut self, sent: Sent) {
        if !self.db.up {
            if self.rng.chance(HELD) {
                self.db.held.push(sent);
            } else {
                self.answer(&sent, Reply::Away);
            }
            return;
        }
        match sent.request {
            Request::Read => self.answer(&sent, Reply::Seat(self.db.seat())),
            Request::Load { seq } => {
                let groups = self.db.journal.iter().take(seq as usize).cloned().collect();
                self.answer(&sent, Reply::Journal(groups));
            }
            Request::Claim(_) | Request::Own(_) => {
                self.db.waiting.push_back(sent);
                if self.db.waiting.len() == 1 {
                    self.begin_statement();
                }
            }
        }
    }

    fn begin_statement(&mut self) {
        let (extra_ms, until) = self.db_slow;
        let slow_ms = if self.at < until { self.rng.below(extra_ms + 1) } else { 0 };
        let takes_ms = self.rng.between(1, 4) + slow_ms;
        self.later(takes_ms, Event::Executed(self.db.life));
    }

    /// The statement under way is done.
    pub(super) fn executed(&mut self, life: u64) {
        if life != self.db.life {
            return;
        }
        let Some(sent) = self.db.waiting.pop_front() else { return };
        let reply = self.execute(&sent.request);
        self.answer(&sent, reply);
        if !self.db.waiting.is_empty() {
            self.begin_statement();
        }
    }

    fn execute(&mut self, request: &Request) -> Reply {
        let before = self.db.row.clone();
        let (changed_at, up_since) = (self.db.changed_at, self.db.up_since);
        match request {
            Request::Claim(claim) => {
                let claimed = self.db.claim(self.at, claim);
                let row = self.db.row.clone();
                let claim = claim.clone();
                self.emit(match claimed {
                    Some(_) => Fact::Claimed { claim, before, row, changed_at, up_since },
                    None => Fact::Raced { claim: claim.claim },
                });
                Reply::Claimed(claimed)
            }
            Request::Own(own) => {
                let full = self.at < self.db_full_until && self.rng.chance(FULL);
                let Some(answer) = self.db.own(self.at, own, full) else { return Reply::Full };
                let row = self.db.row.clone();
                self.emit(match answer {
                    Answer::Applied { .. } => Fact::Wrote { own: own.clone(), before, row },
                    _ => Fact::Missed { claim: own.claim, statement: own.statement },
                });
                Reply::Own(answer)
            }
            Request::Read | Request::Load { .. } => Reply::Away,
        }
    }

    /// The database is away until then, and so many states younger when it comes back.
    pub(super) fn falls(&mut self, until: u64, lost: u64) {
        if !self.db.up {
            return;
        }
        self.db.life += 1;
        self.db.up = false;
        // Nobody hears what became of the statement under way.
        if let Some(sent) = self.db.waiting.pop_front()
            && self.rng.chance(500)
        {
            self.execute(&sent.request);
        }
        for sent in std::mem::take(&mut self.db.waiting) {
            if self.rng.chance(HELD) {
                self.db.held.push(sent);
            }
        }
        self.emit(Fact::Fell);
        self.at_time(until, Event::ComesUp { life: self.db.life, lost });
    }

    pub(super) fn comes_up(&mut self, life: u64, lost: u64) {
        if life != self.db.life || self.db.up {
            return;
        }
        self.db.up = true;
        self.db.up_since = self.at;
        let lost = self.db.lose(lost);
        self.emit(Fact::CameUp { row: self.db.row.clone(), lost });
        for sent in std::mem::take(&mut self.db.held) {
            let delay_ms = self.rng.between(1, 300);
            self.later(delay_ms, Event::Arrives(sent));
        }
    }
}
