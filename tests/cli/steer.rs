//! Queues, dead jobs, schedules, top.

use serde_json::json;

use crate::support::Server;

#[test]
fn a_paused_queue_stays_paused_across_a_restart() {
    let server = Server::start();
    server.run(&["job", "enqueue", "k", "--queue", "mail"]).ok();
    server.run(&["queue", "pause", "mail"]).ok();
    assert_eq!(server.run(&["queue", "list", "--json"]).ok().json()[0]["paused"], true);
    let Server { process, dir } = server;
    let (code, err) = process.stop();
    assert_eq!(code, 0, "{err}");
    let server = Server { process: Server::in_dir(dir.path()), dir };
    let queue = server.run(&["queue", "list", "--json"]).ok().json()[0].clone();
    assert_eq!((&queue["paused"], &queue["counts"]["ready"]), (&json!(true), &json!(1)), "{queue}");
    server.run(&["queue", "resume", "mail"]).ok();
    server.run(&["queue", "retention", "mail", "5"]).ok();
    let queue = server.run(&["queue", "list", "--json"]).ok().json()[0].clone();
    assert_eq!((&queue["paused"], &queue["finished_max"]), (&json!(false), &json!(5)), "{queue}");
    assert!(server.run(&["queue", "list"]).ok().out.contains("mail"));
}

#[test]
fn dead_jobs_are_retried_and_deleted_by_queue() {
    let server = Server::start();
    let _worker = server.worker(&[]);
    for _ in 0..2 {
        let said = server.run(&[
            "job",
            "enqueue",
            "shell",
            "--payload",
            "\"false\"",
            "--max-attempts",
            "1",
            "--wait=60s",
        ]);
        assert_eq!(said.code, 1, "{}", said.err);
    }
    server.run(&["queue", "pause", "default"]).ok();
    let said =
        server.run(&["job", "retry", "--dead", "--queue", "default", "--kind", "shell", "--json"]).ok();
    assert_eq!(said.json(), json!({ "count": 2 }));
    assert_eq!(
        server.run(&["job", "list", "--state", "ready", "--json"]).ok().json()["jobs"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );
    server.run(&["queue", "resume", "default"]).ok();
    let ids = server.run(&["job", "list", "--queue", "default", "--json"]).ok().json();
    for job in ids["jobs"].as_array().expect("a list") {
        let said = server.run(&["job", "wait", job["id"].as_str().expect("an id"), "--timeout", "60s"]);
        assert_eq!(said.code, 1, "dead again: {}", said.err);
    }
    let said = server.run(&["job", "delete", "--dead", "--queue", "default"]).fails(2);
    assert!(said.err.contains("--yes"), "nobody can answer without a terminal: {}", said.err);
    let said = server.run(&["job", "delete", "--dead", "--queue", "default", "--yes"]).ok();
    assert!(said.out.starts_with("2 dead jobs"), "{}", said.out);
}

#[test]
fn schedules_are_made_listed_paused_triggered_and_deleted() {
    let server = Server::start();
    let nightly =
        ["schedule", "add", "nightly", "--cron", "30 3 * * *", "--zone", "Europe/Berlin", "--kind", "report"];
    let made = server.run(&[&nightly[..], &["--queue", "reports", "--json"]].concat()).ok().json();
    assert_eq!(
        (made["name"].as_str(), made["cron"].as_str()),
        (Some("nightly"), Some("30 3 * * *")),
        "{made}"
    );
    assert_eq!(made["next"].as_array().map(Vec::len), Some(5), "{made}");
    server.run(&["schedule", "add", "poll", "--every", "5m", "--kind", "k"]).ok();
    assert_eq!(server.run(&["schedule", "list", "--json"]).ok().json().as_array().map(Vec::len), Some(2));
    assert!(server.run(&["schedule", "show", "nightly"]).ok().out.contains("Europe/Berlin"));

    assert_eq!(server.run(&["schedule", "pause", "nightly", "--json"]).ok().json()["paused"], true);
    assert_eq!(server.run(&["schedule", "resume", "nightly", "--json"]).ok().json()["paused"], false);
    let id = server.run(&["schedule", "trigger", "nightly"]).ok().out.trim().to_owned();
    let job = server.run(&["job", "get", &id, "--json"]).ok().json();
    assert_eq!((job["kind"].as_str(), job["queue"].as_str()), (Some("report"), Some("reports")));

    let said = server.run(&["schedule", "add", "bad", "--cron", "61 * * * *", "--kind", "k"]).fails(2);
    assert!(said.err.contains("bad"), "{}", said.err);
    let said =
        server.run(&["schedule", "add", "bad", "--cron", "* * * * *", "--zone", "Mars/Base", "--kind", "k"]);
    assert_eq!(said.fails(2).out, "");
    server.run(&["schedule", "delete", "nightly"]).ok();
    server.run(&["schedule", "show", "nightly"]).fails(3);
}

#[test]
fn top_prints_one_look_and_refuses_a_pipe() {
    let server = Server::start();
    server.run(&["job", "enqueue", "k", "--queue", "mail"]).ok();
    let look = server.run(&["top", "--once", "--json"]).ok().json();
    assert_eq!(look["queues"][0]["name"], "mail");
    assert_eq!(look["overview"]["counts"]["ready"], 1, "{look}");
    assert!(server.run(&["top", "--once"]).ok().out.contains("mail"));
    let said = server.run(&["top"]).fails(2);
    assert!(said.err.contains("--once"), "{}", said.err);
}
