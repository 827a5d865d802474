//! The statements around a shard's row: who owns it, who owned it before, taking it, giving it up.

use tokio_postgres::Row;
use tokio_postgres::types::Type;
use windlass_core::cluster::{Nonce, Seat, ShardNo};
use windlass_core::id::NodeName;
use windlass_core::store::Epoch;
use windlass_core::time::Timestamp;

use super::database::{DbError, Param, Session};

/// Entries of the history of moves that are kept.
const MOVES_KEPT: i64 = 1_000;
/// Entries that are read at most.
const MOVES_READ: i64 = 100;

/// How a node can be reached by others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Presence {
    /// Native port, `host:port`.
    pub native: Option<String>,
    /// HTTP port.
    pub http: Option<String>,
    /// Faktory port.
    pub faktory: Option<String>,
}

impl Presence {
    /// One of its ports, to see whether anybody listens.
    pub fn any(&self) -> Option<&str> {
        [&self.native, &self.http, &self.faktory].into_iter().find_map(Option::as_deref)
    }
}

/// A shard's row, as nodes that do not own it see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeatRow {
    /// What decisions are made of.
    pub seat: Seat,
    /// Where the owner is.
    pub presence: Presence,
    /// The nonce of the last claim, if whoever made it believes relays that introduce peers. Not for logs.
    pub introduced_with: Option<Nonce>,
    /// How often the shard was claimed, as far as the history goes back.
    pub moves: u64,
    /// What whoever reads the row knows, and nobody else.
    pub nonce: Nonce,
}

/// What a claim has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claimed {
    /// The new epoch.
    pub epoch: Epoch,
    /// Proves that it is ours.
    pub nonce: Nonce,
    /// Number of the last group.
    pub seq: u64,
    /// All groups up to here rest in blocks.
    pub rested: u64,
    /// The first block number that the last published directory leaves free.
    pub next_block: u64,
    /// Number of the directory that counts; 0 when nothing rests.
    pub directory: u64,
}

/// A change of the owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// When, by the database's clock.
    pub at: Timestamp,
    /// The epoch that began with it.
    pub epoch: Epoch,
    /// Who owned it before; `None` when it had been given up.
    pub from: Option<String>,
    /// Who owns it since.
    pub to: Option<String>,
    /// For people.
    pub why: String,
}

/// What an owner understands at its ports, told behind its nonce: introductions of version 1.
const UNDERSTANDS: u8 = 1;
const NONCE_BYTES: usize = 16;

/// What proves a claim: its nonce, and behind it what its owner understands. It stands there because no column of the row is new to
/// nodes of earlier versions, and whoever claims puts it into the place of what was there; those wrote the nonce alone.
pub(super) fn proof(nonce: Nonce) -> [u8; NONCE_BYTES + 1] {
    let mut proof = [UNDERSTANDS; NONCE_BYTES + 1];
    proof[..NONCE_BYTES].copy_from_slice(&nonce.0.to_be_bytes());
    proof
}

fn introduced_with(proof: &[u8]) -> Option<Nonce> {
    let (nonce, understands) = proof.split_first_chunk()?;
    understands
        .first()
        .is_some_and(|version| *version >= UNDERSTANDS)
        .then(|| Nonce(u128::from_be_bytes(*nonce)))
}

fn number(row: &Row, at: usize) -> u64 {
    u64::try_from(row.get::<_, i64>(at)).unwrap_or(0)
}

