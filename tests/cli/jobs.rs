//! Enqueueing, looking, steering: exit codes and JSON shapes against a real server.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{Server, run, run_with_input, windlass};

const NOBODY: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

fn id_of(value: &Value) -> String {
    value["id"].as_str().expect("an id").to_owned()
}

#[test]
fn a_job_is_enqueued_shown_listed_cancelled_and_deleted() {
    let server = Server::start();
    let payload = r#"{"n":12345678901234567890123,"t":"ü"}"#;
    let args =
        ["job", "enqueue", "greet", "--payload", payload, "--queue", "mail", "--priority", "-3", "--json"];
    let more = [
        "--max-attempts",
        "7",
        "--backoff",
        "list:1s,5s",
        "--tag",
        "a",
        "--header",
        "k=v=w",
        "--timeout",
        "90s",
    ];
    let enqueued = server.run(&[&args[..], &more[..]].concat()).ok().json();
    assert_eq!(enqueued.as_object().map(serde_json::Map::len), Some(1), "only an id: {enqueued}");
    let id = id_of(&enqueued);

    let shown = server.run(&["job", "get", &id, "--json"]).ok();
    assert!(shown.out.contains("12345678901234567890123"), "large integers stay exact: {}", shown.out);
    let job = shown.json();
    assert_eq!((job["state"].as_str(), job["queue"].as_str()), (Some("ready"), Some("mail")));
    assert_eq!((job["priority"].as_i64(), job["max_attempts"].as_i64()), (Some(-3), Some(7)));
    assert_eq!(job["backoff"], json!({ "policy": "list", "delays_ms": [1000, 5000], "jitter_percent": 0 }));
    assert_eq!((&job["tags"], &job["headers"]), (&json!(["a"]), &json!([["k", "v=w"]])));
    assert_eq!(job["timeout_ms"], 90_000);
    let text = server.run(&["job", "get", &id]).ok().out;
    assert!(text.contains("greet") && text.contains("ready"), "{text}");

    let page = server.run(&["job", "list", "--queue", "mail", "--json"]).ok().json();
    assert_eq!(page["jobs"].as_array().map(Vec::len), Some(1));
    assert_eq!(id_of(&page["jobs"][0]), id);

    server.run(&["job", "delete", NOBODY]).fails(3);
    assert!(server.run(&["job", "cancel", &id]).ok().out.contains("cancelled"));
    server.run(&["job", "cancel", &id]).fails(4);
    assert_eq!(server.run(&["job", "retry", &id, "--json"]).ok().json()["state"], "ready");
    server.run(&["job", "delete", &id]).ok();
    server.run(&["job", "get", &id]).fails(3);
}

#[test]
fn the_same_id_is_not_a_second_job() {
    let server = Server::start();
    let args = ["job", "enqueue", "greet", "--id", NOBODY, "--json"];
    assert_eq!(server.run(&args).ok().json(), json!({ "id": NOBODY }));
    assert_eq!(server.run(&args).ok().json(), json!({ "id": NOBODY, "duplicate_of": NOBODY }));
}

#[test]
fn mistakes_are_found_before_a_server_is_needed() {
    let enqueue = |args: &[&str]| {
        let mut command = windlass(&["job", "enqueue", "greet"]);
        command.args(args).env("WINDLASS_SERVER", "127.0.0.1:1");
        run(command)
    };
    let said = enqueue(&["--payload", "echo hi"]).fails(2);
    assert!(said.err.contains("not JSON") && said.err.contains("--content-type"), "{}", said.err);
    enqueue(&["--payload", "@absent.json"]).fails(2);
    enqueue(&["--max-attempts", "0"]).fails(2);
    assert_eq!(enqueue(&["--backoff", "sometimes"]).code, 2);
    assert_eq!(enqueue(&["--delay", "1s", "--run-at", "2030-01-01T00:00:00Z"]).code, 2);
}

