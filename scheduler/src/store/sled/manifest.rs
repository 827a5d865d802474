//! The manifest: one small file that says which directory, which sled and which part of the journal are the store.

use std::io;
use std::path::Path;

use windlass_core::store::Epoch;

use super::files;
use super::journal::{Lsn, Start};
use crate::store::Damage;
use crate::store::rest::{BlockId, Reader};

/// Its name.
pub(super) const FILE: &str = "MANIFEST";
const MAGIC: [u8; 8] = *b"WINDLMAN";
/// Version of the whole layout: a store of a later one is refused, one of an earlier one is read and gets the newer number
/// before anything is written. In format 2 ready jobs may stand in chunks and lease marks in hand-outs, in format 3
/// scheduled jobs in chunks.
pub(super) const FORMAT: u32 = 3;
const FORMAT_OLDEST: u32 = 1;
/// Magic, format, checksum.
const HEAD_BYTES: usize = 16;

/// What the store consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Manifest {
    /// The format that it was read in; it is always written in the newest.
    pub(super) format: u32,
    /// Drawn once for the store; mixed into the journal's checksums.
    pub(super) salt: u64,
    /// The epoch of the owner that wrote the manifest. A later owner's stands in the journal.
    pub(super) epoch: Epoch,
    /// All groups up to this one rest in blocks.
    pub(super) checkpoint_lsn: Lsn,
    /// Where the journal is read from.
    pub(super) start: Start,
    /// A group that the journal certainly has; the last one after a stop in order, and whenever the store has idled. It may
    /// go on behind it.
    pub(super) end_lsn: Lsn,
    /// Number, length and checksum of the directory file.
    pub(super) directory: u64,
    pub(super) directory_bytes: u64,
    pub(super) directory_crc: u32,
    /// Number of the sled directory.
    pub(super) rest: u64,
    /// Size of blocks in it, on which sled's own segment size depends.
    pub(super) block_bytes: u32,
    /// The number of the next block: what stands in sled from here on belongs to a checkpoint that was not finished.
    pub(super) next_block: BlockId,
    /// How much rests, to be held against the directory.
    pub(super) blocks: u64,
    pub(super) pairs: u64,
}

/// Why a manifest was not written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// The old one still holds.
    #[error("{0}")]
    Untouched(io::Error),
    /// A power cut would leave the old or the new one; nothing that either needs may be removed.
    #[error("it is unknown which manifest is durable: {0}")]
    Unknown(io::Error),
}

impl Manifest {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        let numbers = [
            self.salt,
            self.epoch,
            self.checkpoint_lsn,
            self.start.segment,
            self.start.lsn,
            self.end_lsn,
            self.directory,
            self.directory_bytes,
            u64::from(self.directory_crc),
            self.rest,
            u64::from(self.block_bytes),
            self.next_block,
            self.blocks,
            self.pairs,
        ];
        for number in numbers {
            out.extend_from_slice(&number.to_le_bytes());
        }
        let crc = crc(&out);
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a manifest.
    pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<Manifest, Damage> {
        let damage = |what: &str| Damage::new(path, 0, what);
        let head =
            bytes.get(..HEAD_BYTES).ok_or_else(|| damage("the manifest is shorter than its header"))?;
        if head[..8] != MAGIC {
            return Err(damage("this is no manifest"));
        }
        if head[12..16] != crc(bytes).to_le_bytes() {
            return Err(damage("the manifest's checksum does not match"));
        }
        let found = u32::from_le_bytes(head[8..12].try_into().expect("four bytes were taken"));
        if !(FORMAT_OLDEST..=FORMAT).contains(&found) {
            let what = format!(
                "the store has format {found}, this program reads formats {FORMAT_OLDEST} to {FORMAT}; use the version that wrote it or a later one"
            );
            return Err(Damage::new(path, 8, what));
        }
        Manifest::decode_body(found, &bytes[HEAD_BYTES..])
            .ok_or_else(|| damage("the manifest has an impossible content"))
    }

    fn decode_body(format: u32, bytes: &[u8]) -> Option<Manifest> {
        let mut reader = Reader::new(bytes);
        let manifest = Manifest {
            format,
            salt: reader.u64()?,
            epoch: reader.u64()?,
            checkpoint_lsn: reader.u64()?,
            start: Start { segment: reader.u64()?, lsn: reader.u64()? },
            end_lsn: reader.u64()?,
            directory: reader.u64()?,
            directory_bytes: reader.u64()?,
            directory_crc: u32::try_from(reader.u64()?).ok()?,
            rest: reader.u64()?,
            block_bytes: u32::try_from(reader.u64()?).ok()?,
            next_block: reader.u64()?,
            blocks: reader.u64()?,
            pairs: reader.u64()?,
        };
        reader.is_empty().then_some(manifest)
    }

    /// Makes it the store's manifest.
    pub(super) fn write(&self, dir: &Path) -> Result<(), WriteError> {
        let path = dir.join(FILE);
        let temporary = files::write_beside(&path, &self.encode()).map_err(WriteError::Untouched)?;
        files::install(&temporary, &path).map_err(WriteError::Unknown)
    }
}

fn crc(file: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&file[..12]), &file[HEAD_BYTES..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_is_noticed() {
        let manifest = Manifest {
            format: FORMAT,
            salt: 1,
            epoch: 2,
            checkpoint_lsn: 3,
            start: Start { segment: 4, lsn: 5 },
            end_lsn: 6,
            directory: 7,
            directory_bytes: 8,
            directory_crc: 9,
            rest: 10,
            block_bytes: 11,
            next_block: 12,
            blocks: 13,
            pairs: 14,
        };
        let bytes = manifest.encode();
        assert_eq!(Manifest::decode(Path::new(FILE), &bytes), Ok(manifest));
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::decode(Path::new(FILE), &damaged).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(Manifest::decode(Path::new(FILE), &bytes[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn an_older_format_is_read_and_a_newer_one_refused() {
        let manifest = Manifest::decode_body(FORMAT, &[0; 14 * 8]).unwrap();
        let with_format = |format: u32| {
            let mut bytes = manifest.encode();
            bytes[8..12].copy_from_slice(&format.to_le_bytes());
            let crc = crc(&bytes);
            bytes[12..16].copy_from_slice(&crc.to_le_bytes());
            Manifest::decode(Path::new(FILE), &bytes)
        };
        for older in FORMAT_OLDEST..FORMAT {
            assert_eq!(with_format(older), Ok(Manifest { format: older, ..manifest.clone() }));
        }
        let refusal = with_format(FORMAT + 1).unwrap_err().to_string();
        assert!(refusal.contains("format 4") && refusal.contains("later"), "{refusal}");
    }
}
