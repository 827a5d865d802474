//! Goal: strangers at the gossip cost nobody a job. Method: a flood of garbage at the gossip ports of a server and a worker,
//! while the worker runs a job for longer than a lease; then the worker dies, and that must be noticed as ever.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::rngs::SmallRng;
use rand::{Rng, RngExt, SeedableRng};
use windlass_core::job::JobState;
use windlass_tests::process::{Process, Server};
use windlass_worker::{Client, Job};

use crate::account::until;

const PATIENCE: Duration = Duration::from_secs(20);
const REASSIGNED_WITHIN: Duration = Duration::from_secs(10);
/// Datagrams between two pauses of a flooding thread: the flood is to be hard, the machine is shared.
const BURST: u32 = 64;
const PAUSE: Duration = Duration::from_millis(2);

/// Threads that throw garbage until they are dropped.
struct Flood {
    stop: Arc<AtomicBool>,
    thrown: Arc<AtomicU64>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Flood {
    fn start(targets: &[SocketAddr]) -> Result<Flood> {
        let mut flood = Flood { stop: Arc::default(), thrown: Arc::default(), threads: Vec::new() };
        for (number, target) in targets.iter().copied().enumerate() {
            let (stop, thrown) = (flood.stop.clone(), flood.thrown.clone());
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            let mut random = SmallRng::seed_from_u64(number as u64);
            flood.threads.push(std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    for _ in 0..BURST {
                        // A full buffer of the receiver is what a flood brings about; it counts all the same.
                        let _ = socket.send_to(&garbage(&mut random), target);
                    }
                    thrown.fetch_add(BURST.into(), Ordering::Relaxed);
                    std::thread::sleep(PAUSE);
                }
            }));
        }
        Ok(flood)
    }

    fn thrown(&self) -> u64 {
        self.thrown.load(Ordering::Relaxed)
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Noise that often begins as a datagram of the gossip does: a version, a kind of message, the name of the cluster.
fn garbage(random: &mut SmallRng) -> Vec<u8> {
    let mut bytes = vec![0; random.random_range(0..1_400)];
    random.fill_bytes(&mut bytes);
    if bytes.len() > 16 && random.random_bool(0.7) {
        bytes[0] = random.random_range(0..3);
        bytes[1] = random.random_range(0..6);
        if random.random_bool(0.5) {
            bytes[2..12].copy_from_slice(b"\x08\0windlass");
        }
    }
    bytes
}

pub(crate) async fn a_flood_of_garbage_costs_no_job() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let notes = dir.path().join("notes");
    let begun = || std::fs::read_to_string(&notes).unwrap_or_default().lines().count();
    let mut server = Server::start(&dir.path().join("data"), &["--lease", "3s", "--heartbeat", "300ms"])?;
    let client = Client::connect(server.address()).await?;
    let address = server.address();
    let worker = |name: &str| -> Result<Process> {
        let args = ["worker", "run", "--shell", "--server", &address, "--concurrency", "1", "--name", name];
        Ok(Process::start(&args)?.0)
    };
    let mut first = worker("first")?;
    let alive = async |count| {
        let workers = client.list_workers().await.unwrap_or_default();
        workers.iter().filter(|worker| worker.gossip == "alive").count() == count
    };
    until("the worker gossips", PATIENCE, async || alive(1).await).await?;
    let command = |seconds| format!("echo begin >> '{}'; sleep {seconds}", notes.display());
    let long = client.enqueue(Job::new("shell", &command(5))?).await?.id;
    until("the job begins", PATIENCE, async || begun() == 1).await?;
    let mut second = worker("second")?;
    until("both workers gossip", PATIENCE, async || alive(2).await).await?;
    let members = client.overview().await?.node.members;
    let targets: Vec<SocketAddr> = members.iter().filter_map(|(_, _, at)| at.parse().ok()).collect();
    ensure!(targets.len() == 3, "the members are {members:?}");
    let before = server.process().resident_bytes()?;
    let flood = Flood::start(&targets)?;
    let asked = Instant::now();
    let view = client.wait_end(long, PATIENCE).await?;
    ensure!(view.state == JobState::Succeeded && begun() == 1, "{} after {} runs", view.state, begun());
    // The flood goes on while a worker dies.
    let doomed = client.enqueue(Job::new("shell", &command(2))?).await?.id;
    until("the job begins", PATIENCE, async || begun() == 2).await?;
    let running = client.status(doomed).await?.context("known")?;
    let holder = running.attempts.last().map(|attempt| attempt.worker_name.clone()).unwrap_or_default();
    if holder == "second" {
        second.kill()?;
    } else {
        first.kill()?;
    }
    let took = until("the job begins elsewhere", REASSIGNED_WITHIN, async || begun() == 3).await?;
    let view = client.wait_end(doomed, PATIENCE).await?;
    ensure!(view.state == JobState::Succeeded, "{}", view.state);
    let thrown = flood.thrown();
    drop(flood);
    let grown = server.process().resident_bytes()?.saturating_sub(before);
    ensure!(grown < 64 << 20, "the flood cost {} MiB of memory", grown >> 20);
    until("the survivor gossips", PATIENCE, async || alive(1).await).await?;
    println!(
        "{thrown} datagrams of garbage in {:?}: nothing ran twice but for a killed worker, noticed after {took:?}; memory +{} KiB",
        asked.elapsed(),
        grown >> 10
    );
    server.stop()
}
