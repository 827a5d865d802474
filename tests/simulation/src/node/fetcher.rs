//! Which queue a session asks next, with how much of its worker's credit: one at a time, and none that is drained.

use crate::rng::Rng;

#[derive(Debug)]
struct Source {
    queue: usize,
    open: bool,
    noticed: bool,
}

/// The fetching side of a worker's session.
#[derive(Debug, Default)]
pub struct Fetcher {
    sources: Vec<Source>,
    strict: bool,
    credit: u32,
    asking: Option<usize>,
}

impl Fetcher {
    /// Sets the queues.
    pub fn subscribe(&mut self, queues: &[usize], strict: bool) {
        self.sources =
            queues.iter().map(|queue| Source { queue: *queue, open: true, noticed: false }).collect();
        self.strict = strict;
    }

    /// More free slots.
    pub fn add_credit(&mut self, add: u32) {
        self.credit += add;
    }

    /// Which queue to ask for how many jobs now.
    pub fn next(&mut self, rng: &mut Rng) -> Option<(usize, u32)> {
        if self.credit == 0 || self.asking.is_some() {
            return None;
        }
        let open = self.sources.iter().filter(|source| source.open).count();
        let nth = if self.strict || open == 0 { 0 } else { rng.below(open as u64) as usize };
        let source = self.sources.iter_mut().filter(|source| source.open).nth(nth)?;
        source.noticed = false;
        self.asking = Some(source.queue);
        let slots = if self.strict || open == 1 { self.credit } else { self.credit.div_ceil(2) };
        Some((source.queue, slots))
    }

    /// A queue has answered. Returns how many of the jobs the worker may still have.
    pub fn answered(&mut self, queue: usize, jobs: u32, drained: bool) -> u32 {
        self.asking.take_if(|asked| *asked == queue);
        if let Some(source) = self.sources.iter_mut().find(|source| source.queue == queue) {
            source.open = !drained || source.noticed;
        }
        let granted = jobs.min(self.credit);
        self.credit -= granted;
        granted
    }

    /// A queue has jobs again.
    pub fn notice(&mut self, queue: usize) {
        if let Some(source) = self.sources.iter_mut().find(|source| source.queue == queue) {
            source.open = true;
            source.noticed = true;
        }
    }

    /// Queues whose notice cannot be followed for want of credit.
    pub fn unused_notices(&mut self) -> Vec<usize> {
        if self.credit > 0 {
            return Vec::new();
        }
        let take = |source: &mut Source| std::mem::take(&mut source.noticed).then_some(source.queue);
        self.sources.iter_mut().filter_map(take).collect()
    }
}
