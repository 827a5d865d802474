//! A worker's credit and the order in which its queues are asked: pure, so that it can be tested without a socket.
//!
//! One queue is asked at a time with what is left of the credit, so the sum of all deliveries never exceeds it. A queue that
//! had no more is not asked again until it sends a notice.

use windlass_core::id::QueueName;
use windlass_core::limits::WORKER_SLOTS_MAX;

use super::FETCH_JOBS_MAX;

/// With several open queues by weight, the credit is dealt out in this many draws, so that their shares follow the weights.
const DRAWS: u32 = 8;

#[derive(Debug)]
struct Source {
    name: QueueName,
    weight: u32,
    /// It may have jobs: nothing says that it is drained.
    open: bool,
    /// It sent a notice and was not asked since: it waits for our answer before it tells another worker.
    noticed: bool,
}

/// The fetching side of one worker.
#[derive(Debug, Default)]
pub(super) struct Fetcher {
    sources: Vec<Source>,
    strict: bool,
    credit: u32,
    asking: Option<(QueueName, u32)>,
}

impl Fetcher {
    /// Sets the queues; returns those that are no longer wanted.
    pub(super) fn subscribe(&mut self, queues: &[(QueueName, u32)], strict: bool) -> Vec<QueueName> {
        let mut sources: Vec<Source> = Vec::with_capacity(queues.len());
        for (name, weight) in queues {
            // A queue named twice counts once, with its first weight.
            if !sources.iter().any(|source| source.name == *name) {
                let source =
                    Source { name: name.clone(), weight: (*weight).max(1), open: true, noticed: false };
                sources.push(source);
            }
        }
        let dropped =
            |old: &Source| (!sources.iter().any(|new| new.name == old.name)).then(|| old.name.clone());
        let gone = self.sources.iter().filter_map(dropped).collect();
        self.strict = strict;
        self.sources = sources;
        gone
    }

    /// More free slots.
    pub(super) fn add_credit(&mut self, add: u32) {
        self.credit = self.credit.saturating_add(add).min(WORKER_SLOTS_MAX);
    }

    /// Takes all free slots back; returns the queues that should forget the wish.
    pub(super) fn quiet(&mut self) -> Vec<QueueName> {
        self.credit = 0;
        self.sources.iter().map(|source| source.name.clone()).collect()
    }

    pub(super) fn credit(&self) -> u32 {
        self.credit
    }

    /// Which queue to ask for how many jobs now; `roll` is a random number. `None`: nothing to ask, or an answer is awaited.
    pub(super) fn next(&mut self, roll: u64) -> Option<(QueueName, u32)> {
        if self.credit == 0 || self.asking.is_some() {
            return None;
        }
        let open = self.sources.iter().filter(|source| source.open).count();
        let (index, slots) = if self.strict || open <= 1 {
            (self.sources.iter().position(|source| source.open)?, self.credit)
        } else {
            (self.draw(roll)?, self.credit.div_ceil(DRAWS))
        };
        let slots = slots.min(FETCH_JOBS_MAX);
        let source = &mut self.sources[index];
        source.noticed = false;
        self.asking = Some((source.name.clone(), slots));
        Some((source.name.clone(), slots))
    }

    fn draw(&self, roll: u64) -> Option<usize> {
        let open = || self.sources.iter().enumerate().filter(|(_, source)| source.open);
        let total: u64 = open().map(|(_, source)| u64::from(source.weight)).sum();
        let mut point = roll.checked_rem(total)?;
        for (index, source) in open() {
            match point.checked_sub(u64::from(source.weight)) {
                Some(rest) => point = rest,
                None => return Some(index),
            }
        }
        None
    }

    /// The question could not be put; it may be asked again.
    pub(super) fn not_asked(&mut self) {
        self.asking = None;
    }

    /// A queue has answered. Returns how many of the jobs the worker may still have: after it went quiet, none.
    pub(super) fn answered(&mut self, queue: &QueueName, jobs: u32, drained: bool) -> u32 {
        self.asking.take_if(|(name, _)| name == queue);
        if let Some(source) = self.source(queue) {
            // A notice that overtook this answer says more than the answer. One without jobs that is not drained had some whose leases
            // did not live to leave.
            source.open = !drained || source.noticed;
        }
        let granted = jobs.min(self.credit);
        self.credit -= granted;
        granted
    }

