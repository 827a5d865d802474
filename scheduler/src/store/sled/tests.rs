//! The engine held against the contract, with bounds so small that checkpoints, rotations and rewrites happen all the time.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use tempfile::TempDir;
use windlass_core::store::conformance::{self, Subject, assert_holds, batch, delete, put};
use windlass_core::store::{Batch, CommitError, Space, Store, Write};

use super::SledStore;
use crate::store::{OpenError, StoreConfig};

/// A configuration with which everything happens often.
fn tiny(dir: &TempDir) -> StoreConfig {
    StoreConfig {
        segment_bytes: Some(8 * 1024 * 1024),
        overlay_bytes: 100 * 1024,
        block_bytes: Some(2 * 1024),
        low_water_bytes: Some(0),
        rewrite_bytes_min: 2 * 1024 * 1024,
        ..StoreConfig::sled(dir.path())
    }
}

struct OnDisk {
    config: StoreConfig,
    store: Option<SledStore>,
    _dir: TempDir,
}

impl OnDisk {
    fn new(change: impl FnOnce(&mut StoreConfig)) -> OnDisk {
        let dir = tempfile::tempdir().unwrap();
        let mut config = tiny(&dir);
        change(&mut config);
        let store = Some(SledStore::open(&config).unwrap());
        OnDisk { config, store, _dir: dir }
    }
}

impl Subject for OnDisk {
    fn store(&self) -> &dyn Store {
        self.store.as_ref().unwrap()
    }

    fn reopen(&mut self, orderly: bool) -> bool {
        let store = self.store.take().unwrap();
        if orderly {
            store.close().unwrap();
        }
        drop(store);
        self.store = Some(SledStore::open(&self.config).unwrap());
        true
    }
}

#[test]
fn the_engine_keeps_the_contract() {
    conformance::run(&mut || Box::new(OnDisk::new(|_| {})));
}

#[test]
fn the_engine_keeps_the_contract_with_its_own_bounds() {
    // All but the segments, which take a test in a debug build most of its time.
    let default = |config: &mut StoreConfig| {
        *config = StoreConfig { segment_bytes: config.segment_bytes, ..StoreConfig::sled(&config.data_dir) };
    };
    conformance::run(&mut || Box::new(OnDisk::new(default)));
}

fn count(store: &dyn Store) -> u64 {
    let mut pairs = 0;
    store
        .scan(b"", &[0xff; 8], &mut |_, _| {
            pairs += 1;
            true
        })
        .unwrap();
    pairs
}

fn numbered(n: u64, bytes: usize) -> Batch {
    batch(vec![put(n.to_be_bytes(), vec![n as u8; bytes])])
}

/// Waits for something that a thread of the store does.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < std::time::Duration::from_secs(30), "waited too long until {what}");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn a_second_process_is_refused_and_told_who_holds_it() {
    let subject = OnDisk::new(|_| {});
    let error = SledStore::open(&subject.config).unwrap_err();
    assert!(
        matches!(&error, OpenError::Locked { holder, .. } if *holder == std::process::id().to_string()),
        "{error}"
    );
}

#[test]
fn what_dies_young_never_reaches_sled() {
    let subject = OnDisk::new(|config| config.overlay_bytes = 1024 * 1024);
    let store = subject.store();
    for n in 0..20_000_u64 {
        let group = vec![numbered(n, 100), batch(vec![delete(n.to_be_bytes())])];
        store.commit(group).into_iter().for_each(|result| result.unwrap());
    }
    let stats = store.stats();
    assert_eq!((stats.memory_bytes, stats.checkpoints), (0, 0), "{stats:?}");
}

#[test]
fn checkpoints_give_the_journal_and_a_rewrite_gives_the_disk_back() {
    const JOBS: u64 = 30_000;
    let mut subject = OnDisk::new(|config| config.segment_bytes = Some(256 * 1024));
    let store = subject.store();
    for group in 0..JOBS / 100 {
        let numbers = group * 100..(group + 1) * 100;
        store
            .commit(numbers.map(|n| numbered(n, 300)).collect())
            .into_iter()
            .for_each(|result| result.unwrap());
    }
    until("the journal is released", || store.stats().journal_bytes < 3 * 1024 * 1024);
    assert!(store.stats().checkpoints > 10, "{:?}", store.stats());
    assert_eq!(count(store), JOBS);
    let full = store.stats().disk_bytes;
    assert!(full > JOBS * 300, "{full}");
    for group in 0..JOBS / 100 {
        let numbers = group * 100..(group + 1) * 100;
        let deletes = numbers.map(|n| batch(vec![delete(n.to_be_bytes())])).collect();
        store.commit(deletes).into_iter().for_each(|result| result.unwrap());
    }
    until("the disk is given back", || store.stats().disk_bytes < full / 3);
    store.commit(vec![numbered(7, 10)]).remove(0).unwrap();
    assert_eq!(count(store), 1);
    subject.reopen(true);
    assert_eq!(count(subject.store()), 1);
}

