//! Clients from registries, installed by name in a directory of the test and run unchanged.
//!
//! - Node: `faktory-worker` and `faktory-client` by a script; the suite that the package `faktory-client` carries; workers of
//!   `faktory-worker` that go on by themselves while the server is killed.
//! - Python: `pyfaktory` and `faktory` by a script.
//! - Rust: the suites that the package `faktory` carries.

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use windlass_tests::probe;
use windlass_tests::process::{Process, Server};

use crate::peer::{Answer, Home, Peer, job, ok};

const NODE: [&str; 2] = ["faktory-worker@4.7.1", "faktory-client@0.6.1"];
const PYTHON: [&str; 2] = ["pyfaktory==0.2.13", "faktory==1.0.0"];
const RUST: &str = "faktory-0.13.1";

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("faktory/clients")
}

/// Whether clients must be there.
fn required() -> bool {
    std::env::var("WINDLASS_REQUIRE_CLIENTS").is_ok_and(|value| value == "1")
}

/// What was prepared, or a skip that is said aloud; a failure where clients are required.
fn ready<T>(what: &str, prepared: Result<T>) -> Option<T> {
    match prepared {
        Ok(prepared) => Some(prepared),
        Err(error) if required() => panic!("{what}: {error:#}"),
        Err(error) => {
            println!("SKIP({what}): {error:#}");
            None
        }
    }
}

/// Runs a command to its end; what it has said is the error.
fn run(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().context("it cannot be started")?;
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{:?} ended with {}: {said}", command.get_program(), output.status);
    Ok(said)
}

fn needs(tool: &str) -> Result<()> {
    ensure!(probe::has(tool), "{tool} is not installed");
    Ok(())
}

fn node(dir: &Path, packages: &[&str]) -> Result<()> {
    needs("node").and_then(|()| needs("npm"))?;
    std::fs::write(dir.join("package.json"), "{\"private\":true}")?;
    let flags = ["install", "--no-audit", "--no-fund", "--ignore-scripts"];
    run(Command::new("npm").args(flags).args(packages).current_dir(dir)).map(|_| ())
}

#[test]
fn node_clients_push_and_work() -> Result<()> {
    let dir = tempfile::tempdir()?;
    if ready("npm", node(dir.path(), &NODE)).is_none() {
        return Ok(());
    }
    let home = Home::start(&[]);
    std::fs::copy(scripts().join("node.js"), dir.path().join("node.js"))?;
    let address = home.server.faktory.to_string();
    run(Command::new("node").args(["node.js", &address]).current_dir(dir.path())).map(|_| ())
}

/// The suite of `faktory-client`, with its own runner. It finds the server by the address in the environment; three of its tests
/// do not concern a server: one wants the standard port, two talk to a stand-in that the suite starts and that current Node is
/// too quick for.
#[test]
fn the_suite_of_the_old_node_client_passes() -> Result<()> {
    const NOT_OURS: [&str; 3] = [
        "client defaults to port 7419",
        "fetch returns null when queue is empty",
        "client defaults job payload values according to spec",
    ];
    let dir = tempfile::tempdir()?;
    if ready("npm", node(dir.path(), &[NODE[1], "ava@0.23.0"])).is_none() {
        return Ok(());
    }
    // The runner looks for tests below its directory, and not among installed packages.
    let suite = dir.path().join("suite");
    std::fs::create_dir(&suite)?;
    for part in ["test", "lib", "index.js", "package.json"] {
        let from = dir.path().join("node_modules/faktory-client").join(part);
        run(Command::new("cp").arg("-r").arg(from).arg(&suite))?;
    }
    let home = Home::start(&[]);
    let mut ava = Command::new("../node_modules/.bin/ava");
    ava.arg("--match=*").args(NOT_OURS.map(|name| format!("--match=!{name}"))).arg("test/**/*.test.js");
    ava.env("FAKTORY_URL", format!("tcp://localhost:{}", home.server.faktory.port())).current_dir(&suite);
    let said = run(&mut ava)?;
    ensure!(said.contains("client concurrent pushes") && said.contains("client ACKs a job"), "{said}");
    Ok(())
}

#[test]
fn python_clients_push_and_work() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let python = dir.path().join("bin/python");
    let prepare = || {
        needs("python3")?;
        run(Command::new("python3").args(["-m", "venv"]).arg(dir.path()))?;
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet"]).args(PYTHON))
    };
    if ready("pip", prepare()).is_none() {
        return Ok(());
    }
    let home = Home::start(&[]);
    for client in ["pyfaktory", "faktory"] {
        let script = scripts().join("python.py");
        let said = run(Command::new(&python).arg(script).arg(client).arg(home.server.faktory.to_string()))?;
        ensure!(said.contains("fine"), "{said}");
    }
    Ok(())
}

