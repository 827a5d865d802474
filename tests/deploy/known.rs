//! What the program knows: its commands and flags from its parser, its settings from their table, its metrics and texts from the sources.

use std::collections::{BTreeMap, BTreeSet};

use windlass_scheduler::config::FIELDS;

use crate::files::{self, Source};

/// What may be named.
pub(crate) struct Known {
    /// Flags by command, the command with its verbs, as in `windlass job list`.
    commands: BTreeMap<String, BTreeSet<String>>,
    /// Everything else: metrics, variables, `key NAME`.
    names: BTreeSet<String>,
    /// The sources, lines of a string that goes on joined.
    texts: Vec<String>,
}

impl Known {
    pub(crate) fn gather() -> Known {
        let sources = files::sources();
        let mut names: BTreeSet<String> = FIELDS.iter().map(|field| format!("key {}", field.key)).collect();
        names.extend(FIELDS.iter().map(windlass_scheduler::config::Field::env));
        for source in &sources {
            names.extend(literals(&source.text, "WINDLASS_"));
            if writes_metrics(source) {
                names.extend(literals(&source.text, "windlass_"));
            }
        }
        let texts = sources.iter().map(|source| joined(&source.text)).collect();
        Known { commands: commands(), names, texts }
    }

    /// Whether this exists: `windlass VERB… [--flag]`, `--flag` of any command, `key NAME`, a metric, or a variable.
    pub(crate) fn has(&self, name: &str) -> bool {
        if let Some((command, flag)) = name.split_once(" --") {
            let flags = self.commands.get(command);
            return flags.is_some_and(|flags| flags.contains(&format!("--{flag}")));
        }
        if name.starts_with("--") {
            return self.commands.values().any(|flags| flags.contains(name));
        }
        self.commands.contains_key(name) || self.names.contains(name)
    }

    /// Whether the command wants a verb behind it.
    pub(crate) fn wants_verb(&self, command: &str) -> bool {
        let verbs = format!("{command} ");
        self.commands.keys().any(|other| other.starts_with(&verbs))
    }

    /// Whether some string of the program has this in it.
    pub(crate) fn says(&self, text: &str) -> bool {
        self.texts.iter().any(|source| source.contains(text))
    }
}

/// Every command with its flags, those that hold everywhere included.
fn commands() -> BTreeMap<String, BTreeSet<String>> {
    let mut root = windlass_scheduler::cli::command();
    root.build();
    let mut found = BTreeMap::new();
    let mut open = vec![("windlass".to_owned(), root)];
    while let Some((path, command)) = open.pop() {
        for verb in command.get_subcommands() {
            for name in std::iter::once(verb.get_name()).chain(verb.get_visible_aliases()) {
                open.push((format!("{path} {name}"), verb.clone()));
            }
        }
        let flags = command.get_arguments().filter_map(|flag| flag.get_long());
        found.insert(path, flags.map(|flag| format!("--{flag}")).collect());
    }
    found
}

/// A file that writes metrics says of what kind they are.
fn writes_metrics(source: &Source) -> bool {
    ["# TYPE", "\"gauge\"", "\"counter\""].iter().any(|sign| source.text.contains(sign))
}

/// String literals that begin so.
fn literals(text: &str, beginning: &str) -> Vec<String> {
    let open = format!("\"{beginning}");
    let rest = text.split(&open).skip(1).filter_map(|rest| rest.split('"').next());
    rest.map(|rest| format!("{beginning}{rest}")).collect()
}

/// A string that goes on in the next line is one text.
fn joined(text: &str) -> String {
    let mut lines = text.split("\\\n");
    let mut out = lines.next().unwrap_or_default().to_owned();
    lines.for_each(|line| out.push_str(line.trim_start()));
    out
}

#[test]
fn the_program_is_known() {
    let known = Known::gather();
    for there in [
        "windlass",
        "windlass server --memory",
        "windlass token create --role",
        "windlass job list --server",
        "windlass jobs list",
        "--shell",
        "windlass_oldest_wait_seconds",
        "WINDLASS_MEMORY",
        "WINDLASS_ACCESS_TOKEN_FILE",
        "key data_dir",
    ] {
        assert!(known.has(there), "{there}");
    }
    for absent in [
        "windlass serve",
        "windlass server --shell",
        "--no-such-flag",
        // A cookie, which is no metric.
        "windlass_session",
        "windlass_oldest_wait",
        "WINDLASS_NOTHING",
        "key nothing",
    ] {
        assert!(!known.has(absent), "{absent}");
    }
    assert!(known.says("run `windlass token create NAME --role admin` and start again"), "joined lines");
    assert!(
        !known.says("text that nobody says, in these words at least, anywhere".split(',').next().unwrap())
    );
}
