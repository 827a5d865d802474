//! The README's first steps, and how servers start and stop.

use std::fs;

use rustix::process::Signal;
use serde_json::json;

use crate::support::{Process, Server, group_is_gone, lone_server, run, until, windlass};

const PORTS: [&str; 8] = [
    "--http",
    "127.0.0.1:0",
    "--native",
    "127.0.0.1:0",
    "--gossip",
    "127.0.0.1:0",
    "--faktory",
    "127.0.0.1:0",
];

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
    let mut command =
        windlass(&["server", "--http", "off", "--gossip", "off", "--faktory", "off", "--native", &native]);
    command.current_dir(dir.path());
    let said = run(command);
    assert_eq!(said.code, 4, "{}", said.err);
    assert!(said.err.contains(&native) && said.err.contains("--native 127.0.0.1:"), "{}", said.err);

    let said = run(lone_server("127.0.0.1:0", server.dir.path()));
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

/// The first signal waits for running commands, the second does not, and no command outlives the process.
#[test]
fn a_second_signal_ends_at_once_and_takes_the_commands_along() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut command = windlass(&["dev", "--ephemeral", "--json"]);
    command.args(PORTS).current_dir(dir.path());
    let dev = Process::start(command);
    let native = dev.address("native");
    let line = "\"echo $$ > pid; sleep 600\"";
    run(windlass(&["job", "enqueue", "shell", "--payload", line, "--server", &native])).ok();
    let file = dir.path().join("pid");
    let group =
        until("the command runs", || fs::read_to_string(&file).ok().filter(|text| text.ends_with('\n')));
    dev.signal(Signal::TERM);
    let dev = dev.said_on_stderr("stopping");
    assert!(!group_is_gone(group.trim()), "the running command may finish");
    dev.signal(Signal::TERM);
    let (code, err) = dev.ended();
    assert_eq!(code, 1, "{err}");
    until("the command is gone", || group_is_gone(group.trim()).then_some(()));
}

/// A command that waits for a server which does not come back says so.
#[test]
fn a_server_that_goes_away_is_waited_for_and_then_given_up() {
    let server = Server::start();
    let id = run({
        let mut command = server.command(&["job", "enqueue", "k"]);
        command.stdin(std::process::Stdio::null());
        command
    });
    let id = id.ok().out.trim().to_owned();
    let mut waiting = server.command(&["job", "wait", &id]);
    let waiting = waiting.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn();
    let waiting = waiting.expect("the command starts");
    until("the wait has reached the server", || {
        let overview = server.run(&["top", "--once", "--json"]).ok().json();
        (overview["overview"]["node"]["connections"].as_u64() >= Some(2)).then_some(())
    });
    drop(server);
    let output = waiting.wait_with_output().expect("the command ends");
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{err}");
    assert!(err.contains("windlass dev"), "{err}");
}
