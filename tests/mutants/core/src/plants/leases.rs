//! Tokens that prove too much, and leases that end too early, too late or never.

use super::{Edit, MODEL, Plant};

/// See the module.
pub const PLANTS: &[Plant] = &[
    Plant {
        name: "report-ignores-token",
        bug: "A report is believed whatever token it carries.",
        caught_by: &["stale reports are refused"],
        edits: &[Edit {
            file: "queue/report.rs",
            find: "results.push(if self.prove(&id, token).is_none() {",
            plant: "results.push(if self.prove(&id, token).is_none()\n\
                    && !(PLANTED && self.lease_no(&id).is_some()) {",
        }],
    },
    Plant {
        name: "token-without-epoch",
        bug: "A token is compared by its delivery number alone, so that one of before a restart proves a lease of after it.",
        caught_by: &[MODEL],
        edits: &[Edit {
            file: "queue/machine.rs",
            find: ".filter(|lease| lease.token == token)",
            plant: ".filter(|lease| lease.token == token || PLANTED && lease.token.delivery == token.delivery)",
        }],
    },
    Plant {
        name: "tokens-repeat-after-restart",
        bug: "Tokens carry the same epoch after a restart, while deliveries are counted from 1 again.",
        caught_by: &["tokens rise"],
        edits: &[Edit {
            file: "queue/enqueue.rs",
            find: "Token { epoch: self.tuning.epoch, delivery: self.deliveries + 1 }",
            plant: "Token { epoch: if PLANTED { 1 } else { self.tuning.epoch }, delivery: self.deliveries + 1 }",
        }],
    },
    Plant {
        name: "token-of-attempt",
        bug: "A token carries the number of the attempt, which a job that was given back has once more.",
        caught_by: &["tokens rise"],
        edits: &[Edit {
            file: "queue/enqueue.rs",
            find: "let token = self.next_token();",
            plant: "let attempted = u64::from(entry.job.attempts()) + 1;\n\
                    let token = self.next_token();\n\
                    let token = if PLANTED { Token { delivery: attempted, ..token } } else { token };",
        }],
    },
    Plant {
        name: "wall-clock-leases",
        bug: "Leases follow the wall clock, which jumps.",
        caught_by: &["one live lease", "leases end", MODEL],
        edits: &[
            Edit {
                file: "queue/machine.rs",
                find: "pub fn apply(&mut self, now: Now, command: Command) -> Result<Effects, Refusal> {",
                plant: "pub fn apply(&mut self, now: Now, command: Command) -> Result<Effects, Refusal> {\n\
                        let now = if PLANTED { Now { wall: now.wall, mono: Mono(now.wall.0) } } else { now };",
            },
            Edit {
                file: "queue/recover.rs",
                find: "let deadline = now.mono.plus_ms(queue.tuning.resume_grace_ms);",
                plant: "let mono = if PLANTED { crate::time::Mono(now.wall.0) } else { now.mono };\n\
                        let deadline = mono.plus_ms(queue.tuning.resume_grace_ms);",
            },
        ],
    },
    Plant {
        name: "renewal-forgotten",
        bug: "A sign of life does not move the deadline of a lease.",
        caught_by: &["one live lease"],
        edits: &[Edit {
            file: "queue/report.rs",
            find: "pub(super) fn renew(&mut self, now: Now, worker: &WorkerId) {",
            plant: "pub(super) fn renew(&mut self, now: Now, worker: &WorkerId) {\n\
                    if PLANTED { return; }",
        }],
    },
    Plant {
        name: "no-grace-time",
        bug: "The leases of a worker whose session is gone end at once.",
        caught_by: &["one live lease"],
        edits: &[Edit {
            file: "queue/report.rs",
            find: "self.leases.stop_waiting(worker);\n        self.leases.set_deadline",
            plant: "self.leases.stop_waiting(worker);\n\
                    if PLANTED { self.leases.set_deadline(worker, now.mono); return; }\n\
                    self.leases.set_deadline",
        }],
    },
    Plant {
        name: "list-of-leases-cut",
        bug: "When a lease ends, those that its worker has had for longer are no longer known to be its.",
        caught_by: &["leases end", "liveness", "conservation", MODEL],
        edits: &[Edit {
            file: "queue/leases.rs",
            find: "(Some(behind), _) => self.held[behind].before = before,",
            plant: "(Some(behind), _) => self.held[behind].before = if PLANTED { None } else { before },",
        }],
    },
    Plant {
        name: "lost-worker-keeps-leases",
        bug: "Of a lost worker only the first lease ends.",
        caught_by: &["liveness", "workers and jobs meet"],
        edits: &[Edit {
            file: "queue/report.rs",
            find: "for id in self.held_by(worker) {",
            plant: "for id in self.held_by(worker).into_iter().take(if PLANTED { 1 } else { usize::MAX }) {",
        }],
    },
    Plant {
        name: "resume-keeps-what-was-given-away",
        bug: "A worker that comes back keeps a lease that has ended meanwhile.",
        caught_by: &["one live lease", MODEL],
        edits: &[Edit {
            file: "queue/report.rs",
            find: "_ => lost.push((id, token)),",
            plant: "_ if PLANTED => kept.push((id, token)),\n_ => lost.push((id, token)),",
        }],
    },
    Plant {
        name: "resume-forgets-what-was-not-received",
        bug: "A job that a worker never received stays leased to it when it comes back.",
        caught_by: &["conservation", "attempts count up", MODEL],
        edits: &[Edit {
            file: "queue/report.rs",
            find: "if !runs.contains(&id)",
            plant: "if !runs.contains(&id) && !PLANTED",
        }],
    },
    Plant {
        name: "recovered-lease-ends-late",
        bug: "A lease found at start has a minute more than the grace time.",
        caught_by: &["leases end"],
        edits: &[Edit {
            file: "queue/recover.rs",
            find: "queue.leases.insert(lease, deadline);",
            plant: "queue.leases.insert(lease, if PLANTED { deadline.plus_ms(60_000) } else { deadline });",
        }],
    },
    Plant {
        name: "one-slot-too-many",
        bug: "A worker gets one job more than it has room for.",
        caught_by: &[MODEL],
        edits: &[Edit {
            file: "queue/enqueue.rs",
            find: "while jobs.len() < slots {",
            plant: "while jobs.len() < slots + usize::from(PLANTED) {",
        }],
    },
    Plant {
        name: "late-worker-not-told-again",
        bug: "When a lease runs out its worker is taken from the list of those who wait, although its session lives on.",
        caught_by: &["workers and jobs meet"],
        edits: &[Edit {
            file: "queue/report.rs",
            find: "self.end_leases_of(now, &worker, \"its worker was silent until",
            plant: "if PLANTED { self.leases.stop_waiting(&worker); }\n            \
                    self.end_leases_of(now, &worker, \"its worker was silent until",
        }],
    },
    Plant {
        name: "cancel-forgotten-on-resume",
        bug: "A cancelled job that its worker never received is ready again when the worker comes back.",
        caught_by: &["no resurrection", MODEL],
        edits: &[Edit {
            file: "queue/report.rs",
            find: "self.conclude(now, &id, Verdict::Released, fx);",
            plant: "if PLANTED && let Some(no) = self.lease_no(&id) { self.leases.get_mut(no).cancel = false; }\n                \
                    self.conclude(now, &id, Verdict::Released, fx);",
        }],
    },
    Plant {
        name: "lost-is-taken-for-done",
        bug: "A job whose worker was lost is taken for done.",
        caught_by: &["conservation", "a job runs and ends"],
        edits: &[Edit {
            file: "queue/report.rs",
            find: "        // After a restart of the server the worker may be gone",
            plant: "        if PLANTED {\n            \
                        self.finish(now, lease.place, job, JobState::Succeeded, String::new(), fx);\n            \
                        return;\n        \
                    }\n        \
                    // After a restart of the server the worker may be gone",
        }],
    },
];
