//! Goal: where the system gives no more (descriptors, memory, file size, inodes, disk), the server says so in typed errors,
//! lives, and goes on by itself when it is given more. Method: real limits on the real process, taken away while it runs.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use windlass_core::api::ErrorCode;
use windlass_core::job::JobState;
use windlass_tests::http;
use windlass_tests::probe;
use windlass_tests::process::{Server, Setting};
use windlass_worker::{Client, Job};

use crate::account::{Account, Crew, KIND, Producers, until};

const PATIENCE: Duration = Duration::from_secs(30);

/// Changes a limit of a process that runs.
fn set_limit(pid: u32, limit: &str) -> Result<()> {
    probe::tools(&[("prlimit", "util-linux")])?;
    probe::run("prlimit", &["--pid", &pid.to_string(), limit])
}

fn ready(server: &Server) -> bool {
    http::get(server.http, "/readyz").is_ok_and(|(status, _)| status == 200)
}

/// Processor time of a process so far.
fn processor_time(pid: u32) -> Result<Duration> {
    /// Ticks per second of these figures, on every Linux.
    const TICKS: u64 = 100;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<_> = stat.rsplit(") ").next().context("a name in parentheses")?.split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 1_000 / TICKS))
}

/// Strangers take every descriptor there is, at both doors, and keep them.
pub(crate) async fn descriptors_that_run_out_stop_nobody_inside() -> Result<()> {
    probe::tools(&[("prlimit", "util-linux")])?;
    let dir = tempfile::tempdir()?;
    let wrapper = ["prlimit", "--nofile=96:96"].map(str::to_owned).to_vec();
    let mut server = Server::start_in(Setting { wrapper, ..Setting::default() }, dir.path(), &[])?;
    let account = Arc::new(Account::default());
    let client = Client::connect(server.address()).await?;
    let crew = Crew::start(&server.address(), &account, 8, Duration::ZERO);
    account.enqueue(&client, Job::new(KIND, "before")?).await?;
    account.settled(PATIENCE).await?;
    let strangers: Vec<_> = (0..400)
        .filter_map(|n| TcpStream::connect(if n % 2 == 0 { server.native } else { server.http }).ok())
        .collect();
    ensure!(strangers.len() > 200, "only {} strangers came", strangers.len());
    // Accepting goes on trying, and must not burn the processor for it.
    let pid = server.process().pid();
    let before = processor_time(pid)?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let burnt = processor_time(pid)?.saturating_sub(before);
    ensure!(burnt < Duration::from_millis(1_000), "{burnt:?} of two seconds are burnt by a full door");
    // Enough for new journal segments and checkpoints, which need descriptors of their own.
    let payload = "x".repeat(500_000);
    let end = Instant::now() + Duration::from_secs(8);
    let mut taken = 0;
    while Instant::now() < end || taken < 300 {
        ensure!(
            end.elapsed() < Duration::from_secs(20),
            "only {taken} jobs were taken: {:?}",
            account.texts()
        );
        match account.enqueue(&client, Job::new(KIND, &payload)?).await {
            Ok(_) => taken += 1,
            Err(error) => {
                let code = error.code().context(format!("not a typed refusal: {error}"))?;
                ensure!(code != ErrorCode::StoreFailed, "the store has failed for good: {error}");
            }
        }
    }
    ensure!(account.refusals().is_empty(), "the store went without descriptors: {:?}", account.texts());
    drop(strangers);
    let newcomer = tokio::time::timeout(PATIENCE, Client::connect(server.address())).await??;
    account.enqueue(&newcomer, Job::new(KIND, "after")?).await?;
    until("HTTP is served again", PATIENCE, async || ready(&server)).await?;
    account.settled(PATIENCE).await?;
    crew.stop().await?;
    println!(
        "descriptors: {taken} jobs of half a megabyte while every door was full; {burnt:?} of 2 s burnt"
    );
    server.stop()
}

/// A group of processes with a bound of their memory.
struct Memory {
    dir: PathBuf,
    second: bool,
}

