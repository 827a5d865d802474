//! What a store must promise, and the memory engine. The sled engine lives in the scheduler crate, because it does I/O.
//!
//! A store is an ordered map from bytes to bytes with one atomic, durable, fenced batch. The same queue logic runs on
//! every engine; [`conformance`] is the suite that each must pass.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod keys;
pub mod memory;

use bytes::Bytes;

/// The number that proves who may write; larger on every open.
pub type Epoch = u64;

/// One change of the map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// Sets the value of a key.
    Put {
        /// Where.
        key: Bytes,
        /// What.
        value: Bytes,
    },
    /// Removes a key; removing an absent key is no error.
    Delete {
        /// Where.
        key: Bytes,
    },
}

impl Write {
    /// The key that it changes.
    #[must_use]
    pub fn key(&self) -> &Bytes {
        match self {
            Write::Put { key, .. } | Write::Delete { key } => key,
        }
    }
}

/// Changes that happen together or not at all. Within a batch, a later write to the same key wins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Batch {
    /// The changes, in order.
    pub writes: Vec<Write>,
    /// Whether the batch only finishes work that was taken on before (acks, lease marks): such batches may use the
    /// space that is kept in reserve when the disk is full.
    pub settles: bool,
    /// The queue that wrote it, whose batches are never written past one another. `None` for a batch that stands alone.
    pub queue: Option<keys::QueueNo>,
}

/// The queues of which a batch was refused, so that nothing of theirs is written behind it; see the contract of [`Store`].
#[derive(Debug, Default)]
pub struct Refused(Vec<(keys::QueueNo, CommitError)>);

impl Refused {
    /// Why this batch must not be written either, if so.
    #[must_use]
    pub fn behind(&self, batch: &Batch) -> Option<CommitError> {
        let queue = batch.queue?;
        self.0.iter().find(|(refused, _)| *refused == queue).map(|(_, error)| error.clone())
    }

    /// Takes note that a batch of `queue` was refused; the first reason stays.
    pub fn note(&mut self, queue: Option<keys::QueueNo>, error: &CommitError) {
        if let Some(queue) = queue
            && self.0.iter().all(|(refused, _)| *refused != queue)
        {
            self.0.push((queue, error.clone()));
        }
    }

    /// The queue begins again with the batch that was refused.
    pub fn forget(&mut self, queue: keys::QueueNo) {
        self.0.retain(|(refused, _)| *refused != queue);
    }
}

/// Why a commit did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// A newer owner has opened the shard: stop, forget memory, tell clients it moved.
    #[error("another owner with epoch {by} has opened this shard; this process must stop writing")]
    Fenced {
        /// The newer epoch.
        by: Epoch,
    },
    /// Nobody knows whether it happened; only opening the store again is legal now.
    #[error("the outcome of the commit is unknown: {0}")]
    Unknown(String),
    /// The batch is larger than the engine takes; nothing was written.
    #[error("the batch has {bytes} bytes, the store takes {bytes_max}")]
    TooBig {
        /// Its size.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// No space, or no means to use it; nothing was written, and the store goes on by itself when there is again.
    #[error("no new work is taken: {0}")]
    Full(String),
    /// The store has failed for good in this process; the first reason is kept.
    #[error("the store has stopped writing: {0}")]
    Failed(String),
}

/// Why a read failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The data is damaged; the text names file and offset where the engine has them.
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The engine failed.
    #[error("the store cannot be read: {0}")]
    Failed(String),
}

/// Told once what came of a group: a result per batch. It must neither block nor panic.
pub type GroupDone = Box<dyn FnOnce(Vec<Result<(), CommitError>>) + Send>;

/// What is known of a group that was handed over to [`Store::begin`].
#[derive(Debug, PartialEq, Eq)]
pub enum Begun {
    /// Everything: a result per batch. Nobody is told any more.
    Settled(Vec<Result<(), CommitError>>),
    /// Batches with an error are refused; of the others is told later, when they are durable or nothing more is written at all.
    OnItsWay(Vec<Result<(), CommitError>>),
}

/// Whether the store takes new work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Space {
    /// It does.
    #[default]
    Ample,
    /// Space runs out: only batches that settle earlier work are taken.
    Low,
}