    /// A queue has jobs again.
    pub(super) fn notice(&mut self, queue: &QueueName) {
        if let Some(source) = self.source(queue) {
            source.open = true;
            source.noticed = true;
        }
    }

    /// Queues whose notice cannot be followed for want of credit: each must be told, so that it tells another worker.
    pub(super) fn unused_notices(&mut self) -> Vec<QueueName> {
        if self.credit > 0 {
            return Vec::new();
        }
        let take = |source: &mut Source| std::mem::take(&mut source.noticed).then(|| source.name.clone());
        self.sources.iter_mut().filter_map(take).collect()
    }

    fn source(&mut self, queue: &QueueName) -> Option<&mut Source> {
        self.sources.iter_mut().find(|source| source.name == *queue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> QueueName {
        text.parse().unwrap()
    }

    fn fetcher(queues: &[(&str, u32)], strict: bool, credit: u32) -> Fetcher {
        let mut fetcher = Fetcher::default();
        let queues: Vec<_> = queues.iter().map(|(queue, weight)| (name(queue), *weight)).collect();
        fetcher.subscribe(&queues, strict);
        fetcher.add_credit(credit);
        fetcher
    }

    #[test]
    fn strict_order_asks_a_later_queue_only_when_earlier_ones_are_drained() {
        let mut f = fetcher(&[("a", 1), ("b", 9)], true, 4);
        assert_eq!(f.next(0), Some((name("a"), 4)));
        assert_eq!(f.next(0), None, "one question at a time");
        assert_eq!(f.answered(&name("a"), 1, true), 1);
        assert_eq!(f.next(0), Some((name("b"), 3)));
        f.notice(&name("a"));
        assert_eq!(f.answered(&name("b"), 1, false), 1);
        assert_eq!(f.next(0), Some((name("a"), 2)), "the notice makes the first queue the first again");
    }

    #[test]
    fn credit_is_never_exceeded_and_a_notice_without_credit_is_passed_on() {
        let mut f = fetcher(&[("a", 1), ("b", 1)], true, 2);
        assert_eq!(f.next(0), Some((name("a"), 2)));
        assert_eq!(f.answered(&name("a"), 2, false), 2);
        assert_eq!((f.next(0), f.credit()), (None, 0));
        f.notice(&name("b"));
        assert_eq!(f.unused_notices(), [name("b")]);
        assert_eq!(f.unused_notices(), []);
        f.add_credit(1);
        assert!(f.next(0).is_some());
    }

    #[test]
    fn jobs_that_arrive_after_quiet_are_not_the_workers() {
        let mut f = fetcher(&[("a", 1)], true, 5);
        assert!(f.next(0).is_some());
        assert_eq!(f.quiet(), [name("a")]);
        assert_eq!(f.answered(&name("a"), 5, false), 0);
    }

    /// Over many draws with full queues the shares follow the weights.
    #[test]
    fn weights_decide_the_shares() {
        let mut f = fetcher(&[("a", 1), ("b", 3)], false, 0);
        let mut got = [0_u32; 2];
        let mut roll = 7_u64;
        for _ in 0..4_000 {
            f.add_credit(1);
            roll = windlass_core::retry::mix(roll);
            let (queue, slots) = f.next(roll).unwrap();
            got[usize::from(queue == name("b"))] += slots;
            f.answered(&queue, slots, false);
        }
        let share = f64::from(got[1]) / f64::from(got[0] + got[1]);
        assert!((0.72..0.78).contains(&share), "b got {share}");
    }

    #[test]
    fn an_empty_answer_is_not_asked_again_until_a_notice() {
        let mut f = fetcher(&[("a", 1)], true, 3);
        assert!(f.next(0).is_some());
        f.answered(&name("a"), 0, true);
        assert_eq!(f.next(0), None);
        f.notice(&name("a"));
        assert_eq!(f.next(0), Some((name("a"), 3)));
    }

    /// Its jobs lost their leases before they could leave; the queue has not promised a notice.
    #[test]
    fn an_answer_without_jobs_that_is_not_drained_is_asked_again() {
        let mut f = fetcher(&[("a", 1)], true, 3);
        assert!(f.next(0).is_some());
        f.answered(&name("a"), 0, false);
        assert_eq!(f.next(0), Some((name("a"), 3)));
    }
}
