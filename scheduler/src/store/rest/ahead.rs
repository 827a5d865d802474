//! What a scan reads ahead of itself.

use std::collections::VecDeque;
use std::iter::Peekable;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, Scope};

use bytes::Bytes;
use windlass_core::store::ReadError;

use super::block::Shelf;
use super::directory::{BlockId, BlockRef};
use super::view::{Resting, unreadable};

/// Blocks that a scan fetches at a time once it has read one: a read of sled brings sixteen into memory, and one of a database costs a
/// way there and back.
const RUN_BLOCKS: usize = 8;
/// Bytes after which fewer go together: blocks of large jobs are as large as these.
const RUN_BYTES: usize = 1024 * 1024;
/// Runs after which a scan is a long one, as those of a start are and those of a queue that loads its next jobs are not: a thread fetches
/// what follows while the caller is at what is there.
const LONG_RUNS: usize = 64;
/// Runs that the thread fetches before the caller asks for them.
const RUNS_READY: usize = 2;

/// Blocks that follow each other, and their bytes.
type Run = Vec<(BlockId, Bytes)>;

/// The blocks of one scan, fetched before the scan comes to them.
pub(super) struct Ahead<'scope, 'env, S> {
    scope: &'scope Scope<'scope, 'env>,
    resting: &'env Resting<S>,
    /// The scan needs no block that begins here or later.
    until: &'env [u8],
    fetched: VecDeque<(BlockId, Bytes)>,
    runs: usize,
    thread: Option<Receiver<Result<Run, ReadError>>>,
}

impl<'scope, 'env, S: Shelf> Ahead<'scope, 'env, S> {
    pub(super) fn new(
        scope: &'scope Scope<'scope, 'env>,
        resting: &'env Resting<S>,
        until: &'env [u8],
    ) -> Ahead<'scope, 'env, S> {
        Ahead { scope, resting, until, fetched: VecDeque::new(), runs: 0, thread: None }
    }

    /// The bytes of the next block, which begins with `first`.
    pub(super) fn read(&mut self, first: &'env [u8], block: &BlockRef) -> Result<Bytes, ReadError> {
        if self.fetched.is_empty() {
            self.fetched = self.next_run(first)?.into();
        }
        let (id, encoded) = self.fetched.pop_front().expect("a run has its first block at least");
        debug_assert_eq!(id, block.name.id, "the directory of a scan does not change");
        Ok(encoded)
    }

    fn next_run(&mut self, first: &'env [u8]) -> Result<Run, ReadError> {
        self.runs += 1;
        if self.runs > LONG_RUNS && self.thread.is_none() {
            self.start_thread(first);
        }
        if let Some(thread) = &self.thread {
            return thread.recv().expect("the thread ends after the last block, an error, or a panic");
        }
        // Whoever asks for a few pairs is not made to wait for more than their block.
        let mut blocks = self.resting.directory.run(first, self.until).peekable();
        let run = if self.runs == 1 { blocks.take(1).collect() } else { next_run(&mut blocks) };
        fetch(self.resting, &run)
    }

    /// Has a thread fetch the blocks from `first` on. Where the system has no thread to give, the scan goes on by itself.
    fn start_thread(&mut self, first: &'env [u8]) {
        let (tell, told) = sync_channel(RUNS_READY);
        let (resting, until) = (self.resting, self.until);
        let thread = Builder::new().name("store-read-ahead".to_owned());
        let started = thread.spawn_scoped(self.scope, move || fetch_all(resting, first, until, &tell));
        self.thread = started.is_ok().then_some(told);
    }
}

/// Until the last block, the first error, or the end of the scan.
fn fetch_all<S: Shelf>(
    resting: &Resting<S>,
    first: &[u8],
    until: &[u8],
    tell: &SyncSender<Result<Run, ReadError>>,
) {
    let mut blocks = resting.directory.run(first, until).peekable();
    loop {
        let run = next_run(&mut blocks);
        if run.is_empty() {
            return;
        }
        let fetched = fetch(resting, &run);
        let failed = fetched.is_err();
        if tell.send(fetched).is_err() || failed {
            return;
        }
    }
}

/// The blocks that are fetched together next: one at least while there are any.
pub(in crate::store) fn next_run<'b>(
    blocks: &mut Peekable<impl Iterator<Item = &'b BlockRef>>,
) -> Vec<&'b BlockRef> {
    let mut run = Vec::with_capacity(RUN_BLOCKS);
    let mut bytes = 0;
    while run.len() < RUN_BLOCKS
        && let Some(block) =
            blocks.next_if(|block| run.is_empty() || bytes + block.bytes as usize <= RUN_BYTES)
    {
        bytes += block.bytes as usize;
        run.push(block);
    }
    run
}

