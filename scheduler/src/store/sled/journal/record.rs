//! The bytes of segments and records. All numbers are little-endian.
//!
//! | segment | bytes | | record | bytes |
//! |---|---|---|---|---|
//! | magic | 8 | | CRC-32C | 4 |
//! | format | 4 | | payload length | 4 |
//! | CRC-32C of the rest | 4 | | LSN | 8 |
//! | number | 8 | | epoch of the writer | 8 |
//! | salt of the store | 8 | | number of batches, 0 in a seal | 4 |
//! | size | 8 | | length without padding | 4 |
//! | zeroes up to 4,096 | | | batches, padded to 8 | |
//!
//! A record's checksum also covers salt, segment number and offset, which are not in it: what an earlier use of the
//! segment left behind, or what a payload imitates, does not pass.

use windlass_core::store::{Epoch, Write};

use super::Lsn;
use crate::store::rest::{Reader, decode_batches};

pub(super) use crate::store::rest::{batch_bytes, encode_batch};

const MAGIC: [u8; 8] = *b"WINDLSEG";
/// Version of segments and records.
const FORMAT: u32 = 1;
/// Offset of the first record: a page of its own for the header, which is written once.
pub(super) const FIRST_RECORD: u64 = 4096;
/// Bytes of a segment's header that mean something.
pub(super) const SEGMENT_HEADER_BYTES: usize = 40;
/// Bytes of a record before its payload.
pub(super) const RECORD_HEADER_BYTES: usize = 32;
/// Records begin at multiples of this.
pub(super) const RECORD_ALIGN: u64 = 8;

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) number: u64,
    pub(super) salt: u64,
    pub(super) bytes: u64,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SEGMENT_HEADER_BYTES);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.salt.to_le_bytes());
        out.extend_from_slice(&self.bytes.to_le_bytes());
        let crc = header_crc(&out);
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header, or says what is wrong with it.
    pub(super) fn decode(bytes: &[u8]) -> Result<SegmentHeader, String> {
        let head = bytes.get(..SEGMENT_HEADER_BYTES).ok_or("the segment is shorter than its header")?;
        let mut reader = Reader::new(head);
        let magic = reader.bytes(MAGIC.len());
        let format = reader.u32();
        let crc = reader.u32();
        if magic != Some(&MAGIC) {
            return Err("this is no journal segment".to_owned());
        }
        if crc != Some(header_crc(head)) {
            return Err("the checksum of the segment's header does not match".to_owned());
        }
        if format != Some(FORMAT) {
            let found = format.unwrap_or_default();
            return Err(format!("the segment has format {found}, this program reads {FORMAT}"));
        }
        let (Some(number), Some(salt), Some(bytes)) = (reader.u64(), reader.u64(), reader.u64()) else {
            return Err("the segment is shorter than its header".to_owned());
        };
        Ok(SegmentHeader { number, salt, bytes })
    }
}

fn header_crc(head: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&head[..12]), &head[16..SEGMENT_HEADER_BYTES])
}

/// Where a record stands, as far as its checksum is concerned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) salt: u64,
    pub(super) segment: u64,
    pub(super) offset: u64,
}

impl Place {
    fn crc(self, record: &[u8]) -> u32 {
        let mut seed = [0; 24];
        seed[..8].copy_from_slice(&self.salt.to_le_bytes());
        seed[8..16].copy_from_slice(&self.segment.to_le_bytes());
        seed[16..].copy_from_slice(&self.offset.to_le_bytes());
        crc32c::crc32c_append(crc32c::crc32c(&seed), &record[4..])
    }
}

/// A record that has checked out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) lsn: Lsn,
    pub(super) epoch: Epoch,
    pub(super) batches: u32,
    pub(super) payload: &'a [u8],
    /// Bytes in the segment, header and padding included.
    pub(super) bytes: u64,
}

/// Completes a record in place: pads it and fills in its header, for which room was left in front.
pub(super) fn finish(record: &mut Vec<u8>, place: Place, lsn: Lsn, epoch: Epoch, batches: u32) {
    let length = record.len() - RECORD_HEADER_BYTES;
    let length = u32::try_from(length).expect("a record fits into a segment, far below 4 GiB");
    record.resize(record.len().next_multiple_of(RECORD_ALIGN as usize), 0);
    let padded = (record.len() - RECORD_HEADER_BYTES) as u32;
    record[4..8].copy_from_slice(&padded.to_le_bytes());
    record[8..16].copy_from_slice(&lsn.to_le_bytes());
    record[16..24].copy_from_slice(&epoch.to_le_bytes());
    record[24..28].copy_from_slice(&batches.to_le_bytes());
    record[28..32].copy_from_slice(&length.to_le_bytes());
    let crc = place.crc(record);
    record[..4].copy_from_slice(&crc.to_le_bytes());
}

/// The number that a record at `offset` claims to have; not checked.
pub(super) fn claimed_lsn(segment: &[u8], offset: u64) -> Option<Lsn> {
    let from = usize::try_from(offset).ok()?.checked_add(8)?;
    segment.get(from..from + 8).map(|b| Lsn::from_le_bytes(b.try_into().expect("eight bytes were taken")))
}

/// The record at a place, if a whole one stands there.
pub(super) fn read(segment: &[u8], place: Place) -> Option<Record<'_>> {
    let rest = segment.get(usize::try_from(place.offset).ok()?..)?;
    let mut reader = Reader::new(rest.get(..RECORD_HEADER_BYTES)?);
    let crc = reader.u32()?;
    let padded = reader.u32()? as usize;
    let (lsn, epoch, batches, length) = (reader.u64()?, reader.u64()?, reader.u32()?, reader.u32()? as usize);
    if length > padded || padded - length >= RECORD_ALIGN as usize {
        return None;
    }
    let record = rest.get(..RECORD_HEADER_BYTES.checked_add(padded)?)?;
    if place.crc(record) != crc {
        return None;
    }
    let payload = &record[RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + length];
    Some(Record { lsn, epoch, batches, payload, bytes: record.len() as u64 })
}

/// The writes of all batches of a record, in order; `None` when the bytes are none, which their checksum rules out.
pub(super) fn decode_writes(record: &Record<'_>, each: impl FnMut(Write)) -> Option<()> {
    decode_batches(record.payload, record.batches, each)
}
