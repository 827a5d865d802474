//! The decoders of the store's files, for tests that feed them arbitrary bytes. Each function decodes what it is given as it is,
//! and once more under a checksum that fits, since nothing else would ever come past the checksum; and panics when a
//! decoder breaks its word. What is refused is fine.

use std::path::Path;

use super::manifest::Manifest;
use crate::store::rest::{Builder, Directory, Pairs, directory_crc};

pub use super::journal::probe::{damaged_journal, journal};

/// Bytes of a file's header before its checksum, and with it; the same in manifest and directory.
const CHECKED_FROM: usize = 12;
const HEAD_BYTES: usize = 16;

/// A manifest that is taken is written back as it was, but for the number of an older format and the checksum over it.
///
/// # Panics
/// When it is not.
pub fn manifest(bytes: &[u8]) {
    let path = Path::new("MANIFEST");
    for bytes in [Some(bytes.to_vec()), mended(b"WINDLMAN", bytes)].into_iter().flatten() {
        if let Ok(manifest) = Manifest::decode(path, &bytes) {
            let (again, format) = (manifest.encode(), 8..16);
            let newest = bytes[format.clone()] == again[format.clone()];
            assert!(newest || manifest.format < super::manifest::FORMAT, "{manifest:?}");
            assert_eq!(again[..format.start], bytes[..format.start], "{manifest:?}");
            assert_eq!(again[format.end..], bytes[format.end..], "{manifest:?}");
        }
    }
}

/// A directory that is taken is written back as it was, in the order of its keys, and its sums are those of its entries.
///
/// # Panics
/// When it is not.
pub fn directory(bytes: &[u8]) {
    let path = Path::new("directory-000001");
    for bytes in [Some(bytes.to_vec()), mended(b"WINDLDIR", bytes)].into_iter().flatten() {
        let expected = if bytes.len() < HEAD_BYTES { 0 } else { directory_crc(&bytes) };
        let Ok((directory, retired)) = Directory::decode(path, &bytes, expected) else { continue };
        assert_eq!(directory.encode(&retired), bytes, "{directory:?}");
        let mut before: Option<&[u8]> = None;
        let mut sums = (0, 0, 0);
        for (first, block) in directory.iter() {
            assert!(before < Some(first) && first <= &block.last, "blocks overlap: {directory:?}");
            assert_eq!(directory.covering(first), Some(block));
            assert_eq!(directory.covering(&block.last), Some(block));
            before = Some(&block.last);
            sums = (sums.0 + 1, sums.1 + u64::from(block.pairs), sums.2 + u64::from(block.bytes));
        }
        assert_eq!(sums, (directory.blocks(), directory.pairs(), directory.bytes()));
    }
}

/// A block hands out no more pairs than it announces and no more bytes than it has; one that is whole and in order is
/// built again as it was.
///
/// # Panics
/// When it does, or is not.
pub fn block(bytes: &[u8]) {
    let Some(pairs) = Pairs::new(bytes) else { return };
    let announced = u32::from_le_bytes(bytes[4..8].try_into().expect("a block that was taken has a head"));
    let (mut builder, mut count, mut used, mut in_order) = (Builder::default(), 0, 8, true);
    let mut last: Option<&[u8]> = None;
    for (key, value) in pairs {
        count += 1;
        used += Builder::pair_bytes(key, value);
        in_order &= last < Some(key);
        last = Some(key);
        if in_order {
            builder.push(key, value);
        }
    }
    assert!(count <= announced && used <= bytes.len(), "{count} of {announced} pairs in {used} bytes");
    if in_order && count == announced && count > 0 {
        assert_eq!(builder.bytes(), used, "a block is as long as its pairs");
    }
}

/// The bytes under a header that fits.
fn mended(magic: &[u8; 8], bytes: &[u8]) -> Option<Vec<u8>> {
    let mut mended = bytes.to_vec();
    mended.get_mut(..8)?.copy_from_slice(magic);
    mended.get_mut(8..CHECKED_FROM)?.copy_from_slice(&1_u32.to_le_bytes());
    let rest = mended.get(HEAD_BYTES..)?;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&mended[..CHECKED_FROM]), rest);
    mended[CHECKED_FROM..HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
    Some(mended)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the tests of the decoders start from must itself be taken, or they would test refusals alone.
    #[test]
    fn forged_headers_are_taken() {
        let manifest = mended(b"WINDLMAN", &[0; 16 + 14 * 8]).expect("long enough");
        assert!(Manifest::decode(Path::new("m"), &manifest).is_ok());
        let directory = mended(b"WINDLDIR", &[0; 32]).expect("long enough");
        assert!(Directory::decode(Path::new("d"), &directory, directory_crc(&directory)).is_ok());
        super::manifest(&manifest);
        super::directory(&directory);
    }
}
