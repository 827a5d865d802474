//! Job ids: Faktory's are any text of eight bytes or more, ours are 128 bits.

use sha2::{Digest, Sha256};
use windlass_core::id::JobId;

/// Shortest id that is taken, in bytes.
pub(super) const JID_BYTES_MIN: usize = 8;
/// Longest id that is taken, in bytes: far above any client's.
pub(super) const JID_BYTES_MAX: usize = 1_024;
/// Jobs with the same id in the same queue that can be found by it.
pub(super) const COPIES_MAX: u8 = 16;

/// Our id of the job that a client calls `jid`; `copy` counts further jobs with the same one. A UUID in its usual form is kept as it
/// is, so that it looks the same everywhere; anything else is hashed into a UUID version 8 (RFC 9562 §5.8).
pub(super) fn job_id(jid: &str, copy: u8) -> JobId {
    if copy == 0
        && let Some(id) = as_uuid(jid)
    {
        return id;
    }
    let mut hash = Sha256::new();
    hash.update(b"windlass faktory jid ");
    hash.update([copy]);
    hash.update(jid.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash.finalize()[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    JobId(bytes)
}

/// A text that is exactly what our id would be written as.
fn as_uuid(jid: &str) -> Option<JobId> {
    let id: JobId = jid.parse().ok()?;
    (id.to_string() == jid).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_stays_and_every_other_text_gets_its_own() {
        let uuid = "01890a5d-ac96-774b-bcce-b302099a8057";
        assert_eq!(job_id(uuid, 0).to_string(), uuid);
        let ids = [
            job_id(uuid, 1),
            job_id(&uuid.to_uppercase(), 0),
            job_id(&uuid.replace('-', ""), 0),
            job_id("12345678", 0),
            job_id("12345678", 1),
            job_id("12345679", 0),
        ];
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len());
    }

    /// The rule is part of the format at rest: a job is found again by its id after an update.
    #[test]
    fn the_rule_does_not_change() {
        assert_eq!(job_id("a jid of mine", 0).to_string(), "7dd0e114-0d57-84a0-9842-5e7c91364713");
    }
}
