//! The files of the repository, as far as they are ours.

use std::path::{Path, PathBuf};

/// A text file: its path from the root, with forward slashes, and its content.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("the package stands in the repository").to_owned()
}

/// Every file whose name ends in one of `endings`, sorted by path.
pub(crate) fn files(endings: &[&str]) -> Vec<Source> {
    let (root, mut found) = (root(), Vec::new());
    walk(&root, &mut |path| {
        let name = path.to_string_lossy().replace('\\', "/");
        if endings.iter().any(|ending| name.ends_with(ending)) {
            let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{name}: {e}"));
            let path = path.strip_prefix(&root).expect("below the root").to_string_lossy().replace('\\', "/");
            found.push(Source { path, text });
        }
    });
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(!found.is_empty(), "there is no file ending in {endings:?}; is the tree complete?");
    found
}

/// Build output, the data of a local server and what editors leave are not ours.
fn walk(folder: &Path, each: &mut dyn FnMut(&Path)) {
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let hidden = name.starts_with('.') && ![".ci", ".github"].contains(&name.as_str());
        if hidden
            || name == "target"
            || name == "windlass-data"
            || name == "node_modules"
            || path.is_symlink()
        {
            continue;
        }
        if path.is_dir() {
            walk(&path, each);
        } else {
            each(&path);
        }
    }
}
