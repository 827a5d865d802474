//! `windlass bench` with a server of its own: the report's shape, and nothing left behind; and `bench/compare`, as far as it
//! goes without rivals.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::support::{run, run_in};

const SMALL: [&str; 8] = ["--jobs", "300", "--producers", "3", "--batch", "50", "--concurrency", "8"];

/// Runs a small benchmark in an empty directory that is empty again afterwards; its lines.
fn bench(arguments: &[&str]) -> (Value, Vec<Value>) {
    bench_for("300ms", arguments)
}

/// The same with phases of at most so long.
fn bench_for(seconds: &str, arguments: &[&str]) -> (Value, Vec<Value>) {
    let dir = tempfile::tempdir().expect("a directory");
    let all = [&["bench", "--json", "--seconds", seconds], arguments, &SMALL].concat();
    let report = run_in(dir.path(), &all).ok().json();
    assert_eq!(
        fs::read_dir(dir.path()).expect("a directory").count(),
        0,
        "the temporary server's data is removed"
    );
    let lines = report["results"].as_array().expect("a list").clone();
    (report, lines)
}

/// The line with this stable name.
#[track_caller]
fn line<'a>(lines: &'a [Value], name: &str) -> &'a Value {
    lines.iter().find(|line| line["name"] == name).unwrap_or_else(|| panic!("no {name} in {lines:?}"))
}

fn names(lines: &[Value]) -> Vec<&str> {
    lines.iter().filter_map(|line| line["name"].as_str()).collect()
}

#[test]
fn a_bench_reports_every_phase_and_leaves_nothing() {
    let (report, lines) = bench(&[]);
    let short = ["enqueue_one", "enqueue_many", "enqueue_batches", "run", "both", "latency_200"];
    assert_eq!(names(&lines), short, "{report}");
    for phase in &lines {
        assert!(phase["jobs"].as_u64() > Some(0) && phase["jobs_per_second"].as_u64() > Some(0), "{phase}");
        assert!(phase["server_cores"].is_number() && phase["client_cores"].is_number(), "{phase}");
        let [now, peak] = ["server_rss_bytes", "server_rss_peak_bytes"].map(|key| phase[key].as_u64());
        assert!(now > Some(1_000_000) && peak > Some(1_000_000), "{phase}");
        assert!(phase["disk_bytes"].as_u64() > Some(0), "{phase}");
    }
    let latency = &lines[5]["latency"];
    assert_eq!(
        (&latency["of"], &latency["count"]),
        (&"request to start of the handler".into(), &2_000.into())
    );
    assert!(latency["p50_us"].as_u64() <= latency["p99_us"].as_u64());
    let machine = &report["machine"];
    assert!(machine["cpus"].as_u64() > Some(0) && machine["fdatasync_us"].is_number());
    assert!(machine["fdatasync_recycled_per_second"].as_u64() > Some(0), "{machine}");
}

#[test]
fn several_scenarios_run_one_after_the_other() {
    let (_, lines) = bench(&["stream", "drain", "retries", "--workers", "1,3"]);
    let wanted = ["stream_one", "stream_many", "drain", "drain", "retries_enqueue", "retries_run"];
    assert_eq!(names(&lines), wanted);
    assert_eq!([&lines[2], &lines[3]].map(|line| line["details"]["workers"].as_u64()), [Some(1), Some(3)]);
    assert!(lines.iter().all(|line| line["jobs"] == 300), "{lines:?}");
    assert_eq!(line(&lines, "retries_run")["details"]["attempts"], 600);
}

#[test]
fn delayed_jobs_are_never_early() {
    let (_, lines) = bench(&["timers"]);
    let ran = line(&lines, "timers_run");
    assert_eq!(
        (&ran["jobs"], &ran["details"]["early"], &ran["latency"]["count"]),
        (&300.into(), &0.into(), &300.into())
    );
}

#[test]
fn half_of_the_full_load_is_half_of_it() {
    let (_, lines) = bench(&["latency"]);
    let half = line(&lines, "latency_half");
    let full = half["details"]["full_load_jobs_per_second"].as_u64().expect("a rate");
    let offered = half["jobs"].as_f64().expect("a number") / 0.3;
    assert!((offered - full as f64 / 2.0).abs() <= 4.0, "{offered} of {full}");
    assert_eq!(half["latency"]["count"], half["jobs"]);
}

