//! Documents that are made from the source, or checked against it.

use std::fs;
use std::path::PathBuf;

use windlass_scheduler::cli::Exit;
use windlass_scheduler::config;

const BEGIN: &str = "<!-- settings -->\n";
const END: &str = "<!-- /settings -->";

fn document(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name)
}

/// The table of settings is the one in the source. `WINDLASS_WRITE_DOCS=1` writes it instead.
#[test]
fn configuration_lists_every_setting() {
    let path = document("configuration.md");
    let text = fs::read_to_string(&path).expect("the document is there");
    let (head, rest) = text.split_once(BEGIN).expect("the document has its mark");
    let (table, tail) = rest.split_once(END).expect("the document has its end mark");
    let wanted = format!("\n{}\n", config::reference());
    if std::env::var_os("WINDLASS_WRITE_DOCS").is_some() {
        fs::write(&path, format!("{head}{BEGIN}{wanted}{END}{tail}")).expect("the document is written");
        return;
    }
    assert_eq!(table, wanted, "write it anew with WINDLASS_WRITE_DOCS=1");
}

/// The codes in the document are those in the source.
#[test]
fn every_exit_code_is_documented() {
    let text = fs::read_to_string(document("cli.md")).expect("the document is there");
    let all = [
        Exit::Ok,
        Exit::Failure,
        Exit::Usage,
        Exit::NotFound,
        Exit::Refused,
        Exit::Unreachable,
        Exit::CheckFailed,
    ];
    for exit in all {
        assert!(text.contains(&format!("\n| {} | ", exit as u8)), "{exit:?}");
    }
}

/// Every command of the tree is mentioned, and every `windlass …` line of the document names one that exists.
#[test]
fn the_document_and_the_command_tree_agree() {
    let text = fs::read_to_string(document("cli.md")).expect("the document is there");
    let tree = windlass_scheduler::cli::command();
    for command in tree.get_subcommands() {
        let name = command.get_name();
        assert!(
            text.contains(&format!("windlass {name}")) || name == "version",
            "docs/cli.md says nothing of {name}"
        );
    }
    for line in text.lines().filter_map(|line| line.split("$ windlass ").nth(1)) {
        let mut words = line.split_whitespace();
        let noun = words.next().expect("a noun");
        let command = tree.find_subcommand(noun).unwrap_or_else(|| panic!("there is no command {noun}"));
        if command.has_subcommands() {
            let verb = words.next().expect("a verb");
            assert!(command.find_subcommand(verb).is_some(), "there is no command {noun} {verb}");
        }
    }
}
