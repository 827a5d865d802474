//! The directory: which keys rest in which block. In memory for every read, beside the blocks for every start.
//!
//! Blocks are never changed in place. A checkpoint writes new blocks under new numbers and then a new directory; the
//! manifest names the directory that counts. So a crash in the middle of a checkpoint leaves the old state whole, and what the directory
//! says of a block (its length, its pairs, its checksum) can be held against what the shelf hands out, at any time.
//!
//! A block costs about 150 bytes here, half a percent of what rests.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use windlass_core::store::keys::is_of_format_3;

use super::runs::{Reader, put_run};
use crate::store::Damage;

const MAGIC: [u8; 8] = *b"WINDLDIR";
/// Version of the directory file. In format 2 scheduled jobs may rest in chunks, which earlier versions do not see; without any a
/// directory is written in format 1.
pub(crate) const FORMAT: u32 = 2;
const FORMAT_OLDEST: u32 = 1;
/// Magic, format, checksum.
const HEAD_BYTES: usize = 16;

/// Number of a block; never used twice in the life of a store.
pub(in crate::store) type BlockId = u64;

/// A block's name on its shelf: its number and how many entries it is cut into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct BlockName {
    pub(in crate::store) id: BlockId,
    pub(in crate::store) parts: u32,
}

impl BlockName {
    /// The name of a block of so many bytes on a shelf that cuts it into entries of at most `block_bytes`.
    pub(in crate::store) fn cut(id: BlockId, bytes: usize, block_bytes: usize) -> BlockName {
        let parts = bytes.div_ceil(block_bytes);
        BlockName { id, parts: u32::try_from(parts).expect("a block has fewer parts than bytes") }
    }
}

/// What is known of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct BlockRef {
    pub(in crate::store) name: BlockName,
    pub(in crate::store) pairs: u32,
    pub(in crate::store) bytes: u32,
    pub(in crate::store) crc: u32,
    /// The last key in it.
    pub(in crate::store) last: Arc<[u8]>,
}

/// All blocks by their first keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::store) struct Directory {
    blocks: BTreeMap<Arc<[u8]>, BlockRef>,
    pairs: u64,
    bytes: u64,
}

impl Directory {
    pub(in crate::store) fn insert(&mut self, first: Arc<[u8]>, block: BlockRef) {
        self.pairs += u64::from(block.pairs);
        self.bytes += u64::from(block.bytes);
        let old = self.blocks.insert(first, block);
        debug_assert!(old.is_none(), "a block is removed before another takes its place");
    }

    pub(in crate::store) fn remove(&mut self, first: &[u8]) -> Option<BlockRef> {
        let block = self.blocks.remove(first)?;
        self.pairs -= u64::from(block.pairs);
        self.bytes -= u64::from(block.bytes);
        Some(block)
    }

    /// The last block that begins at or before `key`.
    pub(in crate::store) fn floor(&self, key: &[u8]) -> Option<(&Arc<[u8]>, &BlockRef)> {
        self.blocks.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back()
    }

    /// The first block that begins after `key`.
    pub(in crate::store) fn after(&self, key: &[u8]) -> Option<(&Arc<[u8]>, &BlockRef)> {
        self.blocks.range::<[u8], _>((Bound::Excluded(key), Bound::Unbounded)).next()
    }

    /// The block that has `key`, if any has.
    pub(in crate::store) fn covering(&self, key: &[u8]) -> Option<&BlockRef> {
        self.floor(key).map(|(_, block)| block).filter(|block| &*block.last >= key)
    }

    /// The first block with keys at or after `key`.
    pub(in crate::store) fn from(&self, key: &[u8]) -> Option<(&Arc<[u8]>, &BlockRef)> {
        self.floor(key).filter(|(_, block)| &*block.last >= key).or_else(|| self.after(key))
    }

    /// The blocks from the one that begins with `first` on, as far as they begin before `until`.
    pub(in crate::store) fn run(&self, first: &[u8], until: &[u8]) -> impl Iterator<Item = &BlockRef> {
        let range = (Bound::Included(first), Bound::Excluded(until));
        self.blocks.range::<[u8], _>(range).map(|(_, block)| block)
    }

    pub(in crate::store) fn iter(&self) -> impl Iterator<Item = (&Arc<[u8]>, &BlockRef)> {
        self.blocks.iter()
    }

    pub(in crate::store) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    pub(in crate::store) fn blocks(&self) -> usize {
        self.blocks.len()
    }

    pub(in crate::store) fn pairs(&self) -> u64 {
        self.pairs
    }

    /// Bytes of all blocks.
    pub(in crate::store) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The oldest format that can say what rests here; such keys come first.
    fn format(&self) -> u32 {
        let first = self.blocks.first_key_value();
        if first.is_some_and(|(key, _)| is_of_format_3(key)) { FORMAT } else { FORMAT_OLDEST }
    }

