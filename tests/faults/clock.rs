//! Goal: a wall clock that jumps ends no lease, starts nothing before its time, fires nothing twice and stops nothing.
//! Method: `libfaketime` under the server or under a worker, steered through a file while they run; the clock of this process,
//! and the monotonic one of all, stay as they are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use windlass_core::api::{JobQuery, JobView};
use windlass_core::job::JobState;
use windlass_core::schedule::HEADER_NOMINAL;
use windlass_tests::probe;
use windlass_tests::process::{Process, Server, Setting};
use windlass_worker::{Client, Job, Schedule};

use crate::account::{Account, Crew, KIND, LONG, until};

/// Naps towards a wall-clock time are at most five seconds long, so a jump is noticed within that.
const NOTICED_WITHIN: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_secs(30);
const HOUR: i64 = 3_600;

/// A clock of other processes that goes as fast as ours and shows something else.
struct FakeClock {
    file: PathBuf,
    library: PathBuf,
}

impl FakeClock {
    fn new(dir: &Path) -> Result<FakeClock> {
        probe::tools(&[("faketime", "faketime")])?;
        let Some(library) = library() else {
            bail!("the command faketime is there, its library is not");
        };
        let clock = FakeClock { file: dir.join("clock"), library };
        clock.show(0)?;
        Ok(clock)
    }

    /// Moves it so many seconds away from the real one; a reader sees the old or the new.
    fn show(&self, seconds: i64) -> Result<()> {
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{seconds:+}\n"))?;
        Ok(std::fs::rename(new, &self.file)?)
    }

    fn setting(&self) -> Setting {
        let file = self.file.to_string_lossy().into_owned();
        let env = [
            ("LD_PRELOAD", self.library.to_string_lossy().into_owned()),
            ("FAKETIME_TIMESTAMP_FILE", file),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        let env = env.map(|(name, value)| (name.to_owned(), value)).to_vec();
        Setting { env, ..Setting::default() }
    }
}

/// The library that the command would preload; its place differs between systems.
fn library() -> Option<PathBuf> {
    let roots = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from);
    let below = |dir: &PathBuf| {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect::<Vec<_>>()
    };
    let dirs: Vec<_> = roots.iter().flat_map(|root| [vec![root.clone()], below(root)].concat()).collect();
    let places = dirs.iter().map(|dir| dir.join("faketime/libfaketimeMT.so.1"));
    places.into_iter().find(|place| place.is_file())
}

/// All jobs of a queue that nobody works off.
async fn jobs_of(client: &Client, queue: &str) -> Result<Vec<JobView>> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let queue = Some(queue.parse().expect("a plain name"));
        let query = JobQuery { queue, cursor, limit: Some(100), ..JobQuery::default() };
        let page = client.list_jobs(query).await?;
        all.extend(page.jobs);
        cursor = page.next;
        if cursor.is_none() {
            return Ok(all);
        }
    }
}

/// How often each nominal time has fired.
async fn firings(client: &Client) -> Result<BTreeMap<u64, u32>> {
    let mut times = BTreeMap::new();
    for job in jobs_of(client, "ticks").await? {
        let header = job.headers.iter().find(|(name, _)| name == HEADER_NOMINAL);
        let nominal = header.context("a firing says its nominal time")?.1.parse()?;
        *times.entry(nominal).or_default() += 1;
    }
    Ok(times)
}

/// A job that nobody works off, due after `delay`; whether it is ready is what counts.
async fn delayed(client: &Client, delay: Duration) -> Result<windlass_core::id::JobId> {
    Ok(client.enqueue(Job::new(KIND, "later")?.queue("later").delay(delay)).await?.id)
}

async fn is_ready(client: &Client, id: windlass_core::id::JobId) -> bool {
    client.status(id).await.is_ok_and(|view| view.is_some_and(|view| view.state == JobState::Ready))
}

