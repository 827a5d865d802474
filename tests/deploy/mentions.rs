//! What a file names: commands with their flags, flags alone, variables, metrics, keys of `windlass.toml`.

use std::collections::BTreeSet;

use crate::files::Source;
use crate::known::Known;

/// Programs, and instructions of a Dockerfile, whose flags are not ours.
const OTHERS: &[&str] = &[
    "ADD",
    "COPY",
    "FROM",
    "HEALTHCHECK",
    "POSTGRES_INITDB_ARGS:",
    "RUN",
    "apt-get",
    "cargo",
    "chmod",
    "docker",
    "kubectl",
    "openssl",
    "pg_isready",
    "systemctl",
];

/// Everything of ours that the file names.
pub(crate) fn of(file: &Source, known: &Known) -> BTreeSet<String> {
    let mut found = words(&file.text, "WINDLASS_", |c| c.is_ascii_uppercase() || c == '_');
    found.extend(words(&file.text, "windlass_", |c| c.is_ascii_lowercase() || c == '_'));
    if file.ends_with(".md") {
        for piece in code(&file.text) {
            // A command stands first; flags without one may be those of any.
            commands(&piece, "", known, &mut found);
        }
    } else if !file.ends_with(".json") {
        for line in lines(&file.text) {
            // What is started in these files is a server, wherever its name stands.
            commands(&line, "windlass server", known, &mut found);
        }
        if file.ends_with(".yaml") {
            found.extend(keys(&file.text));
        }
    }
    found
}

/// Words that begin so and go on with what belongs to a name. One that ends in an underscore is a pattern and no name.
fn words(text: &str, beginning: &str, belongs: fn(char) -> bool) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices(beginning) {
        let inside = text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '-');
        let name: String = text[at..].chars().take_while(|c| belongs(*c)).collect();
        if !inside && !name.ends_with('_') {
            found.insert(name);
        }
    }
    found
}

/// Lines of shell blocks, and what stands between backquotes.
fn code(text: &str) -> Vec<String> {
    let (mut found, mut block, mut prose) = (Vec::new(), None, String::new());
    for line in text.lines() {
        match (line.trim_start().strip_prefix("```"), &mut block) {
            (Some(language), None) => {
                block = Some((matches!(language, "sh" | "bash" | "console"), String::new()));
            }
            (Some(_), Some((shell, inside))) => {
                if *shell {
                    found.extend(lines(inside));
                }
                block = None;
            }
            (None, Some((_, inside))) => inside.extend([line.trim_start_matches("$ "), "\n"]),
            (None, None) => prose.extend([line, "\n"]),
        }
    }
    // Every second part between backquotes is code.
    found.extend(prose.split('`').skip(1).step_by(2).map(str::to_owned));
    found
}

/// Lines without the sign of a comment in front, those that end in a backslash joined to the next.
fn lines(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut open = false;
    for line in text.lines() {
        let line = line.trim().trim_start_matches('#').trim();
        let (line, goes_on) = line.strip_suffix('\\').map_or((line, false), |line| (line, true));
        match found.last_mut().filter(|_| open) {
            Some(last) => last.extend([" ", line]),
            None => found.push(line.to_owned()),
        }
        open = goes_on;
    }
    found
}

/// Commands and flags of one line. `command` is whose flags they are before a command is named.
fn commands(line: &str, command: &str, known: &Known, found: &mut BTreeSet<String>) {
    let separators =
        |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '[' | ']' | '(' | ')' | ',' | ';');
    let words: Vec<&str> = line.split(separators).filter(|word| !word.is_empty()).collect();
    let mut command = Some(command.to_owned());
    for (at, word) in words.iter().enumerate() {
        if let Some(flag) = word.strip_prefix("--").and_then(|rest| rest.split(['=', ':', '.']).next()) {
            let ours = flag.starts_with(|c: char| c.is_ascii_lowercase());
            if let Some(command) = command.as_ref().filter(|_| ours) {
                found.insert(format!("{command} --{flag}").trim_start().to_owned());
            }
        } else if *word == "windlass" || word.ends_with("bin/windlass") {
            // Elsewhere it may be the name of an image or a user, and what follows no verb.
            let is_run = *word != "windlass" || at == 0 || words[at - 1] == "exec";
            if let Some(path) = verbs(&words[at + 1..], is_run, known) {
                found.insert(path.clone());
                command = Some(path);
            }
        } else if OTHERS.contains(word) {
            command = None;
        }
    }
}

/// The command that these words begin with: its verbs, and the first word that should be one and is not.
fn verbs(words: &[&str], is_run: bool, known: &Known) -> Option<String> {
    let exists = |path: &str| known.has(path) || is_coming(path);
    let mut path = "windlass".to_owned();
    for word in words {
        let is_verb = word.chars().all(|c| c.is_ascii_lowercase());
        let longer = format!("{path} {word}");
        let wanted = path != "windlass" || is_run || exists(&longer);
        if !is_verb || !wanted || known.has(&path) && !known.wants_verb(&path) {
            break;
        }
        path = longer;
        if !exists(&path) {
            break;
        }
    }
    (path != "windlass").then_some(path)
}

/// Whether the list of what is coming has a command that begins so.
fn is_coming(command: &str) -> bool {
    let with_verb = format!("{command} ");
    crate::COMING.iter().any(|name| *name == command || name.starts_with(&with_verb) && !name.contains("--"))
}

/// Keys of a `windlass.toml` within a manifest.
fn keys(text: &str) -> Vec<String> {
    let settings = text.lines().filter_map(|line| line.trim().split_once(" = "));
    let names = settings.map(|(key, _)| key);
    let names = names.filter(|key| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'));
    names.map(|key| format!("key {key}")).collect()
}

#[test]
fn names_are_found() {
    let known = Known::gather();
    let named = |path: &str, text: &str| {
        let file = Source { path: path.to_owned(), text: text.to_owned() };
        of(&file, &known).into_iter().collect::<Vec<_>>()
    };
    let unit = "# ExecStart=/usr/bin/windlass server \\\n#   --memory=1GiB \\\n#   --log json\n# --no-such\n# docker run --rm windlass it\n/usr/bin/windlass serve\n";
    let expected = [
        "windlass serve",
        "windlass server",
        "windlass server --log",
        "windlass server --memory",
        "windlass server --no-such",
    ];
    assert_eq!(named("a.service", unit), expected);
    let manual = "`windlass token creat x`, `--seed` (windlass job)\n```sh\n$ windlass job list --all --odd=1\nkubectl get --all\n```\n";
    let expected = [
        "--seed",
        "windlass job list",
        "windlass job list --all",
        "windlass job list --odd",
        "windlass token creat",
    ];
    assert_eq!(named("a.md", manual), expected);
    let manifest = "image: windlass\nargs: [\"server\", \"--odd\"]\nexpr: windlass_odd{a=\"b\"}\nWINDLASS_ODD: 1\n  odd = 1\n";
    assert_eq!(
        named("a.yaml", manifest),
        ["WINDLASS_ODD", "key odd", "windlass server --odd", "windlass_odd"]
    );
}
