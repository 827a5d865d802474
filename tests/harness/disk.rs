//! A small disk of its own: a tmpfs, where this process may mount one. The store makes everything smaller on it, so that segments turn
//! over and checkpoints come quickly, and it can be filled.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

/// A mounted tmpfs; unmounted when it goes out of scope.
#[derive(Debug)]
pub struct Disk {
    at: PathBuf,
    _dir: tempfile::TempDir,
}

impl Disk {
    /// Mounts one.
    ///
    /// # Errors
    /// What `mount` says, such as that it takes root.
    pub fn mount(megabytes: u32) -> Result<Disk> {
        let dir = tempfile::tempdir()?;
        let at = dir.path().join("disk");
        fs::create_dir(&at)?;
        let size = format!("size={megabytes}m");
        let output =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "windlass-test"]).arg(&at).output()?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(Disk { at, _dir: dir })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Bytes in use.
    ///
    /// # Errors
    /// What the system says.
    pub fn used(&self) -> Result<u64> {
        let figures = rustix::fs::statvfs(&self.at)?;
        Ok((figures.f_blocks - figures.f_bfree) * figures.f_frsize)
    }

    /// Fills it to the last byte.
    ///
    /// # Errors
    /// Anything but a full disk.
    pub fn fill(&self) -> Result<()> {
        let chunk = vec![0_u8; 1024 * 1024];
        let mut file = fs::File::create(self.filler())?;
        loop {
            match std::io::Write::write(&mut file, &chunk) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Frees what [`Disk::fill`] took.
    ///
    /// # Errors
    /// What the system says.
    pub fn free(&self) -> Result<()> {
        Ok(fs::remove_file(self.filler())?)
    }

    fn filler(&self) -> PathBuf {
        self.at.join("filler")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily, since a process that was killed a moment ago may still hold files.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}
