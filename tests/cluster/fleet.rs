//! Nodes as processes over one database, and the load on them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;
use windlass_core::api::{JobQuery, Request, Response};
use windlass_core::id::QueueName;
use windlass_core::job::{JobSpec, Payload};
use windlass_core::schedule::{CatchUp, HEADER_NOMINAL, ScheduleSpec, When};
use windlass_tests::http;
use windlass_tests::ledger::Ledger;
use windlass_tests::postgres::Postgres;
use windlass_tests::process::Server;
use windlass_worker::{Client, Job, JobCtx, RawPayload, State, Worker};

/// Nodes that share a database.
pub(crate) struct Fleet {
    pub(crate) postgres: Postgres,
    pub(crate) nodes: BTreeMap<String, Server>,
    _dir: TempDir,
}

impl Fleet {
    /// Starts nodes with these names, one after the other, each with the first as its seed unless they shall not hear each other.
    pub(crate) fn start(names: &[&str], deaf: bool) -> Result<Option<Fleet>> {
        Fleet::start_with(names, deaf, &[])
    }

    /// The same with more flags for each node.
    pub(crate) fn start_with(names: &[&str], deaf: bool, flags: &[String]) -> Result<Option<Fleet>> {
        let Some(postgres) = Postgres::start()? else { return Ok(None) };
        let url = postgres.url();
        Ok(Some(Fleet::over(postgres, &url, names, deaf, flags)?))
    }

    /// The same over a database that is there.
    pub(crate) fn over(
        postgres: Postgres,
        url: &str,
        names: &[&str],
        deaf: bool,
        flags: &[String],
    ) -> Result<Fleet> {
        let dir = tempfile::tempdir()?;
        let mut nodes: BTreeMap<String, Server> = BTreeMap::new();
        let mut seed = "none".to_owned();
        for name in names {
            // Beside other tests a worker may take longer to come back than the three seconds that it is given otherwise.
            let mut args = vec!["--store", url, "--name", name, "--seed", &seed, "--grace", "10s"];
            args.extend(flags.iter().map(String::as_str));
            let server = Server::start(dir.path(), &args)?;
            if !deaf && seed == "none" {
                seed = server.gossip.context("it gossips")?.to_string();
            }
            nodes.insert((*name).to_owned(), server);
        }
        Ok(Fleet { postgres, nodes, _dir: dir })
    }

    /// Who owns the shard by the database, and the epoch.
    pub(crate) fn owner(&self) -> Result<(String, u64)> {
        let row = self.postgres.sql("SELECT coalesce(owner, ''), epoch FROM windlass.shard WHERE id = 0")?;
        let (owner, epoch) = row.split_once('|').context("two columns")?;
        Ok((owner.to_owned(), epoch.parse()?))
    }

    pub(crate) fn node(&mut self, name: &str) -> &mut Server {
        self.nodes.get_mut(name).expect("it is one of the fleet")
    }

    /// Native addresses of all nodes.
    pub(crate) fn addresses(&self) -> Vec<String> {
        self.nodes.values().map(Server::address).collect()
    }

