//! `windlass worker run --shell`: results, verdicts, cancelling.

use std::fs;
use std::time::Duration;

use crate::support::{Server, group_is_gone, until};

#[test]
fn stdout_is_the_result_and_the_status_the_verdict() {
    let server = Server::start();
    let worker = server.worker(&["--concurrency", "2"]);
    fs::write(server.dir.path().join("file"), "abc").expect("the file is written");
    let said = server.run(&["job", "enqueue", "shell", "--payload", "\"sha256sum file\"", "--wait=60s"]).ok();
    assert_eq!(said.out, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad  file\n");

    let fails = ["job", "enqueue", "shell", "--payload", "\"echo oops >&2; exit 3\"", "--max-attempts", "1"];
    let said = server.run(&[&fails[..], &["--wait=60s"]].concat()).fails(1);
    assert!(said.err.contains("exit status 3: oops") && said.err.contains("dead"), "{}", said.err);

    let said = server.run(&["job", "enqueue", "shell", "--payload", "7", "--wait=60s", "--json"]);
    assert_eq!(said.code, 1, "{}", said.err);
    assert_eq!(said.json()["state"], "dead", "no later attempt can succeed");

    let line = "\"echo $WINDLASS_JOB_ID $WINDLASS_QUEUE $WINDLASS_ATTEMPT; test -n \\\"$WINDLASS_TOKEN\\\"\"";
    let job = server.run(&["job", "enqueue", "shell", "--payload", line, "--wait=60s", "--json"]).ok().json();
    let id = job["id"].as_str().expect("an id");
    assert_eq!(job["result"].as_str(), Some(format!("{id} default 1\n").as_str()));

    let workers = server.run(&["worker", "list", "--json"]).ok().json();
    assert_eq!(workers[0]["kinds"], serde_json::json!(["shell"]));
    let (code, err) = worker.stop();
    assert_eq!(code, 0, "{err}");
}

#[test]
fn cancelling_ends_the_command_and_its_children() {
    let server = Server::start();
    let _worker = server.worker(&[]);
    let line = "\"echo $$ > pid; sleep 600 & wait\"";
    let id = server.run(&["job", "enqueue", "shell", "--payload", line]).ok().out.trim().to_owned();
    let file = server.dir.path().join("pid");
    let pid =
        until("the command runs", || fs::read_to_string(&file).ok().filter(|text| text.ends_with('\n')));
    let said = server.run(&["job", "cancel", &id]).ok();
    assert!(said.out.contains("asked to stop") || said.out.contains("cancelled"), "{}", said.out);
    let said = server.run(&["job", "wait", &id, "--timeout", "60s"]).fails(1);
    assert!(said.err.contains("cancelled"), "{}", said.err);
    until("the process group is gone", || group_is_gone(pid.trim()).then_some(()));
}

#[test]
fn a_stopped_worker_gives_its_job_back_without_using_an_attempt() {
    let server = Server::start();
    let worker = server.worker(&["--stop-timeout", "200ms"]);
    let line = "\"touch begun; sleep 600\"";
    let id = server.run(&["job", "enqueue", "shell", "--payload", line]).ok().out.trim().to_owned();
    until("the command runs", || server.dir.path().join("begun").exists().then_some(()));
    let begun = std::time::Instant::now();
    let (code, err) = worker.stop();
    assert_eq!(code, 0, "{err}");
    assert!(begun.elapsed() < Duration::from_secs(20), "the stop does not wait for the command");
    let job = server.run(&["job", "get", &id, "--json"]).ok().json();
    assert_eq!((job["state"].as_str(), job["attempt"].as_u64()), (Some("ready"), Some(0)), "{job}");
}