    /// The file's content. `retired` are blocks that no directory needs any more and that may still be in sled.
    pub(in crate::store) fn encode(&self, retired: &[BlockName]) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD_BYTES + 16 + self.blocks.len() * 80 + retired.len() * 12);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&self.format().to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&(self.blocks.len() as u64).to_le_bytes());
        out.extend_from_slice(&(retired.len() as u64).to_le_bytes());
        for (first, block) in &self.blocks {
            out.extend_from_slice(&block.name.id.to_le_bytes());
            for number in [block.name.parts, block.pairs, block.bytes, block.crc] {
                out.extend_from_slice(&number.to_le_bytes());
            }
            put_run(&mut out, first);
            put_run(&mut out, &block.last);
        }
        for name in retired {
            out.extend_from_slice(&name.id.to_le_bytes());
            out.extend_from_slice(&name.parts.to_le_bytes());
        }
        let crc = crc(&out);
        out[12..16].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a directory file that the manifest says has the checksum `expected`.
    pub(in crate::store) fn decode(
        path: &Path,
        bytes: &[u8],
        expected: u32,
    ) -> Result<(Directory, Vec<BlockName>), Damage> {
        let damage = |what: &str| Damage::new(path, 0, what);
        let head =
            bytes.get(..HEAD_BYTES).ok_or_else(|| damage("the directory is shorter than its header"))?;
        if head[..8] != MAGIC {
            return Err(damage("this is no directory of blocks"));
        }
        let found = crc(bytes);
        if head[12..16] != found.to_le_bytes() {
            return Err(damage("the directory's checksum does not match"));
        }
        if found != expected {
            return Err(damage("this is another directory than the one that the manifest names"));
        }
        let format = u32::from_le_bytes(head[8..12].try_into().expect("four bytes were taken"));
        if !(FORMAT_OLDEST..=FORMAT).contains(&format) {
            return Err(damage("the directory has a format that this program does not read"));
        }
        Directory::decode_body(&bytes[HEAD_BYTES..])
            .ok_or_else(|| damage("the directory has an impossible content"))
    }

    fn decode_body(bytes: &[u8]) -> Option<(Directory, Vec<BlockName>)> {
        let mut reader = Reader::new(bytes);
        let (blocks, names) = (reader.u64()?, reader.u64()?);
        let mut directory = Directory::default();
        for _ in 0..blocks {
            let name = BlockName { id: reader.u64()?, parts: reader.u32()? };
            let (pairs, bytes, crc) = (reader.u32()?, reader.u32()?, reader.u32()?);
            let (first, last) = (reader.run()?, reader.run()?);
            // Blocks that overlap would hide each other's keys.
            let before = directory.blocks.last_key_value().map(|(_, block)| &*block.last);
            if before >= Some(first) || first > last {
                return None;
            }
            let last = Arc::from(last);
            directory.insert(Arc::from(first), BlockRef { name, pairs, bytes, crc, last });
        }
        let mut retired = Vec::new();
        for _ in 0..names {
            retired.push(BlockName { id: reader.u64()?, parts: reader.u32()? });
        }
        reader.is_empty().then_some((directory, retired))
    }
}

/// Checksum of a directory file, its own field left out.
pub(in crate::store) fn crc(file: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&file[..12]), &file[HEAD_BYTES..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(id: u64, last: &str) -> BlockRef {
        BlockRef {
            name: BlockName { id, parts: 1 },
            pairs: 2,
            bytes: 10,
            crc: 7,
            last: Arc::from(last.as_bytes()),
        }
    }

    fn directory() -> Directory {
        let mut directory = Directory::default();
        directory.insert(Arc::from(&b"b"[..]), block(1, "d"));
        directory.insert(Arc::from(&b"f"[..]), block(2, "h"));
        directory
    }

    #[test]
    fn blocks_are_found_by_key() {
        let directory = directory();
        let id = |block: Option<&BlockRef>| block.map(|block| block.name.id);
        assert_eq!(id(directory.covering(b"a")), None);
        assert_eq!(id(directory.covering(b"b")), Some(1));
        assert_eq!(id(directory.covering(b"e")), None);
        assert_eq!(id(directory.covering(b"h")), Some(2));
        assert_eq!(id(directory.from(b"e").map(|(_, block)| block)), Some(2));
        assert_eq!(id(directory.from(b"i").map(|(_, block)| block)), None);
    }

    #[test]
    fn the_file_is_read_back_and_checked() {
        let path = Path::new("directory");
        let bytes = directory().encode(&[BlockName { id: 9, parts: 3 }]);
        let (read, retired) = Directory::decode(path, &bytes, crc(&bytes)).unwrap();
        assert_eq!((read, retired), (directory(), vec![BlockName { id: 9, parts: 3 }]));
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(Directory::decode(path, &damaged, crc(&bytes)).is_err(), "byte {at}");
        }
    }

    #[test]
    fn the_format_is_the_oldest_that_will_do() {
        let mut directory = directory();
        assert_eq!(directory.encode(&[])[8..12], 1u32.to_le_bytes());
        directory.insert(Arc::from(&b"C"[..]), block(3, "a"));
        let newer = directory.encode(&[]);
        assert_eq!(newer[8..12], 2u32.to_le_bytes());
        let path = Path::new("directory");
        assert_eq!(Directory::decode(path, &newer, crc(&newer)).unwrap().0, directory);
        let mut too_new = newer;
        too_new[8] = 3;
        let checksum = crc(&too_new);
        too_new[12..16].copy_from_slice(&checksum.to_le_bytes());
        assert!(Directory::decode(path, &too_new, checksum).is_err());
    }
}
