//! A job as bytes at rest. The first byte is the version of the layout; a newer server reads every older one.
//!
//! Layout 1: `01`, then the 16 bytes of the id (so that a scan finds ids without decoding), then [`Job`] in bincode 2
//! standard configuration without its id. A change of the struct is a new layout with its own decoder and golden bytes.

use bytes::Bytes;

use crate::id::JobId;
use crate::job::Job;

const LAYOUT: u8 = 1;
const HEAD: usize = 17;

/// A record that cannot be read; the store is damaged or newer than this program.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// Written by a newer version.
    #[error(
        "the record has layout {0}, this version reads up to {LAYOUT}: start the newer version of windlass again"
    )]
    TooNew(u8),
    /// Not a record at all.
    #[error("the record cannot be decoded: {0}")]
    Damaged(String),
}

/// The bytes of `job` at rest.
#[must_use]
pub fn encode_job(job: &Job) -> Bytes {
    let mut out = Vec::with_capacity(HEAD + 48 + job.kind.len() + job.payload.data.len());
    out.push(LAYOUT);
    crate::wire::encode_into(&mut out, job);
    out.into()
}

/// The id of the job in a record, without decoding the rest.
///
/// # Errors
/// [`BadRecord`] for a record that is too short or of another layout.
pub fn job_id_of(record: &[u8]) -> Result<JobId, BadRecord> {
    body_of(record, LAYOUT)?;
    let id = record.get(1..HEAD).ok_or_else(|| BadRecord::Damaged(format!("only {} bytes", record.len())))?;
    Ok(JobId(id.try_into().map_err(|_| BadRecord::Damaged("short id".to_owned()))?))
}

/// Reads a job back.
///
/// # Errors
/// [`BadRecord`] for bytes that are not a whole record of a known layout.
pub fn decode_job(record: &[u8]) -> Result<Job, BadRecord> {
    crate::wire::decode_exact(body_of(record, LAYOUT)?).map_err(|e| BadRecord::Damaged(e.to_string()))
}

/// What comes behind the byte of layout, which has to be this one.
pub(crate) fn body_of(record: &[u8], layout: u8) -> Result<&[u8], BadRecord> {
    match record.split_first() {
        Some((&found, body)) if found == layout => Ok(body),
        Some((&newer, _)) if newer > layout => Err(BadRecord::TooNew(newer)),
        Some((other, _)) => Err(BadRecord::Damaged(format!("layout {other}"))),
        None => Err(BadRecord::Damaged("empty".to_owned())),
    }
}
