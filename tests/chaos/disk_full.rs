//! Goal: a full disk gives a typed refusal, running jobs can still be acked, and the service resumes by itself.
//! Method: the data directory on a small tmpfs that a file fills up; skipped where it cannot be mounted.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use windlass_tests::ledger::Ledger;
use windlass_tests::process::Server;
use windlass_worker::{Client, ErrorCode, Job, JobCtx, State, Worker};

/// A tmpfs, unmounted when it goes out of scope.
struct Tmpfs {
    at: PathBuf,
}

impl Tmpfs {
    fn mount(at: &Path, megabytes: u32) -> Result<Tmpfs> {
        std::fs::create_dir_all(at)?;
        let size = format!("size={megabytes}m");
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).output()?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(Tmpfs { at: at.to_owned() })
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

async fn hold(
    _payload: u64,
    job: JobCtx,
    State((ledger, gate)): State<(Arc<Ledger>, Arc<tokio::sync::Semaphore>)>,
) {
    ledger.ran(job.id());
    let _permit = gate.acquire().await;
    ledger.ended(job.id());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_resumes() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mount = dir.path().join("small");
    let _tmpfs = match Tmpfs::mount(&mount, 192) {
        Ok(tmpfs) => tmpfs,
        Err(why) => {
            println!("SKIP: no tmpfs can be mounted here: {why}");
            return Ok(());
        }
    };
    let mut server = Server::start(&mount.join("data"), &[])?;
    let client = Client::connect(server.address()).await?;
    let (ledger, gate) = (Arc::new(Ledger::default()), Arc::new(tokio::sync::Semaphore::new(0)));
    let (quit, quitted) = tokio::sync::oneshot::channel::<()>();
    let worker = Worker::builder(server.address())
        .concurrency(32)
        .state((ledger.clone(), gate.clone()))
        .handle("hold", hold)
        .build();
    let worker = tokio::spawn(worker.run_until(async move {
        let _ = quitted.await;
    }));
    for n in 0..32u64 {
        ledger.confirmed(client.enqueue(Job::new("hold", &n)?).await?.id);
    }
    while ledger.counts().1 < 32 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let filler = mount.join("filler");
    fill(&filler)?;
    let refused = refusal(&client).await?;
    ensure!(refused == ErrorCode::StoreFull, "a full disk is refused as {refused:?}");
    // The running jobs end, and their acks are taken.
    gate.add_permits(32);
    ledger.settled(Duration::from_secs(10)).await?;
    let running = async || {
        client.list_queues().await.map(|queues| queues[0].counts[&windlass_core::job::JobState::Running])
    };
    let waiting = Instant::now();
    while running().await? > 0 {
        ensure!(waiting.elapsed() < Duration::from_secs(10), "acks are not taken while the disk is full");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    std::fs::remove_file(&filler)?;
    let freed = Instant::now();
    while client.enqueue(Job::new("hold", &0)?).await.is_err() {
        ensure!(freed.elapsed() < Duration::from_secs(10), "the service does not resume");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("service resumed {:?} after space came back", freed.elapsed());
    let _ = quit.send(());
    worker.await??;
    server.stop()?;
    server.restart()
}

/// Writes until the disk is full.
fn fill(file: &Path) -> Result<()> {
    use std::io::Write;
    let mut file = std::fs::File::create(file)?;
    let block = vec![0u8; 1 << 20];
    loop {
        if let Err(error) = file.write_all(&block) {
            ensure!(error.kind() == std::io::ErrorKind::StorageFull, "{error}");
            return Ok(());
        }
    }
}

/// Enqueues until the server refuses, and says how.
async fn refusal(client: &Client) -> Result<ErrorCode> {
    for n in 0..100_000u64 {
        let job = Job::new("never", &"x".repeat(4_000))?.queue("backlog").tag(n.to_string());
        if let Err(error) = client.enqueue(job).await {
            return match error.code() {
                Some(code) => Ok(code),
                None => bail!("not a typed refusal: {error}"),
            };
        }
    }
    bail!("the disk is full and the server does not care")
}
