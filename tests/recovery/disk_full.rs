//! A full disk: new work is refused with a typed error, work already taken on is finished, and the store goes on by
//! itself when there is space.

use std::time::Duration;

use bytes::Bytes;
use windlass_core::store::{Batch, CommitError, Space, Store, Write};
use windlass_scheduler::store::{StoreConfig, open};

use crate::support::{Mount, run, until};

/// Jobs per batch.
const JOBS: u64 = 20;

fn key(job: u64) -> Bytes {
    Bytes::copy_from_slice(&job.to_be_bytes())
}

fn enqueue(batch: u64) -> Batch {
    let put = |job: u64| Write::Put { key: key(job), value: Bytes::from(vec![job as u8; 1_000]) };
    Batch { writes: (batch * JOBS..(batch + 1) * JOBS).map(put).collect(), ..Batch::default() }
}

fn count(store: &dyn Store) -> u64 {
    let mut jobs = 0;
    let each = &mut |_: &[u8], _: Bytes| {
        jobs += 1;
        true
    };
    store.scan(b"", &[0xff; 9], each).unwrap();
    jobs
}

#[test]
fn a_full_disk_refuses_new_work_and_finishes_the_old() {
    let dir = tempfile::tempdir().unwrap();
    let disk = match Mount::new(&dir.path().join("disk"), &["-t", "tmpfs", "-o", "size=64m", "windlass-test"])
    {
        Ok(disk) => disk,
        Err(reason) => {
            println!("SKIPPED: no small disk: {reason}");
            return;
        }
    };
    let config = StoreConfig::sled(disk.dir.join("data"));
    let store = open(&config).unwrap();
    let mut taken = 0;
    let refusal = loop {
        match store.commit(vec![enqueue(taken)]).remove(0) {
            Ok(()) => taken += 1,
            Err(error) => break error,
        }
        assert!(taken * JOBS * 1_000 < 64 << 20, "more was taken than fits");
    };
    assert!(matches!(refusal, CommitError::Full(_)), "{refusal}");
    assert_eq!(store.space(), Space::Low);
    assert!(taken > 500, "a good part of the disk was used before: {taken}");
    fill(&disk);
    finish_some(store.as_ref(), taken);
    // A start on a disk without a single free byte finds everything, too.
    drop(store);
    let store = open(&config).unwrap();
    assert_eq!(count(store.as_ref()), taken * JOBS - FINISHED);
    remove_filler(&disk);
    assert!(matches!(store.commit(vec![enqueue(taken)]).remove(0), Err(CommitError::Full(_))));
    let text = disk.dir.to_str().unwrap();
    run("mount", &["-o", "remount,size=256m", text]).unwrap();
    until("new work is taken again", Duration::from_secs(5), || store.space() == Space::Ample);
    for batch in taken..taken + 2_000 {
        assert_eq!(store.commit(vec![enqueue(batch)]).remove(0), Ok(()));
    }
    store.close().unwrap();
    drop(store);
    let store = open(&config).unwrap();
    assert_eq!(count(store.as_ref()), (taken + 2_000) * JOBS - FINISHED);
}

/// Jobs that are finished while the disk is full.
const FINISHED: u64 = 3_000;

/// Acks need no space but what was set aside for them.
fn finish_some(store: &dyn Store, taken: u64) {
    for job in 0..FINISHED {
        let ack = Batch { writes: vec![Write::Delete { key: key(job) }], settles: true, queue: None };
        let results = store.commit(vec![ack, enqueue(taken)]);
        assert_eq!(results[0], Ok(()), "ack {job}");
        assert!(matches!(results[1], Err(CommitError::Full(_))));
    }
    assert_eq!(count(store), taken * JOBS - FINISHED);
}

/// Somebody else takes the rest of the disk.
fn fill(disk: &Mount) {
    let filled = std::fs::write(disk.dir.join("filler"), vec![7_u8; 300 << 20]);
    assert!(filled.is_err(), "the filler is larger than the disk");
}

fn remove_filler(disk: &Mount) {
    std::fs::remove_file(disk.dir.join("filler")).unwrap();
}
