//! Rows of the journal: what is in one, and how it is checked when it is read.
//!
//! ```text
//!   data of a row:  format (4) | batches (4) | CRC-32C of the rest (4) | batches, encoded as in every journal
//! ```

use bytes::Bytes;
use windlass_core::store::keys::is_of_format_3;
use windlass_core::store::{Batch, Write};

use crate::store::rest::{Reader, batch_bytes, decode_batches, encode_batch};

/// Version of a row. In format 2 scheduled jobs may stand in chunks; a row is written in format 1 as long as there are none, so that
/// earlier versions can take over while they are still of use.
pub(super) const FORMAT: u32 = 2;
pub(super) const FORMAT_OLDEST: u32 = 1;
const HEAD_BYTES: usize = 12;

/// A group being filled.
#[derive(Debug, Default)]
pub(super) struct Group {
    bytes: Vec<u8>,
    batches: u32,
    chunked_timers: bool,
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
        self.chunked_timers |= batch.writes.iter().any(|write| is_of_format_3(write.key()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches == 0
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The oldest format that can say what is in the group.
    pub(super) fn format(&self) -> u32 {
        if self.chunked_timers { FORMAT } else { FORMAT_OLDEST }
    }

    /// The row, in a format that says no less than [`format`](Group::format).
    pub(super) fn finish(mut self, format: u32) -> Bytes {
        self.bytes[..4].copy_from_slice(&format.to_le_bytes());
        self.bytes[4..8].copy_from_slice(&self.batches.to_le_bytes());
        let crc = crc32c::crc32c_append(crc32c::crc32c(&self.bytes[..8]), &self.bytes[HEAD_BYTES..]);
        self.bytes[8..HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
        self.bytes.into()
    }
}

/// The writes of a row, in order, and its format; or what is wrong with it.
pub(super) fn decode(data: &[u8], each: impl FnMut(Write)) -> Result<u32, &'static str> {
    let mut reader = Reader::new(data);
    let head = (reader.u32(), reader.u32(), reader.u32());
    let (Some(format), Some(batches), Some(crc)) = head else { return Err("it is shorter than its header") };
    if crc32c::crc32c_append(crc32c::crc32c(&data[..8]), &data[HEAD_BYTES..]) != crc {
        return Err("its checksum does not match");
    }
    if !(FORMAT_OLDEST..=FORMAT).contains(&format) {
        return Err("it has a format that this program does not read");
    }
    decode_batches(&data[HEAD_BYTES..], batches, each).ok_or("it has an impossible content")?;
    Ok(format)
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
        assert_eq!(group.format(), 1);
        let data = group.finish(1);
        let mut writes = Vec::new();
        assert_eq!(decode(&data, |write| writes.push(write)), Ok(1));
        assert_eq!(writes, batches.into_iter().flat_map(|batch| batch.writes).collect::<Vec<_>>());
        for at in 0..data.len() {
            let mut damaged = data.to_vec();
            damaged[at] ^= 1;
            assert!(decode(&damaged, |_| {}).is_err(), "byte {at}");
            assert!(decode(&data[..at], |_| {}).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn only_chunks_of_scheduled_jobs_need_the_newer_format() {
        let of = |key: &str| {
            let mut group = Group::default();
            group.push(&batch(vec![put("t", "a scheduled job"), put(key, "1")]));
            group.format()
        };
        assert_eq!(["c", "h", "C", "H"].map(of), [1, 1, 2, 2]);
        let mut group = Group::default();
        group.push(&batch(vec![put("a", "1")]));
        assert_eq!(decode(&group.finish(2), |_| {}), Ok(2), "a row behind such a one keeps its format");
        let mut group = Group::default();
        group.push(&batch(vec![put("a", "1")]));
        assert!(decode(&group.finish(3), |_| {}).is_err());
    }
}