/// The Rust client's own tests, from its package, against this door. They are built in a directory of their own with the client's lock
/// file, which takes minutes.
#[test]
#[ignore = "it builds the Rust client's suite; CI runs it in a step of its own"]
fn the_suites_of_the_rust_client_pass() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let Some(package) = ready("cargo", rust_package()) else { return Ok(()) };
    let suite = dir.path().join("suite");
    run(Command::new("cp").arg("-r").arg(package).arg(&suite))?;
    let home = Home::start(&[]);
    let cargo = |arguments: &[&str]| {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["test", "--locked"]).args(arguments).current_dir(&suite);
        cargo.env("FAKTORY_URL", format!("tcp://{}", home.server.faktory)).env_remove("CARGO_TARGET_DIR");
        run(&mut cargo)
    };
    if ready("cargo", cargo(&["--test", "real", "--no-run"])).is_none() {
        return Ok(());
    }
    let said = cargo(&["--test", "real", "--test", "consumer", "--test", "producer"])?;
    ensure!(said.contains("community::server_state ... ok"), "{said}");
    let said = cargo(&["--test", "real", "--", "--ignored"])?;
    ensure!(said.contains("queue_control_actions_wildcard ... ok"), "{said}");
    Ok(())
}

/// Where cargo has unpacked the client for our own tests.
fn rust_package() -> Result<PathBuf> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let sources = home.context("no home of cargo")?.join("registry/src");
    for registry in std::fs::read_dir(&sources)? {
        let package = registry?.path().join(RUST);
        if package.is_dir() {
            return Ok(package);
        }
    }
    bail!("{RUST} is not among {}", sources.display())
}

/// Eight clients: four workers of `faktory-worker`, which nobody starts again, and four producers that go on with what was not
/// confirmed. The server is killed again and again. A job may be reserved for a worker that never hears of it, since the server died in
/// between; the worker lives on and beats, so nobody can tell before `reserve_for` is over. It is as short as can be here.
#[test]
fn node_workers_go_on_by_themselves_when_the_server_is_killed() -> Result<()> {
    const WORKERS: usize = 4;
    const PRODUCERS: usize = 4;
    const KILLS: u64 = 6;
    /// Longer than a reservation and the backoff after it.
    const PATIENCE: Duration = Duration::from_secs(150);
    let dir = tempfile::tempdir()?;
    if ready("npm", node(dir.path(), &NODE[..1])).is_none() {
        return Ok(());
    }
    std::fs::copy(scripts().join("node_worker.js"), dir.path().join("worker.js"))?;
    let data = tempfile::tempdir()?;
    let mut server = Server::start(data.path(), &[])?;
    let at = server.faktory;
    let ran = Arc::new(Mutex::new(HashSet::new()));
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        let mut command = Command::new("node");
        command
            .args(["worker.js", &at.to_string()])
            .current_dir(dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn()?;
        let lines = BufReader::new(child.stdout.take().context("piped")?).lines();
        let ran = Arc::clone(&ran);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                ran.lock().unwrap().insert(line);
            }
        });
        workers.push(Process::adopt(child));
    }
    let end = Instant::now() + Duration::from_secs(2 * KILLS + 4);
    let producers: Vec<_> = (0..PRODUCERS).map(|n| std::thread::spawn(move || produce(at, n, end))).collect();
    for _ in 0..KILLS {
        std::thread::sleep(Duration::from_millis(2_000));
        server.kill()?;
        server.restart()?;
    }
    let mut confirmed = Vec::new();
    for producer in producers {
        confirmed.extend(producer.join().expect("a producer goes on"));
    }
    let begun = Instant::now();
    let missing = || confirmed.iter().filter(|name| !ran.lock().unwrap().contains(*name)).count();
    while missing() > 0 && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(200));
    }
    let missing = missing();
    println!(
        "{KILLS} kills, 8 clients: {} jobs confirmed, {missing} missing after {:?}",
        confirmed.len(),
        begun.elapsed()
    );
    ensure!(missing == 0, "{missing} of {} confirmed jobs never ran", confirmed.len());
    ensure!(confirmed.len() > 200, "only {} jobs were confirmed: the test tested little", confirmed.len());
    for worker in &mut workers {
        ensure!(worker.is_running()?, "a worker gave up");
    }
    server.stop()
}

/// Pushes until the end; returns what was confirmed.
fn produce(at: std::net::SocketAddr, producer: usize, end: Instant) -> Vec<String> {
    let mut confirmed = Vec::new();
    let mut peer: Option<Peer> = None;
    let mut n = 0;
    while Instant::now() < end {
        let Some(open) = peer.as_mut() else {
            peer = Peer::try_connect(at);
            std::thread::sleep(Duration::from_millis(20));
            continue;
        };
        n += 1;
        let name = format!("job-{producer:02}-{n:08}");
        let terms = json!({ "jobtype": "record", "args": [name], "reserve_for": 60 });
        match open.try_ask(&format!("PUSH {}", job(&name, &terms))) {
            answer if answer == ok() => confirmed.push(name),
            Answer::Closed => peer = None,
            other => panic!("{other:?}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    confirmed
}
