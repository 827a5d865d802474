//! Damage: what does not read as it was written.

use std::path::{Path, PathBuf};

/// Where and how a file is damaged.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, thiserror::Error)]
#[error("{} at byte {offset}: {what}", file.display())]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Offset of the first byte that cannot be trusted.
    pub offset: u64,
    /// What is wrong there.
    pub what: String,
}

impl Damage {
    pub(in crate::store) fn new(file: &Path, offset: u64, what: impl Into<String>) -> Damage {
        Damage { file: file.to_owned(), offset, what: what.into() }
    }
}