#[test]
fn the_doctor_finds_a_whole_store_whole_and_changes_nothing() {
    let mut subject = OnDisk::new(|_| {});
    for n in 0..3_000 {
        subject.store().commit(vec![numbered(n, 200)]).remove(0).unwrap();
    }
    until("a checkpoint is done", || subject.store().stats().checkpoints > 0);
    assert!(matches!(crate::store::examine(&subject.config.data_dir), Err(OpenError::Locked { .. })));
    subject.store.take().unwrap().close().unwrap();
    let before = snapshot(&subject.config.data_dir);
    let report = crate::store::examine(&subject.config.data_dir).unwrap();
    assert!(report.is_whole(), "{report:?}");
    assert!(
        report.pairs > 0 && report.recent_writes > 0 && report.blocks_checked == report.blocks,
        "{report:?}"
    );
    assert_eq!(snapshot(&subject.config.data_dir), before);
}

/// All files and their contents but the lock.
fn snapshot(dir: &std::path::Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(snapshot(&path));
        } else if !path.ends_with("LOCK") {
            files.insert(path.clone(), std::fs::read(path).unwrap());
        }
    }
    files
}

#[test]
fn every_kind_of_lost_file_is_an_error_that_names_it() {
    let mut subject = OnDisk::new(|_| {});
    for n in 0..3_000 {
        subject.store().commit(vec![numbered(n, 200)]).remove(0).unwrap();
    }
    until("a checkpoint is done", || subject.store().stats().checkpoints > 0);
    subject.store.take().unwrap().close().unwrap();
    let files = snapshot(&subject.config.data_dir);
    let mut refused = 0;
    for path in files.keys() {
        restore(&subject.config.data_dir, &files);
        std::fs::remove_file(path).unwrap();
        match SledStore::open(&subject.config) {
            Ok(store) => assert_eq!(count(&store), 3_000, "after the loss of {}", path.display()),
            Err(OpenError::Damaged(damage)) => {
                assert_eq!(&damage.file, path, "{damage}");
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused >= 4, "the manifest, the directory, sled's log, a segment");
}

/// Puts the files of a snapshot back, and nothing else.
fn restore(dir: &std::path::Path, files: &BTreeMap<std::path::PathBuf, Vec<u8>>) {
    std::fs::remove_dir_all(dir).unwrap();
    for (path, content) in files {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }
}

#[test]
fn a_low_disk_takes_only_what_settles() {
    let subject = OnDisk::new(|config| config.low_water_bytes = Some(u64::MAX));
    let store = subject.store();
    assert_eq!(store.space(), Space::Low);
    let settling = Batch { writes: vec![put("ack", "1")], settles: true, queue: None };
    let results = store.commit(vec![numbered(1, 10), settling, numbered(2, 10)]);
    assert!(matches!(results[0], Err(CommitError::Full(_))));
    assert_eq!(results[1], Ok(()));
    assert!(matches!(results[2], Err(CommitError::Full(_))));
    assert_eq!(count(store), 1);
}

fn write() -> impl Strategy<Value = Write> {
    let key = || (0..300_u32).prop_map(|n| n.to_be_bytes());
    prop_oneof![
        3 => (key(), 0..400_usize).prop_map(|(key, bytes)| put(key, vec![key[3]; bytes])),
        1 => (key(), 2_000..12_000_usize).prop_map(|(key, bytes)| put(key, vec![key[3]; bytes])),
        4 => key().prop_map(delete),
    ]
}

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<Vec<Write>>),
    Reopen(bool),
    Wait,
}

fn step() -> impl Strategy<Value = Step> {
    let group = proptest::collection::vec(proptest::collection::vec(write(), 0..20), 1..6);
    prop_oneof![
        12 => group.prop_map(Step::Commit),
        1 => any::<bool>().prop_map(Step::Reopen),
        1 => Just(Step::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever is done, the store holds what a plain map holds.
    #[test]
    fn the_engine_is_a_map(steps in proptest::collection::vec(step(), 1..60)) {
        let small = |config: &mut StoreConfig| {
            config.overlay_bytes = 8 * 1024;
            config.segment_bytes = Some(512 * 1024);
            config.rewrite_bytes_min = 256 * 1024;
        };
        let mut subject = OnDisk::new(small);
        let mut model = BTreeMap::<Bytes, Bytes>::new();
        for step in steps {
            match step {
                Step::Commit(batches) => {
                    for write in batches.iter().flatten() {
                        match write.clone() {
                            Write::Put { key, value } => drop(model.insert(key, value)),
                            Write::Delete { key } => drop(model.remove(&key)),
                        }
                    }
                    let results = subject.store().commit(batches.into_iter().map(batch).collect());
                    prop_assert!(results.iter().all(Result::is_ok));
                }
                Step::Reopen(orderly) => drop(subject.reopen(orderly)),
                Step::Wait => {
                    let checkpoints = subject.store().stats().checkpoints;
                    until("a checkpoint is done", || {
                        let stats = subject.store().stats();
                        stats.checkpoints > checkpoints || stats.memory_bytes < 8 * 1024
                    });
                }
            }
            assert_holds(subject.store(), &model, "the engine is a map");
        }
        for (key, value) in &model {
            prop_assert_eq!(subject.store().get(key).unwrap(), Some(value.clone()));
        }
    }
}