impl Memory {
    /// Makes one, in whichever version of the control groups is there.
    fn bound(bytes: u64) -> Result<Memory> {
        probe::root()?;
        let name = format!("windlass-faults-{}", std::process::id());
        let second = std::fs::read_to_string("/sys/fs/cgroup/cgroup.subtree_control")
            .is_ok_and(|text| text.split_whitespace().any(|word| word == "memory"));
        let root = if second { "/sys/fs/cgroup" } else { "/sys/fs/cgroup/memory" };
        let dir = Path::new(root).join(name);
        let limits: &[(&str, u64)] = match second {
            true => &[("memory.max", bytes), ("memory.swap.max", 0)],
            false => &[("memory.limit_in_bytes", bytes)],
        };
        if let Err(error) = std::fs::create_dir(&dir) {
            probe::skip(format!("no control group for memory can be made here: {error}"))?;
        }
        let memory = Memory { dir, second };
        for (file, value) in limits {
            let path = memory.dir.join(file);
            if let Err(error) = std::fs::write(&path, value.to_string()) {
                // Without swap in the kernel there is no limit of it.
                if !file.contains("swap") {
                    probe::skip(format!("{}: {error}", path.display()))?;
                }
            }
        }
        Ok(memory)
    }

    /// Starts a command inside.
    fn wrapper(&self) -> Vec<String> {
        let procs = self.dir.join("cgroup.procs").to_string_lossy().into_owned();
        ["sh", "-c", "echo $$ > \"$0\" && exec \"$@\"", &procs].map(str::to_owned).to_vec()
    }

    /// Processes of the group that were killed for memory.
    fn kills(&self) -> Result<u64> {
        let file = if self.second { "memory.events" } else { "memory.oom_control" };
        let text = std::fs::read_to_string(self.dir.join(file))?;
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(line.context("no count of kills")?.trim().parse()?)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // The server in it is gone before this; the kernel may need a moment to notice.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.dir).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A backlog of several times the memory that the server may have, recovery and draining included.
pub(crate) async fn a_backlog_larger_than_memory_kills_nobody() -> Result<()> {
    /// All that the server may have, the system's buffers for its files included.
    const MEMORY: u64 = 448 << 20;
    const PAYLOAD: usize = 32_000;
    const JOBS: usize = 28_000;
    let memory = Memory::bound(MEMORY)?;
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let setting = Setting { wrapper: memory.wrapper(), ..Setting::default() };
    let mut server = Server::start_in(setting, dir.path(), &[])?;
    let client = Client::connect(server.address()).await?;
    let payload = "x".repeat(PAYLOAD);
    let mut most = 0;
    for _ in 0..20 {
        let jobs = client.enqueue_many((0..JOBS / 20).map(|_| Job::new(KIND, &payload)));
        // A client waits for a server that is gone; this test must not.
        tokio::time::timeout(Duration::from_secs(60), jobs.into_future())
            .await
            .with_context(|| format!("no answer; killed for memory: {:?}", memory.kills()))??;
        most = most.max(server.process().resident_bytes()?);
    }
    let waiting = async |client: &Client| -> Result<u64> {
        Ok(client.list_queues().await?.first().map_or(0, |queue| queue.counts[&JobState::Ready]))
    };
    ensure!(waiting(&client).await? == JOBS as u64, "not all jobs wait");
    server.kill()?;
    server.restart()?;
    client.connected().await;
    ensure!(waiting(&client).await? == JOBS as u64, "the restart lost jobs");
    let account = Arc::new(Account::default());
    let crew = Crew::start(&server.address(), &account, 256, Duration::ZERO);
    until("a part is drained", Duration::from_secs(60), async || account.ended() >= JOBS / 8).await?;
    most = most.max(server.process().resident_bytes()?);
    crew.stop().await?;
    ensure!(server.process().is_running()?, "the server is gone");
    ensure!(memory.kills()? == 0, "somebody was killed for memory");
    println!(
        "a backlog of {} MiB in {} MiB of memory: at most {} MiB resident",
        (JOBS * PAYLOAD) >> 20,
        MEMORY >> 20,
        most >> 20
    );
    server.stop()?;
    drop(server);
    drop(memory);
    Ok(())
}

/// No file may grow beyond a limit: the writes that would are refused, short or whole, and the signal kills nobody.
pub(crate) async fn a_limit_of_file_sizes_refuses_and_resumes() -> Result<()> {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let mut server = Server::start(dir.path(), &[])?;
    let account = Arc::new(Account::default());
    let pid = server.process().pid();
    // A segment of the journal fits; sled's file soon does not.
    set_limit(pid, &format!("--fsize={}:unlimited", 40 << 20))?;
    let producers = Producers::start(&server.address(), &account, 4, 100_000).await?;
    let full = async || account.refusals().contains_key(&ErrorCode::StoreFull);
    let told = until("producers are told that there is no space", Duration::from_secs(60), full).await;
    ensure!(server.process().is_running()?, "the limit of file sizes ended the server");
    told?;
    ensure!(!account.refusals().contains_key(&ErrorCode::StoreFailed), "{:?}", account.texts());
    ensure!(!ready(&server), "a server that takes nothing calls itself ready");
    let confirmed = account.confirmed();
    set_limit(pid, "--fsize=unlimited:unlimited")?;
    let took =
        until("new work is taken again", PATIENCE, async || account.confirmed() > confirmed + 10).await?;
    producers.stop(PATIENCE).await?;
    let crew = Crew::start(&server.address(), &account, 64, Duration::ZERO);
    account.settled(Duration::from_secs(90)).await?;
    crew.stop().await?;
    println!(
        "file size: {confirmed} jobs confirmed before, service is back {took:?} after; {:?}",
        account.texts()
    );
    server.stop()?;
    server.restart()
}

/// A small disk in memory, unmounted at the end.
struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    fn mount(at: PathBuf, options: &str) -> Result<SmallDisk> {
        std::fs::create_dir_all(&at)?;
        let text = at.to_string_lossy().into_owned();
        if let Err(error) = probe::run("mount", &["-t", "tmpfs", "-o", options, "windlass-test", &text]) {
            probe::skip(format!("no small disk can be mounted here: {error}"))?;
        }
        Ok(SmallDisk { at })
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = probe::run("umount", &["-l", &self.at.to_string_lossy()]);
    }
}

/// Fills a disk by `fill` under load, again and again, and frees it by `free`; the service follows.
async fn fill_and_free(
    what: &str,
    options: &str,
    rounds: u32,
    fill: impl Fn(&Path) -> Result<()>,
    free: impl Fn(&Path) -> Result<()>,
) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let disk = SmallDisk::mount(dir.path().join("small"), options)?;
    let mut server = Server::start(&disk.at.join("data"), &[])?;
    let account = Arc::new(Account::default());
    let crew = Crew::start(&server.address(), &account, 32, Duration::ZERO);
    let producers = Producers::start(&server.address(), &account, 4, 20_000).await?;
    let mut slowest = Duration::ZERO;
    for _ in 0..rounds {
        let confirmed = account.confirmed();
        until("jobs are confirmed", PATIENCE, async || account.confirmed() > confirmed + 10).await?;
        let refused = account.refusals().get(&ErrorCode::StoreFull).copied();
        fill(&disk.at)?;
        let more = async || account.refusals().get(&ErrorCode::StoreFull).copied() > refused;
        until("producers are told that the disk is full", Duration::from_secs(60), more).await?;
        ensure!(!ready(&server), "a server that takes nothing calls itself ready");
        // What is taken on already is worked off meanwhile.
        account.settled(PATIENCE).await?;
        free(&disk.at)?;
        let confirmed = account.confirmed();
        let more = async || account.confirmed() > confirmed;
        slowest = slowest.max(until("the service resumes", PATIENCE, more).await?);
    }
    producers.stop(PATIENCE).await?;
    account.settled(PATIENCE).await?;
    let typed = |code: &ErrorCode| matches!(code, ErrorCode::StoreFull | ErrorCode::Busy);
    ensure!(account.refusals().keys().all(typed), "{:?}", account.refusals());
    crew.stop().await?;
    println!(
        "{what}, {rounds} times: {} jobs confirmed, resumed after at most {slowest:?}",
        account.confirmed()
    );
    server.stop()?;
    server.restart()?;
    server.stop()?;
    drop(server);
    Ok(())
}

