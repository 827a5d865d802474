//! Mistakes about jobs that share a record: who has left it, who is found in it, when it goes.

use super::{Edit, MODEL, Plant};

/// See the module.
pub const PLANTS: &[Plant] = &[
    Plant {
        name: "holes-not-written",
        bug: "That a job has left its chunk is not written down, and a restart brings it back.",
        caught_by: &["conservation", "no resurrection"],
        edits: &[Edit {
            file: "queue/chunks.rs",
            find: "writes.push(Write::Put { key: key.holes_key(queue), value: state.holes.encode() });",
            plant: "if !PLANTED { writes.push(Write::Put { key: key.holes_key(queue), value: state.holes.encode() }); }",
        }],
    },
    Plant {
        name: "chunk-goes-too-early",
        bug: "A chunk goes while one of its jobs still stands in it.",
        caught_by: &["conservation", "confirmed jobs are kept"],
        edits: &[Edit {
            file: "queue/chunks.rs",
            find: "if state.left > 0 {",
            plant: "if state.left > u64::from(PLANTED) {",
        }],
    },
    Plant {
        name: "empty-chunk-stays",
        bug: "A chunk that all have left is not removed.",
        caught_by: &["conservation"],
        edits: &[Edit {
            file: "queue/chunks.rs",
            find: "writes.push(Write::Delete { key: key.key(queue) });",
            plant: "if !PLANTED { writes.push(Write::Delete { key: key.key(queue) }); }",
        }],
    },
    Plant {
        name: "chunk-scan-believed",
        bug: "What a scan saw in a chunk is believed although the job has left it since.",
        caught_by: &["no resurrection", "conservation", MODEL],
        edits: &[Edit {
            file: "queue/waiting.rs",
            find: "in_chunk && !self.chunks.has(place)",
            plant: "in_chunk && !self.chunks.has(place) && !PLANTED",
        }],
    },
    Plant {
        name: "strange-ids-not-indexed",
        bug: "A job in a chunk whose id carries no time gets no index entry and is not found any more.",
        caught_by: &["conservation", MODEL],
        edits: &[Edit {
            file: "queue/enqueue.rs",
            find: "if !job.id.is_timed(job.enqueued_at) {",
            plant: "if !job.id.is_timed(job.enqueued_at) && !PLANTED {",
        }],
    },
    Plant {
        name: "together-with-the-first",
        bug: "Scheduled jobs that share a chunk are due with the first of them, the others too early.",
        caught_by: &["never early"],
        edits: &[Edit {
            file: "queue/enqueue.rs",
            find: "let Some(due) = together.last()",
            plant: "let Some(due) = if PLANTED { together.first() } else { together.last() }",
        }],
    },
    Plant {
        name: "put-off-beyond-its-end",
        bug: "A job that may expire is put off to share a chunk.",
        caught_by: &[MODEL],
        edits: &[Edit {
            file: "queue/enqueue.rs",
            find: "together.iter().all(|job| job.expires_at().is_none())",
            plant: "(PLANTED || together.iter().all(|job| job.expires_at().is_none()))",
        }],
    },
    Plant {
        name: "few-are-a-crowd",
        bug: "Two jobs of a request are put off as if they were many.",
        caught_by: &[MODEL],
        edits: &[Edit {
            file: "queue/enqueue.rs",
            find: "if crowd < shape.crowd_min {",
            plant: "if crowd < shape.crowd_min && !PLANTED {",
        }],
    },
    Plant {
        name: "rest-outlives-its-chunk",
        bug: "A resting job that has left its chunk is still remembered as resting until the batch is durable.",
        caught_by: &["ids are unique", "answered once", "conservation"],
        edits: &[Edit {
            file: "queue/enqueue.rs",
            find: "if !was_in_chunk || is_remembered() {",
            plant: "if !was_in_chunk || is_remembered() && !PLANTED {",
        }],
    },
    Plant {
        name: "given-back-twice",
        bug: "A job of a chunk that comes back gets a record of its own and stays in the chunk too.",
        caught_by: &["conservation", MODEL],
        edits: &[Edit {
            file: "queue/report.rs",
            find: "if self.chunks.take(place) {",
            plant: "if if PLANTED { self.chunks.has(place) } else { self.chunks.take(place) } {",
        }],
    },
    Plant {
        name: "first-of-a-chunk-not-found",
        bug: "A look-up by time leaves out the chunk whose first id is the one it looks for.",
        caught_by: &["conservation", MODEL],
        edits: &[Edit {
            file: "queue/chunks.rs",
            find: "**first <= *id)",
            plant: "**first < *id || **first == *id && !PLANTED)",
        }],
    },
    Plant {
        name: "last-of-a-sieve-left-out",
        bug: "The filter of a chunk has not its last id.",
        caught_by: &["conservation", MODEL],
        edits: &[Edit {
            file: "queue/filter.rs",
            find: "for id in ids {\n            for (word",
            plant: "let ids_max = ids.len() - usize::from(PLANTED);\n        for id in ids.take(ids_max) {\n            for (word",
        }],
    },
    Plant {
        name: "sieves-of-one-instant",
        bug: "A look-up passes over chunks of which the last id was made after the one it looks for.",
        caught_by: &["conservation", MODEL],
        edits: &[Edit {
            file: "queue/chunks.rs",
            find: "within(&self.sieves, *id, time.plus_ms(SIEVE_MS_MAX + 1))",
            plant: "within(&self.sieves, *id, time.plus_ms(if PLANTED { 1 } else { SIEVE_MS_MAX + 1 }))",
        }],
    },
    Plant {
        name: "strange-ids-rest-unseen",
        bug: "A job that rests in a chunk with a filter of its own, and has an id without its time, is in no filter.",
        caught_by: &["conservation", MODEL],
        edits: &[
            Edit {
                file: "queue/waiting.rs",
                find: "id.is_timed(entry.job.enqueued_at) && self",
                plant: "(PLANTED || id.is_timed(entry.job.enqueued_at)) && self",
            },
            Edit {
                file: "queue/waiting.rs",
                find: "sifts && job.id.is_timed(job.enqueued_at)",
                plant: "sifts && (PLANTED || job.id.is_timed(job.enqueued_at))",
            },
        ],
    },
    Plant {
        name: "crowd-rests-unseen",
        bug: "Jobs that go to rest with their chunk are not known until their batch is durable.",
        caught_by: &["ids are unique", "conservation", MODEL],
        edits: &[Edit {
            file: "queue/resting.rs",
            find: "if alone.is_some() || self.together.is_empty() {",
            plant: "if alone.is_some() || self.together.is_empty() || PLANTED {",
        }],
    },
    Plant {
        name: "crowd-found-at-the-front",
        bug: "A job that has gone to rest with the end of its chunk is looked for as if the whole chunk had.",
        caught_by: &[MODEL],
        edits: &[Edit {
            file: "queue/resting.rs",
            find: "key.place(together.from + index)",
            plant: "key.place(if PLANTED { 0 } else { together.from } + index)",
        }],
    },
    Plant {
        name: "end-of-a-crowd-remembered",
        bug: "The last job that went to rest with its chunk is still remembered as resting when it has left.",
        caught_by: &["ids are unique", "answered once", "conservation", MODEL],
        edits: &[Edit {
            file: "queue/resting.rs",
            find: "let end = first + together.jobs.len() as u64;",
            plant: "let end = first + together.jobs.len() as u64 - u64::from(PLANTED);",
        }],
    },
    Plant {
        name: "crowd-hidden-by-its-past",
        bug: "A job that goes to rest with its chunk is taken to be gone if an earlier one of its id has just gone.",
        caught_by: &[MODEL],
        edits: &[Edit {
            file: "queue/waiting.rs",
            find: "if !sifted || self.resting.alone(&job.id).is_some() {",
            plant: "if !sifted || self.resting.alone(&job.id).is_some() && !PLANTED {",
        }],
    },
    Plant {
        name: "crowd-forgotten-before-durable",
        bug: "Jobs that went to rest with their chunk are forgotten with the batch before theirs.",
        caught_by: &["ids are unique", "conservation", MODEL],
        edits: &[Edit {
            file: "queue/resting.rs",
            find: "is_some_and(|together| together.ticket <= durable)",
            plant: "is_some_and(|together| together.ticket <= durable + u64::from(PLANTED))",
        }],
    },
    Plant {
        name: "crowd-has-no-filter",
        bug: "Jobs that go to rest with a chunk that has no filter of its own are in no filter.",
        caught_by: &["ids are unique", "conservation", MODEL],
        edits: &[Edit {
            file: "queue/enqueue.rs",
            find: "&together[index..], sifts);",
            plant: "&together[index..], sifts || PLANTED);",
        }],
    },
    Plant {
        name: "newest-sieve-overlooked",
        bug: "The newest id of all is not looked for in the chunks that have filters.",
        caught_by: &["ids are unique", "conservation", MODEL],
        edits: &[Edit {
            file: "queue/chunks.rs",
            find: "filter(|_| *id <= self.newest)",
            plant: "filter(|_| *id < self.newest || *id == self.newest && !PLANTED)",
        }],
    },
    Plant {
        name: "chunk-turned-round",
        bug: "Jobs that arrive together stand in their chunk in the wrong order.",
        caught_by: &["order", MODEL],
        edits: &[Edit {
            file: "queue/enqueue.rs",
            find: "ready.sort_by_key(|job| std::cmp::Reverse(job.priority));",
            plant: "if PLANTED { ready.reverse(); }\n        ready.sort_by_key(|job| std::cmp::Reverse(job.priority));",
        }],
    },
    Plant {
        name: "times-share-a-chunk",
        bug: "Scheduled jobs of different times stand in one chunk and are all due with the first.",
        caught_by: &["never too early", "conservation", MODEL],
        edits: &[Edit {
            file: "queue/enqueue.rs",
            find: "a.run_at == b.run_at",
            plant: "a.run_at == b.run_at || PLANTED",
        }],
    },
    Plant {
        name: "chunked-timers-forgotten",
        bug: "A restart does not count the scheduled jobs that stand in chunks.",
        caught_by: &["conservation", "progress", MODEL],
        edits: &[Edit {
            file: "queue/recover.rs",
            find: "self.queue.timers.recover_cold((run_at, first), count),",
            plant: "self.queue.timers.recover_cold((run_at, first), if PLANTED { 0 } else { count }),",
        }],
    },
    Plant {
        name: "chunked-timers-overtake",
        bug: "Scheduled jobs in chunks are read from the store in order of arrival, past those that stand alone and are due before.",
        caught_by: &["order", "on time", MODEL],
        edits: &[Edit {
            file: "queue/read.rs",
            find: "(Reverse(0), run_at, seq)",
            plant: "(Reverse(0), if PLANTED { Timestamp(0) } else { run_at }, seq)",
        }],
    },
    Plant {
        name: "chunk-of-timers-cut-off",
        bug: "A scheduled job in a chunk that begins before the range asked for is not read.",
        caught_by: &["conservation", "progress", MODEL],
        edits: &[Edit {
            file: "store/keys.rs",
            find: "saturating_sub(limits::CHUNK_JOBS_MAX as u64 - 1);",
            plant: "saturating_sub(if PLANTED && chunks == region::TIMER_CHUNK { 0 } else { limits::CHUNK_JOBS_MAX as u64 - 1 });",
        }],
    },
];
