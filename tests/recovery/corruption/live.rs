//! Damage of sled's log under a store that is open: blocks are checked on every read, so a read is right or an error.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use windlass_core::store::{Batch, Store, Write};
use windlass_scheduler::store::{StoreConfig, open};

use crate::support::{Random, until};

/// More than sled's cache holds, so that reads reach the file.
const KEYS: u64 = 14_000;
const VALUE_BYTES: usize = 4_000;
const PAGE: u64 = 4096;

fn key(n: u64) -> Bytes {
    Bytes::copy_from_slice(&n.to_be_bytes())
}

fn value(n: u64) -> Bytes {
    let mut word = n.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut value = Vec::with_capacity(VALUE_BYTES);
    while value.len() < VALUE_BYTES {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        value.extend_from_slice(&word.to_le_bytes());
    }
    value.into()
}

/// Reads everything; returns how many reads were errors.
fn read_all(store: &dyn Store, log: &Path) -> u64 {
    let mut errors = 0;
    for n in 0..KEYS {
        match store.get(&key(n)) {
            Ok(found) => assert!(found == Some(value(n)), "key {n} was lost or changed in silence"),
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains(&*log.to_string_lossy()), "the error names the file: {text}");
                errors += 1;
            }
        }
    }
    errors
}

fn log_of(dir: &Path) -> PathBuf {
    let rest = std::fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path());
    rest.map(|path| path.join("db")).find(|path| path.exists()).unwrap()
}

#[test]
fn damage_under_an_open_store_is_an_error_and_never_silence() {
    let mut random = Random::new("live damage");
    let dir = tempfile::tempdir().unwrap();
    let config = StoreConfig {
        overlay_bytes: 4_000_000,
        block_bytes: Some(8 * 1024),
        low_water_bytes: Some(0),
        ..StoreConfig::sled(dir.path())
    };
    let store = open(&config).unwrap();
    for first in (0..KEYS).step_by(250) {
        let writes = (first..first + 250).map(|n| Write::Put { key: key(n), value: value(n) }).collect();
        store.commit(vec![Batch { writes, ..Batch::default() }]).remove(0).unwrap();
    }
    until("most rests in sled", Duration::from_secs(60), || store.stats().memory_bytes < 8_000_000);
    let log = log_of(dir.path());
    assert_eq!(read_all(store.as_ref(), &log), 0);
    let file = File::options().read(true).write(true).open(&log).unwrap();
    let pages = file.metadata().unwrap().len() / PAGE;
    // A bit in every other page of the first half, zeroes and ones in the second, and then no second half at all.
    for page in 0..pages {
        let at = page * PAGE + random.below(PAGE - 1);
        if page < pages / 2 {
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[byte[0] ^ (1 << random.below(8))], at).unwrap();
        } else if page % 2 == 0 {
            file.write_all_at(&[if page % 4 == 0 { 0 } else { 0xff }; PAGE as usize], page * PAGE).unwrap();
        }
    }
    let errors = read_all(store.as_ref(), &log);
    assert!(errors > 0, "the reads never reached the file");
    file.set_len(pages / 2 * PAGE).unwrap();
    let cut = read_all(store.as_ref(), &log);
    println!(
        "live damage: {errors} of {KEYS} reads were errors, {cut} after half of the log was cut off; none was wrong"
    );
    drop(store);
    let refused = open(&config).map(|_| ()).expect_err("a store in this state does not open").to_string();
    assert!(
        refused.contains("the store is damaged") && refused.contains(&*log.to_string_lossy()),
        "{refused}"
    );
}
