//! Taking a shard: the claim, then everything that earlier owners committed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_postgres::types::Type;
use windlass_core::cluster::{Fence, Nonce, Seat, ShardNo};
use windlass_core::id::NodeName;
use windlass_core::limits;

use super::carrier::SignsOfLife;
use super::database::{Database, DbError, Param, Session};
use super::engine::{Engine, Parts};
use super::log;
use super::schema;
use super::seat::{self, Claimed, Presence, column, shard_column};
use super::shelf::PgShelf;
use super::{PgStore, SHARD};
use crate::chance::Chance;
use crate::store::rest::{Directory, Overlay, Resting, View, directory_crc};
use crate::store::{Damage, OpenError, StoreConfig};

/// Rows of the journal that are read with one statement, at most.
const REPLAY_ROWS: u64 = 4_096;
/// Bytes of rows that are read with one statement, but for the last row of it.
const REPLAY_BYTES: i64 = 4 * 1024 * 1024;

/// How much memory the engine may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of recent keys that make a checkpoint due; commits wait at twice as much.
    pub overlay_bytes: usize,
    /// Bytes of blocks that are kept for reading.
    pub cache_bytes: usize,
    /// Size of blocks.
    pub block_bytes: usize,
}

impl Bounds {
    /// Size of blocks by default: what a reader gets for one round trip.
    pub const BLOCK_BYTES: usize = 32 * 1024;
}

/// Who wants a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimant {
    /// Its name, which no other live node has.
    pub name: NodeName,
    /// Where others reach it.
    pub presence: Presence,
    /// The shard.
    pub shard: ShardNo,
}

/// Why a shard was not taken.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// A newer program has owned the shard. Nothing was changed.
    #[error("{0}")]
    Newer(String),
    /// Somebody was quicker.
    #[error("another node was quicker")]
    Raced,
    /// The database did not do what was asked.
    #[error(transparent)]
    Db(#[from] DbError),
    /// What is in the database is not what was written.
    #[error(
        "the store is damaged: {0}; it was not opened, so that nothing more is lost: restore the database from a backup"
    )]
    Damaged(#[from] Damage),
    /// The system gives no thread.
    #[error("{0}")]
    Failed(String),
}

impl PgStore {
    /// Takes a shard if nothing has happened to it since `seen`, and reads what earlier owners have committed. Blocks. `nonce` must be fresh.
    ///
    /// # Errors
    /// [`ClaimError`]. After an error the shard may be ours by its row, but nothing is done with it; another claim is legal.
    pub fn claim(
        database: &Database,
        who: &Claimant,
        seen: &Seat,
        nonce: Nonce,
        bounds: Bounds,
        why: &str,
    ) -> Result<PgStore, ClaimError> {
        let started = Instant::now();
        let (theirs, asked, reason) = (database.clone(), who.clone(), why.to_owned());
        let seen = seen.clone();
        let claimed = database.wait(async move {
            let mut session = Session::new(theirs);
            if let Some(newer) = schema::newer_format(&mut session, asked.shard).await? {
                return Ok(Err(ClaimError::Newer(newer)));
            }
            let me = (&asked.name, &asked.presence);
            seat::claim(&mut session, asked.shard, &seen, nonce, me, &reason).await.map(Ok)
        })??;
        let claimed = claimed.ok_or(ClaimError::Raced)?;
        let signs = SignsOfLife::begin(database, who.shard, claimed.epoch, nonce)?;
        let shelf = PgShelf::new(database.clone(), who.shard, bounds.block_bytes, bounds.cache_bytes);
        let directory = read_directory(database, who.shard, &claimed)?;
        let resting = Arc::new(Resting { directory, blocks: Arc::new(shelf) });
        let mut view = View { active: Overlay::default(), frozen: None, resting };
        let journal = replay(database, who.shard, &claimed, &mut view)?;
        if signs.are_over() {
            return Err(ClaimError::Raced);
        }
        let fence = Fence::claimed(claimed.epoch, nonce, claimed.seq);
        let engine = Engine::new(Parts {
            database: database.clone(),
            shard: who.shard,
            epoch: claimed.epoch,
            nonce,
            overlay_bytes: bounds.overlay_bytes,
            seq: claimed.seq,
            view,
            journal,
        });
        let ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let groups = claimed.seq - claimed.rested;
        tracing::info!(shard = who.shard, epoch = claimed.epoch, groups, ms, why, "took the shard");
        // The signs end with this function, when the carrier has begun.
        PgStore::start(engine, fence, claimed.next_block, claimed.directory).map_err(ClaimError::Failed)
    }
}

