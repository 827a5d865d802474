//! The suite that every store must pass, cut by theme. It panics with the theme's name in the message when one fails.
//!
//! An engine's test hands in a way to make stores; each theme gets a fresh one. Engines that keep data also say how
//! to open a store again, in order or as after a crash.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Batch, CommitError, Store, Write};

/// A store under test.
pub trait Subject {
    /// The open store.
    fn store(&self) -> &dyn Store;

    /// Ends the store and opens it again: through [`Store::close`] when `orderly`, as after a crash otherwise. `false` when
    /// the engine keeps nothing beyond its process.
    fn reopen(&mut self, orderly: bool) -> bool;
}

/// Runs all themes.
///
/// # Panics
/// When the store breaks its contract.
pub fn run(make: &mut dyn FnMut() -> Box<dyn Subject>) {
    order_of_batches(make().as_ref());
    overwrite_and_delete(make().as_ref());
    order_within_a_batch(make().as_ref());
    scan_ranges(make().as_ref());
    scan_and_come_back(make().as_ref());
    odd_keys_and_values(make().as_mut());
    large_values(make().as_mut());
    too_big(make().as_ref());
    nothing_behind_a_refused_batch(make().as_ref());
    visibility(make().as_ref());
    many_keys(make().as_mut());
    backlog_filled_and_drained(make().as_mut());
    model(make().as_mut());
    reopening(make().as_mut());
    closing(make().as_ref());
}

