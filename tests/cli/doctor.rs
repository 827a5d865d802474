//! `windlass doctor` on good, damaged and absent stores.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{Server, lone_server, run, run_in};

fn stopped_store() -> tempfile::TempDir {
    let server = Server::start();
    server.run(&["job", "enqueue", "k", "--payload", "\"findme-findme-findme\"", "--count", "200"]).ok();
    let Server { process, dir } = server;
    let (code, err) = process.stop();
    assert_eq!(code, 0, "{err}");
    dir
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

#[test]
fn a_sound_store_passes_every_check() {
    let dir = stopped_store();
    let report = run_in(dir.path(), &["doctor", "--data-dir", "data", "--json"]).ok().json();
    assert_eq!(report["ok"], true, "{report}");
    assert!(report["checks"].as_array().is_some_and(|checks| checks.len() >= 2), "{report}");
}

/// A job's bytes are flipped wherever they rest: the doctor says so, and no server starts on it.
#[test]
fn a_damaged_store_fails_a_check_and_refuses_to_start() {
    let dir = stopped_store();
    let mut damaged = 0;
    for path in files(&dir.path().join("data")) {
        let mut bytes = fs::read(&path).expect("the file can be read");
        let at = bytes.windows(13).position(|window| window == b"findme-findme");
        if let Some(at) = at {
            bytes[at + 3] ^= 0x40;
            fs::write(&path, &bytes).expect("the file is written");
            damaged += 1;
        }
    }
    assert!(damaged > 0, "the payload was found somewhere");
    let said = run_in(dir.path(), &["doctor", "--data-dir", "data", "--json"]);
    assert_eq!(said.code, 6, "{}\n{}", said.out, said.err);
    let report = said.json();
    let failed: Vec<_> =
        report["checks"].as_array().expect("a list").iter().filter(|c| c["ok"] == false).collect();
    assert!(
        !failed.is_empty() && failed.iter().all(|c| c["advice"].as_str().is_some_and(|a| !a.is_empty())),
        "{report}"
    );

    let said = run(lone_server("127.0.0.1:0", dir.path()));
    assert_ne!(said.code, 0, "a damaged store is never served: {}", said.err);
}

#[test]
fn no_store_is_three() {
    let dir = tempfile::tempdir().expect("a directory");
    let said = run_in(dir.path(), &["doctor", "--data-dir", "absent"]).fails(3);
    assert!(said.err.contains("absent"), "{}", said.err);
}
