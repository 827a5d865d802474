//! Engines that do what is forbidden: the check of the trials must see it, or it would prove nothing.

use std::path::Path;
use std::sync::{Arc, RwLock};

use bytes::Bytes;
use windlass_core::store::memory::MemoryStore;
use windlass_core::store::{Batch, CommitError, Epoch, ReadError, Space, Store, StoreStats, Write};

use super::base::Pairs;
use super::{judge, ours, place};
use crate::support::Random;

/// A store that hides one key of another.
struct Forgetful {
    inner: Arc<dyn Store>,
    hidden: RwLock<Bytes>,
}

impl Store for Forgetful {
    fn epoch(&self) -> Epoch {
        self.inner.epoch()
    }

    fn commit(&self, group: Vec<Batch>) -> Vec<Result<(), CommitError>> {
        self.inner.commit(group)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        if *self.hidden.read().unwrap() == key { Ok(None) } else { self.inner.get(key) }
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        each: &mut dyn FnMut(&[u8], Bytes) -> bool,
    ) -> Result<(), ReadError> {
        let hidden = self.hidden.read().unwrap().clone();
        self.inner.scan(from, to, &mut |key, value| hidden == key || each(key, value))
    }

    fn space(&self) -> Space {
        self.inner.space()
    }

    fn batch_bytes_max(&self) -> usize {
        self.inner.batch_bytes_max()
    }

    fn stats(&self) -> StoreStats {
        self.inner.stats()
    }

    fn close(&self) -> Result<(), CommitError> {
        self.inner.close()
    }
}

fn pairs() -> Pairs {
    let pair = |n: u64| (Bytes::copy_from_slice(&n.to_be_bytes()), Bytes::from(vec![n as u8; 40]));
    (0..200).map(pair).collect()
}

#[test]
fn one_hidden_key_is_seen() {
    let dir = place();
    let store = ours(dir.path()).unwrap();
    let put = |(key, value): (Bytes, Bytes)| Write::Put { key, value };
    store
        .commit(vec![Batch { writes: pairs().into_iter().map(put).collect(), ..Batch::default() }])
        .remove(0)
        .unwrap();
    store.close().unwrap();
    drop(store);
    assert!(judge(dir.path(), &pairs(), &ours).is_ok(), "the engine without the flaw");
    // The trial has put a key of its own into it.
    let mut wanted = pairs();
    wanted.insert(Bytes::from_static(b"\0new"), Bytes::from_static(b"1"));
    let forgetful = |dir: &Path| {
        let hidden = RwLock::new(Bytes::copy_from_slice(&77_u64.to_be_bytes()));
        Ok(Arc::new(Forgetful { inner: ours(dir)?, hidden }) as Arc<dyn Store>)
    };
    let verdict = judge(dir.path(), &wanted, &forgetful);
    assert!(
        verdict.as_ref().is_err_and(|text| text.contains("1 missing, 0 added, 0 changed")),
        "{verdict:?}"
    );
}

/// An engine that reads pairs from a file and trusts every byte of it.
fn trusting(dir: &Path) -> Result<Arc<dyn Store>, String> {
    let bytes = std::fs::read(dir.join("pairs")).map_err(|error| error.to_string())?;
    let store = MemoryStore::new();
    let mut rest = &bytes[..];
    while let Some((&[key, value], tail)) = rest.split_first_chunk::<2>() {
        let (key, tail) = tail.split_at_checked(key.into()).ok_or("it ends in a key")?;
        let (value, tail) = tail.split_at_checked(value.into()).ok_or("it ends in a value")?;
        let write = Write::Put { key: Bytes::copy_from_slice(key), value: Bytes::copy_from_slice(value) };
        store
            .commit(vec![Batch { writes: vec![write], ..Batch::default() }])
            .remove(0)
            .map_err(|e| e.to_string())?;
        rest = tail;
    }
    Ok(Arc::new(store))
}

#[test]
fn an_engine_without_checksums_is_seen() {
    let mut random = Random::new("planted");
    let mut sound = Vec::new();
    for (key, value) in pairs() {
        sound.extend([key.len() as u8, value.len() as u8]);
        sound.extend_from_slice(&key);
        sound.extend_from_slice(&value);
    }
    let dir = place();
    let file = dir.path().join("pairs");
    std::fs::write(&file, &sound).unwrap();
    assert!(judge(dir.path(), &pairs(), &trusting).is_ok(), "undamaged it gives back what was written");
    let mut seen = 0;
    for _ in 0..200 {
        let mut bytes = sound.clone();
        let at = random.below(bytes.len() as u64) as usize;
        bytes[at] ^= 1 << random.below(8);
        std::fs::write(&file, &bytes).unwrap();
        seen += u32::from(judge(dir.path(), &pairs(), &trusting).is_err());
    }
    assert!(seen > 150, "of 200 flipped bits {seen} were seen");
}
