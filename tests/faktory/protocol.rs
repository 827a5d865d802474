//! The wire as clients compare it: greeting, answers, blocking.

use std::io::Write;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::peer::{Answer, Home, Peer, error, job, ok};

#[test]
fn greetings() {
    let home = Home::start(&[]);
    let at = home.server.faktory;
    assert_eq!(home.peer().hi, "+HI {\"v\":2}\r\n");
    for first in ["PUSH {}", "HELLO", "HELLO nonsense", "HELLO {\"labels\":[1]}", "GET / HTTP/1.1"] {
        let mut peer = Peer::open(at);
        peer.send(first);
        assert_eq!(peer.answer(), Answer::Closed, "{first}: closed without an answer");
    }
    assert_eq!(Peer::open(at).ask("HELLO {}"), ok());
    let mut peer = home.peer();
    assert_eq!(peer.ask("HELLO {\"v\":2}"), error("unknown command HELLO"));
    assert_eq!(peer.ask("NOPE x"), error("unknown command NOPE"));
    for bare in ["PUSH", "ACK", "FAIL", "BEAT", "QUEUE", "MUTATE", "QUEUE PAUSE"] {
        assert!(matches!(peer.ask(bare), Answer::Error(text) if text.starts_with("ERR ")), "{bare}");
    }
    assert!(
        matches!(peer.ask("BATCH NEW {}"), Answer::Error(text) if text.contains("batch subsystem is only available"))
    );
    assert!(
        matches!(peer.ask("TRACK GET x"), Answer::Error(text) if text.contains("tracking subsystem is only available"))
    );
    assert_eq!(peer.ask("END"), Answer::Closed);
    // Who says nothing is not waited for.
    let mut silent = Peer::open(at);
    let begun = Instant::now();
    assert_eq!(silent.answer(), Answer::Closed);
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_password_is_asked_for_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "open sesame\n").unwrap();
    let home = Home::start(&["--faktory-password-file", file.to_str().unwrap()]);
    let mut peer = Peer::open(home.server.faktory);
    let hi: Value = serde_json::from_str(peer.hi.strip_prefix("+HI ").unwrap()).unwrap();
    assert_eq!(hi["v"], 2);
    assert!((4_000..8_096).contains(&hi["i"].as_u64().unwrap()) && !hi["s"].as_str().unwrap().is_empty());
    assert_eq!(peer.ask("HELLO {\"v\":2}"), error("Invalid password"));
    assert_eq!(peer.answer(), Answer::Closed);
    let other = Peer::open(home.server.faktory);
    assert_ne!(peer.hi, other.hi, "each connection has its own salt");
}

#[test]
fn a_port_that_others_can_reach_needs_a_password() {
    let mut command = std::process::Command::new(windlass_tests::process::binary());
    command.args([
        "server",
        "--store",
        "memory",
        "--http",
        "off",
        "--gossip",
        "off",
        "--native",
        "127.0.0.1:0",
    ]);
    let said = command.args(["--faktory", "0.0.0.0:0"]).output().unwrap();
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(
        !said.status.success()
            && text.contains("Faktory port would listen on 0.0.0.0:0")
            && text.contains("--insecure-bind"),
        "{text}"
    );
}

#[test]
fn lines_may_end_in_lf_and_come_in_one_packet() {
    let home = Home::start(&[]);
    let mut peer = home.peer();
    let text = format!(
        "PUSH {}\nPUSH {}\r\nFETCH default\nACK {{\"jid\":\"job-1-aaaa\"}}\nINFO now\n",
        job("job-1-aaaa", &json!({})),
        job("job-2-aaaa", &json!({}))
    );
    peer.stream.write_all(text.as_bytes()).unwrap();
    assert_eq!((peer.answer(), peer.answer()), (ok(), ok()));
    assert_eq!(peer.answer().json()["jid"], "job-1-aaaa");
    assert_eq!(peer.answer(), ok());
    assert_eq!(peer.answer().json()["faktory"]["queues"]["default"], 1);
}

