//! The machine: what a rate means depends on it.

use std::fs;
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

/// Appends measured for the disk's sync time.
const SYNCS: usize = 100;

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
    /// Median time to append 4 KiB and `fdatasync`, in microseconds, in the server's directory.
    pub(super) fdatasync_us: Option<u64>,
    /// Whether the program was built with optimisation.
    pub(super) optimised: bool,
    /// Version of the program.
    pub(super) version: &'static str,
}

/// Looks at the machine; `dir` is on the disk that the server uses, when the server is ours.
pub(super) fn examine(dir: Option<&Path>) -> Machine {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = memory.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    let kib = total.split_whitespace().next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    Machine {
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        cpu: cpu.trim_start_matches([' ', '\t', ':']).trim().to_owned(),
        memory_bytes: kib * 1024,
        kernel: release.trim().to_owned(),
        fdatasync_us: dir.and_then(|dir| sync_time(dir).ok()),
        optimised: !cfg!(debug_assertions),
        version: env!("CARGO_PKG_VERSION"),
    }
}

/// The time that every confirmed group costs at least.
fn sync_time(dir: &Path) -> std::io::Result<u64> {
    let path = dir.join("sync-probe");
    let mut file = fs::File::create(&path)?;
    let block = [0x5a; 4096];
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let begun = Instant::now();
        file.write_all(&block)?;
        rustix::fs::fdatasync(file.as_fd())?;
        times.push(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    fs::remove_file(&path)?;
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

/// Resident memory of a process in bytes.
pub(super) fn rss_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_has_used_some_time_and_memory() {
        let pid = std::process::id();
        assert!(super::cpu_seconds(pid).is_some_and(|s| s >= 0.0));
        assert!(super::rss_bytes(pid).is_some_and(|bytes| bytes > 100_000));
    }
}
