//! What the suites share: a seeded generator, mounts, waiting.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A small generator (xorshift); the suites print its seed.
pub(crate) struct Random(u64);

impl Random {
    /// The seed from the environment, or one from the clock.
    pub(crate) fn new(suite: &str) -> Random {
        let clock = || {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            now.map_or(1, |since| since.as_nanos() as u64)
        };
        let seed = from_env("WINDLASS_SEED").unwrap_or_else(clock) | 1;
        println!("{suite}: WINDLASS_SEED={seed}");
        Random(seed)
    }

    /// The generator of one trial of many, so that it can be repeated alone.
    pub(crate) fn of_trial(seed: u64, number: u64) -> Random {
        let mut random = Random((seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1);
        // The first numbers of neighbours are alike.
        (0..8).for_each(|_| {
            random.next();
        });
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

/// A number from the environment.
pub(crate) fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Waits for something that happens by itself.
pub(crate) fn until(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < patience, "waited {patience:?} until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs a program and hands back what it says when it fails.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output =
        Command::new(program).args(arguments).output().map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim()))
}

/// A mounted file system, unmounted when it is dropped.
pub(crate) struct Mount {
    pub(crate) dir: PathBuf,
    mounted: bool,
}

impl Mount {
    /// Mounts with these arguments; the directory comes last.
    pub(crate) fn new(dir: &Path, arguments: &[&str]) -> Result<Mount, String> {
        std::fs::create_dir_all(dir).map_err(|error| error.to_string())?;
        let text = dir.to_str().expect("temporary directories have plain names");
        run("mount", &[arguments, &[text]].concat())?;
        Ok(Mount { dir: dir.to_owned(), mounted: true })
    }

    pub(crate) fn unmount(&mut self) {
        let text = self.dir.to_str().expect("temporary directories have plain names");
        if std::mem::take(&mut self.mounted) {
            until("the file system can be unmounted", Duration::from_secs(20), || {
                run("umount", &[text]).is_ok()
            });
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let text = self.dir.to_string_lossy().into_owned();
        if self.mounted && run("umount", &[&text]).is_err() {
            // A panic in a test may leave files open; the mount goes with the last of them.
            let _ = run("umount", &["-l", &text]);
        }
    }
}
