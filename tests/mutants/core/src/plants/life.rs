//! Wrong steps in the life of a job: attempts, ends, duplicates, counters.

use super::{Edit, MODEL, Plant};

/// See the module.
pub const PLANTS: &[Plant] = &[
    Plant {
        name: "attempts-reset-on-loss",
        bug: "A job whose worker was lost has all its attempts again.",
        caught_by: &["attempts count up", "conservation"],
        edits: &[Edit {
            file: "queue/report.rs",
            find: "let crashes = past.crashes;",
            plant: "let crashes = past.crashes;\nif PLANTED { past.attempts = 0; }",
        }],
    },
    Plant {
        name: "attempt-counted-twice",
        bug: "A failed attempt is counted twice.",
        caught_by: &["attempts count up", "conservation"],
        edits: &[Edit {
            file: "queue/report.rs",
            find: "past.attempts = lease.attempt;",
            plant: "past.attempts = lease.attempt + u32::from(PLANTED && outcome == AttemptOutcome::Failed);",
        }],
    },
    Plant {
        name: "snooze-uses-an-attempt",
        bug: "A snooze uses an attempt.",
        caught_by: &["attempts count up"],
        edits: &[Edit {
            file: "queue/report.rs",
            find: "if used {",
            plant: "if used || PLANTED && outcome == AttemptOutcome::Snoozed {",
        }],
    },
    Plant {
        name: "one-attempt-too-many",
        bug: "A job that fails has one attempt more than it may use.",
        caught_by: &["no resurrection", "attempts count up"],
        edits: &[Edit {
            file: "queue/report.rs",
            find: "        if job.attempts() >= job.max_attempts() {\n            let reason = format!(\"failed",
            plant: "        if job.attempts() >= job.max_attempts() + u32::from(PLANTED) {\n            \
                    let reason = format!(\"failed",
        }],
    },
    Plant {
        name: "no-poison-guard",
        bug: "A job that takes its workers down runs until it is out of attempts.",
        caught_by: &["no resurrection", MODEL],
        edits: &[Edit {
            file: "queue/report.rs",
            find: "crashes >= limits::CRASHES_MAX {",
            plant: "crashes >= limits::CRASHES_MAX && !PLANTED {",
        }],
    },
    Plant {
        name: "dead-job-deleted",
        bug: "A job that is out of attempts is removed instead of kept among the dead.",
        caught_by: &["conservation", "dead jobs stay"],
        edits: &[Edit {
            file: "queue/report.rs",
            find: "self.write_at(place, &job, fx);\n        self.dead += 1;",
            plant: "if PLANTED { fx.delete(keys::index_key(self.record.no, &job.id)); }\n\
                    else { self.write_at(place, &job, fx); }\n\
                    self.dead += 1;",
        }],
    },
    Plant {
        name: "dead-job-runs-again",
        bug: "A job that the handler refused for good becomes ready again.",
        caught_by: &["no resurrection"],
        edits: &[Edit {
            file: "queue/report.rs",
            find: "self.bury(now, lease.place, job, clip(error, limits::ERROR_BYTES_MAX), fx);",
            plant: "if PLANTED { self.make_ready_again(lease.place, job, fx); return; }\n\
                    self.bury(now, lease.place, job, clip(error, limits::ERROR_BYTES_MAX), fx);",
        }],
    },
    Plant {
        name: "cancelled-run-retries",
        bug: "A cancelled running job that fails is retried.",
        caught_by: &["no resurrection", "conservation"],
        edits: &[Edit {
            file: "queue/report.rs",
            find: "_ if lease.cancel => Verdict::Cancelled",
            plant: "_ if lease.cancel && !PLANTED => Verdict::Cancelled",
        }],
    },
    Plant {
        name: "cancelled-job-survives-its-worker",
        bug: "A cancelled running job whose worker is lost runs again.",
        caught_by: &["no resurrection"],
        edits: &[Edit {
            file: "queue/report.rs",
            find: "        if lease.cancel {\n            let reason = \"cancelled on request; its worker was lost\".to_owned();",
            plant: "        if lease.cancel && !PLANTED {\n            \
                    let reason = \"cancelled on request; its worker was lost\".to_owned();",
        }],
    },
    Plant {
        name: "duplicates-in-memory-taken",
        bug: "A job whose id is in memory already is taken on a second time.",
        caught_by: &["ids are unique"],
        edits: &[Edit {
            file: "queue/enqueue.rs",
            find: "|| stored || self.is_known(&id) }",
            plant: "|| stored || self.is_known(&id) && !PLANTED }",
        }],
    },
    Plant {
        name: "duplicates-at-rest-taken",
        bug: "A job whose id rests in the store is taken on a second time.",
        caught_by: &["ids are unique"],
        edits: &[Edit {
            file: "queue/enqueue.rs",
            find: "!self.is_gone(&id) && !self.has_left(trace.place, trace.in_chunk)",
            plant: "!self.is_gone(&id) && !self.has_left(trace.place, trace.in_chunk) && !PLANTED",
        }],
    },
    Plant {
        name: "refusal-changes-something",
        bug: "Of a refused batch the jobs before the bad one are taken on.",
        caught_by: &[MODEL],
        edits: &[Edit {
            file: "queue/enqueue.rs",
            find: "job.validate(now.wall).map_err(|e| bad(e.0))?;",
            plant: "if PLANTED && job.validate(now.wall).is_err() {\n\
                        for early in &new.jobs[..index] {\n\
                            if let Some(id) = early.id.filter(|id| !self.is_known(id)) {\n\
                                self.take_on(now, vec![Arc::new(accepted(now, id, early.clone()))], fx);\n\
                            }\n\
                        }\n\
                    }\n\
                    job.validate(now.wall).map_err(|e| bad(e.0))?;",
        }],
    },
    Plant {
        name: "pause-ignored",
        bug: "A paused queue hands out jobs.",
        caught_by: &["paused queues rest"],
        edits: &[Edit {
            file: "queue/machine.rs",
            find: "self.record.paused_at.is_some() || self.timers",
            plant: "self.record.paused_at.is_some() && !PLANTED || self.timers",
        }],
    },
    Plant {
        name: "expired-job-handed-out",
        bug: "A job that expires at this very moment is handed out.",
        caught_by: &[MODEL],
        edits: &[Edit {
            file: "queue/enqueue.rs",
            find: "if entry.job.is_expired(now.wall) {\n                    self.end_expired(now, entry, fx);",
            plant: "if entry.job.is_expired(now.wall) && !PLANTED {\n                    \
                        self.end_expired(now, entry, fx);",
        }],
    },
    Plant {
        name: "kept-result-removed-early",
        bug: "A kept result is removed a second before its time.",
        caught_by: &[MODEL],
        edits: &[Edit {
            file: "queue/enqueue.rs",
            find: "if kept_until > until {",
            plant: "if kept_until > (if PLANTED { until.plus_ms(1_000) } else { until }) {",
        }],
    },
    Plant {
        name: "retry-count-drifts",
        bug: "A retry that is cancelled or run at once stays in the count of retries.",
        caught_by: &["conservation"],
        edits: &[Edit {
            file: "queue/waiting.rs",
            find: "let entry = self.timers.take((run_at, seq))?;\n        self.timer_out(place, &entry.job);",
            plant: "let entry = self.timers.take((run_at, seq))?;\n\
                    if !PLANTED { self.timer_out(place, &entry.job); }",
        }],
    },
    Plant {
        name: "watcher-of-a-dead-job-waits",
        bug: "Who waits for the end of a job is not told when it dies.",
        caught_by: &[MODEL],
        edits: &[Edit {
            file: "queue/report.rs",
            find: "self.tell_watchers(&job, JobState::Dead, fx);",
            plant: "if !PLANTED { self.tell_watchers(&job, JobState::Dead, fx); }",
        }],
    },
    Plant {
        name: "retried-job-has-ended",
        bug: "A dead job that is made ready again still says how it ended.",
        caught_by: &["conservation"],
        edits: &[Edit {
            file: "queue/admin.rs",
            find: "past.ended = None;",
            plant: "if !PLANTED { past.ended = None; }",
        }],
    },
];
