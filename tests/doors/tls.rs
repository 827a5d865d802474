//! Goal: every port speaks TLS to its clients. Method: the Rust client and worker, the command line, curl, and a Faktory client made of
//! Python's own TLS, against a real server.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use windlass_tests::certs::{Signed, Site};
use windlass_tests::process::binary;
use windlass_worker::{Client, Job, RawPayload, Worker};

/// Long enough for a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn client_and_worker_enqueue_and_run() -> Result<()> {
    let site = Site::open(&Signed::default());
    let ca = site.authority.ca();
    let client = Client::builder(site.address()).tls_ca(&ca).connect().await?;
    let worker = Worker::builder(site.address())
        .tls_ca(&ca)
        .handle("double", async |n: u64| Ok::<_, std::io::Error>(n * 2))
        .build();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let working = tokio::spawn(worker.run_until(async move {
        let _ = stopped.await;
    }));
    let enqueued = client.enqueue(Job::new("double", &21)?).await?;
    ensure!(client.wait::<u64>(enqueued.id, PATIENCE).await? == 42);
    // An authority that is named means TLS, whether the address says so or not.
    let plain = Client::builder(site.server.address()).tls_ca(&ca).connect().await?;
    ensure!(plain.status(enqueued.id).await?.is_some());
    let _ = stop.send(());
    working.await??;
    Ok(())
}

/// Frames far larger than what TLS holds back, both ways, arrive whole and without waiting for the next one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_payloads_arrive_whole() -> Result<()> {
    let site = Site::open(&Signed::default());
    let ca = site.authority.ca();
    let client = Client::builder(site.address()).tls_ca(&ca).connect().await?;
    let worker = Worker::builder(site.address())
        .tls_ca(&ca)
        .concurrency(4)
        .handle("length", async |payload: RawPayload| Ok::<_, std::io::Error>(payload.0.data.len()))
        .build();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let working = tokio::spawn(worker.run_until(async move {
        let _ = stopped.await;
    }));
    for length in [1, 16_383, 16_384, 65_537, 1_000_000, 3_000_000] {
        let jobs = (0..3).map(|_| Job::new("length", &"x".repeat(length)));
        for job in jobs {
            let enqueued = client.enqueue(job?).await?;
            let answer: usize = client.wait(enqueued.id, PATIENCE).await?;
            ensure!(answer == length + 2, "{length} became {answer}");
        }
    }
    let _ = stop.send(());
    working.await??;
    Ok(())
}

#[test]
fn the_command_line_is_a_client_like_any_other() -> Result<()> {
    let site = Site::open(&Signed::default());
    let (ca, server) = (site.authority.ca(), site.address());
    let list = |command: &mut Command| -> Result<()> {
        let output = command.args(["queue", "list", "--json"]).env("WINDLASS_SERVER", &server).output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    list(Command::new(binary()).env("WINDLASS_TLS_CA", &ca))?;
    let output = Command::new(binary())
        .args(["queue", "list", "--server", &server, "--tls-ca"])
        .arg(&ca)
        .env_remove("WINDLASS_TLS_CA")
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// Whether a program is there; its absence is told.
fn has(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        eprintln!("SKIP({program} does not run here)");
    }
    there
}

#[test]
fn curl_takes_the_certificate_and_browsers_are_told_to_stay() -> Result<()> {
    if !has("curl") {
        return Ok(());
    }
    let site = Site::open(&Signed::default());
    let url = format!("https://localhost:{}/api/v1/queues", site.server.http.port());
    let curl = |args: &[&str], url: &str| -> Result<String> {
        let output =
            Command::new("curl").args(["-sS", "-i", "--max-time", "30"]).args(args).arg(url).output()?;
        ensure!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8_lossy(&output.stdout).to_lowercase())
    };
    let ca = site.authority.ca();
    let ca = ca.to_str().context("a name in UTF-8")?;
    let answer = curl(&["--cacert", ca], &url)?;
    ensure!(answer.starts_with("http/1.1 200"), "{answer}");
    ensure!(answer.contains("strict-transport-security: max-age="), "{answer}");
    ensure!(curl(&[], &url).is_err(), "a certificate of an unknown authority was taken");
    let plain = curl(&[], &url.replace("https", "http"))?;
    ensure!(plain.starts_with("http/1.1 400") && plain.contains("this port speaks tls"), "{plain}");
    Ok(())
}

#[test]
fn a_faktory_client_pushes_and_fetches() -> Result<()> {
    if !has("python3") {
        return Ok(());
    }
    let site = Site::open(&Signed::default());
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/doors/programs/faktory.py");
    let output = Command::new("python3")
        .args(["-B", program, &site.server.faktory.port().to_string()])
        .arg(site.authority.ca())
        .output()?;
    let (said, complaint) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success() && said.contains("ends well"), "{said}\n{complaint}");
    Ok(())
}
