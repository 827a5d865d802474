//! Firings that are lost, doubled or early.

use super::{Edit, MODEL, Plant};

/// See the module.
pub const PLANTS: &[Plant] = &[
    Plant {
        name: "firing-in-two-steps",
        bug: "A firing is recorded in one commit and its job is written with the next.",
        caught_by: &["one firing per nominal time", "answered once", "conservation"],
        edits: &[
            Edit {
                file: "queue/machine.rs",
                find: "    pub(super) totals: Totals,\n",
                plant: "    pub(super) totals: Totals,\n    pub(super) late: Vec<Write>,\n",
            },
            Edit {
                file: "queue/machine.rs",
                find: "            totals: Totals::default(),\n",
                plant: "            totals: Totals::default(),\n            late: Vec::new(),\n",
            },
            Edit {
                file: "queue/machine.rs",
                find: "let mut fx = Fx::default();\n        match command {",
                plant: "let mut fx = Fx::default();\n\
                        if PLANTED { fx.writes.append(&mut self.late); }\n\
                        match command {",
            },
            Edit {
                file: "queue/enqueue.rs",
                find: "        fx.reply(reply, Reply::Enqueued(answers));\n        Ok(())",
                plant: "        if PLANTED && alongside > 0 {\n            \
                            self.late = fx.writes.split_off(alongside);\n        \
                        }\n        \
                        fx.reply(reply, Reply::Enqueued(answers));\n        Ok(())",
            },
            Edit {
                file: "queue/enqueue.rs",
                find: "        fx.writes.extend(new.alongside);\n",
                plant: "        let alongside = new.alongside.len();\n        fx.writes.extend(new.alongside);\n",
            },
        ],
    },
    Plant {
        name: "firing-not-recorded",
        bug: "The record of a schedule is not written with the job of its firing.",
        caught_by: &["one firing per nominal time"],
        edits: &[Edit {
            file: "queue/enqueue.rs",
            find: "fx.writes.extend(new.alongside);",
            plant: "if !PLANTED { fx.writes.extend(new.alongside); }",
        }],
    },
    Plant {
        name: "firing-id-too-coarse",
        bug: "The id of a firing is made of the minute, so that a second firing in it is taken for a repeat.",
        caught_by: &["one firing per nominal time"],
        edits: &[Edit {
            file: "schedule/firing.rs",
            find: "Firing { id: firing_id(name, created_at, nominal), nominal, manual: false }",
            plant: "let minute = Timestamp(nominal.0 - nominal.0 % 60_000);\n\
                    Firing { id: firing_id(name, created_at, if PLANTED { minute } else { nominal }), nominal, manual: false }",
        }],
    },
    Plant {
        name: "firing-early",
        bug: "A schedule fires a second before its nominal time.",
        caught_by: &[MODEL],
        edits: &[Edit {
            file: "schedule/due.rs",
            find: ".filter(|next| *next <= now);",
            plant: ".filter(|next| *next <= if PLANTED { now.plus_ms(1_000) } else { now });",
        }],
    },
    Plant {
        name: "catch-up-swallows-the-next",
        bug: "After missed times the one that follows them is left out too.",
        caught_by: &[MODEL],
        edits: &[Edit {
            file: "schedule/due.rs",
            find: "            (missed, _) => {\n                let skipped",
            plant: "            (missed, _) => {\n                \
                    let missed = if PLANTED { missed.and_then(|at| self.next_after(at)) } else { missed };\n                \
                    let skipped",
        }],
    },
    Plant {
        name: "pause-is-caught-up",
        bug: "A schedule that is resumed fires for the time of its pause.",
        caught_by: &[MODEL],
        edits: &[Edit {
            file: "schedule/record.rs",
            find: "let dealt_until = if self.paused_at.is_some() {",
            plant: "let dealt_until = if self.paused_at.is_some() && !PLANTED {",
        }],
    },
    Plant {
        name: "resumed-in-the-past",
        bug: "A schedule that is resumed after the clock was set back is due again for what has fired.",
        caught_by: &[MODEL],
        edits: &[Edit {
            file: "schedule/record.rs",
            find: "self.dealt_until.max(now) } else { self.dealt_until };",
            plant: "if PLANTED { now } else { self.dealt_until.max(now) } } else { self.dealt_until };",
        }],
    },
];
