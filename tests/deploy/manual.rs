//! The manual explains every alert, and quotes only what the program says.

use std::collections::BTreeSet;

use crate::files::{self, MANUAL};
use crate::known::Known;
use crate::report;

/// Shortest part of a quoted text that is looked for; less would be found anywhere.
const PART_CHARS_MIN: usize = 8;

#[test]
fn the_manual_explains_every_alert() {
    let rules = files::read("deploy/prometheus/alerts.yml").text;
    let alerts: BTreeSet<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10, "the alerts are found");
    let manual = files::read(MANUAL).text;
    let explained: BTreeSet<&str> =
        section(&manual, "### Alerts").lines().filter_map(|line| quoted(line).next()).collect();
    assert_eq!(explained, alerts);
}

#[test]
fn the_manual_quotes_what_is_said() {
    let known = Known::gather();
    let manual = files::read(MANUAL).text;
    let texts: Vec<&str> = section(&manual, "## Troubleshooting").lines().flat_map(quoted).collect();
    assert!(texts.len() > 20, "the texts are found");
    let mut findings = Vec::new();
    for text in texts {
        let parts: Vec<&str> =
            text.split('…').map(str::trim).filter(|part| part.len() >= PART_CHARS_MIN).collect();
        if parts.is_empty() || parts.iter().any(|part| !known.says(part.trim_end_matches(':'))) {
            findings.push(format!("{MANUAL}: {text}: nobody says that"));
        }
    }
    report(&findings);
}

/// What stands below a heading, up to the next one of any level.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let at = text.find(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("{heading} is in {MANUAL}"));
    let rest = &text[at + heading.len() + 2..];
    rest.find("\n#").map_or(rest, |end| &rest[..end])
}

/// What stands between backquotes in the first cell of a row.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    let cell = line.strip_prefix("| `").map_or("", |rest| rest.split(" |").next().unwrap_or_default());
    let rest = cell.split('`').step_by(2);
    rest.filter(|text| !text.trim_matches([',', ' ']).is_empty())
}

#[test]
fn cells_are_read() {
    assert_eq!(quoted("| `a …`, `b` | `c` |").collect::<Vec<_>>(), ["a …", "b"]);
    assert_eq!(quoted("| text | why |").count() + quoted("|---|---|").count(), 0);
    assert_eq!(section("x\n## A\nin\n### B\nout\n", "## A"), "in");
}
