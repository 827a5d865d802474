//! Owners who believe too much or too little, and standbys who cannot wait. Caught by the simulation of ownership.

use super::{Edit, Plant};

/// See the module.
pub const PLANTS: &[Plant] = &[
    Plant {
        name: "lost-answer-means-committed",
        bug: "A commit of which the answer was lost is taken for done.",
        caught_by: &["confirmed is committed"],
        edits: &[Edit {
            file: "cluster/fence.rs",
            find: "Answer::Nothing | Answer::Lost => self.unsettled(),",
            plant: "Answer::Lost if PLANTED => self.committed(self.seq + 1),\n\
                    Answer::Nothing | Answer::Lost => self.unsettled(),",
        }],
    },
    Plant {
        name: "reopened-means-committed",
        bug: "After a reopen all commits in flight are taken for done, though the journal has a beginning of them.",
        caught_by: &["confirmed is committed"],
        edits: &[Edit {
            file: "cluster/fence.rs",
            find: "match seq.checked_sub(self.seq) {",
            plant: "let seq = if PLANTED { self.seq + self.begun } else { seq };\n\
                    match seq.checked_sub(self.seq) {",
        }],
    },
    Plant {
        name: "seq-not-compared",
        bug: "After a reopen the owner goes on from the row's seq, whatever it had confirmed.",
        caught_by: &["groups once, in order"],
        edits: &[Edit {
            file: "cluster/fence.rs",
            find: "self.row_epoch = epoch;",
            plant: "self.row_epoch = epoch;\n\
                    if PLANTED && seq < self.seq { self.seq = seq; }",
        }],
    },
    Plant {
        name: "reopen-keeps-the-epoch",
        bug: "An owner does not take the new epoch over from its reopen, so that it can never commit again.",
        caught_by: &["everything ends"],
        edits: &[Edit {
            file: "cluster/fence.rs",
            find: "self.reopened(epoch, seq),",
            plant: "self.reopened(if PLANTED { self.row_epoch } else { epoch }, seq),",
        }],
    },
    Plant {
        name: "nothing-means-fenced",
        bug: "A commit that matches nothing stops the owner, though only its own late reopen was in the way.",
        caught_by: &["no false alarm"],
        edits: &[Edit {
            file: "cluster/fence.rs",
            find: "pub fn answered(&mut self, answer: Answer) -> Step {",
            plant: "pub fn answered(&mut self, answer: Answer) -> Step {\n\
                    let nothing = self.state == State::Open && answer == Answer::Nothing;\n\
                    if nothing && PLANTED { return self.over(Step::Fenced); }",
        }],
    },
    Plant {
        name: "lost-reopen-means-fenced",
        bug: "A reopen of which the answer was lost stops the owner.",
        caught_by: &["no false alarm"],
        edits: &[Edit {
            file: "cluster/fence.rs",
            find: "Answer::Nothing => self.over(Step::Fenced),\n                Answer::Lost => self.reopen(),",
            plant: "Answer::Lost if !PLANTED => self.reopen(),\n\
                    Answer::Nothing | Answer::Lost => self.over(Step::Fenced),",
        }],
    },
    Plant {
        name: "reopens-before-all-are-answered",
        bug: "After a commit that was lost nobody waits for those behind it, and an answer to one is taken for that to the reopen.",
        caught_by: &["no false alarm"],
        edits: &[Edit {
            file: "cluster/fence.rs",
            find: "if self.in_flight == 0 {",
            plant: "if self.in_flight == 0 || PLANTED {",
        }],
    },
    Plant {
        name: "settled-groups-are-sent-again",
        bug: "After a reopen the whole row of commits is sent again, with what the journal has of it.",
        caught_by: &["groups once, in order"],
        edits: &[Edit {
            file: "cluster/fence.rs",
            find: "self.begun -= committed;\n                self.state = State::Open;\n                Step::Settled { committed }",
            plant: "if !PLANTED { self.begun -= committed; }\n\
                    self.state = State::Open;\n\
                    Step::Settled { committed: if PLANTED { 0 } else { committed } }",
        }],
    },
    Plant {
        name: "epochs-come-again",
        bug: "Every claim raises the epoch by one, so that a claim that was lost and the next one share it.",
        caught_by: &["one owner per token"],
        edits: &[Edit {
            file: "cluster.rs",
            find: "1 + (self.0 & 0xf_ffff) as Epoch",
            plant: "1 + if PLANTED { 0 } else { (self.0 & 0xf_ffff) as Epoch }",
        }],
    },
    Plant {
        name: "outage-counts-as-silence",
        bug: "A watch goes on over readings that failed.",
        caught_by: &["no haste"],
        edits: &[
            Edit {
                file: "cluster/standby.rs",
                find: "self.watch = None;",
                plant: "if !PLANTED { self.watch = None; }",
            },
            Edit {
                file: "cluster/standby.rs",
                find: "let hole_ms = 2 * self.timing.beat_ms;",
                plant: "let hole_ms = if PLANTED { u64::MAX } else { 2 * self.timing.beat_ms };",
            },
        ],
    },
    Plant {
        name: "sleep-counts-as-silence",
        bug: "A watch goes on over the time in which its standby stood still.",
        caught_by: &["no haste"],
        edits: &[Edit {
            file: "cluster/standby.rs",
            find: "apart_ms > hole_ms ||",
            plant: "apart_ms > hole_ms && !PLANTED ||",
        }],
    },
    Plant {
        name: "beats-not-watched",
        bug: "Only another owner begins the watch anew, not a sign of life.",
        caught_by: &["no haste"],
        edits: &[Edit {
            file: "cluster/standby.rs",
            find: "watch.seat == *seat &&",
            plant: "(watch.seat == *seat || watch.seat.owner == seat.owner && PLANTED) &&",
        }],
    },
    Plant {
        name: "gossip-is-enough",
        bug: "An owner whom gossip calls dead is replaced at once.",
        caught_by: &["no haste"],
        edits: &[Edit {
            file: "cluster/standby.rs",
            find: "!alive.contains(owner) => self.timing.dead_silence_ms,",
            plant: "!alive.contains(owner) => if PLANTED { 0 } else { self.timing.dead_silence_ms },",
        }],
    },
    Plant {
        name: "closed-port-is-enough",
        bug: "An owner whose port is closed is replaced at once, although it may be somebody else who refuses.",
        caught_by: &["no haste"],
        edits: &[Edit {
            file: "cluster/standby.rs",
            find: "Some(_) if *refused => self.timing.dead_silence_ms,",
            plant: "Some(_) if *refused => if PLANTED { 0 } else { self.timing.dead_silence_ms },",
        }],
    },
    Plant {
        name: "seeing-nobody-is-enough",
        bug: "A standby that is cut off takes the owner for dead.",
        caught_by: &["no haste"],
        edits: &[Edit {
            file: "cluster/standby.rs",
            find: "if sees_others && !alive",
            plant: "if (sees_others || PLANTED) && !alive",
        }],
    },
    Plant {
        name: "no-patience-with-the-living",
        bug: "An owner whom gossip calls alive gets no more time than a dead one.",
        caught_by: &["no haste"],
        edits: &[Edit {
            file: "cluster/standby.rs",
            find: "Some(_) => self.timing.silence_ms,",
            plant: "Some(_) => if PLANTED { self.timing.dead_silence_ms } else { self.timing.silence_ms },",
        }],
    },
    Plant {
        name: "empty-seat-left-alone",
        bug: "Nobody claims a seat without an owner.",
        caught_by: &["somebody owns"],
        edits: &[Edit {
            file: "cluster/standby.rs",
            find: "None => 0,",
            plant: "None => if PLANTED { u64::MAX } else { 0 },",
        }],
    },
    Plant {
        name: "drained-node-claims",
        bug: "A node that was drained claims the seat again at once.",
        caught_by: &["drained nodes hold off"],
        edits: &[Edit {
            file: "cluster/standby.rs",
            find: "answered < self.held_until ||",
            plant: "answered < self.held_until && !PLANTED ||",
        }],
    },
    Plant {
        name: "namesake-not-watched",
        bug: "An owner of this node's own name is taken for an earlier life of it without a look.",
        caught_by: &["no haste"],
        edits: &[Edit {
            file: "cluster/standby.rs",
            find: "return NAMESAKE_BEATS * self.timing.beat_ms;",
            plant: "return if PLANTED { 0 } else { NAMESAKE_BEATS * self.timing.beat_ms };",
        }],
    },
];
