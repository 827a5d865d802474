//! The committing end: groups as rows of the journal, each behind the fence, and the sign of life of an idle owner.
//!
//! ```text
//!   data of a row:  format (4) | batches (4) | CRC-32C of the rest (4) | batches, encoded as in every journal
//! ```

use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio_postgres::types::Type;
use windlass_core::cluster::{Answer, Fence, ShardNo, Statement, Step};
use windlass_core::store::{Batch, CommitError, Write};

use super::database::{DbError, Param, Session};
use super::link::Link;
use super::seat::{column, proof, shard_column};
use crate::store::rest::{Reader, batch_bytes, decode_batches, encode_batch};

/// Version of a row.
pub(super) const FORMAT: u32 = 1;
const HEAD_BYTES: usize = 12;
/// Wait before a database that is away is asked again.
const RETRY: Duration = Duration::from_millis(100);

/// The writing end.
#[derive(Debug)]
pub(super) struct Log {
    shard: ShardNo,
    session: Session,
    fence: Fence,
    /// When the shard's row was last changed by us.
    last: Instant,
}

/// A group being filled.
#[derive(Debug, Default)]
pub(super) struct Group {
    bytes: Vec<u8>,
    batches: u32,
}

impl Group {
    pub(super) fn encoded_bytes(batch: &Batch) -> usize {
        batch_bytes(batch)
    }

    pub(super) fn push(&mut self, batch: &Batch) {
        if self.bytes.is_empty() {
            self.bytes.resize(HEAD_BYTES, 0);
        }
        encode_batch(&mut self.bytes, batch);
        self.batches += 1;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches == 0
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn finish(mut self) -> Bytes {
        self.bytes[..4].copy_from_slice(&FORMAT.to_le_bytes());
        self.bytes[4..8].copy_from_slice(&self.batches.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&self.bytes[..8]), &self.bytes[HEAD_BYTES..]);
        self.bytes[8..HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
        self.bytes.into()
    }
}

/// The writes of a row, in order; or what is wrong with it.
pub(super) fn decode(data: &[u8], each: impl FnMut(Write)) -> Result<(), &'static str> {
    let mut reader = Reader::new(data);
    let head = (reader.u32(), reader.u32(), reader.u32());
    let (Some(format), Some(batches), Some(crc)) = head else { return Err("it is shorter than its header") };
    if crc32c::crc32c_append(crc32c::crc32c(&data[..8]), &data[HEAD_BYTES..]) != crc {
        return Err("its checksum does not match");
    }
    if format != FORMAT {
        return Err("it has a format that this program does not read");
    }
    decode_batches(&data[HEAD_BYTES..], batches, each).ok_or("it has an impossible content")
}

impl Log {
    pub(super) fn new(session: Session, shard: ShardNo, fence: Fence) -> Log {
        Log { shard, session, fence, last: Instant::now() }
    }

    /// Whether nothing was written for so long that a sign of life is due.
    pub(super) fn is_silent_for(&self, time: Duration) -> bool {
        self.last.elapsed() >= time
    }

    /// Makes a group durable. Waits for a database that is away, for as long as `link` wants it.
    pub(super) async fn append(&mut self, data: Bytes, link: &Link) -> Result<u64, CommitError> {
        if !self.fence.is_idle() {
            return Err(CommitError::Unknown("what became of the group before is not known".to_owned()));
        }
        let first = self.fence.begin();
        self.carry(first, &data, link).await
    }

    /// Shows that this owner lives.
    pub(super) async fn beat(&mut self, link: &Link) -> Result<u64, CommitError> {
        if !self.fence.is_idle() {
            return Ok(self.fence.seq());
        }
        let first = self.fence.beat();
        self.carry(first, &Bytes::new(), link).await
    }

    /// Gives the shard up, so that the next owner need not wait for this one to fall silent.
    pub(super) async fn give_up(&mut self, link: &Link) -> Result<(), CommitError> {
        if !self.fence.is_idle() {
            return Ok(());
        }
        let first = self.fence.give_up();
        self.carry(first, &Bytes::new(), link).await.map(drop)
    }

