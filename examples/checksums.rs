//! One job per file of a folder, two worker processes that hash them, one of which is killed half way with SIGKILL. The result
//! equals what `sha256sum` says.
//!
//! `cargo run -p windlass-examples --example checksums [FOLDER]` (default: this repository)

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::process::{Child, Command};
use windlass_core::job::AttemptOutcome;
use windlass_examples::{PATIENCE, Server, fresh_queue};
use windlass_worker::{Client, Job, JobId, Worker};

/// Files at most, so that a large folder does not take minutes.
const FILES_MAX: usize = 2_000;
/// Makes each job a little slower than small files are, so that the kill finds some of them running.
const PACE: Duration = Duration::from_millis(20);

/// The handler blocks: it reads files.
fn checksum(path: PathBuf) -> Result<String, std::io::Error> {
    std::thread::sleep(PACE);
    hash(&path)
}

fn hash(path: &Path) -> Result<String, std::io::Error> {
    let digest = Sha256::digest(std::fs::read(path)?);
    Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A worker process: this program, called with the server's address and the queue.
async fn work(server: String, queue: String) -> anyhow::Result<()> {
    let worker =
        Worker::builder(server).queues([queue]).concurrency(4).handle_blocking("checksum", checksum).build();
    worker.run().await?;
    Ok(())
}

fn start_worker(server: &str, queue: &str) -> anyhow::Result<Child> {
    let program = std::env::current_exe()?;
    Ok(Command::new(program).args(["work", server, queue]).stdin(Stdio::null()).kill_on_drop(true).spawn()?)
}

/// Regular files below `folder`, without hidden ones and build output.
fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.canonicalize()?]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let (entry, name) = entry.map(|entry| (entry.path(), entry.file_name()))?;
            if name.to_string_lossy().starts_with('.') || name == "target" || entry.is_symlink() {
                continue;
            }
            if entry.is_dir() {
                folders.push(entry);
            } else if entry.is_file() && entry.to_str().is_some_and(|text| !text.contains(['\\', '\n'])) {
                found.push(entry);
            }
        }
    }
    found.sort();
    found.truncate(FILES_MAX);
    Ok(found)
}

/// What `sha256sum` says; this program's own hash where there is no such command.
async fn expected(files: &[PathBuf]) -> anyhow::Result<BTreeMap<PathBuf, String>> {
    let Ok(output) = Command::new("sha256sum").arg("--").args(files).output().await else {
        return files.iter().map(|path| Ok((path.clone(), hash(path)?))).collect();
    };
    assert!(output.status.success(), "sha256sum failed");
    let text = String::from_utf8(output.stdout)?;
    Ok(text
        .lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(sum, path)| (path.into(), sum.into()))
        .collect())
}

async fn show(server: String, queue: String, folder: PathBuf) -> anyhow::Result<()> {
    let files = files(&folder)?;
    anyhow::ensure!(files.len() >= 2, "{} has fewer than two files", folder.display());
    let before = expected(&files).await?;
    let client = Client::connect(server.clone()).await?;
    let mut ids: BTreeMap<u64, JobId> = BTreeMap::new();
    // The result of every job is kept, so that the last one read is still there.
    let jobs =
        files.iter().map(|path| Ok(Job::new("checksum", path)?.queue(&queue).retention(PATIENCE * 10)));
    let done = client
        .enqueue_many(jobs)
        .on_result(|index, result| ids.extend(result.as_ref().ok().map(|enqueued| (index, enqueued.id))))
        .await?;
    println!("{} files, one job each, all durable", done.enqueued);

    let begin = Instant::now();
    let (mut victim, mut survivor) = (start_worker(&server, &queue)?, start_worker(&server, &queue)?);
    let mut sums = BTreeMap::new();
    let mut lost = 0;
    for (n, (path, id)) in files.iter().zip(ids.values()).enumerate() {
        if n == files.len() / 2 {
            victim.kill().await?;
            println!("half way, after {:?}, one of two workers is killed", begin.elapsed());
        }
        let sum: String = client.wait(*id, PATIENCE).await?;
        let attempts = client.wait_end(*id, PATIENCE).await?.attempts;
        lost += usize::from(attempts.iter().any(|attempt| attempt.outcome == Some(AttemptOutcome::Lost)));
        let succeeded = attempts.iter().filter(|attempt| attempt.outcome == Some(AttemptOutcome::Succeeded));
        assert_eq!(succeeded.count(), 1, "{} was counted as done more than once", path.display());
        sums.insert(path.clone(), sum);
    }
    println!(
        "all {} are hashed after {:?}; {lost} jobs were running in the killed one",
        sums.len(),
        begin.elapsed()
    );
    survivor.kill().await?;
    compare(&sums, &before, &expected(&files).await?)
}

/// Compares with what `sha256sum` said before and after. A file that somebody changed meanwhile proves nothing; such are left out and
/// named.
fn compare(
    sums: &BTreeMap<PathBuf, String>,
    before: &BTreeMap<PathBuf, String>,
    after: &BTreeMap<PathBuf, String>,
) -> anyhow::Result<()> {
    let mut compared = 0;
    for (path, sum) in sums {
        match (before.get(path), after.get(path)) {
            (Some(one), Some(two)) if one == two => {
                anyhow::ensure!(sum == one, "{}: the worker says {sum}, sha256sum {one}", path.display());
                compared += 1;
            }
            _ => println!("{} was changed meanwhile and is left out", path.display()),
        }
    }
    anyhow::ensure!(
        compared > sums.len() / 2,
        "most files were changed meanwhile: try a folder that is at rest"
    );
    println!("{compared} results equal sha256sum's");
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, role, server, queue] = &arguments[..]
        && role == "work"
    {
        return work(server.clone(), queue.clone()).await;
    }
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = arguments.get(1).map_or(repository, PathBuf::from);
    let server = Server::start()?;
    show(server.address(), fresh_queue("checksums"), folder).await
}
