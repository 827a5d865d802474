//! The decoders of the node: files of the store, configuration, the command line, HTTP. See [`super::targets`].

pub mod http;

use std::cell::OnceCell;
use std::fmt::Write as _;
use std::path::Path;

use tempfile::TempDir;
use windlass_scheduler::config::{FIELDS, ServerFlags, resolve};
pub use windlass_scheduler::store::probe;

use crate::targets::Target;

/// The decoders of the node.
pub const NODE: &[Target] = &[
    Target { name: "manifest", run: probe::manifest, memory_factor: Some(16) },
    Target { name: "directory", run: probe::directory, memory_factor: Some(64) },
    Target { name: "block", run: probe::block, memory_factor: Some(16) },
    Target { name: "journal", run: journal, memory_factor: Some(256) },
    Target { name: "damaged_journal", run: damaged_journal, memory_factor: None },
    Target { name: "config", run: config, memory_factor: Some(2_048) },
    Target { name: "command_line", run: command_line, memory_factor: None },
    Target { name: "http", run: http::http, memory_factor: None },
    Target { name: "faktory", run: faktory, memory_factor: Some(256) },
];

/// Runs `work` in this thread's directory for files; in memory where there is such a place.
fn with_dir(work: impl FnOnce(&Path)) {
    thread_local! {
        static DIR: OnceCell<TempDir> = const { OnceCell::new() };
    }
    DIR.with(|dir| {
        let made = dir.get_or_init(|| {
            let memory = Path::new("/dev/shm");
            let made = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
            made.expect("a directory for temporary files")
        });
        work(made.path());
    });
}

/// Any bytes as a journal.
pub fn journal(data: &[u8]) {
    with_dir(|dir| probe::journal(dir, data));
}

/// A sound journal with any damage.
pub fn damaged_journal(data: &[u8]) {
    with_dir(|dir| probe::damaged_journal(dir, data));
}

/// A configuration that is taken says the same after it was written down; one that is not is refused in a line that names the
/// file and stays short whatever is in it.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    with_dir(|dir| {
        let path = dir.join("windlass.toml");
        let read = |text: &str| {
            std::fs::write(&path, text).expect("a directory for the test's files");
            let flags = ServerFlags { file: Some(path.clone()), ..ServerFlags::default() };
            resolve(&flags, &|_| None)
        };
        match read(text) {
            Ok(resolved) => {
                assert_eq!(resolved.settings.len(), FIELDS.len());
                let mut written = String::new();
                for setting in &resolved.settings {
                    let value = serde_json::to_string(&setting.value).expect("text is JSON");
                    // Everything that JSON escapes, TOML escapes the same way, but for one character.
                    let value = value.replace('\u{7f}', "\\u007f");
                    writeln!(written, "{} = {value}", setting.key).expect("writing to a string");
                }
                let again = read(&written).expect("what was taken can be written down");
                assert_eq!(again.config, resolved.config, "{written}");
            }
            Err(error) => {
                let said = error.to_string();
                assert!(!said.is_empty() && said.len() <= 2_000 + 8 * text.len(), "{} bytes", said.len());
            }
        }
    });
}

/// Lines of a Faktory client and what they carry; a pushed job that is taken is taken again, to the letter, as it would be handed
/// out.
pub fn faktory(data: &[u8]) {
    use windlass_scheduler::faktory::fuzz;
    let _ = fuzz::conversation(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(handed) = text.lines().find_map(|line| fuzz::job(line.strip_prefix("PUSH ")?)) else { return };
    let again = fuzz::job(&handed);
    assert_eq!(again.as_deref(), Some(handed.as_str()), "{text}");
}

/// The command line, an argument per line: every value is taken or refused with a text.
pub fn command_line(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let arguments = std::iter::once("windlass").chain(text.lines());
    if let Err(error) = windlass_scheduler::cli::command().try_get_matches_from(arguments) {
        assert!(!error.to_string().is_empty());
    }
}