#[test]
fn a_backlog_is_found_again_after_a_kill() {
    let series = tempfile::NamedTempFile::new().expect("a file");
    let series_path = series.path().to_str().expect("a path in UTF-8");
    // It runs until its time is over, and other work on the machine must not make that too soon.
    let (_, lines) = bench_for("20s", &["backlog", "--series", series_path]);
    let wanted = ["backlog_small_run", "backlog_enqueue", "backlog_page", "backlog_restart", "backlog_run"];
    assert_eq!(names(&lines), wanted);
    assert_eq!(line(&lines, "backlog_run")["jobs"], 300, "none is lost");
    assert_eq!(line(&lines, "backlog_page")["latency"]["count"], 50);
    assert!(line(&lines, "backlog_restart")["seconds"].as_f64() > Some(0.0));
    let text = fs::read_to_string(series.path()).expect("the series");
    let mut rows = text.lines();
    assert_eq!(rows.next(), Some("seconds,phase,enqueued,run,server_rss_bytes,disk_bytes,p99_us"));
    let mut count = 0;
    for row in rows {
        let cells: Vec<_> = row.split(',').collect();
        assert_eq!(cells.len(), 7, "{row}");
        assert!(cells[0].parse::<f64>().is_ok() && cells[2].parse::<u64>().is_ok(), "{row}");
        count += 1;
    }
    assert!(count > 0, "{text}");
}

#[test]
fn many_queues_and_many_workers() {
    let (_, lines) = bench(&["queues", "connections", "--queues", "300", "--connections", "40"]);
    let wanted =
        ["queues_enqueue", "queues_run", "connections_open", "connections_idle", "connections_latency"];
    assert_eq!(names(&lines), wanted);
    // More queues than one worker may have.
    assert_eq!(line(&lines, "queues_run")["details"]["workers"], 2);
    assert_eq!(line(&lines, "queues_run")["jobs"], 300);
    // 300 ms at 200 jobs a second.
    assert_eq!(line(&lines, "connections_latency")["latency"]["count"], 60);
}

#[test]
fn what_cannot_be_measured_is_said_before_anything_starts() {
    let dir = tempfile::tempdir().expect("a directory");
    let refused = run_in(dir.path(), &["bench", "backlog", "--server", "127.0.0.1:1"]).fails(2);
    assert!(refused.err.contains("leave out --server"), "{}", refused.err);
    let unknown = run_in(dir.path(), &["bench", "everything"]);
    assert_eq!(unknown.code, 2, "{}", unknown.err);
    assert!(unknown.err.contains("backlog"), "the scenarios are listed: {}", unknown.err);
    let unwritable = run_in(dir.path(), &["bench", "enqueue", "--series", "no/such/folder.csv"]);
    assert!(unwritable.code == 1 && unwritable.err.contains("--series"), "{}", unwritable.err);
    assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 0);
}

/// `bench/compare` with arguments; `None` where there is no Python.
fn compare(arguments: &[&str]) -> Option<Command> {
    let script: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bench/compare");
    let python =
        Command::new("python3").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !python.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no python3");
        return None;
    }
    let mut command = Command::new("python3");
    command.arg("-B").arg(script).args(arguments).stdin(Stdio::null());
    Some(command)
}

fn record(peer: &str, config: &[&str], test: &str, rate: u64) -> Value {
    json!({
        "record": "measured", "peer": peer, "configs": config, "setting": "as it comes", "durable": config.len() == 2,
        "version": "1.2.3", "test": test, "round": 1, "n": rate, "secs": 1.0, "rate": rate, "server_cores": 0.5,
        "client_cores": 0.4, "memory_mb": 20.0, "disk_mb": 5.0, "p50_us": 300.0, "p99_us": 600.0,
    })
}