/// A put.
#[must_use]
pub fn put(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Write {
    Write::Put { key: Bytes::copy_from_slice(key.as_ref()), value: Bytes::copy_from_slice(value.as_ref()) }
}

/// A delete.
#[must_use]
pub fn delete(key: impl AsRef<[u8]>) -> Write {
    Write::Delete { key: Bytes::copy_from_slice(key.as_ref()) }
}

/// A batch of new work.
#[must_use]
pub fn batch(writes: Vec<Write>) -> Batch {
    Batch { writes, ..Batch::default() }
}

fn commit(store: &dyn Store, group: Vec<Batch>) {
    let count = group.len();
    let results = store.commit(group);
    assert_eq!(results.len(), count, "one result per batch");
    for result in results {
        assert_eq!(result, Ok(()));
    }
}

fn value(store: &dyn Store, key: impl AsRef<[u8]>) -> Option<Bytes> {
    store.get(key.as_ref()).expect("a whole store can be read")
}

fn scan(store: &dyn Store, from: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Vec<(Bytes, Bytes)> {
    let mut pairs = Vec::new();
    let each = &mut |key: &[u8], value: Bytes| {
        pairs.push((Bytes::copy_from_slice(key), value));
        true
    };
    store.scan(from.as_ref(), to.as_ref(), each).expect("a whole store can be read");
    pairs
}

/// Larger than every key of the suite.
const END: [u8; 600] = [0xff; 600];

/// Holds the whole store against what should be in it.
///
/// # Panics
/// When they differ.
pub fn assert_holds(store: &dyn Store, model: &BTreeMap<Bytes, Bytes>, theme: &str) {
    let found = scan(store, b"", END);
    let differs = found.iter().zip(model).find(|((key, value), expected)| (key, value) != *expected);
    assert_eq!(differs, None, "{theme}: the first pair that differs");
    assert_eq!(found.len(), model.len(), "{theme}: number of pairs");
}

fn order_of_batches(subject: &dyn Subject) {
    let store = subject.store();
    assert!(store.epoch() > 0, "epochs begin at 1");
    let group = (0..100_u32).map(|n| batch(vec![put("same", n.to_be_bytes()), put(n.to_be_bytes(), "own")]));
    commit(store, group.collect());
    assert_eq!(value(store, "same").as_deref(), Some(&99_u32.to_be_bytes()[..]), "the last batch wins");
    assert_eq!(scan(store, 0_u32.to_be_bytes(), 100_u32.to_be_bytes()).len(), 100);
    assert_eq!(store.commit(Vec::new()), Vec::new(), "an empty group is legal");
    commit(store, vec![Batch::default()]);
}

fn overwrite_and_delete(subject: &dyn Subject) {
    let store = subject.store();
    commit(store, vec![batch(vec![put("a", "1"), put("b", "1")])]);
    commit(store, vec![batch(vec![put("a", "2"), delete("b"), delete("never there")])]);
    assert_eq!(value(store, "a").as_deref(), Some(&b"2"[..]));
    assert_eq!(value(store, "b"), None);
    assert_eq!(value(store, "never there"), None);
    commit(store, vec![batch(vec![put("b", "3")])]);
    assert_eq!(value(store, "b").as_deref(), Some(&b"3"[..]));
    assert_eq!(scan(store, "a", "c").len(), 2);
}

fn order_within_a_batch(subject: &dyn Subject) {
    let store = subject.store();
    commit(store, vec![batch(vec![put("a", "1"), delete("a"), put("a", "2"), put("b", "1"), delete("b")])]);
    assert_eq!(value(store, "a").as_deref(), Some(&b"2"[..]), "the later put wins");
    assert_eq!(value(store, "b"), None, "the later delete wins");
}

fn scan_ranges(subject: &dyn Subject) {
    let store = subject.store();
    let keys = ["a", "b", "ba", "bb", "c"];
    commit(store, vec![batch(keys.iter().rev().map(|key| put(key, key)).collect())]);
    let found = |from: &str, to: &str| -> Vec<String> {
        let pairs = scan(store, from, to);
        pairs
            .into_iter()
            .map(|(key, _)| String::from_utf8(key.to_vec()).expect("the keys are text"))
            .collect()
    };
    assert_eq!(found("a", "d"), keys, "ascending");
    assert_eq!(found("b", "bb"), ["b", "ba"], "the end is not in the range");
    assert_eq!(found("b", "b"), [""; 0], "an empty range");
    assert_eq!(found("c", "a"), [""; 0], "a range the wrong way round");
    let mut seen = 0;
    let stop_at_two = &mut |_: &[u8], _: Bytes| {
        seen += 1;
        seen < 2
    };
    store.scan(b"a", b"d", stop_at_two).expect("a whole store can be read");
    assert_eq!(seen, 2, "a scan ends when its caller wants no more");
}

/// A scan may use the store while it runs, since nobody knows what its caller does.
fn scan_and_come_back(subject: &dyn Subject) {
    let store = subject.store();
    commit(store, vec![batch((0..100_u8).map(|n| put([n], "x")).collect())]);
    let mut seen = 0;
    let each = &mut |key: &[u8], _: Bytes| {
        seen += 1;
        assert!(value(store, key).is_some());
        commit(store, vec![batch(vec![delete(key)])]);
        true
    };
    store.scan(&[0], &[200], each).expect("a whole store can be read");
    assert_eq!((seen, scan(store, [0], [200]).len()), (100, 0));
}

fn odd_keys_and_values(subject: &mut dyn Subject) {
    let keys: [&[u8]; 7] = [b"", b"\0", b"\0\0", b"\0\x01", b"a", b"a\0", &[0xff; 512]];
    let model: BTreeMap<Bytes, Bytes> =
        keys.iter().map(|key| (Bytes::copy_from_slice(key), Bytes::copy_from_slice(key))).collect();
    commit(subject.store(), vec![batch(keys.iter().map(|key| put(key, key)).collect())]);
    assert_holds(subject.store(), &model, "odd keys");
    assert_eq!(value(subject.store(), "").as_deref(), Some(&b""[..]), "an empty key may have an empty value");
    subject.reopen(false);
    assert_holds(subject.store(), &model, "odd keys after opening again");
}

fn large_values(subject: &mut dyn Subject) {
    let mut model = BTreeMap::new();
    let mut random = Random(7);
    for mebibytes in [1, 2, 4] {
        let value: Bytes =
            (0..mebibytes * 1024 * 1024 / 8).flat_map(|_| random.next().to_le_bytes()).collect();
        let key = Bytes::from(format!("large-{mebibytes}"));
        commit(subject.store(), vec![batch(vec![put(&key, &value), put(format!("small-{mebibytes}"), "s")])]);
        model.insert(key, value);
        model.insert(Bytes::from(format!("small-{mebibytes}")), Bytes::from_static(b"s"));
    }
    assert_holds(subject.store(), &model, "large values");
    subject.reopen(true);
    assert_holds(subject.store(), &model, "large values after opening again");
    commit(subject.store(), vec![batch(vec![delete("large-2"), put("large-4", "now small")])]);
    model.remove(&b"large-2"[..]);
    model.insert(Bytes::from_static(b"large-4"), Bytes::from_static(b"now small"));
    subject.reopen(false);
    assert_holds(subject.store(), &model, "large values, changed");
}

fn too_big(subject: &dyn Subject) {
    let store = subject.store();
    let huge = Bytes::from(vec![7; store.batch_bytes_max()]);
    let writes = vec![put("before", "x"), Write::Put { key: Bytes::from_static(b"huge"), value: huge }];
    let results = store.commit(vec![batch(vec![put("a", "1")]), batch(writes), batch(vec![put("b", "1")])]);
    assert_eq!((&results[0], &results[2]), (&Ok(()), &Ok(())), "its neighbours are not concerned");
    assert!(matches!(results[1], Err(CommitError::TooBig { .. })), "{:?}", results[1]);
    assert_eq!(scan(store, "", END).len(), 2, "nothing of it is there");
    commit(store, vec![batch(vec![put("c", "1")])]);
}

/// Batches of one queue are never written past one another; those of others are not concerned.
fn nothing_behind_a_refused_batch(subject: &dyn Subject) {
    let store = subject.store();
    let huge = Bytes::from(vec![7; store.batch_bytes_max()]);
    let of = |queue, writes| Batch { writes, settles: true, queue };
    let group = vec![
        of(Some(1), vec![put("a", "1")]),
        of(Some(1), vec![Write::Put { key: Bytes::from_static(b"huge"), value: huge }]),
        of(Some(2), vec![put("b", "1")]),
        of(Some(1), vec![put("c", "1")]),
        of(None, vec![put("d", "1")]),
        of(Some(1), vec![put("a", "2")]),
    ];
    let taken: Vec<_> = store.commit(group).iter().map(Result::is_ok).collect();
    assert_eq!(taken, [true, false, true, false, true, false]);
    assert_eq!(value(store, "a").as_deref(), Some(&b"1"[..]));
    assert_eq!(scan(store, "", END).len(), 3);
    commit(store, vec![of(Some(1), vec![put("a", "2")])]);
}

/// What a commit has returned is there for every reader at once, and never a part of a batch.
fn visibility(subject: &dyn Subject) {
    const ROUNDS: u32 = 300;
    let store = subject.store();
    commit(store, vec![batch(vec![put("x", 0_u32.to_be_bytes()), put("y", 0_u32.to_be_bytes())])]);
    std::thread::scope(|scope| {
        let reader = || {
            let mut last = 0;
            while last < ROUNDS {
                let pairs = scan(store, "x", "z");
                assert_eq!(pairs.len(), 2);
                assert_eq!(pairs[0].1, pairs[1].1, "both writes of a batch or none");
                let now = u32::from_be_bytes(pairs[0].1[..].try_into().expect("four bytes were written"));
                assert!(now >= last, "what was seen stays seen");
                last = now;
            }
        };
        let readers = [scope.spawn(reader), scope.spawn(reader)];
        for round in 1..=ROUNDS {
            commit(store, vec![batch(vec![put("x", round.to_be_bytes()), put("y", round.to_be_bytes())])]);
            assert_eq!(value(store, "x").as_deref(), Some(&round.to_be_bytes()[..]));
        }
        for reader in readers {
            reader.join().expect("the reader saw nothing wrong");
        }
    });
}

fn many_keys(subject: &mut dyn Subject) {
    let mut model = BTreeMap::new();
    for group in 0..60_u32 {
        let writes: Vec<Write> = (0..500_u32)
            .map(|n| {
                // Half of them ascend, half are scattered.
                let number = group * 500 + n;
                let key = if n % 2 == 0 { number } else { number.wrapping_mul(2_654_435_761) | 0x8000_0000 };
                let value = vec![(number % 251) as u8; (number % 97) as usize];
                model.insert(Bytes::copy_from_slice(&key.to_be_bytes()), Bytes::from(value.clone()));
                put(key.to_be_bytes(), value)
            })
            .collect();
        commit(subject.store(), vec![batch(writes)]);
    }
    assert_holds(subject.store(), &model, "many keys");
    for (key, expected) in model.iter().step_by(37) {
        assert_eq!(value(subject.store(), key).as_ref(), Some(expected));
        assert_eq!(value(subject.store(), [&key[..], b"x"].concat()), None, "a key between others");
    }
    subject.reopen(true);
    assert_holds(subject.store(), &model, "many keys after opening again");
}

/// A queue's life: a backlog grows, is worked off from the front, grows again.
fn backlog_filled_and_drained(subject: &mut dyn Subject) {
    let mut model = BTreeMap::new();
    let job = |n: u64| (Bytes::from(format!("r{n:012}")), Bytes::from(vec![(n % 256) as u8; 200]));
    let mut front = 0;
    for round in 0..3_u64 {
        for group in 0..40 {
            let numbers = round * 4_000 + group * 100..round * 4_000 + (group + 1) * 100;
            model.extend(numbers.clone().map(job));
            commit(subject.store(), vec![batch(numbers.map(job).map(|(k, v)| put(k, v)).collect())]);
        }
        subject.reopen(round % 2 == 0);
        while front < (round + 1) * 4_000 - 10 {
            let done = front..front + 10;
            front = done.end;
            let deletes = done.map(|n| {
                let key = job(n).0;
                model.remove(&key);
                batch(vec![delete(key)])
            });
            commit(subject.store(), deletes.collect());
        }
        assert_holds(subject.store(), &model, "drained backlog");
    }
    subject.reopen(false);
    assert_holds(subject.store(), &model, "drained backlog after opening again");
}

/// Random batches, held against a map.
fn model(subject: &mut dyn Subject) {
    let mut random = Random(42);
    let mut model = BTreeMap::new();
    for step in 0..600_u64 {
        let writes: Vec<Write> = (0..random.below(40)).map(|_| random_write(&mut random, step)).collect();
        for write in &writes {
            match write.clone() {
                Write::Put { key, value } => drop(model.insert(key, value)),
                Write::Delete { key } => drop(model.remove(&key)),
            }
        }
        commit(subject.store(), vec![batch(writes)]);
        if step % 50 == 49 {
            assert_holds(subject.store(), &model, "model");
        }
        if step % 150 == 149 {
            subject.reopen(step % 300 == 299);
            if subject.reopen(true) {
                assert_holds(subject.store(), &model, "model after opening again");
            } else {
                return;
            }
        }
    }
}

fn random_write(random: &mut Random, step: u64) -> Write {
    let key = format!("{:03}", random.below(400));
    match random.below(10) {
        0..4 => delete(key),
        9 => put(key, vec![step as u8; random.below(20_000) as usize]),
        _ => put(key, step.to_be_bytes()),
    }
}

fn reopening(subject: &mut dyn Subject) {
    let mut epoch = subject.store().epoch();
    for (round, orderly) in [true, false, true, true, false, false].into_iter().enumerate() {
        commit(subject.store(), vec![batch(vec![put([round as u8], "kept")])]);
        if !subject.reopen(orderly) {
            return;
        }
        assert!(subject.store().epoch() > epoch, "every owner has a larger epoch");
        epoch = subject.store().epoch();
        assert_eq!(scan(subject.store(), [0], [100]).len(), round + 1, "all that was confirmed is there");
    }
}

fn closing(subject: &dyn Subject) {
    let store = subject.store();
    commit(store, vec![batch(vec![put("a", "1")])]);
    assert_eq!(store.close(), Ok(()));
    assert_eq!(store.close(), Ok(()), "closing twice is legal");
}

/// A small generator (xorshift), so that a run is the same every time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}