#[test]
fn nobody_listening_is_five_with_advice() {
    let mut command = windlass(&["queue", "list", "--server", "127.0.0.1:1"]);
    command.stdin(Stdio::null());
    let said = run(command).fails(5);
    assert!(said.err.contains("127.0.0.1:1") && said.err.contains("windlass dev"), "{}", said.err);
    let said = run(windlass(&["job", "get", NOBODY, "--server", "127.0.0.1:1", "--json"])).fails(5);
    let error: Value = serde_json::from_str(&said.err).expect("errors are JSON, too");
    assert_eq!((&error["error"]["exit"], &error["error"]["code"]), (&json!(5), &json!("unreachable")));
}

#[test]
fn payloads_come_from_files_and_stdin() {
    let server = Server::start();
    fs::write(server.dir.path().join("p.json"), "[1,2]").expect("the file is written");
    let id = id_of(&server.run(&["job", "enqueue", "k", "--payload", "@p.json", "--json"]).ok().json());
    assert_eq!(server.run(&["job", "get", &id, "--json"]).ok().json()["payload"], json!([1, 2]));
    let command =
        server.command(&["job", "enqueue", "k", "--payload", "-", "--content-type", "text/plain", "--json"]);
    let id = id_of(&run_with_input(command, b"plain \xff").ok().json());
    let payload = &server.run(&["job", "get", &id, "--json"]).ok().json()["payload"];
    assert_eq!(*payload, json!({ "content_type": "text/plain", "base64": "cGxhaW4g/w==" }));
}

#[test]
fn a_batch_is_streamed_and_a_bad_line_is_named() {
    let server = Server::start();
    let lines: String = (0..2_500)
        .map(|n| format!("{{\"kind\":\"resize\",\"payload\":{n},\"queue\":\"q{}\"}}\n", n % 3))
        .collect();
    let command = server.command(&["job", "enqueue", "--batch", "-", "--json"]);
    let said = run_with_input(command, lines.as_bytes()).ok();
    assert_eq!(said.json(), json!({ "enqueued": 2_500, "duplicates": 0 }));
    let queues = server.run(&["queue", "list", "--json"]).ok().json();
    let ready: u64 =
        queues.as_array().expect("a list").iter().filter_map(|q| q["counts"]["ready"].as_u64()).sum();
    assert_eq!(ready, 2_500);

    fs::write(server.dir.path().join("b.ndjson"), "{\"payload\":1}\n{\"payload\":2,\"prio\":1}\n")
        .expect("written");
    let said = server.run(&["job", "enqueue", "resize", "--batch", "b.ndjson"]).fails(2);
    assert!(said.err.contains("line 2") && said.err.contains("prio"), "{}", said.err);

    let pages =
        server.run(&["job", "list", "--queue", "q0", "--all", "--limit", "500", "--json"]).ok().json_lines();
    let listed: usize = pages.iter().filter_map(|page| page["jobs"].as_array()).map(Vec::len).sum();
    assert_eq!(listed, 834, "0, 3, …, 2499");
}

/// `head` hangs up after a line; that is its reader's wish, not an error.
#[test]
fn a_closed_pipe_is_not_an_error() {
    let server = Server::start();
    server.run(&["job", "enqueue", "k", "--count", "2000"]).ok();
    let mut command = server.command(&["job", "list", "--all", "--limit", "100", "--json"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut line = String::new();
    let mut reader = BufReader::with_capacity(16, child.stdout.take().expect("a pipe"));
    reader.read_line(&mut line).expect("a line");
    drop(reader);
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Requests are cut by bytes, too: twenty of these would not fit into a frame.
#[test]
fn many_large_jobs_fit_into_frames() {
    let server = Server::start();
    let text = format!("\"{}\"", "x".repeat(3_000_000));
    fs::write(server.dir.path().join("large.json"), text).expect("the file is written");
    let said =
        server.run(&["job", "enqueue", "k", "--payload", "@large.json", "--count", "20", "--json"]).ok();
    assert_eq!(said.json(), json!({ "enqueued": 20, "duplicates": 0 }));
    assert_eq!(server.run(&["queue", "list", "--json"]).ok().json()[0]["counts"]["ready"], 20);
}
