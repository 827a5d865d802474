//! Blocks: how pairs rest. A block is a run of consecutive pairs in one value; it is never changed, only replaced by others.
//!
//! ```text
//!   format (4) | pairs (4) | { key length (4) | key | value length (4) | value } …
//! ```

use std::fmt::Debug;
use std::path::PathBuf;

use bytes::Bytes;

use super::directory::{BlockId, BlockName, BlockRef};
use super::runs::{Reader, put_run};
use crate::store::Damage;

/// Version of a block.
const FORMAT: u32 = 1;
/// Bytes of a block before its first pair.
const HEAD_BYTES: usize = 8;

/// Why blocks cannot be read or written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::store) enum BlocksError {
    #[error(transparent)]
    Damaged(#[from] Damage),
    #[error("no space left: {0}")]
    Full(String),
    #[error("{0}")]
    Failed(String),
}

/// Where blocks rest.
pub(in crate::store) trait Shelf: Debug + Send + Sync + 'static {
    /// Size that blocks should have; a pair that is larger makes a larger one.
    fn block_bytes(&self) -> usize;

    /// Where this is, for people that are told of damage.
    fn place(&self) -> PathBuf;

    /// Writes a block, with others if the shelf likes. It is there, and durable, after the next [`sync`](Shelf::sync).
    fn put(&self, id: BlockId, encoded: Vec<u8>) -> Result<BlockName, BlocksError>;

    /// The bytes of a block as they are, or `None` when it is not there.
    fn fetch(&self, block: &BlockRef) -> Result<Option<Bytes>, BlocksError>;

    /// The same for blocks that follow each other in the directory, in their order.
    fn fetch_run(&self, run: &[&BlockRef]) -> Result<Vec<Option<Bytes>>, BlocksError>;

    /// Makes all that was written durable.
    fn sync(&self) -> Result<(), BlocksError>;

    /// The bytes of a block, whole and checked.
    fn read(&self, block: &BlockRef) -> Result<Bytes, BlocksError> {
        self.checked(block, self.fetch(block)?)
    }

    /// The same for blocks that follow each other in the directory, each with its number.
    fn read_run(&self, run: &[&BlockRef]) -> Result<Vec<(BlockId, Bytes)>, BlocksError> {
        let fetched = run.iter().zip(self.fetch_run(run)?);
        fetched.map(|(block, fetched)| Ok((block.name.id, self.checked(block, fetched)?))).collect()
    }

    /// What was fetched for a block, if it is what was written.
    fn checked(&self, block: &BlockRef, fetched: Option<Bytes>) -> Result<Bytes, BlocksError> {
        let damage = |what: &str| {
            let what = format!("{what}: block {} with {} pairs", block.name.id, block.pairs);
            BlocksError::Damaged(Damage::new(&self.place(), 0, what))
        };
        let encoded = fetched.ok_or_else(|| damage("a block is lost"))?;
        if encoded.len() != block.bytes as usize || crc32c::crc32c(&encoded) != block.crc {
            return Err(damage("a block has another content than was written"));
        }
        Ok(encoded)
    }
}

/// A block being filled.
#[derive(Debug, Default)]
pub(in crate::store) struct Builder {
    bytes: Vec<u8>,
    pairs: u32,
    first: Vec<u8>,
    last: Vec<u8>,
}

impl Builder {
    /// Bytes that a pair takes.
    pub(in crate::store) fn pair_bytes(key: &[u8], value: &[u8]) -> usize {
        8 + key.len() + value.len()
    }

    /// Whether the pair may be added to a block of at most `block_bytes`; the first always may.
    pub(in crate::store) fn takes(&self, pair_bytes: usize, block_bytes: usize) -> bool {
        self.pairs == 0 || self.bytes.len() + pair_bytes <= block_bytes
    }

    pub(in crate::store) fn push(&mut self, key: &[u8], value: &[u8]) {
        if self.pairs == 0 {
            self.bytes.reserve(HEAD_BYTES + Builder::pair_bytes(key, value));
            self.bytes.extend_from_slice(&FORMAT.to_le_bytes());
            self.bytes.extend_from_slice(&[0; 4]);
            self.first.extend_from_slice(key);
        }
        debug_assert!(self.pairs == 0 || self.last.as_slice() < key, "pairs come in key order");
        put_run(&mut self.bytes, key);
        put_run(&mut self.bytes, value);
        self.last.clear();
        self.last.extend_from_slice(key);
        self.pairs += 1;
    }

    pub(in crate::store) fn is_empty(&self) -> bool {
        self.pairs == 0
    }

    pub(in crate::store) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Writes the block and leaves the builder empty. Returns its first key and what the directory has to know.
    pub(in crate::store) fn finish(
        &mut self,
        shelf: &impl Shelf,
        id: BlockId,
    ) -> Result<(Vec<u8>, BlockRef), BlocksError> {
        self.bytes[4..HEAD_BYTES].copy_from_slice(&self.pairs.to_le_bytes());
        let encoded = std::mem::take(&mut self.bytes);
        let bytes =
            u32::try_from(encoded.len()).expect("a pair is bounded by the batch limit, far below 4 GiB");
        let (crc, last) = (crc32c::crc32c(&encoded), self.last.as_slice().into());
        let block = BlockRef { name: shelf.put(id, encoded)?, pairs: self.pairs, bytes, crc, last };
        self.last.clear();
        self.pairs = 0;
        Ok((std::mem::take(&mut self.first), block))
    }
}

/// The pairs of a block, in key order. Ends early if the bytes are no block, which the count of pairs gives away.
pub(in crate::store) struct Pairs<'a> {
    reader: Reader<'a>,
    left: u32,
}

impl<'a> Pairs<'a> {
    /// `None` when the block has another format.
    pub(in crate::store) fn new(encoded: &'a [u8]) -> Option<Pairs<'a>> {
        let mut reader = Reader::new(encoded);
        (reader.u32()? == FORMAT).then_some(())?;
        let left = reader.u32()?;
        Some(Pairs { reader, left })
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some((self.reader.run()?, self.reader.run()?))
    }
}

/// A value as the caller gets it: a copy, so that it does not hold its block in memory.
pub(in crate::store) fn copied(value: &[u8]) -> Bytes {
    Bytes::copy_from_slice(value)
}
