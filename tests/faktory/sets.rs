//! Retries, dead and scheduled jobs, what `MUTATE`, `QUEUE` and `FLUSH` do with them.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::peer::{Answer, Home, error, ok};

#[test]
fn a_failure_is_retried_with_its_story() {
    let home = Home::start(&[]);
    let mut peer = home.peer();
    peer.push("job-1-aaaa", &json!({ "retry": 1 }));
    peer.fetch("default");
    assert_eq!(peer.fail("job-1-aaaa"), ok());
    assert_eq!(peer.fail("job-1-aaaa"), error("Job not found job-1-aaaa"), "it is not reserved any more");
    assert_eq!(peer.sets(), [0, 1, 0, 0]);
    let requeue = r#"MUTATE {"cmd":"requeue","target":"retries","filter":{"jids":["job-1-aaaa"]}}"#;
    assert_eq!(peer.ask(requeue), ok());
    let failure = peer.fetch("default")["failure"].clone();
    assert_eq!((&failure["retry_count"], &failure["remaining"]), (&json!(0), &json!(1)));
    assert_eq!((&failure["errtype"], &failure["message"]), (&json!("Oops"), &json!("it broke")));
    assert_eq!(failure["backtrace"], json!(["a:1", "b:2"]));
    assert!(failure["failed_at"].is_string() && failure["next_at"].is_string());
    assert_eq!(peer.fail("job-1-aaaa"), ok());
    assert_eq!(peer.sets(), [0, 0, 1, 0], "one retry is two runs");
}