    async fn carry(&mut self, first: Statement, data: &Bytes, link: &Link) -> Result<u64, CommitError> {
        let mut statement = first;
        loop {
            let answer = match self.send(&statement, data).await {
                Ok(answer) => {
                    link.is_here();
                    if let Answer::Applied { .. } = answer {
                        self.last = Instant::now();
                    }
                    answer
                }
                Err(DbError::Away(text)) => {
                    link.is_away(text);
                    link.pause(RETRY).await?;
                    continue;
                }
                Err(DbError::Lost(text)) => {
                    link.is_away(text);
                    link.pause(RETRY).await?;
                    Answer::Lost
                }
                Err(DbError::Full(text)) => {
                    link.is_full(text.clone());
                    if let Statement::Commit { .. } = statement {
                        self.fence.withdrawn();
                        return Err(CommitError::Full(text));
                    }
                    // What only settles is sent again: nothing else can be done before.
                    link.pause(RETRY).await?;
                    Answer::Lost
                }
                Err(DbError::Refused(text)) => return Err(CommitError::Failed(text)),
            };
            match self.fence.answered(answer) {
                Step::Committed { seq } => return Ok(seq),
                Step::Done | Step::GivenUp => return Ok(self.fence.seq()),
                Step::Send(next) => statement = next,
                Step::Fenced => return Err(CommitError::Fenced { by: self.current_epoch().await }),
                Step::Regressed { confirmed, found } => {
                    return Err(CommitError::Failed(format!(
                        "the database has lost commits that it had confirmed: it is at {found}, {confirmed} was \
                         confirmed; was a standby promoted that replicates asynchronously?"
                    )));
                }
            }
        }
    }

    async fn send(&mut self, statement: &Statement, data: &Bytes) -> Result<Answer, DbError> {
        const COMMIT: &str = "\
            WITH own AS (UPDATE windlass.shard SET seq = seq + 1, beat = beat + 1 \
                WHERE id = $1 AND epoch = $2 AND nonce = $3 AND seq = $4 RETURNING epoch, seq), \
            new AS (INSERT INTO windlass.journal (shard, seq, data) SELECT $1, own.seq, $5 FROM own) \
            SELECT epoch, seq FROM own";
        const REOPEN: &str = "UPDATE windlass.shard SET epoch = epoch + 1, beat = beat + 1 \
            WHERE id = $1 AND nonce = $2 RETURNING epoch, seq";
        const BEAT: &str = "UPDATE windlass.shard SET beat = beat + 1 \
            WHERE id = $1 AND epoch = $2 AND nonce = $3 RETURNING epoch, seq";
        const GIVE_UP: &str = "UPDATE windlass.shard SET epoch = epoch + 1, beat = beat + 1, owner = NULL, \
            native = NULL, http = NULL, faktory = NULL WHERE id = $1 AND nonce = $2 RETURNING epoch, seq";
        let shard = shard_column(self.shard);
        let rows = match *statement {
            Statement::Commit { epoch, nonce, seq } => {
                let (epoch, proof, seq, data) = (column(epoch), proof(nonce), column(seq), &data[..]);
                let params: &[Param<'_>] = &[
                    (&shard, Type::INT2),
                    (&epoch, Type::INT8),
                    (&proof.as_slice(), Type::BYTEA),
                    (&seq, Type::INT8),
                    (&data, Type::BYTEA),
                ];
                self.session.query(COMMIT, params).await?
            }
            Statement::Reopen { nonce } => {
                let proof = proof(nonce);
                let params: &[Param<'_>] = &[(&shard, Type::INT2), (&proof.as_slice(), Type::BYTEA)];
                self.session.query(REOPEN, params).await?
            }
            Statement::GiveUp { nonce } => {
                let proof = proof(nonce);
                let params: &[Param<'_>] = &[(&shard, Type::INT2), (&proof.as_slice(), Type::BYTEA)];
                self.session.query(GIVE_UP, params).await?
            }
            Statement::Beat { epoch, nonce } => {
                let (epoch, proof) = (column(epoch), proof(nonce));
                let params: &[Param<'_>] =
                    &[(&shard, Type::INT2), (&epoch, Type::INT8), (&proof.as_slice(), Type::BYTEA)];
                self.session.query(BEAT, params).await?
            }
        };
        let number = |at| u64::try_from(rows[0].get::<_, i64>(at)).unwrap_or(0);
        Ok(if rows.is_empty() {
            Answer::Nothing
        } else {
            Answer::Applied { epoch: number(0), seq: number(1) }
        })
    }

    /// The epoch of whoever owns the shard now, for the error's text.
    async fn current_epoch(&mut self) -> u64 {
        let read = super::seat::read(&mut self.session, self.shard).await;
        read.ok().flatten().map_or(0, |row| row.seat.epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use windlass_core::store::conformance::{batch, delete, put};

    #[test]
    fn a_row_is_read_back_and_checked() {
        let mut group = Group::default();
        let batches = [batch(vec![put("a", "1"), delete("b")]), batch(vec![put("c", "3")])];
        batches.iter().for_each(|batch| group.push(batch));
        let data = group.finish();
        let mut writes = Vec::new();
        decode(&data, |write| writes.push(write)).unwrap();
        assert_eq!(writes, batches.into_iter().flat_map(|batch| batch.writes).collect::<Vec<_>>());
        for at in 0..data.len() {
            let mut damaged = data.to_vec();
            damaged[at] ^= 1;
            assert!(decode(&damaged, |_| {}).is_err(), "byte {at}");
            assert!(decode(&data[..at], |_| {}).is_err(), "cut at {at}");
        }
    }
}