/// A number of ours in a column: they count from one by ones and never get near the limit.
pub(super) fn column(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn shard_column(shard: ShardNo) -> i16 {
    i16::try_from(shard).unwrap_or(i16::MAX)
}

/// The row of a shard; `None` when the database has no such shard.
///
/// # Errors
/// [`DbError`].
pub async fn read(session: &mut Session, shard: ShardNo) -> Result<Option<SeatRow>, DbError> {
    const SQL: &str =
        "SELECT epoch, beat, owner, native, http, faktory, moves, nonce FROM windlass.shard WHERE id = $1";
    let rows = session.query(SQL, &[(&shard_column(shard), Type::INT2)]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let owner: Option<String> = row.get(2);
    let owner = owner.map(|name| NodeName::new(&name));
    let owner = owner.transpose().map_err(|error| DbError::Refused(format!("the owner's name: {error}")))?;
    let seat = Seat { epoch: number(row, 0), beat: number(row, 1), owner };
    let presence = Presence { native: row.get(3), http: row.get(4), faktory: row.get(5) };
    let proof: &[u8] = row.get(7);
    // It has sixteen bytes at least from the first claim on.
    let nonce = Nonce(proof.first_chunk().map_or(0, |nonce| u128::from_be_bytes(*nonce)));
    let introduced_with = introduced_with(proof);
    Ok(Some(SeatRow { seat, presence, introduced_with, moves: number(row, 6), nonce }))
}

/// Takes the shard if nothing has happened to it since `seen`; `None` when somebody was quicker, or the owner lives. Waits for a commit that is under way.
///
/// # Errors
/// [`DbError`]. After [`DbError::Lost`] it may have happened; a nonce is not used twice, so that does no harm.
pub async fn claim(
    session: &mut Session,
    shard: ShardNo,
    seen: &Seat,
    nonce: Nonce,
    me: (&NodeName, &Presence),
    why: &str,
) -> Result<Option<Claimed>, DbError> {
    const SQL: &str = "\
        WITH before AS (SELECT coalesce(owner, (SELECT to_node FROM windlass.move WHERE shard = $1 \
            ORDER BY epoch DESC LIMIT 1)) AS owner FROM windlass.shard WHERE id = $1), \
        own AS (UPDATE windlass.shard SET epoch = epoch + $9, nonce = $3, beat = beat + 1, moves = moves + 1, \
            owner = $4, native = $5, http = $6, faktory = $7 WHERE id = $1 AND epoch = $2 AND beat = $10 \
            RETURNING epoch, seq, rested, next_block, directory), \
        gone AS (DELETE FROM windlass.move USING own WHERE shard = $1 AND move.epoch <= (\
            SELECT epoch FROM windlass.move WHERE shard = $1 ORDER BY epoch DESC OFFSET $11 LIMIT 1)), \
        moved AS (INSERT INTO windlass.move (shard, epoch, from_node, to_node, why) \
            SELECT $1, own.epoch, before.owner, $4, $8 FROM own, before ON CONFLICT DO NOTHING) \
        SELECT epoch, seq, rested, next_block, directory FROM own";
    let (name, presence) = me;
    let proof = proof(nonce);
    let rows = session
        .query(
            SQL,
            &[
                (&shard_column(shard), Type::INT2),
                (&column(seen.epoch), Type::INT8),
                (&proof.as_slice(), Type::BYTEA),
                (&name.as_str(), Type::TEXT),
                (&presence.native, Type::TEXT),
                (&presence.http, Type::TEXT),
                (&presence.faktory, Type::TEXT),
                (&why, Type::TEXT),
                (&column(nonce.leap()), Type::INT8),
                (&column(seen.beat), Type::INT8),
                (&MOVES_KEPT, Type::INT8),
            ],
        )
        .await?;
    Ok(rows.first().map(|row| Claimed {
        epoch: number(row, 0),
        nonce,
        seq: number(row, 1),
        rested: number(row, 2),
        next_block: number(row, 3),
        directory: number(row, 4),
    }))
}

/// Lets epochs go on from `least`, if nothing has happened to the shard since `seen`.
///
/// # Errors
/// [`DbError`].
pub(super) async fn raise(
    session: &mut Session,
    shard: ShardNo,
    seen: &Seat,
    least: Epoch,
) -> Result<(), DbError> {
    const SQL: &str =
        "UPDATE windlass.shard SET epoch = $4, owner = NULL WHERE id = $1 AND epoch = $2 AND beat = $3";
    let (epoch, beat, least) = (column(seen.epoch), column(seen.beat), column(least));
    let params: &[Param<'_>] = &[
        (&shard_column(shard), Type::INT2),
        (&epoch, Type::INT8),
        (&beat, Type::INT8),
        (&least, Type::INT8),
    ];
    session.query(SQL, params).await.map(drop)
}

/// The last changes of the owner, newest first.
///
/// # Errors
/// [`DbError`].
pub async fn moves(session: &mut Session, shard: ShardNo) -> Result<Vec<Move>, DbError> {
    const SQL: &str = "SELECT (extract(epoch FROM at) * 1000)::int8, epoch, from_node, to_node, why \
        FROM windlass.move WHERE shard = $1 ORDER BY epoch DESC LIMIT $2";
    let params: &[Param<'_>] = &[(&shard_column(shard), Type::INT2), (&MOVES_READ, Type::INT8)];
    let rows = session.query(SQL, params).await?;
    let each = |row: &Row| Move {
        at: Timestamp(number(row, 0)),
        epoch: number(row, 1),
        from: row.get(2),
        to: row.get(3),
        why: row.get(4),
    };
    Ok(rows.iter().map(each).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_owner_understands_stands_behind_its_nonce() {
        let nonce = Nonce(7 << 100);
        assert_eq!(introduced_with(&proof(nonce)), Some(nonce));
        assert_eq!(introduced_with(&nonce.0.to_be_bytes()), None, "an owner of an earlier version");
        assert_eq!((introduced_with(b""), introduced_with(&[0; 17])), (None, None));
    }
}