#[test]
fn retry_0_is_dropped_and_a_negative_one_is_dead_at_once() {
    let home = Home::start(&[]);
    let mut peer = home.peer();
    for (jid, retry) in [("job-1-aaaa", 0), ("job-2-aaaa", -1), ("job-3-aaaa", -5)] {
        peer.push(jid, &json!({ "retry": retry }));
        peer.fetch("default");
        assert_eq!(peer.fail(jid), ok());
    }
    assert_eq!(peer.sets(), [0, 0, 2, 0]);
    assert_eq!(peer.info()["faktory"]["total_failures"], 3);
    // What one client says of its jobs is not the default for others.
    peer.push("job-4-aaaa", &json!({}));
    assert_eq!(peer.fetch("default")["retry"], 25);
    let failed = peer.ask(r#"MUTATE {"cmd":"requeue","target":"dead","filter":{"jids":["job-2-aaaa"]}}"#);
    assert_eq!(failed, ok());
    assert_eq!(peer.fetch("default")["failure"]["remaining"], 0, "never below zero");
}

#[test]
fn a_job_with_a_time_waits_for_it() {
    let home = Home::start(&[]);
    let mut peer = home.peer();
    let soon = from_now(Duration::from_millis(1_200));
    peer.push("job-1-aaaa", &json!({ "at": soon }));
    peer.push("job-2-aaaa", &json!({ "at": "2020-01-01T00:00:00Z" }));
    assert_eq!((peer.sets()[0], peer.fetch("default")["jid"].clone()), (1, json!("job-2-aaaa")));
    let begun = Instant::now();
    let job = peer.fetch("default");
    assert_eq!((&job["jid"], &job["at"]), (&json!("job-1-aaaa"), &json!(soon)));
    assert!(begun.elapsed() > Duration::from_millis(800), "not before its time");
}

#[test]
fn mutations_find_jobs_by_jid_type_and_pattern() {
    let home = Home::start(&[]);
    let mut peer = home.peer();
    for n in 0..6 {
        let kind = if n % 2 == 0 { "even" } else { "odd" };
        let more = json!({ "at": "2030-01-01T00:00:00Z", "jobtype": kind, "args": [format!("x{n}")], "queue": format!("q{}", n % 3) });
        peer.push(&format!("job-{n}-aaaa"), &more);
    }
    let mut mutate = |text: &str| {
        assert_eq!(peer.ask(&format!("MUTATE {text}")), ok(), "{text}");
        peer.sets()
    };
    assert_eq!(
        mutate(r#"{"cmd":"discard","target":"scheduled","filter":{"jids":["job-0-aaaa","nobody-has-it"]}}"#),
        [5, 0, 0, 0]
    );
    assert_eq!(
        mutate(r#"{"cmd":"kill","target":"scheduled","filter":{"regexp":"*\"args\":\\[\"x1\"\\]*"}}"#),
        [4, 0, 1, 0]
    );
    assert_eq!(
        mutate(r#"{"cmd":"kill","target":"scheduled","filter":{"jobtype":"odd","regexp":"*x3*"}}"#),
        [3, 0, 2, 0]
    );
    assert_eq!(
        mutate(r#"{ "cmd": "discard", "target": "scheduled", "filter": { "jobtype": "odd" } }"#),
        [2, 0, 2, 0]
    );
    assert_eq!(mutate(r#"{"cmd":"discard","target":"dead","filter":{}}"#), [2, 0, 0, 0]);
    assert_eq!(mutate(r#"{"cmd":"requeue","target":"scheduled"}"#), [0, 0, 0, 0]);
    assert_eq!(peer.fetch("q2")["jid"], "job-2-aaaa");
    assert_eq!(peer.fetch("q1")["jid"], "job-4-aaaa");
    assert_eq!(peer.ask(r#"MUTATE {"cmd":"burn","target":"dead"}"#), error("unknown mutate operation"));
    assert_eq!(
        peer.ask(r#"MUTATE {"cmd":"kill","target":"q"}"#),
        error("invalid target for mutation command")
    );
}

#[test]
fn queues_pause_resume_and_go() {
    let home = Home::start(&[]);
    let mut peer = home.peer();
    for queue in ["a", "b"] {
        peer.push(&format!("job-{queue}-1234"), &json!({ "queue": queue }));
    }
    assert_eq!(peer.ask("QUEUE pause a nobody"), ok());
    assert_eq!(peer.fetch("a b")["jid"], "job-b-1234", "a paused queue is passed over");
    assert_eq!(peer.ask("FETCH a"), Answer::Null);
    assert!(peer.ask("QUEUE LATENCY a nobody").json()["a"].as_f64().unwrap() > 1.0);
    assert!(matches!(peer.ask("QUEUE LATENCY *"), Answer::Error(text) if text.contains("wildcards")));
    assert_eq!(peer.ask("QUEUE DANCE a"), error("no such QUEUE subcommand: DANCE"));
    assert_eq!(peer.ask("QUEUE RESUME *"), ok());
    assert_eq!(peer.fetch("a")["jid"], "job-a-1234");
    peer.push("job-c-1234", &json!({ "queue": "a" }));
    assert_eq!(peer.ask("QUEUE REMOVE a"), ok());
    assert_eq!(peer.info()["faktory"]["queues"], json!({ "b": 0 }));
    assert_eq!(peer.ask("FETCH a"), Answer::Null);
    assert_eq!(peer.info()["faktory"]["queues"], json!({ "b": 0 }), "asking for a queue does not make it");
    peer.push("job-d-1234", &json!({ "queue": "a" }));
    assert_eq!(peer.info()["faktory"]["queues"], json!({ "a": 1, "b": 0 }));
}

#[test]
fn flush_wipes_everything() {
    let home = Home::start(&[]);
    let mut peer = home.peer();
    for n in 0..1_500 {
        peer.send(&format!("PUSH {}", crate::peer::job(&format!("job-{n:08}"), &json!({ "queue": "many" }))));
    }
    assert!((0..1_500).all(|_| peer.answer() == ok()));
    peer.push("job-later-1", &json!({ "at": "2030-01-01T00:00:00Z" }));
    let running = peer.fetch("many")["jid"].as_str().unwrap().to_owned();
    for (retry, set) in [(3, 1), (-1, 2)] {
        peer.push("job-failing", &json!({ "retry": retry, "queue": "failing" }));
        peer.fetch("failing");
        assert_eq!(peer.fail("job-failing"), ok());
        assert_eq!(peer.sets()[set], 1);
    }
    assert_eq!(peer.ask("FLUSH"), ok());
    let info = peer.info();
    assert_eq!(info["faktory"]["sets"], json!({ "scheduled": 0, "retries": 0, "dead": 0, "working": 0 }));
    assert_eq!((&info["faktory"]["queues"], &info["faktory"]["total_failures"]), (&json!({}), &json!(0)));
    assert_eq!(peer.fail(&running), error(&format!("Job not found {running}")));
}

/// A time so far from now, as RFC 3339.
fn from_now(ahead: Duration) -> String {
    let at = std::time::SystemTime::now() + ahead;
    let ms = at.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    windlass_core::time::Timestamp(u64::try_from(ms).unwrap()).to_rfc3339()
}
