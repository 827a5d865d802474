//! A store to be damaged: its files, what each of them is, and the pairs that must come out of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use windlass_core::store::{Batch, Store, Write};
use windlass_scheduler::store::{StoreConfig, examine, open};

use crate::support::{Random, until};

/// The files of a store and what is in them.
pub(super) type Files = BTreeMap<PathBuf, Vec<u8>>;
/// The pairs of a store.
pub(super) type Pairs = BTreeMap<Bytes, Bytes>;

/// Bounds so small that the files are many and short.
pub(super) fn config(dir: &Path) -> StoreConfig {
    StoreConfig {
        segment_bytes: Some(64 * 1024),
        overlay_bytes: 60_000,
        block_bytes: Some(2 * 1024),
        low_water_bytes: Some(0),
        ..StoreConfig::sled(dir)
    }
}

/// A store to be damaged.
pub(super) struct Base {
    pub(super) files: Files,
    /// The same files at an earlier moment, where there were such.
    pub(super) earlier: Files,
    pub(super) pairs: Pairs,
    /// Segments with groups that a start reads.
    live: BTreeSet<PathBuf>,
}

impl Base {
    /// Fills a store, and ends it in order or by letting go of it.
    pub(super) fn new(random: &mut Random, orderly: bool) -> Base {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&config(dir.path())).unwrap();
        let mut pairs = Pairs::new();
        let mut earlier = Files::new();
        for round in 0..120_u64 {
            fill(store.as_ref(), round, random, &mut pairs);
            if round == 80 {
                until("a checkpoint is done", Duration::from_secs(20), || store.stats().checkpoints > 0);
                earlier = read_files(dir.path());
            }
        }
        if orderly {
            store.close().unwrap();
        } else {
            // An idle store vouches for its end; before that the last group cannot be told from a torn one.
            let groups = store.stats().groups;
            until("the journal is sealed", Duration::from_secs(20), || store.stats().groups > groups);
        }
        drop(store);
        Base { earlier, pairs, ..Base::of_files(read_files(dir.path()), dir.path()) }
    }

    /// A store that somebody else has filled in `dir`, as far as its files go.
    pub(super) fn of_files(files: Files, dir: &Path) -> Base {
        let report = examine(dir).unwrap();
        assert!(report.is_whole() && report.blocks > 10, "{report:?}");
        let live = report.segments.iter().map(|segment| relative(&segment.file, dir)).collect();
        Base { files, earlier: Files::new(), pairs: Pairs::new(), live }
    }

    /// What a file is, for the table.
    pub(super) fn class(&self, file: &Path) -> &'static str {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        match &*name {
            "MANIFEST" => "manifest",
            "LOCK" => "lock",
            "db" => "sled's log",
            "conf" => "sled's settings",
            name if name.starts_with("snap.") => "sled's snapshot",
            name if name.starts_with("directory-") => "directory",
            _ if self.live.contains(file) => "journal with groups",
            name if name.ends_with(".journal") && self.live.iter().any(|live| live.as_path() > file) => {
                "journal, free"
            }
            name if name.ends_with(".journal") => "journal, prepared",
            _ => "other",
        }
    }
}

/// One batch with keys that are written, written over and removed.
fn fill(store: &dyn Store, round: u64, random: &mut Random, pairs: &mut Pairs) {
    let mut writes = Vec::new();
    for _ in 0..20 {
        let key = Bytes::copy_from_slice(&random.below(1_500).to_be_bytes());
        if random.below(4) == 0 {
            pairs.remove(&key);
            writes.push(Write::Delete { key });
        } else {
            let bytes = if random.below(50) == 0 { 6_000 } else { random.below(300) };
            let value = Bytes::from(vec![round as u8; bytes as usize]);
            pairs.insert(key.clone(), value.clone());
            writes.push(Write::Put { key, value });
        }
    }
    store.commit(vec![Batch { writes, ..Batch::default() }]).remove(0).unwrap();
}

fn relative(path: &Path, root: &Path) -> PathBuf {
    path.strip_prefix(root).unwrap().to_owned()
}

pub(super) fn read_files(dir: &Path) -> Files {
    fn walk(dir: &Path, root: &Path, files: &mut Files) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, files);
            } else if let Ok(content) = std::fs::read(&path) {
                files.insert(relative(&path, root), content);
            }
        }
    }
    let mut files = Files::new();
    walk(dir, dir, &mut files);
    files
}

pub(super) fn write_files(dir: &Path, files: &Files) {
    for (path, content) in files {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}
