//! The leases of one worker that comes by requests, each with the moment by which it must be named again: pure, so that it
//! can be tested without a clock.

use std::collections::BTreeMap;

use windlass_core::api::Standing;
use windlass_core::id::{JobId, QueueName};
use windlass_core::time::Mono;
use windlass_core::wire::{LeaseRef, Token};

/// One lease.
#[derive(Debug)]
struct Held {
    token: Token,
    good_until: Mono,
    cancel: bool,
    /// When the attempt has run too long, and how long that is.
    timeout: Option<(Mono, u64)>,
}

/// Why a lease ends at this door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// Nobody spoke of it.
    Silent,
    /// The attempt runs longer than this many milliseconds.
    TimedOut(u64),
}

/// What one worker holds.
#[derive(Debug, Default)]
pub(super) struct Leases {
    held: BTreeMap<(QueueName, JobId), Held>,
}

impl Leases {
    /// The worker was given this lease, or presented it.
    pub(super) fn hold(&mut self, lease: &LeaseRef, now: Mono, lease_ms: u64, timeout_ms: Option<u64>) {
        let held = Held {
            token: lease.token,
            good_until: now.plus_ms(lease_ms),
            cancel: false,
            timeout: timeout_ms.map(|ms| (now.plus_ms(ms), ms)),
        };
        self.held.insert((lease.queue.clone(), lease.id), held);
    }

    /// The worker spoke of this lease; `None` when it is not known here.
    pub(super) fn name(&mut self, lease: &LeaseRef, now: Mono, lease_ms: u64) -> Option<Standing> {
        let held = self.get(lease)?;
        held.good_until = held.good_until.max(now.plus_ms(lease_ms));
        Some(if held.cancel { Standing::Cancelled } else { Standing::Held })
    }

    /// Somebody asked that the run should stop.
    pub(super) fn cancel(&mut self, lease: &LeaseRef) {
        if let Some(held) = self.get(lease) {
            held.cancel = true;
        }
    }

    /// The lease is over.
    pub(super) fn end(&mut self, lease: &LeaseRef) {
        if self.get(lease).is_some() {
            self.held.remove(&(lease.queue.clone(), lease.id));
        }
    }

    /// Takes out what must end now.
    pub(super) fn take_overdue(&mut self, now: Mono) -> Vec<(LeaseRef, Overdue)> {
        let why = |held: &Held| match held.timeout {
            Some((at, ms)) if at <= now => Some(Overdue::TimedOut(ms)),
            _ => (held.good_until <= now).then_some(Overdue::Silent),
        };
        let overdue: Vec<_> = self
            .held
            .iter()
            .filter_map(|((queue, id), held)| {
                Some((LeaseRef { queue: queue.clone(), id: *id, token: held.token }, why(held)?))
            })
            .collect();
        overdue.iter().for_each(|(lease, _)| self.end(lease));
        overdue
    }

    /// Takes out everything.
    pub(super) fn take_all(&mut self) -> Vec<LeaseRef> {
        let lease =
            |((queue, id), held): ((QueueName, JobId), Held)| LeaseRef { queue, id, token: held.token };
        std::mem::take(&mut self.held).into_iter().map(lease).collect()
    }

    /// Queues in which something is held.
    pub(super) fn queues(&self) -> Vec<QueueName> {
        let mut names: Vec<QueueName> = self.held.keys().map(|(queue, _)| queue.clone()).collect();
        names.dedup();
        names
    }

    /// The lease, when it is this very one.
    fn get(&mut self, lease: &LeaseRef) -> Option<&mut Held> {
        self.held.get_mut(&(lease.queue.clone(), lease.id)).filter(|held| held.token == lease.token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(id: u8, delivery: u64) -> LeaseRef {
        let token = Token { epoch: 1, delivery };
        LeaseRef { queue: QueueName::default(), id: JobId([id; 16]), token }
    }

    #[test]
    fn a_lease_lives_while_it_is_named_and_others_do_not_live_with_it() {
        let mut leases = Leases::default();
        leases.hold(&lease(1, 1), Mono(0), 100, None);
        leases.hold(&lease(2, 2), Mono(0), 100, None);
        assert_eq!(leases.name(&lease(1, 1), Mono(60), 100), Some(Standing::Held));
        assert_eq!(leases.take_overdue(Mono(99)), []);
        assert_eq!(leases.take_overdue(Mono(100)), [(lease(2, 2), Overdue::Silent)]);
        assert_eq!(leases.name(&lease(2, 2), Mono(101), 100), None);
        assert_eq!(leases.take_overdue(Mono(160)), [(lease(1, 1), Overdue::Silent)]);
        assert_eq!(leases.take_all(), []);
    }

    #[test]
    fn another_token_of_the_same_job_changes_nothing() {
        let mut leases = Leases::default();
        leases.hold(&lease(1, 2), Mono(0), 100, None);
        leases.cancel(&lease(1, 1));
        leases.end(&lease(1, 1));
        assert_eq!(leases.name(&lease(1, 1), Mono(0), 100), None);
        assert_eq!(leases.name(&lease(1, 2), Mono(0), 100), Some(Standing::Held));
        leases.cancel(&lease(1, 2));
        assert_eq!(leases.name(&lease(1, 2), Mono(0), 100), Some(Standing::Cancelled));
    }

    #[test]
    fn a_run_that_takes_too_long_ends_however_often_it_is_named() {
        let mut leases = Leases::default();
        leases.hold(&lease(1, 1), Mono(0), 100, Some(150));
        leases.name(&lease(1, 1), Mono(90), 100);
        assert_eq!(leases.take_overdue(Mono(149)), []);
        assert_eq!(leases.take_overdue(Mono(150)), [(lease(1, 1), Overdue::TimedOut(150))]);
    }
}
