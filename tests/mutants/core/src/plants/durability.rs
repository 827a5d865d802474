//! Answers and hand-outs that do not wait for the disk, and writes that are forgotten.

use super::{Edit, MODEL, Plant};

/// See the module.
pub const PLANTS: &[Plant] = &[
    Plant {
        name: "ack-before-sync",
        bug: "Answers leave at once instead of after their commit.",
        caught_by: &["confirmed jobs are kept"],
        edits: &[Edit {
            file: "queue/machine.rs",
            find: "if hold == Hold::Now { Release::Now }",
            plant: "if hold == Hold::Now || PLANTED { Release::Now }",
        }],
    },
    Plant {
        name: "ack-after-the-batch-before",
        bug: "An answer waits for the batch before its own.",
        caught_by: &["confirmed jobs are kept"],
        edits: &[Edit {
            file: "queue/machine.rs",
            find: "Release::Durable(self.ticket) } else",
            plant: "Release::Durable(self.ticket - u64::from(PLANTED)) } else",
        }],
    },
    Plant {
        name: "sync-covers-later-writes",
        bug: "A sync is taken to cover what was written while it ran.",
        caught_by: &["confirmed jobs are kept", "answered once"],
        edits: &[Edit {
            file: "queue/machine.rs",
            find: "self.durable = self.durable.max(ticket);",
            plant: "self.durable = if PLANTED { self.ticket } else { self.durable.max(ticket) };",
        }],
    },
    Plant {
        name: "handed-out-before-durable",
        bug: "A job is handed out before its enqueue is durable.",
        caught_by: &[MODEL],
        edits: &[Edit {
            file: "queue/ready.rs",
            find: "if head.ticket > durable {",
            plant: "if head.ticket > durable && !PLANTED {",
        }],
    },
    Plant {
        name: "cancel-in-memory-only",
        bug: "The end of a cancelled waiting job is not written, so a restart brings it back.",
        caught_by: &["conservation", "no resurrection"],
        edits: &[Edit {
            file: "queue/admin.rs",
            find: "let job = self.finish(now, place, job, JobState::Cancelled, reason, fx);",
            plant: "let written = fx.writes.len();\n\
                    let job = self.finish(now, place, job, JobState::Cancelled, reason, fx);\n\
                    if PLANTED { fx.writes.truncate(written); }",
        }],
    },
    Plant {
        name: "cancel-flag-not-written",
        bug: "The cancel of a running job is a flag in memory that a restart forgets.",
        caught_by: &["conservation", "no resurrection"],
        edits: &[Edit { file: "queue/admin.rs", find: "cancel: true,", plant: "cancel: !PLANTED," }],
    },
    Plant {
        name: "pause-not-written",
        bug: "A pause is kept in memory only.",
        caught_by: &["paused queues rest"],
        edits: &[Edit {
            file: "queue/admin.rs",
            find: "self.record.paused_at = paused.then_some(now.wall);\n            self.save_record(fx);",
            plant: "self.record.paused_at = paused.then_some(now.wall);\n\
                    if !PLANTED { self.save_record(fx); }",
        }],
    },
    Plant {
        name: "end-of-lease-not-noted",
        bug: "Of jobs that were handed out together, it is not written down whose lease has ended.",
        caught_by: &["conservation"],
        edits: &[Edit {
            file: "queue/handouts.rs",
            find: "writes.push(Write::Put { key: keys::ended_key(queue, first), value: state.ended.encode() });",
            plant: "if !PLANTED { writes.push(Write::Put { key: keys::ended_key(queue, first), value: state.ended.encode() }); }",
        }],
    },
    Plant {
        name: "hand-out-forgotten-too-early",
        bug: "The marks of a hand-out go while one of its leases goes on.",
        caught_by: &["conservation"],
        edits: &[Edit {
            file: "queue/handouts.rs",
            find: "if state.left > 0 {",
            plant: "if state.left > usize::from(PLANTED) {",
        }],
    },
    Plant {
        name: "end-noted-for-the-neighbour",
        bug: "When a lease ends, the mark of the job beside it is struck out.",
        caught_by: &["conservation"],
        edits: &[Edit {
            file: "queue/handouts.rs",
            find: "state.left -= usize::from(state.ended.add(index));\n        if !std",
            plant: "let index = if PLANTED && state.left > 1 { (index + 1) % state.jobs } else { index };\n\
                    state.left -= usize::from(state.ended.add(index));\n        if !std",
        }],
    },
    Plant {
        name: "lease-mark-stays",
        bug: "The mark of a lease stays in the store when the lease has ended.",
        caught_by: &["conservation"],
        edits: &[Edit {
            file: "queue/report.rs",
            find: "fx.delete(keys::lease_key(self.record.no, id));",
            plant: "let stays = PLANTED;\nif !stays { fx.delete(keys::lease_key(self.record.no, id)); }",
        }],
    },
    Plant {
        name: "index-entry-stays",
        bug: "A job that leaves the store leaves its index entry behind.",
        caught_by: &["conservation"],
        edits: &[Edit {
            file: "queue/enqueue.rs",
            find: "fx.delete(keys::index_key(self.record.no, &job.id));",
            plant: "let stays = PLANTED;\nif !stays { fx.delete(keys::index_key(self.record.no, &job.id)); }",
        }],
    },
    Plant {
        name: "seq-reused-after-restart",
        bug: "Sequence numbers start again from 1 after a restart and overwrite records.",
        caught_by: &["conservation", "confirmed jobs are kept"],
        edits: &[Edit {
            file: "queue/recover.rs",
            find: "let next_seq = record.seq_reserved;",
            plant: "let next_seq = if PLANTED { 1 } else { record.seq_reserved };",
        }],
    },
];
