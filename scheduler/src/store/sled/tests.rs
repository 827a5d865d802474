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
    let default = |config: &mut StoreConfig| *config = StoreConfig::sled(&config.data_dir);
    conformance::run(&mut || Box::new(OnDisk::new(default)));
}
