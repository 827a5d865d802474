//! The files that are held against the program.

use std::path::{Path, PathBuf};

/// The manual.
pub(crate) const MANUAL: &str = "docs/operations.md";

/// A text file: its path from the root, and its content.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Source {
    pub(crate) fn ends_with(&self, ending: &str) -> bool {
        self.path.ends_with(ending)
    }
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the package stands in the repository").to_owned()
}

/// The file at `path` from the root.
pub(crate) fn read(path: &str) -> Source {
    let text = std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    Source { path: path.to_owned(), text }
}

/// Everything in `deploy/`, and the manual.
pub(crate) fn described() -> Vec<Source> {
    let mut found = below("deploy");
    found.push(read(MANUAL));
    assert!(found.len() > 10, "the folder is complete");
    found
}

/// The Rust sources of the program.
pub(crate) fn sources() -> Vec<Source> {
    let folders = ["core/src", "worker/src", "scheduler/src", "dashboard/src"];
    folders.into_iter().flat_map(below).filter(|file| file.ends_with(".rs")).collect()
}

/// The text files below a folder, sorted by path. Secrets of somebody who tries the files out are nobody's business.
fn below(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display())) {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                if path.file_name().is_some_and(|name| name != "secrets") {
                    open.push(path);
                }
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                let path = path.strip_prefix(root()).expect("below the root");
                found.push(Source { path: path.to_string_lossy().replace('\\', "/"), text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}
