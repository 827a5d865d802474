//! S12: a queue's counters say what a count of its jobs says, and nothing runs when everything is at rest.

use std::collections::BTreeMap;

use windlass_core::job::JobState;

use super::{Found, Property};
use crate::life::World;

/// Looks at the dump alone.
#[derive(Debug)]
pub(super) struct Conservation;

impl Property for Conservation {
    fn name(&self) -> &'static str {
        "S12 counters say what is there"
    }

    fn end(&mut self, world: &World, found: &mut Found<'_>) {
        let none = BTreeMap::new();
        for (queue, counters) in &world.dump.counters {
            let counted = world.dump.counted.get(queue).unwrap_or(&none);
            for state in JobState::ALL {
                let (says, is) = (counters.get(&state).unwrap_or(&0), counted.get(&state).unwrap_or(&0));
                if says != is {
                    found.add(None, format!("queue {queue} counts {says} {state} jobs and has {is}"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::check::sample::{Sample, job};

    #[test]
    fn it_alone_catches_a_counter_that_leaks() {
        let mut sample = Sample::default();
        sample.job(1).enqueued(0, 1).run((1, 1), 1, 10, 20, "dead").reported(21);
        sample.dumped(1, job("dead", 1));
        sample.counter("default", "running", 1);
        sample.breaks(&["S12"]);
    }
}
