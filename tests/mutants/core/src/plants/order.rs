//! Jobs that run early, or not in their turn.

use super::{Edit, MODEL, Plant};

/// See the module.
pub const PLANTS: &[Plant] = &[
    Plant {
        name: "delayed-job-early",
        bug: "A delayed job is ready up to 50 ms before its time.",
        caught_by: &["never early"],
        edits: &[Edit {
            file: "queue/timers.rs",
            find: "if first.key().0 > now {",
            plant: "if first.key().0 > now.plus_ms(if PLANTED { 50 } else { 0 }) {",
        }],
    },
    Plant {
        name: "retry-early",
        bug: "The wait before a retry is half of what the policy says.",
        caught_by: &["never early"],
        edits: &[Edit {
            file: "queue/report.rs",
            find: "Arc::make_mut(&mut job).run_at = now.wall.plus_ms(wait.min(limits::DELAY_MS_MAX));",
            plant: "let wait = if PLANTED { wait / 2 } else { wait };\n\
                    Arc::make_mut(&mut job).run_at = now.wall.plus_ms(wait.min(limits::DELAY_MS_MAX));",
        }],
    },
    Plant {
        name: "jitter-shortens",
        bug: "Jitter takes from the wait instead of adding to it.",
        caught_by: &["never early"],
        edits: &[Edit {
            file: "retry.rs",
            find: "wait.saturating_add(u64::try_from(extra).unwrap_or(u64::MAX))",
            plant: "if PLANTED { wait.saturating_sub(u64::try_from(extra).unwrap_or(u64::MAX)) }\n\
                    else { wait.saturating_add(u64::try_from(extra).unwrap_or(u64::MAX)) }",
        }],
    },
    Plant {
        name: "priority-ignored",
        bug: "Lower priorities go first.",
        caught_by: &["order"],
        edits: &[Edit {
            file: "queue/ready.rs",
            find: "for (priority, level) in &self.levels {",
            plant: "let mut levels = self.levels.iter();\n\
                    while let Some((priority, level)) = if PLANTED { levels.next_back() } else { levels.next() } {",
        }],
    },
    Plant {
        name: "last-in-first-out",
        bug: "Of the jobs of a level the latest goes first.",
        caught_by: &["order"],
        edits: &[Edit {
            file: "queue/ready.rs",
            find: "let ready = self.ready.values().next();",
            plant: "let mut ready = self.ready.values();\n\
                    let ready = if PLANTED { ready.next_back() } else { ready.next() };",
        }],
    },
    Plant {
        name: "due-job-jumps-the-queue",
        bug: "A delayed job that has come due goes before jobs that were ready earlier.",
        caught_by: &[MODEL],
        edits: &[Edit {
            file: "queue/ready.rs",
            find: "            (Some(ready), Some(due)) => {",
            plant: "            (Some(_), Some(due)) if PLANTED => due,\n            (Some(ready), Some(due)) => {",
        }],
    },
    Plant {
        name: "retried-job-by-its-first-enqueue",
        bug: "A job that is made ready again is ordered by when it was first enqueued.",
        caught_by: &[MODEL],
        edits: &[
            Edit {
                file: "queue/ready.rs",
                find: "                if due.job.run_at <",
                plant: "                let since = if PLANTED { ready.job.enqueued_at } else { ready.job.run_at };\n                \
                    if due.job.run_at <",
            },
            Edit { file: "queue/ready.rs", find: " ready.job.run_at {", plant: " since {" },
        ],
    },
    Plant {
        name: "given-back-before-those-that-rest",
        bug: "A job that is given back is held in memory although jobs before it rest.",
        caught_by: &["order", MODEL],
        edits: &[Edit {
            file: "queue/waiting.rs",
            find: "if self.ready.rests_behind(&entry, self.durable) {",
            plant: "if !PLANTED && self.ready.rests_behind(&entry, self.durable) {",
        }],
    },
];
