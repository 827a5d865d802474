//! What engines with a journal share: recent keys in memory, what rests in immutable blocks, one ordered view over both.
//!
//! - [`overlay`], [`view`]: recent keys, and the one order over everything; [`ahead`]: what its scans read ahead.
//! - [`block`], [`directory`]: pairs on a [`Shelf`], and what is known of them beside it.
//! - [`merge`]: from overlay to blocks.
//! - [`staging`]: how batches are gathered into groups.
//! - [`runs`]: the bytes of all these.

mod ahead;
mod block;
mod directory;
mod merge;
mod overlay;
mod runs;
mod staging;
mod view;

pub(super) use self::ahead::next_run;
pub(super) use self::block::{BlocksError, Builder, Pairs, Shelf};
pub(super) use self::directory::{
    BlockId, BlockName, BlockRef, Directory, FORMAT as DIRECTORY_FORMAT, crc as directory_crc,
};
pub(super) use self::merge::{Merge, MergeError, copy as copy_blocks};
pub(super) use self::overlay::Overlay;
pub(super) use self::runs::{Reader, batch_bytes, decode_batches, encode_batch};
pub(super) use self::staging::Staging;
pub(super) use self::view::{Resting, View, get, scan};
