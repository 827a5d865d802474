//! Mistakes at the border between memory and store: jobs handed out twice, or left behind.

use super::{Edit, MODEL, Plant};

/// See the module.
pub const PLANTS: &[Plant] = &[
    Plant {
        name: "load-ignores-memory",
        bug: "A job that a scan found is taken into memory although it is there already.",
        caught_by: &[MODEL],
        edits: &[Edit {
            file: "queue/enqueue.rs",
            find: "moved || self.slots.contains_key(id)",
            plant: "moved || self.slots.contains_key(id) && !PLANTED",
        }],
    },
    Plant {
        name: "load-believes-old-news",
        bug: "A scan that is older than the queue's own decisions is believed, and a job that has ended comes back.",
        caught_by: &["no resurrection", "conservation", MODEL],
        edits: &[Edit {
            file: "queue/enqueue.rs",
            find: "Some(Rest::Gone) => true,\n            Some(Rest::At(newer, _)) => newer != place,",
            plant: "_ if PLANTED => false,\n            \
                    Some(Rest::Gone) => true,\n            Some(Rest::At(newer, _)) => newer != place,",
        }],
    },
    Plant {
        name: "ends-forgotten-under-a-scan",
        bug: "What has left the store is forgotten while a scan that may still show it is on its way.",
        caught_by: &[MODEL],
        edits: &[Edit {
            file: "queue/waiting.rs",
            find: "if self.loads == 0 {",
            plant: "if self.loads == 0 || PLANTED {",
        }],
    },
    Plant {
        name: "ends-forgotten-before-durable",
        bug: "What has left the store is forgotten before the store knows.",
        caught_by: &["ids are unique", "no resurrection", MODEL],
        edits: &[Edit {
            file: "queue/waiting.rs",
            find: "self.resting.settle(self.durable);",
            plant: "self.resting.settle(if PLANTED { self.ticket } else { self.durable });",
        }],
    },
    Plant {
        name: "load-takes-all",
        bug: "A load is taken to have seen every job up to its last, also those that were not durable when it looked.",
        caught_by: &["answered once"],
        edits: &[
            Edit {
                file: "queue/enqueue.rs",
                find: "if bound.is_some_and(|bound| key >= Some(bound)) {",
                plant: "if bound.is_some_and(|bound| key >= Some(bound)) && !PLANTED {",
            },
            Edit {
                file: "queue/window.rs",
                find: "self.from = load.bound.map_or(next, |bound| bound.min(next));",
                plant: "self.from = load.bound.filter(|_| !PLANTED).map_or(next, |bound| bound.min(next));",
            },
        ],
    },
    Plant {
        name: "arrival-overtakes-the-backlog",
        bug: "A job that arrives while others rest goes into memory, before them.",
        caught_by: &["order"],
        edits: &[Edit {
            file: "queue/ready.rs",
            find: "full || self.is_behind_cold(priority, seq)",
            plant: "full || self.is_behind_cold(priority, seq) && !PLANTED",
        }],
    },
    Plant {
        name: "far-timer-forgotten",
        bug: "Timers that rest are not loaded while a single one is in memory or due.",
        caught_by: &["workers and jobs meet", "liveness"],
        edits: &[Edit {
            file: "queue/timers.rs",
            find: "let held = self.hot.len() + due;",
            plant: "let held = if PLANTED { usize::MAX / 2 } else { self.hot.len() + due };",
        }],
    },
    Plant {
        name: "waiting-worker-not-told",
        bug: "A worker that waits is not told when there are jobs again.",
        caught_by: &["workers and jobs meet"],
        edits: &[Edit {
            file: "queue/machine.rs",
            find: "if !self.ready.can_pull(self.durable) || self",
            plant: "if !self.ready.can_pull(self.durable) || PLANTED || self",
        }],
    },
];
