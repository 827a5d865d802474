//! The README's first steps, and how servers start and stop.

use std::fs;

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Process, Server, run, until, windlass};

const PORTS: [&str; 6] = ["--http", "127.0.0.1:0", "--native", "127.0.0.1:0", "--gossip", "127.0.0.1:0"];

/// `windlass dev`, a shell job, its result; then a stop, a start, and the job is still known.
#[test]
fn the_readme_works() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("README.md"), "abc").expect("the file is written");
    let start = || {
        let mut command = windlass(&["dev", "--json"]);
        command.args(PORTS).current_dir(dir.path());
        Process::start(command)
    };
    let dev = start();
    let client = |server: &str, args: &[&str]| {
        let mut command = windlass(args);
        command.env("WINDLASS_SERVER", server);
        run(command)
    };
    let native = dev.address("native");
    let kept = ["job", "enqueue", "shell", "--payload", "\"sha256sum README.md\"", "--retention", "1h"];
    let id = client(&native, &kept).ok().out.trim().to_owned();
    let result = client(&native, &["job", "wait", &id, "--timeout", "60s"]).ok().out;
    assert!(result.starts_with("ba7816bf") && result.ends_with("README.md\n"), "{result}");
    assert!(dir.path().join("windlass-data").is_dir(), "data is in ./windlass-data");
    let (code, banner) = dev.stop();
    assert_eq!(code, 0, "{banner}");
    assert!(banner.contains("http://127.0.0.1:") && banner.contains("job enqueue shell"), "{banner}");
    assert!(!banner.contains('\x1b'), "no colours in a pipe: {banner}");

    let dev = start();
    let job = client(&dev.address("native"), &["job", "get", &id, "--json"]).ok().json();
    assert_eq!(job["state"], "succeeded", "the result was kept: {job}");
}

#[test]
fn the_demo_shows_something_of_everything() {
    let mut command = windlass(&["dev", "--demo", "--ephemeral", "--json"]);
    let dir = tempfile::tempdir().expect("a directory");
    command.args(PORTS).current_dir(dir.path());
    let dev = Process::start(command);
    let native = dev.address("native");
    let ask = |args: &[&str]| {
        let mut command = windlass(args);
        command.args(["--json", "--server", &native]);
        run(command).ok().json()
    };
    until("jobs of several queues have succeeded", || {
        let queues = ask(&["queue", "list"]);
        let moving = queues.as_array()?.iter().filter(|q| q["succeeded_total"].as_u64() > Some(0)).count();
        (moving >= 3).then_some(())
    });
    until("some attempt has failed", || {
        (ask(&["top", "--once"])["overview"]["totals"][2].as_u64() > Some(0)).then_some(())
    });
    assert_eq!(ask(&["schedule", "list"]).as_array().map(Vec::len), Some(2));
    assert_eq!(ask(&["worker", "list"]).as_array().map(Vec::len), Some(2));
    assert!(!dir.path().join("windlass-data").exists(), "nothing is kept");
    let (code, err) = dev.stop();
    assert_eq!(code, 0, "{err}");
}

#[test]
fn a_taken_port_names_the_flag_and_a_taken_directory_says_so() {
    let server = Server::start();
    let native = server.native();
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = windlass(&["server", "--http", "off", "--gossip", "off", "--native", &native]);
    command.current_dir(dir.path());
    let said = run(command);
    assert_eq!(said.code, 4, "{}", said.err);
    assert!(said.err.contains(&native) && said.err.contains("--native 127.0.0.1:"), "{}", said.err);

    let mut command = windlass(&["server", "--http", "off", "--gossip", "off", "--native", "127.0.0.1:0"]);
    command.args(["--data-dir", "data"]).current_dir(server.dir.path());
    let said = run(command);
    assert_ne!(said.code, 0);
    assert!(said.err.contains("data"), "{}", said.err);
}

#[test]
fn a_server_stops_on_both_signals() {
    for signal in [Signal::TERM, Signal::INT] {
        let server = Server::start();
        server.process.signal(signal);
        let (code, err) = server.process.ended();
        assert_eq!(code, 0, "{err}");
        assert!(err.contains("windlass is ready") && err.contains("stopped"), "{err}");
    }
}

#[test]
fn the_ready_line_names_every_door() {
    let server = Server::start();
    let ready = &server.process.ready;
    assert_eq!((&ready["ready"], &ready["gossip"]), (&json!(true), &json!(null)));
    assert!(ready["http"].as_str().is_some_and(|at| !at.ends_with(":0")), "{ready}");
}