/// A recorded run in which a rival is faster once, fails once, and another one could not be installed.
fn recorded_run(dir: &Path) -> PathBuf {
    let mut broken = record("Fast Queue", &["default"], "bulk", 1);
    broken["error"] = json!("it fell over");
    let lines = [
        json!({"record": "about", "machine": {"cpus": 2, "cpu": "Test", "memory_gib": 8}, "command": "bench/compare --all"}),
        record("Windlass", &["default", "durable"], "enq1", 1_000),
        // Three rounds: the middle one counts.
        record("Windlass", &["default", "durable"], "enq16", 9_000),
        record("Windlass", &["default", "durable"], "enq16", 5_000),
        record("Windlass", &["default", "durable"], "enq16", 1_000),
        record("Fast Queue", &["default"], "enq1", 3_000),
        record("Fast Queue", &["default"], "enq16", 2_500),
        broken,
        json!({"record": "measured", "peer": "Gone Queue", "configs": ["durable"], "setting": "safe", "missing": "no package"}),
    ];
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    let path = dir.join("results.jsonl");
    fs::write(&path, text).expect("the file is written");
    path
}

#[test]
fn recorded_results_become_a_page() {
    let dir = tempfile::tempdir().expect("a directory");
    let recorded = recorded_run(dir.path());
    let page = dir.path().join("page.md");
    fs::write(&page, "# Before\n<!-- figures -->\nold\n<!-- /figures -->\nafter\n")
        .expect("the page is written");
    let out = dir.path().join("page");
    let paths = [recorded.to_str().expect("UTF-8"), out.to_str().expect("UTF-8")];
    let Some(command) = compare(&["--from", paths[0], "--out", paths[1], "--no-pictures"]) else { return };
    run(command).ok();
    let page = fs::read_to_string(&page).expect("the page is there");
    assert!(page.starts_with("# Before\n") && page.ends_with("after\n") && !page.contains("old"), "{page}");
    assert!(page.contains("| **5,000** |"), "the median of three rounds, and the best: {page}");
    assert!(
        page.contains("Fast Queue (as it comes), one by one, 1 producer: 3.0 times, 3,000 jobs/s"),
        "{page}"
    );
    assert!(!page.contains("16 producers: 0.5 times"), "what a rival loses is no win: {page}");
    assert!(page.contains("- Gone Queue (safe): no package") && !page.contains("| Gone Queue"), "{page}");
    assert!(page.contains("in bulk: it fell over"), "{page}");
}

/// Only where matplotlib is: the comparison installs it for itself, which a test does not do.
#[test]
fn recorded_results_become_pictures() {
    let has = Command::new("python3").args(["-c", "import matplotlib"]).stderr(Stdio::null()).status();
    if !has.is_ok_and(|status| status.success()) {
        eprintln!("skipped: there is no matplotlib for python3");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let recorded = recorded_run(dir.path());
    let series = "seconds,phase,enqueued,run,server_rss_bytes,disk_bytes,p99_us\n0.1,a,0,0,1000000,4096,\n0.2,b,90,10,2000000,4096,300\n";
    fs::write(dir.path().join("series.csv"), series).expect("the series is written");
    let out = dir.path().join("page");
    let paths = [recorded.to_str().expect("UTF-8"), out.to_str().expect("UTF-8")];
    let Some(command) = compare(&["--from", paths[0], "--out", paths[1]]) else { return };
    run(command).ok();
    let page = fs::read_to_string(dir.path().join("page.md")).expect("the page is there");
    for name in ["durable", "default", "series"] {
        for theme in ["light", "dark"] {
            let picture = fs::read(out.join(format!("{name}-{theme}.png"))).expect("the picture is there");
            assert!(picture.starts_with(b"\x89PNG\r\n") && picture.len() > 5_000, "{name}-{theme}");
        }
        assert!(name == "series" || page.contains(&format!("page/{name}-dark.png")), "{page}");
    }
}

#[test]
fn a_comparison_says_what_is_wrong_with_its_arguments() {
    let Some(command) = compare(&["--only", "kafka"]) else { return };
    let said = run(command);
    assert!(said.code == 2 && said.err.contains("there is no kafka"), "{}", said.err);
    let dir = tempfile::tempdir().expect("a directory");
    let empty = dir.path().join("results.jsonl");
    fs::write(&empty, "").expect("the file is written");
    let Some(command) = compare(&["--from", empty.to_str().expect("UTF-8")]) else { return };
    let said = run(command);
    assert!(said.code == 1 && said.err.contains("no measured record"), "{}", said.err);
}
