//! Runs of bytes behind their lengths: what journals, blocks and directories are written in.

use bytes::Bytes;
use windlass_core::store::{Batch, Write};

const KIND_PUT: u8 = 1;
const KIND_DELETE: u8 = 2;

/// Reads fixed-width little-endian numbers and runs of bytes; `None` as soon as the input is too short.
pub(in crate::store) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(in crate::store) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    pub(in crate::store) fn bytes(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(head)
    }

    pub(in crate::store) fn u8(&mut self) -> Option<u8> {
        self.bytes(1).map(|b| b[0])
    }

    pub(in crate::store) fn u32(&mut self) -> Option<u32> {
        self.bytes(4).map(|b| u32::from_le_bytes(b.try_into().expect("four bytes were taken")))
    }

    pub(in crate::store) fn u64(&mut self) -> Option<u64> {
        self.bytes(8).map(|b| u64::from_le_bytes(b.try_into().expect("eight bytes were taken")))
    }

    /// A run of bytes behind its length.
    pub(in crate::store) fn run(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()?;
        self.bytes(length as usize)
    }

    pub(in crate::store) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}

/// Writes a run of bytes behind its length.
pub(in crate::store) fn put_run(out: &mut Vec<u8>, bytes: &[u8]) {
    let length =
        u32::try_from(bytes.len()).expect("keys and values are bounded by the batch limit, far below 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Bytes of a batch in a record.
pub(in crate::store) fn batch_bytes(batch: &Batch) -> usize {
    let write_bytes = |write: &Write| match write {
        Write::Put { key, value } => 9 + key.len() + value.len(),
        Write::Delete { key } => 5 + key.len(),
    };
    4 + batch.writes.iter().map(write_bytes).sum::<usize>()
}

pub(in crate::store) fn encode_batch(out: &mut Vec<u8>, batch: &Batch) {
    let count =
        u32::try_from(batch.writes.len()).expect("a batch within the byte limit has fewer writes than that");
    out.extend_from_slice(&count.to_le_bytes());
    for write in &batch.writes {
        match write {
            Write::Put { key, value } => {
                out.push(KIND_PUT);
                put_run(out, key);
                put_run(out, value);
            }
            Write::Delete { key } => {
                out.push(KIND_DELETE);
                put_run(out, key);
            }
        }
    }
}

/// The writes of so many batches, in order; `None` when the bytes are none, which their checksum rules out.
pub(in crate::store) fn decode_batches(
    bytes: &[u8],
    batches: u32,
    mut each: impl FnMut(Write),
) -> Option<()> {
    let mut reader = Reader::new(bytes);
    for _ in 0..batches {
        for _ in 0..reader.u32()? {
            // Copies, so that a small value that lives long does not hold a whole journal record in memory.
            let kind = reader.u8()?;
            let key = Bytes::copy_from_slice(reader.run()?);
            each(match kind {
                KIND_PUT => Write::Put { key, value: Bytes::copy_from_slice(reader.run()?) },
                KIND_DELETE => Write::Delete { key },
                _ => return None,
            });
        }
    }
    reader.is_empty().then_some(())
}
