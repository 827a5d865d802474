//! Blocks in a table: one row each, written many at a time, kept in memory as long as there is room.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use windlass_core::cluster::ShardNo;

use super::database::{Database, DbError, Param, Session};
use super::seat::{column, shard_column};
use crate::store::lock;
use crate::store::rest::{BlockId, BlockName, BlockRef, BlocksError, Shelf};

/// Bytes of blocks that one statement writes, about.
const PUT_BYTES: usize = 4 * 1024 * 1024;
/// Blocks that one statement removes.
const REMOVE_BLOCKS: usize = 1_024;

/// The blocks of a shard.
#[derive(Debug)]
pub(super) struct PgShelf {
    shard: ShardNo,
    database: Database,
    block_bytes: usize,
    /// Whose connection is only used for reading, so that readers do not wait for a checkpoint.
    reader: Arc<tokio::sync::Mutex<Session>>,
    writer: Arc<tokio::sync::Mutex<Session>>,
    /// What waits for the next statement.
    waiting: Mutex<Waiting>,
    cache: Mutex<Cache>,
}

#[derive(Debug, Default)]
struct Waiting {
    ids: Vec<i64>,
    data: Vec<Vec<u8>>,
    bytes: usize,
}

/// Blocks in memory, the oldest goes first. A block never changes, so what is here is right.
#[derive(Debug)]
struct Cache {
    blocks: HashMap<BlockId, Bytes>,
    order: VecDeque<BlockId>,
    bytes: usize,
    bytes_max: usize,
}

impl Cache {
    fn put(&mut self, id: BlockId, block: Bytes) {
        self.bytes += block.len();
        if let Some(old) = self.blocks.insert(id, block) {
            self.bytes -= old.len();
        } else {
            self.order.push_back(id);
        }
        while self.bytes > self.bytes_max
            && let Some(oldest) = self.order.pop_front()
        {
            self.forget(oldest);
        }
    }

    fn forget(&mut self, id: BlockId) {
        if let Some(block) = self.blocks.remove(&id) {
            self.bytes -= block.len();
        }
    }
}

impl From<DbError> for BlocksError {
    fn from(error: DbError) -> BlocksError {
        match error {
            DbError::Full(text) => BlocksError::Full(text),
            other => BlocksError::Failed(other.to_string()),
        }
    }
}

impl PgShelf {
    pub(super) fn new(database: Database, shard: ShardNo, block_bytes: usize, cache_bytes: usize) -> PgShelf {
        let session = || Arc::new(tokio::sync::Mutex::new(Session::new(database.clone())));
        PgShelf {
            shard,
            block_bytes,
            reader: session(),
            writer: session(),
            waiting: Mutex::default(),
            cache: Mutex::new(Cache {
                blocks: HashMap::new(),
                order: VecDeque::new(),
                bytes: 0,
                bytes_max: cache_bytes,
            }),
            database,
        }
    }

    /// The connection that writes blocks, for what a checkpoint has to write beside them.
    pub(super) fn writer(&self) -> Arc<tokio::sync::Mutex<Session>> {
        Arc::clone(&self.writer)
    }

    /// Removes blocks; removing an absent one is no error.
    pub(super) fn remove(&self, ids: Vec<BlockId>) -> Result<(), DbError> {
        const SQL: &str = "DELETE FROM windlass.block WHERE shard = $1 AND id = ANY($2)";
        let mut cache = lock(&self.cache);
        ids.iter().for_each(|id| cache.forget(*id));
        drop(cache);
        let (writer, shard) = (self.writer(), shard_column(self.shard));
        self.database.wait(async move {
            let mut writer = writer.lock().await;
            for some in ids.chunks(REMOVE_BLOCKS) {
                let some: Vec<i64> = some.iter().copied().map(column).collect();
                writer.query(SQL, &[(&shard, Type::INT2), (&some, Type::INT8_ARRAY)]).await?;
            }
            Ok(())
        })
    }