    /// Waits until another node than `than` owns the shard.
    pub(crate) async fn owned_by_another(&self, than: &str, limit: Duration) -> Result<(String, u64)> {
        let end = Instant::now() + limit;
        loop {
            let (owner, epoch) = self.owner()?;
            if !owner.is_empty() && owner != than {
                return Ok((owner, epoch));
            }
            if Instant::now() > end {
                bail!("nobody but {than:?} took the shard within {limit:?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// What a node answers at a path over HTTP.
    pub(crate) fn get(&self, name: &str, path: &str) -> Result<(u16, String)> {
        http::get(self.nodes[name].http, path)
    }
}

/// Makes a schedule whose jobs nobody runs, so that they can be counted.
pub(crate) async fn schedule_every_second(client: &Client) -> Result<()> {
    let spec = ScheduleSpec {
        name: "often".to_owned(),
        when: When::EveryMs(1_000),
        zone: "UTC".to_owned(),
        catch_up: CatchUp::Latest,
        queue: QueueName::new("ticks").expect("a name"),
        job: JobSpec::new("tick", Payload::json("null")),
    };
    client.call(Request::PutSchedule(spec)).await?;
    Ok(())
}

/// Firings of that schedule: how many, how many of them for a time that had fired before, and how many times were neither fired
/// nor skipped for a later one.
pub(crate) async fn firings(client: &Client) -> Result<(usize, usize, usize)> {
    let (mut times, mut count, mut cursor) = (BTreeSet::new(), 0, None);
    loop {
        let query = JobQuery { cursor, limit: Some(100), ..JobQuery::default() };
        let Response::Jobs(page) = client.call(Request::ListJobs(query)).await? else { bail!("not a page") };
        for job in page.jobs {
            let header = job.headers.iter().find(|(name, _)| name == HEADER_NOMINAL);
            let nominal: u64 = header.context("a firing says its nominal time")?.1.parse()?;
            times.insert(nominal);
            count += 1;
        }
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let (first, last) = (times.first().context("none")?, times.last().context("none")?);
    let expected = (last - first) / 1_000 + 1;
    let Response::Schedule(view) = client.call(Request::GetSchedule { name: "often".to_owned() }).await?
    else {
        bail!("not a schedule")
    };
    let missing = expected.saturating_sub(view.fired_total + view.skipped_total);
    Ok((count, count - times.len(), usize::try_from(missing)?))
}

async fn record(_payload: RawPayload, job: JobCtx, State(load): State<Arc<Load>>) {
    load.ledger.ran(job.id());
    load.ledger.ended(job.id());
    load.ran_at.store(load.since(), Ordering::Relaxed);
    load.longest_run.note(load.since());
}

/// When something last happened, and the longest time that it did not.
#[derive(Debug, Default)]
pub(crate) struct Gap {
    last: AtomicU64,
    longest: AtomicU64,
}

impl Gap {
    fn note(&self, now: u64) {
        let last = self.last.swap(now, Ordering::Relaxed);
        if last > 0 {
            self.longest.fetch_max(now.saturating_sub(last), Ordering::Relaxed);
        }
    }

    /// The longest time since the last call, in milliseconds.
    pub(crate) fn take(&self) -> u64 {
        self.longest.swap(0, Ordering::Relaxed)
    }
}

/// Producers and workers that never stop, and what they have seen.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) ledger: Ledger,
    started: Instant,
    ran_at: AtomicU64,
    pub(crate) longest_enqueue: Gap,
    pub(crate) longest_run: Gap,
    stop: AtomicBool,
}

impl Load {
    fn since(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// The tasks of a load.
pub(crate) struct Running {
    pub(crate) load: Arc<Load>,
    producers: Vec<tokio::task::JoinHandle<()>>,
    workers: Vec<tokio::task::JoinHandle<Result<(), windlass_worker::Error>>>,
    quit: tokio_util::sync::CancellationToken,
}

/// Starts producers and workers, each at one of the addresses in turn.
pub(crate) async fn load(addresses: &[String], producers: usize, workers: usize) -> Result<Running> {
    let load = Arc::new(Load {
        ledger: Ledger::default(),
        started: Instant::now(),
        ran_at: AtomicU64::default(),
        longest_enqueue: Gap::default(),
        longest_run: Gap::default(),
        stop: AtomicBool::default(),
    });
    let quit = tokio_util::sync::CancellationToken::new();
    let mut running = Running { load: load.clone(), producers: Vec::new(), workers: Vec::new(), quit };
    for at in 0..workers {
        let quit = running.quit.clone();
        let worker = Worker::builder(addresses[at % addresses.len()].clone())
            .queues(["default"])
            .concurrency(32)
            .state(load.clone())
            .handle("record", record)
            .build();
        running.workers.push(tokio::spawn(worker.run_until(async move { quit.cancelled().await })));
    }
    for at in 0..producers {
        let client = Client::connect(addresses[at % addresses.len()].clone()).await?;
        running.producers.push(tokio::spawn(produce(client, load.clone())));
    }
    Ok(running)
}

async fn produce(client: Client, load: Arc<Load>) {
    while !load.stop.load(Ordering::Relaxed) {
        let job = Job::new("record", &"x".repeat(100)).expect("a string is JSON");
        // An error means that nothing was promised.
        if let Ok(enqueued) = client.enqueue(job).await {
            load.ledger.confirmed(enqueued.id);
            load.longest_enqueue.note(load.since());
        } else {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Running {
    /// Ends the producers, waits until every confirmed job has run, and ends the workers. Jobs confirmed, jobs run, runs again.
    pub(crate) async fn settle(self, limit: Duration) -> Result<(usize, usize, u32)> {
        self.load.stop.store(true, Ordering::Relaxed);
        for producer in self.producers {
            producer.await?;
        }
        self.load.ledger.settled(limit).await?;
        self.quit.cancel();
        for worker in self.workers {
            worker.await??;
        }
        Ok(self.load.ledger.counts())
    }
}
