//! Rows of the journal: what is in one, and how it is checked when it is read.
//!
//! ```text
//!   data of a row:  format (4) | batches (4) | CRC-32C of the rest (4) | batches, encoded as in every journal
//! ```

use bytes::Bytes;
use windlass_core::store::{Batch, Write};

use crate::store::rest::{Reader, batch_bytes, decode_batches, encode_batch};

/// Version of a row.
pub(super) const FORMAT: u32 = 1;
const HEAD_BYTES: usize = 12;

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
