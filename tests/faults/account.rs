//! What producers were told and what workers saw, kept by the clients: who was promised what, who was refused, what ran.
//!
//! A refusal that says that nothing was done must mean it: such a job that runs all the same is a phantom. Where a server
//! cannot know (its disk failed in the middle of a write), nothing is concluded.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail, ensure};
use tokio::task::JoinHandle;
use windlass_core::api::ErrorCode;
use windlass_core::id::JobId;
use windlass_core::time::Timestamp;
use windlass_worker::{Client, Error, Job, JobCtx, RawPayload, State, Worker};

/// Kind of the jobs that end at once.
pub(crate) const KIND: &str = "record";
/// Kind of the jobs that take their time.
pub(crate) const LONG: &str = "long";
/// Wait of a producer that was refused.
const PAUSE: Duration = Duration::from_millis(20);

/// What a producer knows of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Unknown,
    Confirmed,
    Refused,
}

#[derive(Debug, Default)]
struct Entries {
    fates: BTreeMap<JobId, Fate>,
    runs: BTreeMap<JobId, u32>,
    ended: BTreeMap<JobId, u32>,
    refusals: BTreeMap<ErrorCode, u64>,
    texts: Vec<String>,
    slowest: Duration,
}

/// The account; shared by producers and workers.
#[derive(Debug, Default)]
pub(crate) struct Account {
    entries: Mutex<Entries>,
}

/// A new id, so that the account knows a job before the server does.
pub(crate) fn new_id() -> JobId {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    JobId::v7(Timestamp(u64::try_from(since.as_millis()).expect("fits")), rand::random())
}

impl Account {
    fn lock(&self) -> MutexGuard<'_, Entries> {
        // Counts of a test whose other half has panicked are still counts.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enqueues one job and notes what came of it.
    pub(crate) async fn enqueue(&self, client: &Client, job: Job) -> Result<JobId, Error> {
        let id = new_id();
        self.lock().fates.insert(id, Fate::Unknown);
        let asked = Instant::now();
        let result = client.enqueue(job.id(id)).await;
        let mut entries = self.lock();
        entries.slowest = entries.slowest.max(asked.elapsed());
        match result {
            Ok(_) => {
                entries.fates.insert(id, Fate::Confirmed);
                Ok(id)
            }
            Err(error) => {
                if let Some(code) = error.code() {
                    *entries.refusals.entry(code).or_default() += 1;
                    // A store that failed while it wrote cannot know what a restart will find.
                    if code != ErrorCode::StoreFailed {
                        entries.fates.insert(id, Fate::Refused);
                    }
                }
                let text = error.to_string();
                if !entries.texts.contains(&text) {
                    entries.texts.push(text);
                }
                Err(error)
            }
        }
    }

    /// Jobs confirmed so far.
    pub(crate) fn confirmed(&self) -> usize {
        self.lock().fates.values().filter(|fate| **fate == Fate::Confirmed).count()
    }

    /// Jobs of which at least one run has ended.
    pub(crate) fn ended(&self) -> usize {
        self.lock().ended.len()
    }

    /// Runs beyond the first of each job.
    pub(crate) fn again(&self) -> u32 {
        self.lock().runs.values().map(|runs| runs - 1).sum()
    }

    /// Refusals by their code.
    pub(crate) fn refusals(&self) -> BTreeMap<ErrorCode, u64> {
        self.lock().refusals.clone()
    }

    /// The different texts of refusals, in the order of their first use.
    pub(crate) fn texts(&self) -> Vec<String> {
        self.lock().texts.clone()
    }

    /// The longest wait for an answer since the last call.
    pub(crate) fn take_slowest(&self) -> Duration {
        std::mem::take(&mut self.lock().slowest)
    }

    /// Waits until every confirmed job has come to its end, and looks for phantoms.
    pub(crate) async fn settled(&self, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        loop {
            let missing: Vec<_> = {
                let entries = self.lock();
                let confirmed = entries.fates.iter().filter(|(_, fate)| **fate == Fate::Confirmed);
                confirmed.map(|(id, _)| *id).filter(|id| !entries.ended.contains_key(id)).collect()
            };
            if missing.is_empty() {
                break;
            }
            ensure!(
                Instant::now() < end,
                "{} confirmed jobs did not run, such as {}",
                missing.len(),
                missing[0]
            );
            tokio::time::sleep(PAUSE).await;
        }
        let entries = self.lock();
        for id in entries.runs.keys() {
            match entries.fates.get(id) {
                None => bail!("job {id} ran and nobody has enqueued it"),
                Some(Fate::Refused) => bail!("job {id} ran although its producer was refused"),
                Some(Fate::Unknown | Fate::Confirmed) => {}
            }
        }
        Ok(())
    }
}

/// Producers that go on until they are stopped.
pub(crate) struct Producers {
    stop: Arc<AtomicBool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Producers {
    /// Starts so many, each with a connection of its own and jobs of so many bytes.
    pub(crate) async fn start(
        address: &str,
        account: &Arc<Account>,
        producers: usize,
        bytes: usize,
    ) -> Result<Producers> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut tasks = Vec::new();
        for _ in 0..producers {
            let client = Client::connect(address).await?;
            let (account, stop) = (account.clone(), stop.clone());
            tasks.push(tokio::spawn(async move {
                let payload = "x".repeat(bytes);
                while !stop.load(Ordering::Relaxed) {
                    let job = Job::new(KIND, &payload).expect("a string is JSON");
                    if account.enqueue(&client, job).await.is_err() {
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }));
        }
        Ok(Producers { stop, tasks })
    }

    /// Stops them; what is under way may stay without an answer for so long.
    pub(crate) async fn stop(self, patience: Duration) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            tokio::time::timeout(patience, task).await??;
        }
        Ok(())
    }
}

async fn record(_payload: RawPayload, job: JobCtx, State(work): State<Work>) {
    *work.account.lock().runs.entry(job.id()).or_default() += 1;
    if job.kind() == LONG {
        tokio::time::sleep(work.takes).await;
    }
    *work.account.lock().ended.entry(job.id()).or_default() += 1;
}

#[derive(Clone)]
struct Work {
    account: Arc<Account>,
    takes: Duration,
}

/// A worker in this process that notes what it runs.
pub(crate) struct Crew {
    quit: tokio::sync::oneshot::Sender<()>,
    worker: JoinHandle<Result<(), Error>>,
}

impl Crew {
    /// Starts one whose long jobs take so long.
    pub(crate) fn start(address: &str, account: &Arc<Account>, slots: u32, takes: Duration) -> Crew {
        let (quit, quitted) = tokio::sync::oneshot::channel::<()>();
        let work = Work { account: account.clone(), takes };
        let worker = Worker::builder(address).concurrency(slots).state(work);
        let worker = worker.handle(KIND, record).handle(LONG, record).build();
        let worker = tokio::spawn(worker.run_until(async move {
            let _ = quitted.await;
        }));
        Crew { quit, worker }
    }

    /// Ends it in order.
    pub(crate) async fn stop(self) -> Result<()> {
        let _ = self.quit.send(());
        Ok(self.worker.await??)
    }
}

/// Waits for something that happens by itself; says after how long it did.
pub(crate) async fn until(
    what: &str,
    limit: Duration,
    mut holds: impl AsyncFnMut() -> bool,
) -> Result<Duration> {
    let started = Instant::now();
    while !holds().await {
        ensure!(started.elapsed() < limit, "{what}: not within {limit:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(started.elapsed())
}
