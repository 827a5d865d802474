//! The memory that waiting jobs of all queues may take together, shared out by what each queue holds.
//!
//! A queue's own window bounds its jobs; a thousand queues with deep backlogs have a thousand windows. While they are over the
//! common bound, the queues that hold much halve their windows, each when it is next at work; when there is room again they grow.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use windlass_core::queue::{Queue, Window};

/// Jobs that a queue may hold however little room there is, so that it never waits for the store job by job.
const WINDOW_JOBS_MIN: usize = 64;
/// A queue that holds less than this part of the bound is left alone: there is nothing to be had from it.
const SHARE_MIN: usize = 1_024;

/// The common bound.
#[derive(Debug)]
pub struct Shared {
    bytes_max: usize,
    held: AtomicUsize,
}

impl Shared {
    /// At most about so many bytes of waiting jobs in memory.
    #[must_use]
    pub fn new(bytes_max: usize) -> Arc<Shared> {
        Arc::new(Shared { bytes_max, held: AtomicUsize::new(0) })
    }

    /// Bytes held by all queues.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }
}

/// What one queue takes of it.
#[derive(Debug)]
pub(super) struct Share {
    shared: Arc<Shared>,
    mine: usize,
}

impl Share {
    pub(super) fn new(shared: Arc<Shared>) -> Share {
        Share { shared, mine: 0 }
    }

    /// Brings the queue's part up to date, and its window into line.
    pub(super) fn balance(&mut self, queue: &mut Queue) {
        let (bytes, window) = queue.held();
        self.note(bytes);
        let (held, bytes_max) = (self.shared.held(), self.shared.bytes_max);
        let whole = Window::default();
        if held > bytes_max && bytes > bytes_max / SHARE_MIN && window.jobs > WINDOW_JOBS_MIN {
            queue.resize(part(whole, (window.jobs / 2).max(WINDOW_JOBS_MIN)));
            self.note(queue.held().0);
        } else if held < bytes_max / 2 && window.jobs < whole.jobs {
            queue.resize(part(whole, (window.jobs * 2).min(whole.jobs)));
        }
    }

    fn note(&mut self, bytes: usize) {
        let before = std::mem::replace(&mut self.mine, bytes);
        if bytes >= before {
            self.shared.held.fetch_add(bytes - before, Ordering::Relaxed);
        } else {
            self.shared.held.fetch_sub(before - bytes, Ordering::Relaxed);
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.note(0);
    }
}

/// The window with so many jobs, all else in proportion.
fn part(whole: Window, jobs: usize) -> Window {
    Window { jobs, bytes: whole.bytes / whole.jobs * jobs, load: (whole.load * jobs / whole.jobs).max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windlass_core::id::{JobId, QueueName, RequestId};
    use windlass_core::job::{JobSpec, Payload};
    use windlass_core::queue::{ChunkShape, Command, Dispatch, NewJobs, Tuning};
    use windlass_core::time::{Mono, Now, Timestamp};

    #[test]
    fn queues_give_way_while_they_hold_too_much_and_grow_again() {
        let now = Now { wall: Timestamp(1_000), mono: Mono(0) };
        let shared = Shared::new(400 * 1024);
        let mut queues: Vec<_> = (0..4u32)
            .map(|no| {
                let tuning = Tuning {
                    epoch: 1,
                    seed: 1,
                    lease_ms: 1_000,
                    resume_grace_ms: 100,
                    window: Window::default(),
                    chunk: ChunkShape::default(),
                    dispatch: Dispatch::Fast,
                };
                let queue = Queue::create(QueueName::default(), no, tuning, now).0;
                (queue, Share::new(Arc::clone(&shared)))
            })
            .collect();
        for round in 0..40u128 {
            for (queue, share) in &mut queues {
                let spec = |n: u128| {
                    let mut spec = JobSpec::new("work", Payload::json("1"));
                    spec.id = Some(JobId((round * 100 + n).to_be_bytes()));
                    spec
                };
                let new = NewJobs { jobs: (0..100).map(spec).collect(), known: vec![], alongside: vec![] };
                let effects = queue.apply(now, Command::Enqueue { reply: RequestId(1), new }).unwrap();
                queue.apply(now, Command::Durable(effects.ticket.unwrap())).unwrap();
                share.balance(queue);
                assert_eq!(
                    queue.ready_count(),
                    (round as u64 + 1) * 100,
                    "every job is counted, wherever it is"
                );
            }
        }
        assert!(shared.held() <= 450 * 1024, "{} bytes are held", shared.held());
        assert!(queues.iter().all(|(queue, _)| queue.held().1.jobs >= WINDOW_JOBS_MIN));
        let (mut last, mut share) = queues.pop().unwrap();
        drop(queues);
        let before = last.held().1.jobs;
        share.balance(&mut last);
        assert!(last.held().1.jobs > before, "with room again the window grows");
        drop(share);
        assert_eq!(shared.held(), 0);
    }
}
