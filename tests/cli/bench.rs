//! `windlass bench` with a server of its own: the report's shape, and nothing left behind.

use std::fs;

use crate::support::run_in;

#[test]
fn a_bench_reports_every_phase_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let small = [
        "bench",
        "--jobs",
        "300",
        "--seconds",
        "300ms",
        "--producers",
        "3",
        "--batch",
        "50",
        "--concurrency",
        "8",
    ];
    let report = run_in(dir.path(), &[&small[..], &["--json"]].concat()).ok().json();
    let results = report["results"].as_array().expect("a list");
    assert_eq!(results.len(), 6, "{report}");
    for phase in results {
        assert!(phase["jobs"].as_u64() > Some(0) && phase["jobs_per_second"].as_u64() > Some(0), "{phase}");
        assert!(
            phase["server_cores"].is_number() && phase["server_rss_bytes"].as_u64() > Some(1_000_000),
            "{phase}"
        );
    }
    let latency = &results[5]["latency"];
    assert_eq!(
        (&latency["of"], &latency["count"]),
        (&"request to start of the handler".into(), &2_000.into())
    );
    assert!(latency["p50_us"].as_u64() <= latency["p99_us"].as_u64());
    assert!(report["machine"]["cpus"].as_u64() > Some(0) && report["machine"]["fdatasync_us"].is_number());
    assert_eq!(
        fs::read_dir(dir.path()).expect("a directory").count(),
        0,
        "the temporary server's data is removed"
    );
}
