//! The PostgreSQL engine: several nodes, one of which owns a shard at a time.
//!
//! ```text
//!            commit                          get, scan
//!              │                                │
//!   ┌──────────▼──────────┐  applied  ┌─────────▼─────────┐
//!   │ windlass.journal    │──────────▶│ overlay (memory)  │
//!   │ one row and one     │           ├───────────────────┤  checkpoint
//!   │ statement per group,│           │ frozen overlay    │──────────────┐
//!   │ behind the fence,   │           ├───────────────────┤   ┌──────────▼──────────┐
//!   │ several in flight   │           │ directory         │──▶│ windlass.block      │
//!   └─────────────────────┘           └───────────────────┘   └─────────────────────┘
//! ```
//!
//! It is the sled engine with other places: the journal is a table of groups, blocks are rows, and the manifest is the shard's row,
//! which also says who owns it. Every group carries epoch, nonce and number and is one statement that compares them; see
//! [`windlass_core::cluster`] for the rules and `carrier` for the statements. What dies young never becomes a row of its own.
//!
//! - [`database`]: connections, errors sorted by what they leave behind; `link`: whether it is there.
//! - [`schema`]: the tables and their versions.
//! - [`seat`]: who owns a shard.
//! - `log`: what is in a row of the journal; `carrier`: rows and signs of life on their way, behind the fence.
//! - `shelf`, `checkpoint`: what rests.
//! - `opening`: taking a shard.

mod carrier;
mod checkpoint;
pub mod database;
mod engine;
mod link;
mod log;
mod opening;
pub mod schema;
pub mod seat;
mod shelf;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use ::bytes::Bytes;
use tokio::task::JoinHandle;
use windlass_core::cluster::{Fence, ShardNo};
use windlass_core::limits;
use windlass_core::store::{
    Batch, Begun, CommitError, Epoch, GroupDone, ReadError, Space, Store, StoreStats,
};

use self::carrier::Carrier;
use self::checkpoint::Checkpointer;
use self::database::{DbError, Session};
use self::engine::{BATCH_BYTES_MAX, Engine};
use self::schema::Schema;
use crate::store::lock;
use crate::store::rest::{get, scan};
use crate::store::threads::Threads;

pub use self::opening::{Bounds, ClaimError, Claimant, open_alone};

/// The one shard there is; tables and views carry its number, so that more can follow.
pub const SHARD: ShardNo = 0;

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// It does not do what is asked.
    #[error(transparent)]
    Db(#[from] DbError),
    /// A newer program has made its tables.
    #[error("its tables have version {found}, this program knows {known}; start a newer version of it", known = schema::VERSION)]
    Newer {
        /// The version of the tables.
        found: usize,
    },
    /// It would break a promise.
    #[error("{0}")]
    Unsafe(String),
}

/// Makes what is missing of the tables, and refuses a database that would lose what it confirms.
///
/// # Errors
/// [`Unfit`].
pub async fn prepare(session: &mut Session) -> Result<(), Unfit> {
    if let Schema::Newer(found) = schema::migrate(session).await? {
        return Err(Unfit::Newer { found });
    }
    match schema::unsafe_setting(session).await? {
        Some(text) => Err(Unfit::Unsafe(text)),
        None => Ok(()),
    }
}

/// A shard that this process owns, until somebody else does.
#[derive(Debug)]
pub struct PgStore {
    engine: Arc<Engine>,
    threads: Threads,
    /// The task that commits, until it has ended.
    carrier: Mutex<Option<JoinHandle<Result<(), CommitError>>>>,
}

impl PgStore {
    /// Starts the task and the thread of a shard that was taken.
    fn start(engine: Engine, fence: Fence, next_block: u64, directory: u64) -> Result<PgStore, String> {
        let engine = Arc::new(engine);
        let carrier = engine.database.spawn(Carrier::new(Arc::clone(&engine), fence).run());
        let carrier = Mutex::new(Some(carrier.map_err(|error| error.to_string())?));
        let store = PgStore { engine: Arc::clone(&engine), threads: Threads::default(), carrier };
        let theirs = Arc::clone(&engine);
        let checkpoints = move || Checkpointer::new(&theirs, next_block, directory).run();
        let panicked = move |what| engine.fail(CommitError::Failed(what));
        store.threads.spawn("store-checkpoint", panicked, checkpoints)?;
        Ok(store)
    }

    /// Why the shard is not written any more, once it is not: another owner, mostly.
    #[must_use]
    pub fn failure(&self) -> Option<CommitError> {
        self.engine.failure().cloned()
    }

    /// Ends the thread and the task. A checkpoint under way is given up; the journal has what it would have moved.
    fn stop(&self) -> Result<(), CommitError> {
        let engine = &self.engine;
        engine.link.cut();
        engine.stop.store(true, Ordering::Relaxed);
        engine.work.notify_one();
        engine.wake_checkpoint();
        if !self.threads.join() {
            engine.fail(CommitError::Failed("a thread of the store has panicked".to_owned()));
        }
        let Some(carrier) = lock(&self.carrier).take() else { return Ok(()) };
        let panicked = || Err(CommitError::Failed("the task that commits has panicked".to_owned()));
        let ended = engine.database.wait(async move { Ok(carrier.await) });
        ended.map_or_else(
            |error| Err(CommitError::Failed(error.to_string())),
            |ended| ended.unwrap_or_else(|_| panicked()),
        )
    }
}

impl Store for PgStore {
    fn epoch(&self) -> Epoch {
        self.engine.epoch
    }

    fn commit(&self, group: Vec<Batch>) -> Vec<Result<(), CommitError>> {
        self.engine.commit(group)
    }

    fn begin(&self, group: Vec<Batch>, done: GroupDone) -> Begun {
        self.engine.begin(group, done)
    }

    fn groups_in_flight_max(&self) -> usize {
        limits::COMMITS_IN_FLIGHT_MAX
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
        get(&self.engine.view, key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        each: &mut dyn FnMut(&[u8], Bytes) -> bool,
    ) -> Result<(), ReadError> {
        scan(&self.engine.view, from, to, each)
    }

    fn space(&self) -> Space {
        self.engine.link.space()
    }

    fn trouble(&self) -> Option<String> {
        self.engine.trouble()
    }

    fn batch_bytes_max(&self) -> usize {
        BATCH_BYTES_MAX
    }

    fn stats(&self) -> StoreStats {
        self.engine.stats()
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn end(&self) {
        self.engine.link.end();
    }

    /// Gives the shard up, so that the next owner need not wait for this one to fall silent.
    fn close(&self) -> Result<(), CommitError> {
        if !self.engine.stop.load(Ordering::Relaxed) {
            self.engine.gives_up.store(true, Ordering::Relaxed);
        }
        self.stop()
    }
}

impl Drop for PgStore {
    fn drop(&mut self) {
        // As a crash: nobody is left to be told.
        let _ = self.stop();
    }
}
