//! Files and directories, made durable: what a crash or a power cut may meet is always the old or the new, whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes of the file system that a directory is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileSystem {
    /// Bytes that this process may still take.
    pub(super) free: u64,
    /// Its size.
    pub(super) total: u64,
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Replaces the file at `path` by `bytes`: after a crash it holds either what it held or `bytes`.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = write_beside(path, bytes)?;
    install(&temporary, path)
}

/// The first half of [`replace`]: `bytes` are durable beside `path`, which is untouched. After an error nothing is left.
pub(super) fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    let temporary = path.with_extension("new");
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    match write() {
        Ok(()) => Ok(temporary),
        Err(error) => {
            // What could be written before the disk was full must not keep it full.
            drop(fs::remove_file(&temporary));
            Err(error)
        }
    }
}

/// The second half of [`replace`]. After an error nobody knows which of the two a power cut would leave.
pub(super) fn install(temporary: &Path, path: &Path) -> io::Result<()> {
    fs::rename(temporary, path)?;
    sync_dir(path.parent().expect("files of a store lie in a directory"))
}

/// Creates `path` with `bytes` zeroes in it, written rather than merely reserved: an `fdatasync` of data that goes where
/// data was before need not touch the file system's own journal, which makes it about twice as fast.
pub(super) fn create_zeroed(path: &Path, bytes: u64) -> io::Result<File> {
    /// Zeroes per write.
    const CHUNK: usize = 1024 * 1024;
    let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(path)?;
    let zeroes = vec![0; CHUNK];
    let mut offset = 0;
    while offset < bytes {
        let length = CHUNK.min(usize::try_from(bytes - offset).unwrap_or(CHUNK));
        file.write_all_at(&zeroes[..length], offset)?;
        offset += length as u64;
    }
    file.sync_all()?;
    Ok(file)
}

/// Free and total bytes of the file system that `dir` is on.
pub(super) fn file_system(dir: &Path) -> io::Result<FileSystem> {
    let figures = rustix::fs::statvfs(dir)?;
    Ok(FileSystem {
        free: figures.f_bavail.saturating_mul(figures.f_frsize),
        total: figures.f_blocks.saturating_mul(figures.f_frsize),
    })
}

/// Bytes that a file, or all files below a directory, take on disk. What vanishes meanwhile counts as nothing.
pub(super) fn disk_bytes(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    /// Unit of `st_blocks`, whatever the block size of the file system.
    const STAT_BLOCK_BYTES: u64 = 512;
    let Ok(metadata) = fs::symlink_metadata(path) else { return 0 };
    if !metadata.is_dir() {
        return metadata.blocks() * STAT_BLOCK_BYTES;
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| disk_bytes(&entry.path())).sum()
}

/// Whether an error means that there is no space.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

/// Whether an error means that this process, or the system, has no file descriptor left: it passes.
pub(super) fn is_out_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let out = [Errno::MFILE.raw_os_error(), Errno::NFILE.raw_os_error()];
    error.raw_os_error().is_some_and(|code| out.contains(&code))
}
