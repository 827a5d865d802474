//! Retry or delete all dead jobs of a queue: page after page, each durable before the next.

use bytes::Bytes;
use windlass_core::queue::{Command, Stored, read};
use windlass_core::store::keys::{queue_range, region};
use windlass_core::time::Timestamp;

use super::Then;
use super::outs::Said;
use super::shell::{Reading, Waiting};
use crate::history::Acted;
use crate::world::{Answer, NodeEvent, World};

/// Dead jobs of one page.
const DEAD_PAGE_JOBS: usize = 3;

/// A bulk operation under way.
#[derive(Debug)]
pub(crate) struct Bulk {
    pub(super) retry: bool,
    pub(super) died_by: Timestamp,
    pub(super) from: Bytes,
    pub(super) end: Bytes,
    pub(super) exhausted: bool,
    pub(super) count: u64,
    pub(super) then: Then,
}

impl World {
    /// Begins with the dead of this moment: jobs that die later are not part of it.
    pub(super) fn bulk_begins(&mut self, q: usize, retry: bool, then: Then) {
        let (from, end) = queue_range(region::DEAD, self.node.shells[q].queue.no());
        let died_by = self.clock.now(self.at).wall;
        self.bulk_step(q, Box::new(Bulk { retry, died_by, from, end, exhausted: false, count: 0, then }));
    }

    pub(super) fn bulk_step(&mut self, q: usize, bulk: Box<Bulk>) {
        self.node.shells[q].reading = Some(Reading::Bulk(bulk));
        self.after_read(NodeEvent::Read(q));
    }

    pub(super) fn bulk_page(&mut self, q: usize, mut bulk: Box<Bulk>) {
        let no = self.node.shells[q].queue.no();
        let page = read::scan(&self.disk, &bulk.from, &bulk.end, DEAD_PAGE_JOBS);
        let read::Found { stored: found, exhausted } = page.expect("the simulated disk is never damaged");
        bulk.exhausted = exhausted;
        if let Some(last) = found.last() {
            bulk.from = [&last.place.key(no)[..], &[0]].concat().into();
        }
        let died = |stored: &Stored| stored.job.past.as_ref().and_then(|past| past.ended).map(|(_, at)| at);
        let dead: Vec<_> =
            found.into_iter().filter(|stored| died(stored).is_none_or(|at| at <= bulk.died_by)).collect();
        if dead.is_empty() {
            return self.bulk_went_on(q, bulk);
        }
        let reply = self.node.next_request();
        let page = dead.iter().map(|stored| (stored.job.id, stored.job.attempts())).collect();
        let said = Said::Dead(bulk.retry, page);
        let command = match bulk.retry {
            true => Command::RetryDead { reply, dead },
            false => Command::DeleteDead { reply, dead },
        };
        self.apply(q, command, said, Some((reply, Waiting::Bulk(bulk))));
    }

    pub(super) fn bulk_went_on(&mut self, q: usize, bulk: Box<Bulk>) {
        if bulk.exhausted {
            self.way_back(q, bulk.then, Answer::Acted(Acted::Done));
        } else if self.node.shells[q].reading.is_some() {
            // Another read is under way; this answer is given up, as a client that loses patience would.
            self.way_back(q, bulk.then, Answer::Refused("busy"));
        } else {
            self.bulk_step(q, bulk);
        }
    }
}
