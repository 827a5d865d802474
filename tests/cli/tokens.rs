//! `windlass token` and `windlass audit` over the built binary: the first token shuts the doors, a restart keeps it, revoking needs no
//! restart, and secrets appear nowhere but in the one answer.

use std::path::Path;
use std::process::Command;

use crate::support::{Process, Said, Server, lone_server, run, windlass};

fn with_token(server: &Process, dir: &Path, token: &str, args: &[&str]) -> Said {
    let mut command = windlass(args);
    command
        .env("WINDLASS_SERVER", server.address("native"))
        .env("WINDLASS_ACCESS_TOKEN", token)
        .current_dir(dir);
    run(command)
}

fn files_with(dir: &Path, needle: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry")) {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with(&path, needle));
        } else {
            let bytes = std::fs::read(&path).unwrap_or_default();
            if bytes.windows(needle.len()).any(|window| window == needle.as_bytes()) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

/// The token may come from a file, and an empty one is a mistake.
fn token_files(server: &Process, dir: &Path, admin: &str, shop: &str) {
    let file = dir.join("token");
    std::fs::write(&file, format!("{admin}\n")).expect("written");
    let by_file = |args: &[&str]| -> Command {
        let mut command = windlass(args);
        command.args(["--token-file", "token", "--server", &server.address("native")]).current_dir(dir);
        command
    };
    let listed = run(by_file(&["--json", "token", "list"])).ok().json();
    let names: Vec<_> =
        listed.as_array().expect("a list").iter().map(|t| t["name"].as_str().expect("text")).collect();
    assert_eq!(names, ["look", "me", "shop"]);
    let shown = run(by_file(&["token", "list"])).ok().out;
    assert!(shown.contains("shop*") && !shown.contains(&shop[20..]), "{shown}");
    std::fs::write(&file, "\n").expect("written");
    run(by_file(&["token", "list"])).fails(2);
}

/// What was done is written down, newest first; what failed too.
fn check_trail(trail: &serde_json::Value) {
    let did: Vec<_> = trail["entries"]
        .as_array()
        .expect("entries")
        .iter()
        .map(|e| {
            format!(
                "{} {} {}",
                e["who"].as_str().expect("text"),
                e["operation"].as_str().expect("text"),
                e["error"].is_null()
            )
        })
        .collect();
    assert_eq!(
        did,
        [
            "me token.revoke false",
            "me token.revoke true",
            "me token.create true",
            "me token.create true",
            "anyone token.create true",
            "anyone token.create false",
        ]
    );
}

#[test]
fn tokens_are_made_kept_used_and_revoked() {
    let server = Server::start();
    server.run(&["token", "create", "ops", "--role", "operator"]).fails(2);
    let admin = server.run(&["token", "create", "me", "--role", "admin"]).ok().out.trim().to_owned();
    assert!(admin.starts_with("wl_") && admin.len() == 84, "{admin}");
    let denied = server.run(&["queue", "list"]).fails(4);
    assert!(denied.err.contains("access token is needed"), "{}", denied.err);

    // From here on over a restarted server: what was made lasts.
    let Server { process, dir } = server;
    process.stop();
    let server = Server::in_dir(dir.path());
    let as_admin = |args: &[&str]| with_token(&server, dir.path(), &admin, args);
    let made =
        as_admin(&["--json", "token", "create", "look", "--role", "viewer", "--expires", "30d"]).ok().json();
    let viewer = made["secret"].as_str().expect("a secret").to_owned();
    assert_eq!((made["role"].as_str(), made["faktory_password"].is_null()), (Some("viewer"), true));
    let as_viewer = |args: &[&str]| with_token(&server, dir.path(), &viewer, args);
    as_admin(&["job", "enqueue", "k", "--queue", "mail"]).ok();
    as_viewer(&["queue", "list"]).ok();
    let refused = as_viewer(&["queue", "pause", "mail"]).fails(4);
    assert!(refused.err.contains("role viewer does not allow queue.pause"), "{}", refused.err);
    let limited = as_admin(&["token", "create", "shop", "--role", "producer", "--queue", "shop*"]).ok();
    let shop = limited.out.trim().to_owned();
    with_token(&server, dir.path(), &shop, &["job", "enqueue", "k", "--queue", "shop.eu"]).ok();
    with_token(&server, dir.path(), &shop, &["job", "enqueue", "k", "--queue", "mail"]).fails(4);

    token_files(&server, dir.path(), &admin, &shop);

    as_admin(&["token", "revoke", "look"]).ok();
    as_viewer(&["queue", "list"]).fails(4);
    as_admin(&["token", "revoke", "me"]).fails(4);
    check_trail(&as_admin(&["--json", "audit"]).ok().json());
    assert!(as_admin(&["audit"]).ok().out.contains("token look"));
    server.stop();
    for secret in [&admin, &viewer, &shop] {
        assert!(files_with(&dir.path().join("data"), &secret[20..]).is_empty(), "the store has no secret");
    }
}

#[test]
fn a_door_that_others_reach_needs_a_token() {
    let dir = tempfile::tempdir().expect("a directory");
    let refused = run(lone_server("0.0.0.0:0", dir.path())).fails(2);
    assert!(refused.err.contains("windlass token create NAME --role admin"), "{}", refused.err);
    let mut short = lone_server("0.0.0.0:0", dir.path());
    short.env("WINDLASS_ADMIN_TOKEN", "short");
    assert!(run(short).fails(2).err.contains("at least 16 characters"));
    let mut command = lone_server("0.0.0.0:0", dir.path());
    command.arg("--json").env("WINDLASS_ADMIN_TOKEN", "a-token-of-the-operator");
    let server = Process::start(command);
    let port = server.address("native").rsplit(':').next().expect("a port").to_owned();
    let at = format!("127.0.0.1:{port}");
    let ask = |token: &str| {
        let mut command = windlass(&["--json", "token", "list", "--server", &at]);
        command.env("WINDLASS_ACCESS_TOKEN", token).current_dir(dir.path());
        run(command)
    };
    assert_eq!(ask("a-token-of-the-operator").ok().json(), serde_json::json!([]));
    ask("a-token-of-the-operatoR").fails(4);
}

/// A shell job must not get hold of the token that its worker came in with.
#[test]
fn a_shell_job_does_not_see_the_workers_token() {
    let server = Server::start();
    let admin = server.run(&["token", "create", "me", "--role", "admin"]).ok().out.trim().to_owned();
    let mut worker = server.command(&["worker", "run", "--shell", "--json"]);
    worker.env("WINDLASS_ACCESS_TOKEN", &admin);
    let worker = Process::start(worker);
    let mut job = server.command(&["job", "enqueue", "shell", "--payload", "\"env\"", "--wait"]);
    job.env("WINDLASS_ACCESS_TOKEN", &admin);
    let said = run(job).ok();
    assert!(said.out.contains("WINDLASS_JOB_ID") && !said.out.contains("wl_"), "{}", said.out);
    drop(worker);
}
