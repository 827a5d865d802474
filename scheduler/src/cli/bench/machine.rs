//! The machine: what a rate means depends on it.

use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

/// Blocks written for each of the disk's sync times.
const SYNCS: usize = 200;
/// Size of such a block.
const BLOCK_BYTES: usize = 4096;
/// Folders that are looked into below the server's own.
const DEPTH_MAX: u32 = 4;

/// The unit of processor times in `/proc`, which Linux fixes at 100 towards programs, whatever the kernel counts in.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a reader needs to compare rates.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Machine {
    /// Processors that this process may use.
    pub(super) cpus: usize,
    /// Their name.
    pub(super) cpu: String,
    /// Main memory in bytes.
    pub(super) memory_bytes: u64,
    /// Kernel release.
    pub(super) kernel: String,
    /// Median time to append 4 KiB and `fdatasync`, in microseconds, on the file system of the server's directory.
    pub(super) fdatasync_us: Option<u64>,
    /// The same over blocks that were written before, as in a recycled journal segment: what one producer that waits for
    /// each confirmation can have at most.
    pub(super) fdatasync_recycled_us: Option<u64>,
    /// How many of those there are in a second, one after the other.
    pub(super) fdatasync_recycled_per_second: Option<u64>,
    /// Whether the program was built with optimisation.
    pub(super) optimised: bool,
    /// Version of the program.
    pub(super) version: &'static str,
}

/// Processors of this machine.
pub(super) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Looks at the machine; at the disk only when the server is ours, whose directory is made here.
pub(super) fn examine(own: bool) -> Machine {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    let kib = total.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let syncs = own.then(|| sync_times().ok()).flatten();
    Machine {
        cpus: processors(),
        cpu: cpu.trim_start_matches([' ', '\t', ':']).trim().to_owned(),
        memory_bytes: kib * 1024,
        kernel: release.trim().to_owned(),
        fdatasync_us: syncs.as_ref().map(|syncs| syncs.append_us),
        fdatasync_recycled_us: syncs.as_ref().map(|syncs| syncs.recycled_us),
        fdatasync_recycled_per_second: syncs.as_ref().map(|syncs| syncs.recycled_per_second),
        optimised: !cfg!(debug_assertions),
        version: env!("CARGO_PKG_VERSION"),
    }
}

struct Syncs {
    append_us: u64,
    recycled_us: u64,
    recycled_per_second: u64,
}

/// The time that every confirmed group costs at least: in a growing file, then over the same blocks again.
fn sync_times() -> io::Result<Syncs> {
    // A file without a name goes with its handle, however this ends.
    let mut file = tempfile::tempfile_in(".")?;
    let append = sync_pass(&mut file)?;
    file.seek(SeekFrom::Start(0))?;
    let begun = Instant::now();
    let recycled = sync_pass(&mut file)?;
    let per_second = SYNCS as f64 / begun.elapsed().as_secs_f64().max(1e-9);
    // A rate is positive and far below 2^53.
    Ok(Syncs { append_us: append, recycled_us: recycled, recycled_per_second: per_second.round() as u64 })
}

/// Median of one pass in microseconds.
fn sync_pass(file: &mut File) -> io::Result<u64> {
    let block = [0x5a; BLOCK_BYTES];
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let begun = Instant::now();
        file.write_all(&block)?;
        rustix::fs::fdatasync(file.as_fd())?;
        times.push(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    times.sort_unstable();
    Ok(times[SYNCS / 2])
}

/// Processor time that a process has used, in seconds.
pub(super) fn cpu_seconds(pid: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain blanks; fields 14 and 15 are user and system time in ticks.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(ticks as f64 / TICKS_PER_SECOND)
}

/// Memory of a process in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    /// Resident now.
    pub(super) resident: u64,
    /// The most that was resident since its start.
    pub(super) peak: u64,
}

/// Memory of a process.
pub(super) fn memory(pid: u32) -> Option<Memory> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
    };
    Some(Memory { resident: bytes("VmRSS:")?, peak: bytes("VmHWM:")? })
}

/// Bytes that a directory takes on the disk; files that go meanwhile do not count.
pub(super) fn disk_bytes(dir: &Path) -> u64 {
    fn sum(dir: &Path, depth: u32) -> u64 {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let sizes = entries.filter_map(|entry| {
            let meta = entry.metadata().ok()?;
            if meta.is_dir() && depth < DEPTH_MAX {
                return Some(sum(&entry.path(), depth + 1));
            }
            // The unit of this field is 512 bytes whatever the file system's own is.
            Some(meta.blocks() * 512)
        });
        sizes.sum()
    }
    sum(dir, 0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_has_used_some_time_and_memory() {
        let pid = std::process::id();
        assert!(super::cpu_seconds(pid).is_some_and(|s| s >= 0.0));
        assert!(super::memory(pid).is_some_and(|memory| memory.resident > 100_000));
        assert!(super::memory(pid).is_some_and(|memory| memory.peak >= memory.resident / 2));
    }

    #[test]
    fn the_files_of_a_directory_are_counted_whatever_their_depth() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("below")).expect("a directory");
        std::fs::write(dir.path().join("below/file"), [1; 100_000]).expect("a file");
        assert!(super::disk_bytes(dir.path()) >= 100_000);
    }
}