fn fetch<S: Shelf>(resting: &Resting<S>, run: &[&BlockRef]) -> Result<Run, ReadError> {
    resting.blocks.read_run(run).map_err(unreadable)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::sync::{Arc, Mutex, RwLock};

    use super::super::{BlockName, BlocksError, Builder, Directory, Overlay, View, scan};
    use super::*;

    const BLOCKS: u64 = 800;

    /// A shelf in memory, which remembers how many runs each thread fetched.
    #[derive(Debug, Default)]
    struct Memory {
        blocks: Mutex<BTreeMap<BlockId, Bytes>>,
        runs: Mutex<BTreeMap<Option<String>, usize>>,
    }

    impl Shelf for Memory {
        fn block_bytes(&self) -> usize {
            16
        }

        fn place(&self) -> PathBuf {
            "memory".into()
        }

        fn put(&self, id: BlockId, encoded: Vec<u8>) -> Result<BlockName, BlocksError> {
            self.blocks.lock().unwrap().insert(id, encoded.into());
            Ok(BlockName { id, parts: 1 })
        }

        fn fetch(&self, block: &BlockRef) -> Result<Option<Bytes>, BlocksError> {
            Ok(self.blocks.lock().unwrap().get(&block.name.id).cloned())
        }

        fn fetch_run(&self, run: &[&BlockRef]) -> Result<Vec<Option<Bytes>>, BlocksError> {
            let thread = std::thread::current().name().map(str::to_owned);
            *self.runs.lock().unwrap().entry(thread).or_default() += 1;
            run.iter().map(|block| self.fetch(block)).collect()
        }

        fn sync(&self) -> Result<(), BlocksError> {
            Ok(())
        }
    }

    /// One pair a block, whose key is the block's number.
    fn filled() -> (Arc<Memory>, RwLock<View<Memory>>) {
        let (shelf, mut directory) = (Arc::new(Memory::default()), Directory::default());
        let mut builder = Builder::default();
        for id in 0..BLOCKS {
            builder.push(&id.to_be_bytes(), b"value");
            let (first, block) = builder.finish(&*shelf, id).unwrap();
            directory.insert(first.into(), block);
        }
        let resting = Arc::new(Resting { directory, blocks: Arc::clone(&shelf) });
        (shelf, RwLock::new(View { active: Overlay::default(), frozen: None, resting }))
    }

    /// The numbers that a scan hands out from `from` on until it has `wanted` of them, and how it ends.
    fn numbers(view: &RwLock<View<Memory>>, from: u64, wanted: u64) -> (Vec<u64>, Result<(), ReadError>) {
        let mut seen = Vec::new();
        let outcome = scan(view, &from.to_be_bytes(), &[255; 9], &mut |key, value| {
            assert_eq!(value, &b"value"[..]);
            seen.push(u64::from_be_bytes(key.try_into().unwrap()));
            (seen.len() as u64) < wanted
        });
        (seen, outcome)
    }

    #[test]
    fn a_long_scan_has_a_thread_and_hands_out_what_a_short_one_would() {
        let (shelf, view) = filled();
        for wanted in [1, 2, 504, 505, 506, 600, BLOCKS - 1, BLOCKS] {
            assert_eq!(numbers(&view, 0, wanted), ((0..wanted).collect(), Ok(())), "{wanted} pairs");
        }
        assert_eq!(numbers(&view, 700, BLOCKS), ((700..BLOCKS).collect(), Ok(())));
        let runs = shelf.runs.lock().unwrap();
        assert!(runs.get(&Some("store-read-ahead".to_owned())) > Some(&25), "{runs:?}");
    }

    #[test]
    fn large_blocks_go_in_smaller_runs() {
        let (_, view) = filled();
        let view = view.read().unwrap();
        let mut blocks =
            view.resting.directory.iter().map(|(_, block)| block.clone()).take(8).collect::<Vec<_>>();
        for (block, kib) in blocks.iter_mut().zip([1, 900, 200, 4_000, 600, 424, 1, 1]) {
            block.bytes = kib * 1024;
        }
        let mut left = blocks.iter().peekable();
        let runs = std::iter::from_fn(|| Some(next_run(&mut left).len()).filter(|blocks| *blocks > 0));
        assert_eq!(runs.collect::<Vec<_>>(), [2, 1, 1, 2, 2]);
    }

    #[test]
    fn damage_ends_a_scan_where_it_is_found() {
        for lost in [0, 5, 504, 505, 600, BLOCKS - 1] {
            let (shelf, view) = filled();
            shelf.blocks.lock().unwrap().remove(&lost);
            let (seen, outcome) = numbers(&view, 0, BLOCKS);
            assert!(matches!(outcome, Err(ReadError::Damaged(_))), "{lost}: {outcome:?}");
            assert!(seen.iter().copied().eq(0..seen.len() as u64), "{lost}: in order");
            assert!((lost.saturating_sub(RUN_BLOCKS as u64)..=lost).contains(&(seen.len() as u64)), "{lost}");
        }
    }
}
