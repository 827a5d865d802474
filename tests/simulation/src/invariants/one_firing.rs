//! **Promise.** A schedule fires once per nominal time: across restarts, full disks and clocks that are set forward and back.
//!
//! **How it is judged.** Among the jobs that queues took on, durably, no schedule has the same nominal time twice. At the end the
//! durable record of each schedule that nobody paused or replaced is held against its calendar: every nominal time between
//! its creation and the time up to which it is dealt with was fired or counted as left out, each fired one has a job, and
//! all of them are as many as there are in the calendar.

use std::collections::BTreeMap;

use windlass_core::queue::Ticket;
use windlass_core::schedule::{Plan, decode_record};
use windlass_core::store::keys;
use windlass_core::time::Timestamp;

use super::{Verdict, Wrong, wrong};
use crate::facts::Facts;
use crate::history::{Event, Key};
use crate::node::schedules::name;
use crate::world::World;

const NAME: &str = "one firing per nominal time";

/// The judge.
#[derive(Debug, Default)]
pub struct Judge {
    /// Firings on their way to the disk.
    pending: Vec<(Key, Ticket, (usize, Timestamp))>,
    /// Firings that are durable.
    fired: BTreeMap<(usize, Timestamp), Key>,
}

impl Judge {
    pub(super) fn hear(&mut self, event: &Event, _: &Facts) -> Verdict {
        match event {
            Event::Accepted { key, ticket, wish, duplicate: false, .. } => {
                self.pending.extend(wish.firing.map(|firing| (*key, *ticket, firing)));
            }
            Event::Durable { queue, after, upto } => {
                let of_batch = |ticket: Ticket| ticket > *after && ticket <= *upto;
                let mut durable = Vec::new();
                self.pending.retain(|pending| {
                    let now = pending.0.0 == *queue && of_batch(pending.1);
                    durable.extend(now.then_some(*pending));
                    !now
                });
                for (key, _, firing) in durable {
                    if self.fired.insert(firing, key).is_some() {
                        let what = format!("schedule {} fired twice for {}", firing.0, firing.1.to_rfc3339());
                        return wrong(NAME, key, what);
                    }
                }
            }
            Event::ServerDied => self.pending.clear(),
            _ => {}
        }
        Ok(())
    }

    pub(super) fn finish(&self, world: &World) -> Verdict {
        for (index, wanted) in world.setup.schedules.iter().enumerate() {
            let bytes = world.disk.get(&keys::schedule_key(&name(index)));
            let Some(Ok(record)) = bytes.map(|bytes| decode_record(&bytes)) else { continue };
            let fired = self.fired.range((index, Timestamp(0))..=(index, Timestamp::MAX)).count() as u64;
            let broken = |what: String| Err(Wrong { invariant: NAME, what, key: None });
            if fired != record.fired_total {
                return broken(format!(
                    "schedule {index} counts {} firings, there are {fired}",
                    record.fired_total
                ));
            }
            let last = self.fired.range((index, Timestamp(0))..=(index, Timestamp::MAX)).next_back();
            if last.is_some_and(|((_, at), _)| *at > record.dealt_until) {
                return broken(format!("schedule {index} fired beyond what it says is dealt with"));
            }
            let Ok(plan) = Plan::parse(&record.spec, record.created_at) else {
                return broken(format!("the plan of schedule {index} cannot be read"));
            };
            let steps = std::iter::successors(plan.next_after(record.created_at), |at| plan.next_after(*at));
            let calendar: Vec<Timestamp> = steps.take_while(|at| *at <= record.dealt_until).collect();
            let all = calendar.len() as u64;
            // The final pause of the world is the operator's; it leaves what is dealt with alone.
            if !wanted.steered && all != record.fired_total + record.skipped_total {
                let text = format!(
                    "schedule {index} has {all} nominal times; {} fired, {} left out",
                    record.fired_total, record.skipped_total
                );
                return broken(text);
            }
            let of_schedule = self.fired.range((index, Timestamp(0))..=(index, Timestamp::MAX));
            if let Some(((_, at), key)) =
                of_schedule.into_iter().find(|((_, at), _)| calendar.binary_search(at).is_err())
            {
                return wrong(
                    NAME,
                    *key,
                    format!("schedule {index} fired for {}, which is no time of it", at.to_rfc3339()),
                );
            }
        }
        Ok(())
    }
}
