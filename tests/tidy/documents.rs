//! Documents must be true: links lead somewhere, commands exist, the diagram shows the transitions of the code.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use windlass_core::job::{JobState, TRANSITIONS};

use crate::exceptions::except;
use crate::report;
use crate::tree::{Source, files, root};

#[test]
fn links_lead_somewhere() {
    let mut findings = Vec::new();
    for file in files(&[".md"]) {
        for target in targets(&file.text) {
            if let Err(problem) = check_link(&file, &target) {
                findings.push(format!("{}: {target}: {problem}", file.path));
            }
        }
    }
    report("links in documents lead somewhere", &findings);
}

/// Targets of `[text](target)`, `src="target"` and `srcset="target"`, outside of code.
fn targets(text: &str) -> Vec<String> {
    let prose = without_code(text);
    let markdown = prose.split("](").skip(1).filter_map(|rest| rest.split([')', ' ', '\n']).next());
    let html = ["src=\"", "srcset=\"", "href=\""];
    let attributes =
        html.iter().flat_map(|key| prose.split(key).skip(1).filter_map(|rest| rest.split('"').next()));
    markdown.chain(attributes).map(str::to_owned).collect()
}

fn without_code(text: &str) -> String {
    let mut fenced = false;
    let mut out = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            // Every second part between backquotes is code.
            out.extend(line.split('`').step_by(2));
            out.push('\n');
        }
    }
    out
}

fn check_link(from: &Source, target: &str) -> Result<(), &'static str> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(());
    }
    let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
    let folder = Path::new(&from.path).parent().unwrap_or(Path::new(""));
    let file = if path.is_empty() { root().join(&from.path) } else { root().join(folder).join(path) };
    if !file.exists() {
        return Err("no such file");
    }
    if anchor.is_empty() || !path.is_empty() && !path.ends_with(".md") {
        return Ok(());
    }
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    if headings(&text).iter().any(|heading| slug(heading) == anchor) {
        Ok(())
    } else {
        Err("no such heading")
    }
}

fn headings(text: &str) -> Vec<String> {
    let prose = without_code(&text.replace('`', ""));
    prose
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim().to_owned())
        .collect()
}

/// The anchor that GitHub makes of a heading.
fn slug(heading: &str) -> String {
    let kept = heading.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// The table of `docs/job-lifecycle.md` and its diagram are the transitions of `core::job`, no more and no less.
#[test]
fn the_lifecycle_is_drawn_as_it_is() {
    let path = root().join("docs/job-lifecycle.md");
    let text = std::fs::read_to_string(&path).expect("docs/job-lifecycle.md");
    let code: BTreeSet<(String, String)> =
        TRANSITIONS.iter().map(|(from, to)| (from.name().to_owned(), to.name().to_owned())).collect();
    let known = |name: &str| name.parse::<JobState>().is_ok();
    let drawn: BTreeSet<(String, String)> = text
        .lines()
        .filter_map(|line| line.trim().split_once("-->"))
        .map(|(from, to)| {
            (from.trim().to_owned(), to.split(':').next().unwrap_or_default().trim().to_owned())
        })
        .filter(|(from, to)| known(from) && known(to))
        .collect();
    assert_eq!(drawn, code, "the diagram");
    let listed: BTreeSet<(String, String)> = text
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
            (cells.len() >= 5 && known(cells[1]) && known(cells[2]))
                .then(|| (cells[1].to_owned(), cells[2].to_owned()))
        })
        .collect();
    assert_eq!(listed, code, "the table");
    for state in JobState::ALL {
        assert!(text.contains(&format!("| `{state}` |")), "{state} is explained");
    }
}

/// Both languages of the README have the same headings in number and level, and the same commands.
#[test]
fn the_readme_says_the_same_in_both_languages() {
    let chinese = root().join("README.zh-CN.md");
    let Ok(chinese) = std::fs::read_to_string(chinese) else { return };
    let english = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let levels = |text: &str| -> Vec<usize> {
        let prose = without_code(text);
        prose
            .lines()
            .filter(|line| line.starts_with('#'))
            .map(|line| line.len() - line.trim_start_matches('#').len())
            .collect()
    };
    assert_eq!(levels(&english), levels(&chinese), "levels of the headings");
    assert_eq!(commands(&english), commands(&chinese), "commands");
}

/// Commands of ours in the shell blocks of a document, without `cargo run … --`.
fn commands(text: &str) -> Vec<String> {
    let mut shell = false;
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(language) = line.trim().strip_prefix("```") {
            shell = matches!(language, "sh" | "bash" | "console");
        } else if shell {
            let line = line.trim().trim_start_matches("$ ").replace("cargo run --release --", "windlass");
            let command = line.split(" #").next().unwrap_or_default();
            found.extend(command.starts_with("windlass ").then(|| command.trim().to_owned()));
        }
    }
    found
}

/// Every command of the documents is one that the program knows, with the flags it shows.
#[test]
fn commands_in_documents_exist() {
    let Some(windlass) = binary() else {
        eprintln!("skipped: the windlass binary has not been built");
        return;
    };
    let mut findings = Vec::new();
    for file in files(&[".md"]) {
        for command in commands(&file.text) {
            if let Err(problem) = check_command(&windlass, &command) {
                findings.push((file.path.clone(), format!("{command}: {problem}")));
            }
        }
    }
    report("commands in documents exist", &except("commands", findings));
}

/// The program beside this test in the same target folder.
fn binary() -> Option<PathBuf> {
    let test = std::env::current_exe().ok()?;
    let windlass = test.parent()?.parent()?.join("windlass");
    windlass.exists().then_some(windlass)
}

/// Asks the program for help on the subcommands that begin the command, and looks for its flags there.
fn check_command(windlass: &Path, command: &str) -> Result<(), String> {
    let words: Vec<&str> = command.split_whitespace().skip(1).collect();
    let verbs: Vec<&str> =
        words.iter().copied().take_while(|word| word.chars().all(|c| c.is_ascii_lowercase())).collect();
    // An argument may look like a subcommand: the longest beginning that is one counts.
    let help = (1..=verbs.len()).rev().find_map(|count| {
        let out = Command::new(windlass).args(&verbs[..count]).arg("--help").output().ok()?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        out.status.success().then_some((count, text))
    });
    let (_, help) = help.ok_or_else(|| "there is no such command".to_owned())?;
    let flags = words.iter().filter(|word| word.starts_with("--") && word.len() > 2);
    let unknown = flags.map(|flag| flag.split('=').next().unwrap_or(flag)).find(|flag| !help.contains(flag));
    unknown.map_or(Ok(()), |flag| Err(format!("its help does not show {flag}")))
}
