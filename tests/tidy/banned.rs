//! Calls that lose messages, grow without bound, hide a clock, or name somebody's machine.

use crate::exceptions::except;
use crate::lexer::{code, without_tests};
use crate::report;
use crate::tree::files;

/// Text in code, where it is banned, and why.
const EVERYWHERE: &[(&str, &str)] = &[
    ("do_send", "ignores the mailbox bound and drops silently; use try_send or send"),
    ("unbounded", "every buffer has a bound"),
    ("System::current", "panics outside an arbiter; pass a handle"),
    ("Arbiter::new", "all actors share one arbiter (docs/adr/0004)"),
    ("Arbiter::current", "panics outside an arbiter; pass a handle"),
    ("SyncArbiter", "all actors share one arbiter (docs/adr/0004)"),
    ("SystemService", "pass a handle; nothing is global"),
    ("static mut", "nothing is global and changes"),
    ("#[allow(", "use #[expect(lint, reason = \"…\")]"),
    ("todo!", "nothing is left open"),
    ("unimplemented!", "nothing is left open"),
];

/// The same for the core, which is pure.
const IN_CORE: &[(&str, &str)] = &[
    ("Instant", "time is an argument"),
    ("SystemTime", "time is an argument"),
    ("Utc::now", "time is an argument"),
    ("Local::now", "time is an argument"),
    ("upcoming", "reads the clock"),
    ("std::thread", "core starts no threads"),
    ("std::fs", "core does no input or output"),
    ("std::net", "core does no input or output"),
    ("std::process", "core does no input or output"),
    ("std::env", "core does not see the process it runs in"),
    ("HashMap", "its order is random and shows; use BTreeMap"),
    ("HashSet", "its order is random and shows; use BTreeSet"),
    ("rand::", "seeds are arguments"),
    ("async fn", "core never waits"),
    ("println!", "core does no input or output"),
    ("eprintln!", "core does no input or output"),
];

#[test]
fn banned_calls_are_absent() {
    check("code has no", EVERYWHERE, |path| !path.starts_with("tests/tidy/"));
}

#[test]
fn the_core_is_pure() {
    check("core is pure and has no", IN_CORE, |path| {
        path.starts_with("core/src/") && !path.ends_with("_test.rs")
    });
}

fn check(rule: &str, bans: &[(&str, &str)], applies: fn(&str) -> bool) {
    let sources: Vec<(String, String)> = files(&[".rs"])
        .into_iter()
        .filter(|file| applies(&file.path))
        .map(|file| (file.path, code(&file.text)))
        .collect();
    let mut findings = Vec::new();
    for (text, why) in bans {
        let hits = sources.iter().flat_map(|(path, code)| {
            let lines = without_tests(code).lines().enumerate();
            lines
                .filter(|(_, line)| has_word(line, text))
                .map(|(at, _)| (path.clone(), format!("line {}: {text}: {why}", at + 1)))
        });
        findings.extend(except(text, hits.collect()));
    }
    report(rule, &findings);
}

/// Whether `text` stands in `line` as itself and not as a part of a longer name.
fn has_word(line: &str, text: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(text).any(|(at, _)| {
        let before = text.starts_with(part) && line[..at].ends_with(part);
        let after = text.ends_with(part) && line[at + text.len()..].starts_with(part);
        !before && !after
    })
}

/// No tracked text names a path of the machine that it was written on.
#[test]
fn no_file_names_a_machine() {
    let roots = ["work", "root", "tmp/w", "home/runner"].map(|name| format!("/{name}/"));
    let texts = files(&[
        ".rs", ".md", ".toml", ".yml", ".html", ".css", ".js", ".svg", "justfile", ".ci/run", ".txt", ".json",
    ]);
    let named = texts.iter().filter(|file| file.path != "tests/tidy/banned.rs").flat_map(|file| {
        let lines = file.text.lines().enumerate();
        let bad = lines.filter(|(_, line)| roots.iter().any(|root| line.contains(root)));
        bad.map(|(at, line)| (file.path.clone(), format!("line {}: {}", at + 1, line.trim())))
    });
    report("no file names a path of one machine", &except("machine path", named.collect()));
}
