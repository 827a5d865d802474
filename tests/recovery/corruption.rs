//! Damage to any file of a store: it opens with the very same data, or it says what is wrong, and the doctor says the same.
//! It never panics, and never loses in silence.
//!
//! - [`base`]: stores to be damaged. [`damage`]: what can become of a file. [`table`]: what came of it.
//! - [`planted`]: engines that do lose in silence, which the same check must catch.
//! - [`live`]: sled's log is damaged while the store is open.
//! - [`program`]: the same through the real program: its exit code and what it says.
//!
//! A trial is told by seed and number; `WINDLASS_SEED` and `WINDLASS_CORRUPTION_TRIAL` repeat it.

mod base;
mod damage;
mod live;
mod planted;
mod program;
mod table;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tempfile::TempDir;
use windlass_core::store::{Batch, CommitError, Space, Store, Write};
use windlass_scheduler::store::{OpenError, examine, open};

use self::base::{Base, Pairs, config};
use self::damage::{Damaged, damage};
use self::table::{Outcome, Table};
use crate::support::{Random, from_env, until};

/// One of these stands in every refusal: what the operator can do.
const ADVICE: &[&str] = &[
    "restore the directory from a backup",
    "check that the path is right",
    "free some space",
    "and start again",
];
/// Trials between two lines about the progress.
const PROGRESS: u64 = 1_000;

/// An engine under trial.
type Opener = dyn Fn(&Path) -> Result<Arc<dyn Store>, String> + Sync;

/// Ours.
fn ours(dir: &Path) -> Result<Arc<dyn Store>, String> {
    open(&config(dir)).map_err(|error: OpenError| error.to_string())
}

/// A directory for one trial; in memory where there is such a place, since nobody cuts the power here.
fn place() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// Opens a damaged store, reads all of it and writes to it. An error is a breach of the promise.
fn judge(dir: &Path, pairs: &Pairs, opener: &Opener) -> Result<Outcome, String> {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let store = match opener(dir) {
            Ok(store) => store,
            Err(text) => return Ok(Outcome::Refused(text)),
        };
        let mut found = Pairs::new();
        let each = &mut |key: &[u8], value: Bytes| {
            found.insert(Bytes::copy_from_slice(key), value);
            true
        };
        if let Err(error) = store.scan(b"", &[0xff; 9], each) {
            return Ok(Outcome::Refused(error.to_string()));
        }
        if found != *pairs {
            return Err(format!("lost or changed in silence: {}", difference(pairs, &found)));
        }
        let write = Write::Put { key: Bytes::from_static(b"\0new"), value: Bytes::from_static(b"1") };
        let wrote = store.commit(vec![Batch { writes: vec![write], ..Batch::default() }]).remove(0);
        wrote.map_err(|error| format!("it opened and takes no writes: {error}"))?;
        match store.get(b"\0new") {
            Ok(Some(_)) => Ok(Outcome::Same),
            other => Err(format!("it opened and does not give back what it took: {other:?}")),
        }
    }));
    outcome.unwrap_or_else(|_| Err("it panicked".to_owned()))
}

fn difference(wanted: &Pairs, found: &Pairs) -> String {
    let missing = wanted.keys().filter(|key| !found.contains_key(*key)).count();
    let added = found.keys().filter(|key| !wanted.contains_key(*key)).count();
    let changed = wanted.iter().filter(|(key, value)| found.get(*key).is_some_and(|v| v != *value)).count();
    format!("{missing} missing, {added} added, {changed} changed of {}", wanted.len())
}

/// What the refusal must say, and what the doctor must have found before.
fn check_words(dir: &Path, doctor: &Result<Option<String>, String>, outcome: &Outcome) -> Result<(), String> {
    match (outcome, doctor) {
        (Outcome::Same, Ok(None)) => Ok(()),
        (Outcome::Same, found) => Err(format!("it is whole, and the doctor says {found:?}")),
        (Outcome::Refused(text), Ok(None)) => Err(format!("the doctor finds nothing, the store says {text}")),
        (Outcome::Refused(text), Ok(Some(found)) | Err(found)) => {
            if !ADVICE.iter().any(|advice| text.contains(advice)) {
                return Err(format!("it does not say what to do: {text}"));
            }
            let names_a_file = |text: &str| text.contains(&*dir.to_string_lossy());
            if names_a_file(text) && names_a_file(found) {
                Ok(())
            } else {
                Err(format!("no file is named: {text}; the doctor: {found}"))
            }
        }
    }
}