/// Takes the shard for a process that is no server, such as a copy: only when no owner shows that it lives. Blocks for some
/// seconds when one may.
///
/// # Errors
/// [`OpenError::Owned`] when one does; what the database says otherwise.
pub fn open_alone(config: &StoreConfig) -> Result<PgStore, OpenError> {
    let url =
        config.database.clone().ok_or_else(|| OpenError::Database("no database is named".to_owned()))?;
    let database = Database::new(url).map_err(OpenError::Database)?;
    let place = database.place();
    let failed = |error: &dyn std::fmt::Display| OpenError::Database(format!("{place}: {error}"));
    let session = Arc::new(tokio::sync::Mutex::new(Session::new(database.clone())));
    let theirs = Arc::clone(&session);
    database
        .wait(async move { Ok(super::prepare(&mut *theirs.lock().await).await) })
        .map_err(|e| failed(&e))?
        .map_err(|e| failed(&e))?;
    let read = || {
        let theirs = Arc::clone(&session);
        let row = database.wait(async move { seat::read(&mut *theirs.lock().await, SHARD).await });
        row.map_err(|e| failed(&e))?.ok_or_else(|| failed(&"there is no shard 0"))
    };
    let mut first = read()?;
    if let Some(holder) = &first.seat.owner {
        std::thread::sleep(Duration::from_millis(limits::SILENCE_MS));
        if read()?.seat != first.seat {
            return Err(OpenError::Owned { place: place.clone(), holder: holder.to_string() });
        }
    }
    if first.seat.epoch < config.epoch_min {
        let (theirs, seen, least) = (Arc::clone(&session), first.seat.clone(), config.epoch_min);
        let raised = async move { seat::raise(&mut *theirs.lock().await, SHARD, &seen, least).await };
        database.wait(raised).map_err(|e| failed(&e))?;
        first = read()?;
    }
    let name = NodeName::new("alone").map_err(|e| failed(&e))?;
    let who = Claimant { name, presence: Presence::default(), shard: SHARD };
    let nonce = Nonce(Chance::system().u128());
    PgStore::claim(&database, &who, &first.seat, nonce, config.bounds(), "opened by no server")
        .map_err(|e| failed(&e))
}

fn damage(database: &Database, table: &str, what: String) -> ClaimError {
    let place = format!("{}: table windlass.{table}", database.place());
    Damage::new(place.as_ref(), 0, what).into()
}

fn read_directory(database: &Database, shard: ShardNo, claimed: &Claimed) -> Result<Directory, ClaimError> {
    const SQL: &str = "SELECT data FROM windlass.directory WHERE shard = $1 AND number = $2";
    if claimed.directory == 0 {
        return Ok(Directory::default());
    }
    let (theirs, row, number) = (database.clone(), shard_column(shard), column(claimed.directory));
    let found: Option<Bytes> = database.wait(async move {
        let params: &[Param<'_>] = &[(&row, Type::INT2), (&number, Type::INT8)];
        let rows = Session::new(theirs).query(SQL, params).await?;
        Ok(rows.first().map(|row| Bytes::copy_from_slice(row.get(0))))
    })?;
    let number = claimed.directory;
    let data = found.ok_or_else(|| damage(database, "directory", format!("number {number} is missing")))?;
    let place = format!("{}: table windlass.directory, number {number}", database.place());
    if data.len() < 16 {
        return Err(damage(database, "directory", format!("number {number} is shorter than its header")));
    }
    let (directory, _) = Directory::decode(place.as_ref(), &data, directory_crc(&data))?;
    Ok(directory)
}

/// What was replayed.
pub(super) struct Replayed {
    pub(super) bytes: u64,
    /// The newest format among the rows.
    pub(super) format: u32,
}

/// Reads the groups that are not in blocks.
///
/// Each statement names both ends of the range that it reads. Without the far one it rests on what the database guesses of the table, in
/// which nearly all rows are deleted by every checkpoint: from statistics of such a moment it expects next to no rows, and then
/// gathers and sorts all that are left for every part that is read.
fn replay(
    database: &Database,
    shard: ShardNo,
    claimed: &Claimed,
    view: &mut View<PgShelf>,
) -> Result<Replayed, ClaimError> {
    const SQL: &str = "\
        SELECT seq, data FROM (\
            SELECT seq, data, sum(octet_length(data)) OVER (ORDER BY seq) - octet_length(data) AS before \
            FROM windlass.journal WHERE shard = $1 AND seq > $2 AND seq <= $3) AS part \
        WHERE before < $4 ORDER BY seq";
    let session = Arc::new(tokio::sync::Mutex::new(Session::new(database.clone())));
    let mut replayed = Replayed { bytes: 0, format: log::FORMAT_OLDEST };
    let mut at = claimed.rested;
    while at < claimed.seq {
        let (session, row) = (Arc::clone(&session), shard_column(shard));
        let (after, last) = (column(at), column(claimed.seq.min(at + REPLAY_ROWS)));
        let rows: Vec<(i64, Bytes)> = database.wait(async move {
            let params: &[Param<'_>] =
                &[(&row, Type::INT2), (&after, Type::INT8), (&last, Type::INT8), (&REPLAY_BYTES, Type::INT8)];
            let rows = session.lock().await.query(SQL, params).await?;
            Ok(rows.iter().map(|row| (row.get(0), Bytes::copy_from_slice(row.get(1)))).collect())
        })?;
        if rows.is_empty() {
            return Err(damage(database, "journal", format!("group {} is missing", at + 1)));
        }
        for (seq, data) in rows {
            if seq != column(at + 1) {
                return Err(damage(database, "journal", format!("group {} is missing", at + 1)));
            }
            at += 1;
            let format = log::decode(&data, |write| view.apply(write))
                .map_err(|what| damage(database, "journal", format!("group {at}: {what}")))?;
            replayed.bytes += data.len() as u64;
            replayed.format = replayed.format.max(format);
        }
    }
    Ok(replayed)
}