/// An answer does not wait for the next command's.
#[test]
fn an_answer_is_sent_before_a_fetch_waits() {
    let home = Home::start(&[]);
    let mut peer = home.peer();
    let begun = Instant::now();
    peer.stream
        .write_all(format!("PUSH {}\nFETCH empty\n", job("job-1-aaaa", &json!({}))).as_bytes())
        .unwrap();
    assert_eq!(peer.answer(), ok());
    assert!(begun.elapsed() < Duration::from_millis(1_500), "{:?}", begun.elapsed());
    assert_eq!(peer.answer(), Answer::Null);
}

#[test]
fn a_job_comes_back_digit_for_digit() {
    let home = Home::start(&[]);
    let mut peer = home.peer();
    let line = r#"PUSH {"jid":"job-1-aaaa", "args":[ 12345678901234567890123, 1.50, "é\u00e9 \"x\"" , {"b": 1, "a": 2}],"jobtype":"w",  "queue":"q","custom":{"n":9007199254740993},"other":{"z":[1e-7]}}"#;
    assert_eq!(peer.ask(line), ok());
    let Answer::Bulk(text) = peer.ask("FETCH q") else { panic!("no job") };
    assert!(
        text.contains(r#""args":[12345678901234567890123,1.50,"é\u00e9 \"x\"",{"b":1,"a":2}]"#),
        "{text}"
    );
    assert!(
        text.contains(r#""custom":{"n":9007199254740993}"#) && text.contains(r#""other":{"z":[1e-7]}"#),
        "{text}"
    );
    assert!(
        text.contains(r#""queue":"q""#)
            && text.contains(r#""jobtype":"w""#)
            && text.contains(r#""retry":25"#),
        "{text}"
    );
}

#[test]
fn refusals_are_errors_and_a_batch_keeps_the_good_ones() {
    let home = Home::start(&[]);
    let mut peer = home.peer();
    assert_eq!(
        peer.ask(&format!("PUSH {}", job("short", &json!({})))),
        error("jobs must have a reasonable jid parameter")
    );
    assert!(matches!(peer.ask("PUSH {"), Answer::Error(text) if text.starts_with("ERR invalid JSON")));
    assert!(matches!(peer.ask("PUSHB {}"), Answer::Error(text) if text.starts_with("ERR invalid JSON")));
    let jobs = [
        job("job-1-aaaa", &json!({})),
        job("short", &json!({})),
        job("job-2-aaaa", &json!({ "queue": "b" })),
    ];
    let refused = peer.ask(&format!("PUSHB [{}]", jobs.join(","))).json();
    assert_eq!(refused, json!({ "short": "jobs must have a reasonable jid parameter" }));
    assert_eq!(peer.ask("PUSHB []"), Answer::Bulk("{}".to_owned()));
    assert_eq!(
        (peer.fetch("default")["jid"].clone(), peer.fetch("b")["jid"].clone()),
        (json!("job-1-aaaa"), json!("job-2-aaaa"))
    );
}

/// The same jid twice is two jobs, as clients know it; both can be finished.
#[test]
fn a_jid_may_come_twice() {
    let home = Home::start(&[]);
    let mut peer = home.peer();
    for _ in 0..20 {
        peer.push("the-same-one", &json!({}));
    }
    assert_eq!(peer.info()["faktory"]["queues"]["default"], 20);
    for _ in 0..20 {
        assert_eq!(peer.fetch("default")["jid"], "the-same-one");
        peer.ack("the-same-one");
    }
    assert_eq!(peer.sets(), [0, 0, 0, 0]);
    peer.push("the-same-one", &json!({}));
    assert_eq!(peer.fetch("default")["jid"], "the-same-one", "also after the first ones are done");
}

#[test]
fn fetch_takes_queues_in_order_and_waits_on_all() {
    let home = Home::start(&[]);
    let (mut peer, mut other) = (home.peer(), home.peer());
    peer.push("job-b-aaaa", &json!({ "queue": "b" }));
    peer.push("job-a-aaaa", &json!({ "queue": "a" }));
    assert_eq!(peer.fetch("a b")["jid"], "job-a-aaaa");
    assert_eq!(peer.fetch("a b")["jid"], "job-b-aaaa");
    for names in ["a b", ""] {
        let begun = Instant::now();
        assert_eq!(peer.ask(&format!("FETCH {names}")), Answer::Null);
        let waited = begun.elapsed();
        assert!((Duration::from_millis(1_900)..Duration::from_secs(4)).contains(&waited), "{waited:?}");
    }
    assert!(matches!(peer.ask("FETCH"), Answer::Error(text) if text.contains("at least one queue")));
    peer.send("FETCH a b never-seen");
    std::thread::sleep(Duration::from_millis(200));
    let begun = Instant::now();
    other.push("job-c-aaaa", &json!({ "queue": "never-seen" }));
    assert_eq!(peer.answer().json()["jid"], "job-c-aaaa");
    assert!(begun.elapsed() < Duration::from_secs(1), "it is told at once, also of a queue that is new");
    let queues = peer.info()["faktory"]["queues"].clone();
    assert_eq!(queues, json!({ "a": 0, "b": 0, "never-seen": 0 }));
}

#[test]
fn higher_priorities_come_first_and_arrival_decides_within_one() {
    let home = Home::start(&[]);
    let mut peer = home.peer();
    for (jid, more) in [
        ("job-1-aaaa", json!({})),
        ("job-2-aaaa", json!({ "priority": 9 })),
        ("job-3-aaaa", json!({ "priority": 5 })),
        ("job-4-aaaa", json!({ "priority": 1 })),
        ("job-5-aaaa", json!({ "priority": 9 })),
    ] {
        peer.push(jid, &more);
    }
    let order: Vec<_> =
        (0..5).map(|_| peer.fetch("default")["jid"].as_str().unwrap()[4..5].to_owned()).collect();
    assert_eq!(order, ["2", "5", "1", "3", "4"]);
}

#[test]
fn info_has_what_clients_read() {
    let home = Home::start(&[]);
    let mut worker = home.worker("w1");
    worker.push("job-1-aaaa", &json!({}));
    worker.push("job-2-aaaa", &json!({}));
    worker.fetch("default");
    worker.ack("job-1-aaaa");
    worker.fetch("default");
    assert_eq!(worker.fail("job-2-aaaa"), ok());
    let info = worker.info();
    let mut members: Vec<_> = info.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["faktory", "now", "server", "server_utc_time"]);
    let figures = &info["faktory"];
    assert_eq!((&figures["total_processed"], &figures["total_failures"]), (&json!(2), &json!(1)));
    assert_eq!((&figures["total_queues"], &figures["total_enqueued"]), (&json!(1), &json!(0)));
    assert_eq!(
        (&figures["tasks"]["Workers"]["size"], &figures["tasks"]["Retries"]["size"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(info["server"]["faktory_version"], "1.9.4");
    assert!(info["server"]["description"].as_str().unwrap().starts_with("Windlass"));
    assert_eq!(info["server"]["connections"], 1);
    drop(worker);
    let mut other = home.peer();
    for _ in 0..100 {
        if other.info()["faktory"]["tasks"]["Workers"]["size"] == 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("a worker that has left is still counted");
}

#[test]
fn a_long_line_is_taken_and_one_too_long_is_refused() {
    let home = Home::start(&[]);
    let mut peer = home.peer();
    peer.push("job-1-aaaa", &json!({ "args": ["x".repeat(3_000_000)] }));
    assert_eq!(peer.fetch("default")["args"][0].as_str().map(str::len), Some(3_000_000));
    let large = format!("PUSH {}", job("job-2-aaaa", &json!({ "args": ["x".repeat(5_000_000)] })));
    assert!(
        matches!(peer.ask(&large), Answer::Error(text) if text.contains("payload")),
        "a payload has a limit"
    );
    let chunk = vec![b'x'; 1 << 20];
    for _ in 0..18 {
        if peer.stream.write_all(&chunk).is_err() {
            break;
        }
    }
    assert!(matches!(peer.answer(), Answer::Closed | Answer::Error(_)));
    home.peer();
}