/// Figures of a store, for metrics and pages.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, bincode::Encode, bincode::Decode)]
pub struct StoreStats {
    /// Engine name, such as `sled`.
    pub engine: String,
    /// Bytes on disk, everything included.
    pub disk_bytes: u64,
    /// Bytes of recent keys held in memory.
    pub memory_bytes: u64,
    /// Journal bytes that a restart would replay.
    pub journal_bytes: u64,
    /// Durable groups written since the start.
    pub groups: u64,
    /// Checkpoints done since the start.
    pub checkpoints: u64,
    /// Whether only settling batches are taken because space is low.
    pub space_low: bool,
}

/// An open store of one shard: the only writer.
///
/// # Contract
/// - [`commit`](Store::commit) is called by one thread at a time. It takes a group of batches, each atomic, and returns
///   when every batch with `Ok` would survive a power cut. Batches become durable, and visible to reads, in order.
/// - [`begin`](Store::begin) does the same for several groups in a row, of which each is told apart; a group is durable, and
///   visible, only with all those that were begun before it.
/// - A batch of which the result is an error has changed nothing, except after [`CommitError::Unknown`].
/// - Behind a batch that was refused, no batch of the same queue in the same group is written: it gets the same error.
///   Whoever hands over the groups keeps it so from group to group. Otherwise a crash before the refused batch is sent
///   again would leave a store in which an earlier decision is missing under a later one.
/// - After `Fenced`, `Unknown` or `Failed` every later commit fails too; it is never retried silently.
/// - `get` and `scan` see every commit that has returned or was told, and no part of one that has not become durable. They may be
///   called from any thread at any time.
/// - Deleting an absent key and overwriting a key are legal.
/// - Dropping the store without [`close`](Store::close) is the same as a crash: nothing confirmed is lost.
pub trait Store: Send + Sync + 'static {
    /// The epoch this owner holds, larger than that of every earlier owner.
    fn epoch(&self) -> Epoch;

    /// Makes a group of batches durable, in order; one result per batch.
    fn commit(&self, group: Vec<Batch>) -> Vec<Result<(), CommitError>>;

    /// Hands a group over behind those that are on their way, and does not wait until it is durable: `done` is told then, group
    /// after group in the order of the calls. What is refused, with the reason, is known at once; what is not is written unless the store
    /// writes nothing more at all.
    fn begin(&self, group: Vec<Batch>, done: GroupDone) -> Begun {
        drop(done);
        Begun::Settled(self.commit(group))
    }

    /// How many groups may be on their way at a time. One: there is nothing to gain by handing one over before the last is durable.
    fn groups_in_flight_max(&self) -> usize {
        1
    }

    /// The value of a key.
    ///
    /// # Errors
    /// [`ReadError`] when the engine fails or the data is damaged, never a made-up answer.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, ReadError>;

    /// Calls `each` for every pair with `from <= key < to` in ascending key order, until it returns `false`.
    ///
    /// # Errors
    /// As [`get`](Store::get).
    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        each: &mut dyn FnMut(&[u8], Bytes) -> bool,
    ) -> Result<(), ReadError>;

    /// Whether new work is taken. Cheap; called for every enqueue.
    fn space(&self) -> Space;

    /// What keeps the store from taking new work, one sentence for people: it waits for something, or has failed for good
    /// (then the first reason). `None` when nothing does.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// Largest batch in bytes (keys and values).
    fn batch_bytes_max(&self) -> usize;

    /// Figures for metrics.
    fn stats(&self) -> StoreStats;

    /// Whether another process may become the owner while this one lives and does not know it. A job then leaves for its worker only
    /// when its lease is durable.
    fn is_shared(&self) -> bool {
        false
    }

    /// The process wants to end: what is outside of it and away is waited for only a moment longer.
    fn end(&self) {}

    /// Leaves everything in order so that the next start is quick. Legal twice.
    ///
    /// # Errors
    /// What kept it from finishing; nothing confirmed is lost even then.
    fn close(&self) -> Result<(), CommitError>;
}

impl Batch {
    /// Bytes of keys and values.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.writes
            .iter()
            .map(|w| match w {
                Write::Put { key, value } => key.len() + value.len(),
                Write::Delete { key } => key.len(),
            })
            .sum()
    }
}