pub(crate) async fn a_disk_that_fills_up_again_and_again_is_followed() -> Result<()> {
    let fill = |disk: &Path| {
        // It fails when the disk is full, which is what it is for.
        let filled = std::fs::write(disk.join("filler"), vec![7_u8; 200 << 20]);
        ensure!(filled.is_err(), "the filler is larger than the disk");
        Ok(())
    };
    let free = |disk: &Path| Ok(std::fs::remove_file(disk.join("filler"))?);
    fill_and_free("a full disk", "size=192m", 3, fill, free).await
}

/// No file can be made any more, although there is space: the journal runs out of segments.
pub(crate) async fn a_disk_without_inodes_is_waited_for() -> Result<()> {
    let fill = |disk: &Path| {
        std::fs::create_dir_all(disk.join("many"))?;
        for n in 0..10_000 {
            if std::fs::File::create(disk.join("many").join(n.to_string())).is_err() {
                return Ok(());
            }
        }
        anyhow::bail!("the disk takes ten thousand files")
    };
    let free = |disk: &Path| {
        // Longer than a store tries what really fails before it gives up.
        std::thread::sleep(Duration::from_secs(8));
        Ok(std::fs::remove_dir_all(disk.join("many"))?)
    };
    fill_and_free("no inodes", "size=192m,nr_inodes=200", 1, fill, free).await
}
