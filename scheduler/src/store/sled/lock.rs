//! One process per data directory: an advisory lock that the system drops with the process, however it ends.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::store::OpenError;

/// Name of the lock file. Its content, the holder's process id, is for people only; the lock itself is the system's.
const FILE: &str = "LOCK";

/// The lock, held until it is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
}

impl Lock {
    /// Takes the lock of a data directory.
    pub(super) fn take(dir: &Path) -> Result<Lock, OpenError> {
        let path = dir.join(FILE);
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(|source| OpenError::io(&path, source))?;
        if let Err(errno) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
            if errno != rustix::io::Errno::WOULDBLOCK {
                return Err(OpenError::io(&path, errno.into()));
            }
            let mut holder = String::new();
            // The process id only helps people; the answer is the same without it.
            let _ = file.read_to_string(&mut holder);
            let holder = holder.trim().to_owned();
            let holder = if holder.is_empty() { "unknown".to_owned() } else { holder };
            return Err(OpenError::Locked { dir: dir.to_owned(), holder });
        }
        let write_pid = |file: &mut File| {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            writeln!(file, "{}", std::process::id())
        };
        // On a full disk the lock holds all the same.
        if let Err(error) = write_pid(&mut file) {
            tracing::warn!(%error, "failed to note the process id in the lock file");
        }
        Ok(Lock { file })
    }
}

impl Drop for Lock {
    /// Closing the file is not enough while a child that is just being started still has a copy of it.
    fn drop(&mut self) {
        // Nothing can be done about an error, and the system lets go of it with the process at the latest.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_the_handle_does_not_keep_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let lock = Lock::take(dir.path()).unwrap();
        let copy = lock.file.try_clone().unwrap();
        assert!(matches!(Lock::take(dir.path()), Err(OpenError::Locked { .. })));
        drop(lock);
        assert!(Lock::take(dir.path()).is_ok());
        drop(copy);
    }
}