    /// The numbers of all blocks of the shard.
    pub(super) fn ids(&self) -> Result<Vec<BlockId>, DbError> {
        const SQL: &str = "SELECT id FROM windlass.block WHERE shard = $1";
        let (reader, shard) = (Arc::clone(&self.reader), shard_column(self.shard));
        self.database.wait(async move {
            let rows = reader.lock().await.query(SQL, &[(&shard, Type::INT2)]).await?;
            Ok(rows.iter().filter_map(|row| u64::try_from(row.get::<_, i64>(0)).ok()).collect())
        })
    }

    fn write_waiting(&self) -> Result<(), DbError> {
        // A block that was written before and whose answer was lost is the same block.
        const SQL: &str = "INSERT INTO windlass.block (shard, id, data) \
            SELECT $1, new.id, new.data FROM unnest($2::int8[], $3::bytea[]) AS new (id, data) ON CONFLICT DO NOTHING";
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        if waiting.ids.is_empty() {
            return Ok(());
        }
        let (writer, shard) = (self.writer(), shard_column(self.shard));
        self.database.wait(async move {
            let params: &[Param<'_>] =
                &[(&shard, Type::INT2), (&waiting.ids, Type::INT8_ARRAY), (&waiting.data, Type::BYTEA_ARRAY)];
            writer.lock().await.query(SQL, params).await.map(drop)
        })
    }

    /// Forgets what was put and not written, after a checkpoint that failed.
    pub(super) fn forget_waiting(&self) {
        *lock(&self.waiting) = Waiting::default();
    }
}

impl Shelf for PgShelf {
    fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    fn place(&self) -> PathBuf {
        format!("{}: table windlass.block, shard {}", self.database.place(), self.shard).into()
    }

    fn put(&self, id: BlockId, encoded: Vec<u8>) -> Result<BlockName, BlocksError> {
        let mut waiting = lock(&self.waiting);
        waiting.ids.push(column(id));
        waiting.bytes += encoded.len();
        waiting.data.push(encoded);
        let due = waiting.bytes >= PUT_BYTES;
        drop(waiting);
        if due {
            self.write_waiting()?;
        }
        Ok(BlockName { id, parts: 1 })
    }

    fn fetch(&self, block: &BlockRef) -> Result<Option<Bytes>, BlocksError> {
        Ok(self.fetch_run(&[block])?.pop().flatten())
    }

    fn fetch_run(&self, run: &[&BlockRef]) -> Result<Vec<Option<Bytes>>, BlocksError> {
        const SQL: &str = "SELECT id, data FROM windlass.block WHERE shard = $1 AND id = ANY($2)";
        let cache = lock(&self.cache);
        let mut found = run.iter().map(|block| cache.blocks.get(&block.name.id).cloned()).collect::<Vec<_>>();
        drop(cache);
        let missing = run.iter().zip(&found).filter(|(_, found)| found.is_none());
        let missing = missing.map(|(block, _)| column(block.name.id)).collect::<Vec<i64>>();
        if missing.is_empty() {
            return Ok(found);
        }
        let (reader, shard) = (Arc::clone(&self.reader), shard_column(self.shard));
        let rows = self.database.wait(async move {
            let params: &[Param<'_>] = &[(&shard, Type::INT2), (&missing, Type::INT8_ARRAY)];
            let rows = reader.lock().await.query(SQL, params).await?;
            let read = |row: &Row| (row.get::<_, i64>(0), Bytes::copy_from_slice(row.get(1)));
            Ok::<_, DbError>(rows.iter().map(read).collect::<HashMap<_, _>>())
        })?;
        let mut cache = lock(&self.cache);
        for (block, slot) in run.iter().zip(&mut found) {
            if slot.is_none()
                && let Some(data) = rows.get(&column(block.name.id))
            {
                cache.put(block.name.id, data.clone());
                *slot = Some(data.clone());
            }
        }
        Ok(found)
    }

    fn sync(&self) -> Result<(), BlocksError> {
        // Every statement is a transaction of its own, and durable when it is answered.
        Ok(self.write_waiting()?)
    }
}