/// What the doctor says: nothing, the damage, or why he cannot look.
fn ask_doctor(dir: &Path) -> Result<Option<String>, String> {
    let report = catch_unwind(AssertUnwindSafe(|| examine(dir)));
    let report =
        report.unwrap_or_else(|_| panic!("the doctor panicked")).map_err(|error| error.to_string())?;
    Ok((!report.is_whole()).then(|| report.damage.iter().map(|d| format!("{d}; ")).collect()))
}

/// One trial from its number alone.
fn trial(bases: &[Base; 3], seed: u64, number: u64) -> (Damaged, &Base, Result<Outcome, String>) {
    let mut random = Random::of_trial(seed, number);
    let [orderly, dropped, foreign] = bases;
    let base = if number.is_multiple_of(2) { orderly } else { dropped };
    let damaged = damage(base, foreign, &mut random);
    let dir = place();
    damaged.write(dir.path());
    let doctor = ask_doctor(dir.path());
    let outcome = judge(dir.path(), &base.pairs, &ours);
    let outcome = outcome.and_then(|outcome| {
        check_words(dir.path(), &doctor, &outcome)?;
        Ok(outcome)
    });
    (damaged, base, outcome)
}

#[test]
fn damage_is_harmless_or_named() {
    let mut random = Random::new("corruption");
    let seed = random.next();
    let bases = [true, false, true].map(|orderly| Base::new(&mut random, orderly));
    let trials = from_env("WINDLASS_CORRUPTION_TRIALS").unwrap_or(1_000);
    let only = from_env("WINDLASS_CORRUPTION_TRIAL");
    let next = AtomicU64::new(only.unwrap_or(0));
    let end = only.map_or(trials, |only| only + 1);
    let (table, breaches) = (Mutex::new(Table::default()), Mutex::new(Vec::new()));
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= end {
                        return;
                    }
                    let (damaged, base, outcome) = trial(&bases, seed, number);
                    match outcome {
                        Ok(outcome) => {
                            let class = base.class(&damaged.file);
                            table.lock().unwrap().add(class, damaged.kind, &outcome);
                        }
                        Err(breach) => breaches
                            .lock()
                            .unwrap()
                            .push(format!("trial {number}: {}: {breach}", damaged.what)),
                    }
                    if number % PROGRESS == PROGRESS - 1 {
                        println!("corruption: {} of {trials} trials in {:?}", number + 1, started.elapsed());
                    }
                }
            });
        }
    });
    let table = table.into_inner().unwrap_or_else(PoisonError::into_inner);
    let breaches = breaches.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("corruption: {trials} trials in {:?}; {table}", started.elapsed());
    assert!(breaches.is_empty(), "{} breaches:\n{}", breaches.len(), breaches.join("\n"));
    if only.is_none() {
        assert!(table.refused() > trials / 10, "damage that is never noticed was never done");
        assert!(
            trials < 1_000 || table.classes().len() >= 8,
            "some files were never damaged: {:?}",
            table.classes()
        );
    }
}

/// A free segment is only there to be used again. Where that is impossible a new one takes its place.
#[test]
fn a_free_segment_that_cannot_be_used_does_not_end_new_work() {
    let mut random = Random::new("free segment");
    let base = Base::new(&mut random, true);
    let dir = place();
    base::write_files(dir.path(), &base.files);
    let mut replaced = 0;
    for file in base.files.keys().filter(|file| base.class(file) == "journal, free") {
        std::fs::remove_file(dir.path().join(file)).unwrap();
        std::fs::create_dir(dir.path().join(file)).unwrap();
        replaced += 1;
    }
    assert!(replaced > 0, "the store has no free segment");
    let store = ours(dir.path()).unwrap();
    let groups = store.stats().groups;
    let patience = Duration::from_secs(60);
    // Several segments are filled, so that each folder is tried.
    until("all is written", patience, || {
        let value = Bytes::from(vec![7; 20_000]);
        let writes = vec![Write::Put { key: Bytes::from_static(b"k"), value }];
        let wrote = store.commit(vec![Batch { writes, ..Batch::default() }]).remove(0);
        assert!(wrote.is_ok() || matches!(wrote, Err(CommitError::Full(_))), "{wrote:?}");
        store.stats().groups > groups + 30
    });
    until("new work is taken", patience, || store.space() == Space::Ample);
}
