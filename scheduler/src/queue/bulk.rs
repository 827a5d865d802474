//! Retry or delete all dead jobs of a queue: page after page, each durable before the next, so that other work of the
//! queue gets its turn in between and memory stays small.

use actix::fut::{ActorFutureExt, wrap_future};
use actix::{AsyncContext, Context};
use bytes::Bytes;
use windlass_core::api::ApiError;
use windlass_core::queue::{Command, Stored, read};
use windlass_core::store::keys::{QueueNo, queue_range, region};
use windlass_core::time::Timestamp;

use super::actor::{QueueActor, Waiting, unreadable};
use super::op::{DeadAct, Then, next_request};

/// Dead jobs of one page.
const PAGE_JOBS: usize = 1_000;

/// A bulk operation under way.
pub(super) struct Bulk {
    act: DeadAct,
    kind: Option<String>,
    /// Jobs that died later are not part of it, or jobs that die again at once would keep it going for ever.
    died_by: Timestamp,
    from: Bytes,
    end: Bytes,
    exhausted: bool,
    count: u64,
    then: Then<u64>,
}

impl Bulk {
    pub(super) fn new(
        act: DeadAct,
        kind: Option<String>,
        no: QueueNo,
        now: Timestamp,
        then: Then<u64>,
    ) -> Bulk {
        let (from, end) = queue_range(region::DEAD, no);
        Bulk { act, kind, died_by: now, from, end, exhausted: false, count: 0, then }
    }

    pub(super) fn refuse(self, error: ApiError) {
        (self.then)(Err(error));
    }

    fn wants(&self, stored: &Stored) -> bool {
        let job = &stored.job;
        let died = job.past.as_ref().and_then(|past| past.ended).map(|(_, at)| at);
        self.kind.as_ref().is_none_or(|kind| *kind == job.kind) && died.is_none_or(|at| at <= self.died_by)
    }
}

impl QueueActor {
    /// Reads the next page and applies it.
    pub(super) fn bulk_step(&mut self, mut bulk: Box<Bulk>, ctx: &mut Context<Self>) {
        let (from, end) = (bulk.from.clone(), bulk.end.clone());
        let no = self.queue.no();
        let reading = self.pipeline.writer().read(move |store| read::scan(store, &from, &end, PAGE_JOBS));
        ctx.wait(wrap_future::<_, Self>(reading).map(move |found, actor, ctx| {
            let found = match found {
                Ok(found) => found,
                Err(error) => return bulk.refuse(unreadable(&error)),
            };
            bulk.exhausted = found.exhausted;
            if let Some(last) = found.stored.last() {
                bulk.from = after(&last.place.key(no));
            }
            let dead: Vec<_> = found.stored.into_iter().filter(|stored| bulk.wants(stored)).collect();
            if dead.is_empty() {
                actor.bulk_page_done(bulk, 0, ctx);
            } else {
                let reply = next_request();
                let command = match bulk.act {
                    DeadAct::Retry => Command::RetryDead { reply, dead },
                    DeadAct::Delete => Command::DeleteDead { reply, dead },
                };
                actor.request(actor.clock.now(), reply, Waiting::Bulk(bulk), command, ctx);
            }
            actor.settle(ctx);
        }));
    }

    /// A page is durable; `count` of its jobs were still dead.
    pub(super) fn bulk_page_done(&mut self, mut bulk: Box<Bulk>, count: u64, ctx: &mut Context<Self>) {
        bulk.count += count;
        if bulk.exhausted {
            (bulk.then)(Ok(bulk.count));
        } else {
            self.bulk_step(bulk, ctx);
        }
    }
}

/// The smallest key behind `key`.
fn after(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}
