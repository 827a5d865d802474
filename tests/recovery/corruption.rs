//! Damage to any file of a store: it opens with the very same data, or it says what is wrong. It never panics, and
//! never loses in silence.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use windlass_core::store::{Batch, Write};
use windlass_scheduler::store::{OpenError, StoreConfig, open};

use crate::support::{Random, from_env, until};

/// The files of a store and what is in them.
type Files = BTreeMap<PathBuf, Vec<u8>>;
/// The pairs of a store.
type Pairs = BTreeMap<Bytes, Bytes>;

fn config(dir: &Path) -> StoreConfig {
    StoreConfig {
        segment_bytes: Some(256 * 1024),
        overlay_bytes: 60_000,
        block_bytes: Some(2 * 1024),
        low_water_bytes: Some(0),
        ..StoreConfig::sled(dir)
    }
}

/// A store to be damaged.
struct Base {
    files: Files,
    /// The same files at an earlier moment, where there were such.
    earlier: Files,
    pairs: Pairs,
}

impl Base {
    /// Fills a store, and ends it in order or by letting go of it.
    fn new(random: &mut Random, orderly: bool) -> Base {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&config(dir.path())).unwrap();
        let mut pairs = Pairs::new();
        let mut earlier = Files::new();
        for round in 0..120_u64 {
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
            store.commit(vec![Batch { writes, settles: false }]).remove(0).unwrap();
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
        Base { files: read_files(dir.path()), earlier, pairs }
    }
}

fn read_files(dir: &Path) -> Files {
    fn walk(dir: &Path, root: &Path, files: &mut Files) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, root, files);
            } else if let Ok(content) = std::fs::read(&path) {
                files.insert(path.strip_prefix(root).unwrap().to_owned(), content);
            }
        }
    }
    let mut files = Files::new();
    walk(dir, dir, &mut files);
    files
}

fn write_files(dir: &Path, files: &Files) {
    for (path, content) in files {
        let path = dir.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

/// Does one thing to one file and says what.
fn damage(base: &Base, random: &mut Random) -> (Files, String) {
    let mut files = base.files.clone();
    // Sled's log is most of the store and gets half of the damage; the others share the rest.
    let names: Vec<&PathBuf> = base.files.keys().collect();
    let log = names.iter().position(|name| name.ends_with("db")).unwrap();
    let which = if random.below(2) == 0 { log } else { random.below(names.len() as u64) as usize };
    let name = names[which].clone();
    let content = files.get_mut(&name).unwrap();
    let length = content.len() as u64;
    let at = random.below(length) as usize;
    let what = match random.below(7) {
        0 | 1 if length > 0 => {
            content[at] ^= 1 << random.below(8);
            format!("flipped a bit at {at}")
        }
        2 if length > 0 => {
            let page = at / 4096 * 4096;
            let end = (page + 4096).min(content.len());
            content[page..end].fill(0);
            format!("zeroed the page at {page}")
        }
        3 if length > 0 => {
            let end = (at + 64).min(content.len());
            content[at..end].iter_mut().for_each(|byte| *byte = random.next() as u8);
            format!("overwrote 64 bytes at {at}")
        }
        4 => {
            content.truncate(at);
            format!("cut to {at} bytes")
        }
        5 => {
            files.remove(&name);
            "removed".to_owned()
        }
        _ => {
            let kind = |path: &PathBuf| path.extension().map(ToOwned::to_owned);
            let twin = names.iter().find(|twin| ***twin != name && kind(twin) == kind(&name));
            match (base.earlier.get(&name), twin) {
                (Some(old), _) if random.below(2) == 0 => {
                    *content = old.clone();
                    "put an earlier copy back".to_owned()
                }
                (_, Some(twin)) => {
                    *content = base.files[*twin].clone();
                    format!("replaced by {}", twin.display())
                }
                _ => "left alone".to_owned(),
            }
        }
    };
    (files, format!("{}: {what}", name.display()))
}

/// Opens a damaged store and reads all of it. `Some` is the error that it owns up with.
fn read_all(dir: &Path) -> Result<Pairs, String> {
    let store = match open(&config(dir)) {
        Ok(store) => store,
        Err(OpenError::Damaged(damage)) => return Err(damage.to_string()),
        Err(error) => return Err(error.to_string()),
    };
    let mut pairs = Pairs::new();
    let each = &mut |key: &[u8], value: Bytes| {
        pairs.insert(Bytes::copy_from_slice(key), value);
        true
    };
    store.scan(b"", &[0xff; 9], each).map_err(|error| error.to_string())?;
    Ok(pairs)
}

#[test]
fn damage_is_harmless_or_named() {
    let mut random = Random::new("corruption");
    let trials = from_env("WINDLASS_CORRUPTION_TRIALS").unwrap_or(200);
    let bases = [Base::new(&mut random, true), Base::new(&mut random, false)];
    let (mut refused, mut whole) = (0, 0);
    for trial in 0..trials {
        let orderly = trial % 2 == 0;
        let base = &bases[usize::from(!orderly)];
        let (files, what) = damage(base, &mut random);
        let dir = tempfile::tempdir().unwrap();
        write_files(dir.path(), &files);
        let outcome = catch_unwind(AssertUnwindSafe(|| read_all(dir.path())));
        match outcome.unwrap_or_else(|_| panic!("trial {trial}: it panicked: {what}")) {
            Ok(pairs) => {
                let same = pairs == base.pairs;
                assert!(same, "trial {trial}: lost or changed in silence: {what} (orderly stop: {orderly})");
                whole += 1;
            }
            Err(_) => refused += 1,
        }
    }
    println!(
        "corruption: {refused} refused with an error, {whole} unharmed, none panicked, none lost in silence"
    );
    assert!(refused > trials / 10, "damage that is never noticed was never done");
}
