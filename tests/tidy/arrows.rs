//! Which crate may use which, and what the core may depend on.

use std::collections::BTreeSet;

use crate::lexer::code;
use crate::report;
use crate::tree::{files, root};

/// Each crate and the crates of ours that it may use.
const ARROWS: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("worker", &["windlass-core"]),
    ("dashboard", &["windlass-core"]),
    ("scheduler", &["windlass-core", "windlass-dashboard", "windlass-worker"]),
    ("examples", &["windlass-core", "windlass-dashboard", "windlass-worker", "windlass-scheduler"]),
    ("tests/simulation", &["windlass-core"]),
    ("tests", &["windlass-core", "windlass-dashboard", "windlass-worker", "windlass-scheduler"]),
    ("tests/mutants", &["windlass-core"]),
    ("tests/mutants/core", &[]),
    ("tests/budget", &["windlass-core"]),
];

/// All that the core may depend on: plain data, codecs, the calendar. Nothing that runs, waits or talks.
const CORE_MAY_USE: &[&str] = &[
    "bincode",
    "bytes",
    "chrono",
    "chrono-tz",
    "cron",
    "proptest",
    "serde",
    "serde_json",
    "slab",
    "strsim",
    "thiserror",
    "uuid",
];

/// The scheduler is a client of the worker crate in these places alone: the command line.
const WORKER_MAY_BE_USED_IN: &[&str] =
    &["scheduler/src/cli.rs", "scheduler/src/cli/", "scheduler/src/main.rs", "scheduler/tests/"];

/// Names of all dependencies in a manifest, of every kind.
fn dependencies(member: &str) -> BTreeSet<String> {
    let path = root().join(member).join("Cargo.toml");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut names = BTreeSet::new();
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('[') {
            inside = table.contains("dependencies");
        } else if inside && let Some((name, _)) = line.split_once(['=', '.', ' ']) {
            names.insert(name.trim().to_owned());
        }
    }
    names
}

#[test]
fn crates_use_only_what_their_arrow_allows() {
    let mut findings = Vec::new();
    for (member, allowed) in ARROWS {
        let ours = dependencies(member).into_iter().filter(|name| name.starts_with("windlass-"));
        findings.extend(
            ours.filter(|name| !allowed.contains(&name.as_str())).map(|name| format!("{member} uses {name}")),
        );
    }
    report("core ← worker, core ← dashboard, all three ← scheduler, all four ← examples, tests", &findings);
}

#[test]
fn every_member_has_its_arrow() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("the root manifest");
    let members = manifest.lines().find(|line| line.starts_with("members")).expect("a list of members");
    let listed: BTreeSet<&str> = members.split('"').skip(1).step_by(2).collect();
    assert_eq!(listed, ARROWS.iter().map(|(member, _)| *member).collect());
}

#[test]
fn the_core_depends_on_plain_data_only() {
    let used = dependencies("core");
    let findings: Vec<String> = used
        .iter()
        .filter(|name| !CORE_MAY_USE.contains(&name.as_str()))
        .map(|name| format!("core uses {name}"))
        .collect();
    report("core depends on nothing that runs, waits or talks", &findings);
}

#[test]
fn the_node_does_not_lean_on_its_client() {
    let uses =
        files(&[".rs"]).into_iter().filter(|file| file.path.starts_with("scheduler/")).filter(|file| {
            let excepted = WORKER_MAY_BE_USED_IN.iter().any(|place| file.path.starts_with(place));
            !excepted && code(&file.text).contains("windlass_worker")
        });
    let findings: Vec<String> = uses.map(|file| file.path).collect();
    report("only the command line of the scheduler uses the worker crate", &findings);
}

/// Versions are stated once: members refer to the workspace.
#[test]
fn versions_stand_in_the_root_alone() {
    let mut findings = Vec::new();
    for (member, _) in ARROWS {
        let text = std::fs::read_to_string(root().join(member).join("Cargo.toml")).expect("a manifest");
        let mut inside = false;
        for (at, line) in text.lines().enumerate() {
            if line.starts_with('[') {
                inside = line.contains("dependencies");
            } else if inside && line.contains('=') && !line.contains("workspace = true") && !has_path(line) {
                findings.push(format!("{member}/Cargo.toml line {}: {line}", at + 1));
            }
        }
    }
    report("versions are stated once, in [workspace.dependencies]", &findings);
}

/// A crate that only its neighbour uses is named by its folder, which is no version either.
fn has_path(line: &str) -> bool {
    line.contains("path = ") && !line.contains("version")
}
