//! Stores: opening one, the sled engine, the thread that commits in groups, the doctor's look at a data directory.

pub mod copy;
mod damage;
pub mod postgres;
mod rest;
mod sled;
mod threads;
pub mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use windlass_core::store::memory::MemoryStore;
use windlass_core::store::{Epoch, Store};

pub use self::sled::doctor::{Report, SegmentReport, examine};

pub use self::damage::Damage;
use self::postgres::Bounds;
pub use self::postgres::database::DatabaseUrl;
pub use self::sled::SledStore;

/// The decoders of the store's files, for tests that feed them arbitrary bytes.
#[doc(hidden)]
pub mod probe {
    pub use super::sled::probe::{block, damaged_journal, directory, journal, manifest};
}

/// Which engine keeps the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Engine {
    /// On disk, one process.
    #[default]
    Sled,
    /// In memory; nothing survives the process.
    Memory,
    /// A database that several nodes share, one of which owns it at a time.
    Postgres,
}

/// Where and how data is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// The engine. Defaults to sled.
    pub engine: Engine,
    /// The database of the PostgreSQL engine. Defaults to none.
    pub database: Option<DatabaseUrl>,
    /// Directory of the data; made when it is absent. Defaults to `windlass-data`.
    pub data_dir: PathBuf,
    /// Size of a journal segment, which also bounds a batch. Defaults to 32 MiB, less on a file system below 512 MiB.
    pub segment_bytes: Option<u64>,
    /// Bytes of recent keys in memory that make a checkpoint due; commits wait at twice as much. Defaults to 16 MiB.
    pub overlay_bytes: usize,
    /// Bytes of sled's page cache. Defaults to 16 MiB.
    pub sled_cache_bytes: u64,
    /// Size of the blocks in sled, fixed when a store is made. Defaults to 16 KiB, less on a file system below 1 GiB.
    pub block_bytes: Option<usize>,
    /// Free bytes on the file system below which new work is refused; the store itself adds what its next checkpoint
    /// needs. Defaults to 256 MiB or a tenth of the file system, whichever is less.
    pub low_water_bytes: Option<u64>,
    /// sled's files are rewritten, to give space back, when they have at least this size and four times what rests in
    /// them. Defaults to 256 MiB.
    pub rewrite_bytes_min: u64,
    /// The least epoch that an owner gets: larger than all that another store had whose content this one takes over. Defaults to 0.
    pub epoch_min: Epoch,
}

impl Default for StoreConfig {
    fn default() -> StoreConfig {
        StoreConfig {
            engine: Engine::default(),
            database: None,
            data_dir: PathBuf::from("windlass-data"),
            segment_bytes: None,
            overlay_bytes: 16 * 1024 * 1024,
            sled_cache_bytes: 16 * 1024 * 1024,
            block_bytes: None,
            low_water_bytes: None,
            rewrite_bytes_min: 256 * 1024 * 1024,
            epoch_min: 0,
        }
    }
}

impl StoreConfig {
    /// The sled engine in `data_dir`, all else by default.
    #[must_use]
    pub fn sled(data_dir: impl Into<PathBuf>) -> StoreConfig {
        StoreConfig { engine: Engine::Sled, data_dir: data_dir.into(), ..StoreConfig::default() }
    }

    /// The PostgreSQL engine at `database`, all else by default.
    #[must_use]
    pub fn postgres(database: DatabaseUrl) -> StoreConfig {
        StoreConfig { engine: Engine::Postgres, database: Some(database), ..StoreConfig::default() }
    }

    /// Where it is, for people.
    #[must_use]
    pub fn place(&self) -> String {
        match (self.engine, &self.database) {
            (Engine::Postgres, Some(database)) => database.place(),
            (Engine::Memory, _) => "memory".to_owned(),
            _ => self.data_dir.display().to_string(),
        }
    }

    /// How much memory the PostgreSQL engine may take: as much as sled would.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        Bounds {
            overlay_bytes: self.overlay_bytes,
            cache_bytes: usize::try_from(self.sled_cache_bytes).unwrap_or(usize::MAX),
            block_bytes: self.block_bytes.unwrap_or(Bounds::BLOCK_BYTES),
        }
    }

    /// The memory engine.
    #[must_use]
    pub fn memory() -> StoreConfig {
        StoreConfig { engine: Engine::Memory, ..StoreConfig::default() }
    }
}

/// Why a store was not opened. Nothing was lost by trying.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it open.
    #[error(
        "the store in {} is in use by process {holder}; stop that process or choose another data directory",
        dir.display()
    )]
    Locked {
        /// The data directory.
        dir: PathBuf,
        /// Process id of the holder, as far as known.
        holder: String,
    },
    /// It is damaged.
    #[error(
        "the store is damaged: {0}; it was not opened, so that nothing more is lost: run `windlass doctor` for all that \
         is wrong, then restore the directory from a backup"
    )]
    Damaged(#[from] Damage),
    /// No space is left for what a start has to write.
    #[error("the disk is full: {0}; free some space and start again")]
    Full(String),
    /// The database cannot be used.
    #[error("{0}")]
    Database(String),
    /// Another node owns the shard and lives.
    #[error("the store in {place} is in use by node {holder}; stop all its servers first")]
    Owned {
        /// The database.
        place: String,
        /// The owner.
        holder: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}; check that the path is right and that this user may write there", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Something else the engine cannot get over.
    #[error("the store cannot be opened: {0}")]
    Failed(String),
}

impl OpenError {
    fn io(path: &Path, source: io::Error) -> OpenError {
        if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return OpenError::Full(format!("{}: {source}", path.display()));
        }
        OpenError::Io { path: path.to_owned(), source }
    }
}

/// Takes a lock. A panic of another holder leaves nothing half done that a later one could not live with: what a store keeps under
/// locks changes in single steps, and a journal refuses to go on after any error.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Opens the configured store.
///
/// # Errors
/// [`OpenError`].
pub fn open(config: &StoreConfig) -> Result<Arc<dyn Store>, OpenError> {
    match config.engine {
        Engine::Memory => Ok(Arc::new(MemoryStore::new())),
        Engine::Sled => Ok(Arc::new(SledStore::open(config)?)),
        Engine::Postgres => Ok(Arc::new(postgres::open_alone(config)?)),
    }
}
