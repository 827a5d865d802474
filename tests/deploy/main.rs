//! The files in `deploy/` and the manual of operations must be true: every metric, flag, subcommand, variable and key that they name
//! exists, the manual explains every alert, the texts that it quotes are said somewhere, and everything parses.
//!
//! - [`known`]: what the program knows, from its own tables and its sources.
//! - [`mentions`]: what the files name.
//! - [`manual`]: alerts and quoted texts.
//! - [`parse`]: JSON, YAML, and `promtool` where it is installed.

mod files;
mod known;
mod manual;
mod mentions;
mod parse;

use std::collections::BTreeSet;

use known::Known;

/// Named before they exist: what comes for clusters. Each goes as soon as it is here, and the test says so.
const COMING: &[&str] = &[];

#[test]
fn what_the_files_name_exists() {
    let known = Known::gather();
    let mut findings = Vec::new();
    let mut unborn = BTreeSet::new();
    for file in files::described() {
        for name in mentions::of(&file, &known) {
            if known.has(&name) {
                continue;
            }
            if COMING.contains(&name.as_str()) {
                unborn.insert(name);
            } else {
                findings.push(format!("{}: {name}: there is no such thing", file.path));
            }
        }
    }
    let needless = COMING.iter().filter(|name| !unborn.contains(**name));
    findings.extend(needless.map(|name| {
        format!("{name}: exists by now, or is not named any more; take it off the list of what is coming")
    }));
    report(&findings);
}

/// Fails with all findings at once.
fn report(findings: &[String]) {
    assert!(findings.is_empty(), "\n  {}\n", findings.join("\n  "));
}