pub(crate) async fn a_clock_of_the_server_that_jumps_stops_nothing() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let clock = FakeClock::new(dir.path())?;
    let data = dir.path().join("data");
    let mut server = Server::start_in(clock.setting(), &data, &["--lease", "3s", "--heartbeat", "300ms"])?;
    let client = Client::connect(server.address()).await?;
    let account = Arc::new(Account::default());
    let crew = Crew::start(&server.address(), &account, 8, Duration::from_secs(12));
    for n in 0..4 {
        account.enqueue(&client, Job::new(LONG, &n)?).await?;
    }
    let tick = Job::new(KIND, "tick")?.queue("ticks");
    client.put_schedule(Schedule::every("often", Duration::from_secs(1), tick)).await?;
    let [soon, late] = [
        delayed(&client, Duration::from_secs(1_800)).await?,
        delayed(&client, 2 * Duration::from_secs(3_600)).await?,
    ];
    until("the schedule fires", PATIENCE, async || firings(&client).await.is_ok_and(|all| all.len() >= 2))
        .await?;
    clock.show(HOUR)?;
    let noticed = until("what is due after half an hour is due", NOTICED_WITHIN, async || {
        is_ready(&client, soon).await
    })
    .await?;
    ensure!(!is_ready(&client, late).await, "two hours passed in one");
    account.enqueue(&client, Job::new(KIND, "forward")?).await?;
    clock.show(-HOUR)?;
    // Two hours back. What is enqueued now for a second later is due a second later.
    account.enqueue(&client, Job::new(KIND, "back")?).await?;
    let next = delayed(&client, Duration::from_secs(1)).await?;
    let after = Instant::now();
    until("what is due after a second is due", NOTICED_WITHIN, async || is_ready(&client, next).await)
        .await?;
    ensure!(after.elapsed() >= Duration::from_millis(900), "a delayed job was early: {:?}", after.elapsed());
    ensure!(!is_ready(&client, late).await, "a job of two hours later is due, two hours ago");
    let before = firings(&client).await?;
    account.settled(PATIENCE).await?;
    ensure!(account.again() == 0, "{} runs again: a jump of the wall clock ended leases", account.again());
    // The real time again, and a restart on it: the nominal times that had their turn get no second one.
    server.setting = Setting::default();
    server.kill()?;
    server.restart()?;
    client.connected().await;
    account.enqueue(&client, Job::new(KIND, "restarted")?).await?;
    account.settled(PATIENCE).await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let times = firings(&client).await?;
    ensure!(times.values().all(|count| *count == 1), "a nominal time fired twice: {times:?}");
    ensure!(before.keys().all(|nominal| times.contains_key(nominal)), "firings are gone");
    crew.stop().await?;
    println!(
        "server's clock +1 h, -2 h: noticed after {noticed:?}, {} firings, none twice, no lease lost",
        times.len()
    );
    server.stop()
}

pub(crate) async fn a_clock_of_a_worker_that_jumps_ends_no_lease() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let clock = FakeClock::new(dir.path())?;
    let notes = dir.path().join("notes");
    let begun = || std::fs::read_to_string(&notes).unwrap_or_default().lines().count();
    let mut server = Server::start(&dir.path().join("data"), &["--lease", "3s", "--heartbeat", "300ms"])?;
    let client = Client::connect(server.address()).await?;
    let address = server.address();
    let args = ["worker", "run", "--shell", "--server", &address, "--concurrency", "1", "--name", "jumping"];
    let (_worker, _) = Process::start_in(&clock.setting(), &args)?;
    let job = Job::new("shell", &format!("echo begin >> '{}'; sleep 7", notes.display()))?;
    let job = client.enqueue(job).await?.id;
    until("the worker begins", PATIENCE, async || begun() == 1).await?;
    let bystander =
        ["worker", "run", "--shell", "--server", &address, "--concurrency", "1", "--name", "steady"];
    let (_bystander, _) = Process::start(&bystander)?;
    for seconds in [HOUR, -HOUR, 0] {
        clock.show(seconds)?;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
    }
    let view = client.wait_end(job, PATIENCE).await?;
    ensure!(view.state == JobState::Succeeded, "the job is {}: {}", view.state, view.reason);
    ensure!(
        begun() == 1 && view.attempt == 1,
        "the job of a worker whose clock jumped ran {} times",
        begun()
    );
    let quick = Job::new("shell", &format!("echo begin >> '{}'", notes.display()))?;
    let quick = client.enqueue(quick).await?.id;
    let view = client.wait_end(quick, PATIENCE).await?;
    ensure!(view.state == JobState::Succeeded, "the job is {}", view.state);
    println!("worker's clock +1 h, -2 h, +1 h: nothing ran twice");
    server.stop()
}
