//! Damaged stores under the real program: the server refuses to start with one message and an exit code, or serves all jobs;
//! the doctor says the same; nobody sees a panic.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use windlass_core::id::{JobId, QueueName, RequestId};
use windlass_core::job::{JobSpec, Payload};
use windlass_core::queue::{ChunkShape, Command as Order, Dispatch, NewJobs, Queue, Tuning, Window};
use windlass_core::store::{Batch, Store};
use windlass_core::time::{Mono, Now, Timestamp};
use windlass_tests::process::binary;

use super::base::read_files;
use super::damage::damage;
use super::{Base, ours, place};
use crate::support::{Random, from_env};

/// Jobs in the store.
const JOBS: u64 = 600;
/// A start that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a process has said.
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs the program until it ends, or until it says that it is ready.
fn run(args: &[&str]) -> Said {
    let mut child = Command::new(binary())
        .args(args)
        .env("WINDLASS_LOG", "error")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let err = std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).map(|_| text)
    });
    let id = i32::try_from(child.id()).unwrap();
    let (tell, ended) = std::sync::mpsc::sync_channel::<()>(1);
    // Whatever happens, no process outlives the test.
    let watchdog = std::thread::spawn(move || {
        if ended.recv_timeout(PATIENCE).is_err() {
            let pid = rustix::process::Pid::from_raw(id).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    });
    let mut out = Vec::new();
    let mut byte = [0];
    while stdout.read(&mut byte).unwrap() == 1 {
        out.push(byte[0]);
        // A server that is ready says so in one line and then goes on.
        if byte[0] == b'\n' && args.contains(&"server") {
            let _ = child.kill();
        }
    }
    let code = child.wait().unwrap().code();
    let _ = tell.send(());
    watchdog.join().unwrap();
    Said { code, out: String::from_utf8_lossy(&out).into_owned(), err: err.join().unwrap().unwrap() }
}

/// Puts a queue with jobs into an empty store.
fn fill(dir: &Path) -> u64 {
    let store: Arc<dyn Store> = ours(dir).unwrap();
    let tuning = Tuning {
        epoch: store.epoch(),
        seed: 1,
        lease_ms: 8_000,
        resume_grace_ms: 3_000,
        window: Window::default(),
        chunk: ChunkShape::default(),
        dispatch: Dispatch::Fast,
    };
    let now = Now { wall: Timestamp(1_767_614_400_000), mono: Mono(0) };
    let (mut queue, created) = Queue::create(QueueName::default(), 1, tuning, now);
    let commit = |writes| {
        store.commit(vec![Batch { writes, ..Batch::default() }]).remove(0).unwrap();
    };
    commit(created.writes);
    for n in 0..JOBS {
        let mut spec = JobSpec::new("work", Payload::json(format!("[{n},\"{}\"]", "x".repeat(120))));
        spec.id = Some(JobId(u128::from(n + 1).to_be_bytes()));
        let new = NewJobs { jobs: vec![spec], known: Vec::new(), alongside: Vec::new() };
        commit(queue.apply(now, Order::Enqueue { reply: RequestId(n), new }).unwrap().writes);
    }
    let checkpoints = store.stats().checkpoints;
    store.close().unwrap();
    checkpoints
}

#[test]
fn the_program_refuses_or_serves_and_never_panics() {
    let mut random = Random::new("corruption of the program");
    let trials = from_env("WINDLASS_CORRUPTION_TRIALS").map_or(24, |all| (all / 50).clamp(24, 400));
    let bases = [(); 2].map(|()| {
        let dir = place();
        assert!(fill(dir.path()) > 0, "some of it rests in sled");
        Base::of_files(read_files(dir.path()), dir.path())
    });
    let (mut refused, mut served) = (0, 0);
    for number in 0..trials {
        let damaged = damage(&bases[0], &bases[1], &mut random);
        let what = format!("trial {number}: {}", damaged.what);
        let dir = tempfile::tempdir().unwrap();
        damaged.write(dir.path());
        let path = dir.path().to_str().unwrap();
        let doctor = run(&["doctor", "--data-dir", path]);
        let server = run(&[
            "--json",
            "server",
            "--data-dir",
            path,
            "--http",
            "127.0.0.1:0",
            "--native",
            "127.0.0.1:0",
            "--gossip",
            "off",
            "--faktory",
            "off",
        ]);
        for said in [&doctor, &server] {
            assert!(!said.err.contains("panicked"), "{what}: somebody reads of a panic:\n{}", said.err);
            assert!(said.err.lines().count() <= 6, "{what}: a wall of text:\n{}", said.err);
        }
        if server.out.contains("native") {
            served += 1;
            assert_eq!(
                doctor.code,
                Some(0),
                "{what}: the server serves, the doctor says\n{}{}",
                doctor.out,
                doctor.err
            );
        } else {
            refused += 1;
            assert!(server.code.is_some_and(|code| code > 0), "{what}: ended with {:?}", server.code);
            assert!(
                doctor.code.is_some_and(|code| code > 0),
                "{what}: the doctor finds nothing\n{}",
                server.err
            );
            assert!(server.err.contains(path), "{what}: no file is named:\n{}", server.err);
            let advice = super::ADVICE.iter().any(|advice| server.err.contains(advice));
            assert!(advice, "{what}: it does not say what to do:\n{}", server.err);
        }
    }
    println!(
        "corruption of the program: {refused} refused with a message and a code, {served} served, no panic"
    );
    assert!(refused > 0 && served > 0, "both ways are met");
}
