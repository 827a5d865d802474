//! The tables, as numbered steps: what a database has is compared with what this program knows, and never guessed.

use tokio_postgres::types::Type;
use windlass_core::cluster::ShardNo;

use super::database::{DbError, Session};
use super::log;
use super::seat::shard_column;
use crate::store::rest::DIRECTORY_FORMAT;

/// What one version adds. Steps are only ever appended; a released one stays as it is.
const STEPS: [&str; 1] = ["
CREATE TABLE windlass.shard (
    id smallint PRIMARY KEY,
    epoch bigint NOT NULL DEFAULT 0,
    nonce bytea NOT NULL DEFAULT ''::bytea,
    seq bigint NOT NULL DEFAULT 0,
    beat bigint NOT NULL DEFAULT 0,
    rested bigint NOT NULL DEFAULT 0,
    next_block bigint NOT NULL DEFAULT 1,
    directory bigint NOT NULL DEFAULT 0,
    moves bigint NOT NULL DEFAULT 0,
    owner text, native text, http text, faktory text
) WITH (fillfactor = 10, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE TABLE windlass.journal (
    shard smallint NOT NULL, seq bigint NOT NULL, data bytea NOT NULL, PRIMARY KEY (shard, seq)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
ALTER TABLE windlass.journal ALTER COLUMN data SET STORAGE EXTERNAL;
CREATE TABLE windlass.block (
    shard smallint NOT NULL, id bigint NOT NULL, data bytea NOT NULL, PRIMARY KEY (shard, id)
) WITH (autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE windlass.block ALTER COLUMN data SET STORAGE EXTERNAL;
CREATE TABLE windlass.directory (
    shard smallint NOT NULL, number bigint NOT NULL, data bytea NOT NULL, PRIMARY KEY (shard, number)
);
ALTER TABLE windlass.directory ALTER COLUMN data SET STORAGE EXTERNAL;
CREATE TABLE windlass.move (
    shard smallint NOT NULL, epoch bigint NOT NULL, at timestamptz NOT NULL DEFAULT now(),
    from_node text, to_node text, why text NOT NULL, PRIMARY KEY (shard, epoch)
);
INSERT INTO windlass.shard (id) VALUES (0);
"];

/// Keeps two processes from making the tables at the same time; held by the transaction, so a pooler may do what it wants.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7741942208)";

/// The version that this program writes.
pub const VERSION: usize = STEPS.len();

/// What a database has of the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schema {
    /// Nothing.
    Absent,
    /// An older version: steps are missing.
    Older(usize),
    /// What this program writes.
    Current,
    /// More than this program knows.
    Newer(usize),
}

/// Looks, and changes nothing.
///
/// # Errors
/// [`DbError`].
pub async fn look(session: &mut Session) -> Result<Schema, DbError> {
    let there = session.query("SELECT to_regclass('windlass.migration') IS NOT NULL", &[]).await?;
    if !there.first().is_some_and(|row| row.get(0)) {
        return Ok(Schema::Absent);
    }
    let rows = session.query("SELECT coalesce(max(version), 0)::int8 FROM windlass.migration", &[]).await?;
    let version: i64 = rows.first().map_or(0, |row| row.get(0));
    Ok(match usize::try_from(version).unwrap_or(0) {
        0 => Schema::Absent,
        VERSION => Schema::Current,
        newer if newer > VERSION => Schema::Newer(newer),
        older => Schema::Older(older),
    })
}

/// Takes the steps that are missing, in one transaction. Doing it twice, or in two processes at once, is legal.
///
/// # Errors
/// [`DbError`]; nothing is half done.
pub async fn migrate(session: &mut Session) -> Result<Schema, DbError> {
    let found = look(session).await?;
    let from = match found {
        Schema::Current | Schema::Newer(_) => return Ok(found),
        Schema::Absent => 0,
        Schema::Older(version) => version,
    };
    let mut sql = format!(
        "BEGIN; {LOCK}; CREATE SCHEMA IF NOT EXISTS windlass; \
         CREATE TABLE IF NOT EXISTS windlass.migration (version int PRIMARY KEY, at timestamptz NOT NULL DEFAULT now());"
    );
    for (at, step) in STEPS.iter().enumerate().skip(from) {
        // Inserted first: whoever comes second finds the number taken, and nothing of the step happens twice.
        sql.push_str(&format!("INSERT INTO windlass.migration (version) VALUES ({});", at + 1));
        sql.push_str(step);
    }
    sql.push_str("COMMIT;");
    match session.batch(&sql).await {
        Ok(()) => {}
        Err(error) => {
            // A transaction that failed is left open by a batch.
            let _ = session.batch("ROLLBACK").await;
            // Another process may have been quicker.
            if look(session).await? != Schema::Current {
                return Err(error);
            }
        }
    }
    Ok(found)
}

/// What the owner writes that this program does not read, if it is a newer one: a node that took the shard all the same could only
/// give it back. An owner writes in no older format than what it has read, so the newest rows speak for all that another one
/// would have to read.
///
/// # Errors
/// [`DbError`].
pub async fn newer_format(session: &mut Session, shard: ShardNo) -> Result<Option<String>, DbError> {
    // A format is a number of four bytes, the lowest first; the directory has its name before it.
    const SQL: &str = "SELECT \
        (SELECT substring(data FOR 4) FROM windlass.journal WHERE shard = $1 AND \
            seq = (SELECT seq FROM windlass.shard WHERE id = $1)), \
        (SELECT substring(data FROM 9 FOR 4) FROM windlass.directory WHERE shard = $1 ORDER BY number DESC LIMIT 1)";
    let rows = session.query(SQL, &[(&shard_column(shard), Type::INT2)]).await?;
    let found = |at: usize| {
        let bytes: Option<&[u8]> = rows.first()?.get(at);
        bytes?.try_into().ok().map(u32::from_le_bytes)
    };
    let known = [("journal", log::FORMAT), ("directory", DIRECTORY_FORMAT)];
    Ok(known.into_iter().enumerate().find_map(|(at, (what, known))| {
        let found = found(at).filter(|found| *found > known)?;
        Some(format!(
            "the {what} has format {found}, this program reads {known}; start a newer version of it"
        ))
    }))
}

/// Why this database would break the promise that what is confirmed is durable, if it would.
///
/// # Errors
/// [`DbError`].
pub async fn unsafe_setting(session: &mut Session) -> Result<Option<String>, DbError> {
    const ASK: &str = "SELECT name, setting FROM pg_catalog.pg_settings WHERE name IN ('fsync', 'synchronous_commit', 'full_page_writes')";
    let rows = session.query(ASK, &[]).await?;
    Ok(rows.iter().find_map(|row| {
        let (name, setting): (&str, &str) = (row.get(0), row.get(1));
        (setting == "off").then(|| {
            format!(
                "PostgreSQL has {name} = off, so a confirmed job could be lost; set it to on for this database or role \
                 (ALTER ROLE … SET {name} = on), or the server for fsync and full_page_writes"
            )
        })
    }))
}
