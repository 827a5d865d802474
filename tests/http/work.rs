//! A worker that has nothing but requests: fetch, heartbeat, progress, reports; what happens when it, its answer, its lease
//! or the server is lost.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{LEASE_MS, Site, now};

#[test]
fn a_job_is_fetched_run_and_acknowledged() {
    let site = Site::open();
    let body =
        json!({"queue": "mail", "kind": "send", "payload": {"n": 1}, "tags": ["vip"], "headers": {"a": "b"}});
    let id = site.enqueue(body);
    let job = site.take(json!({"queues": ["mail"], "wait_ms": 0, "name": "curl", "kinds": ["send"]}));
    assert_eq!((job.id(), &job.job["payload"], &job.job["attempt"]), (&*id, &json!({"n": 1}), &json!(1)));
    assert_eq!((&job.job["tags"], &job.job["headers"]), (&json!(["vip"]), &json!({"a": "b"})));
    let workers = site.workers();
    assert_eq!(
        (workers.len(), &workers[0]["name"], &workers[0]["running_count"]),
        (1, &json!("curl"), &json!(1))
    );
    let progress = site.say(&job, "progress", json!({"percent": 40, "message": "half"}));
    assert_eq!((progress.status, &progress.json()["state"]), (200, &json!("held")), "{}", progress.body);
    assert_eq!(site.job(&id)["progress"], json!([40, "half"]));
    let ack = site.say(&job, "ack", json!({"result": {"big": 9_007_199_254_740_993_u64}}));
    assert_eq!(ack.status, 200, "{}", ack.body);
    let done = site.job(&id);
    assert_eq!(
        (&done["state"], &done["result"]),
        (&json!("succeeded"), &json!({"big": 9_007_199_254_740_993_u64}))
    );
    let again = site.say(&job, "ack", json!({}));
    assert_eq!((again.status, &again.json()["code"]), (409, &json!("stale_lease")));
}

#[test]
fn a_fetch_waits_for_a_job_and_ends_empty_when_none_comes() {
    let site = Site::open();
    let began = Instant::now();
    let empty = site.fetch(json!({"wait_ms": 300}));
    assert_eq!(empty["jobs"], json!([]));
    assert!(began.elapsed() >= Duration::from_millis(300));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let job = site.take(json!({"queues": ["a", "b"], "wait_ms": 20_000}));
            (job.id().to_owned(), Instant::now())
        });
        // The wish has to be there before the job, or this would not be a wait.
        while site.workers().iter().all(|worker| worker["queues"] != json!([["a", 1], ["b", 1]])) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let enqueued = Instant::now();
        let id = site.enqueue(json!({"kind": "k", "queue": "b"}));
        let (got, at) = waiting.join().expect("no panic");
        assert_eq!(got, id);
        assert!(at.duration_since(enqueued) < Duration::from_secs(2), "{:?}", at.duration_since(enqueued));
    });
}

#[test]
fn every_way_to_end_an_attempt() {
    let site = Site::open();
    let run = |verb: &str, body| {
        let id = site.enqueue(json!({"kind": "k", "max_attempts": 5}));
        let job = site.take(now());
        let answer = site.say(&job, verb, body);
        assert_eq!(answer.status, 200, "{verb}: {}", answer.body);
        let shown = site.job(&id);
        let removed = site.ask("DELETE", &format!("/api/v1/jobs/{id}"), &json!(null));
        assert_eq!(removed.status, 200);
        shown
    };
    let failed = run("fail", json!({"error": "no route", "retry_in_ms": 60_000}));
    assert_eq!((&failed["state"], &failed["attempts"][0]["error"]), (&json!("retrying"), &json!("no route")));
    assert_eq!(run("fail", json!({"error": "bad", "outcome": "dead"}))["state"], "dead");
    assert_eq!(run("fail", json!({"error": "no use", "outcome": "cancelled"}))["state"], "cancelled");
    assert_eq!(run("snooze", json!({"delay_ms": 60_000}))["attempt"], 0);
    let released = run("release", json!({}));
    assert_eq!((&released["state"], &released["attempt"]), (&json!("ready"), &json!(0)));
}

#[test]
fn broken_words_are_refused_and_change_nothing() {
    let site = Site::open();
    let id = site.enqueue(json!({"kind": "k"}));
    let job = site.take(now());
    let cases = [
        ("ack", json!({"lease": "nonsense"}), 422, "invalid"),
        ("ack", json!({"leese": "x"}), 422, "invalid"),
        ("ack", json!({"lease": "1.1.00000000000000000000000000000000.default"}), 409, "stale_lease"),
        ("ack", json!({"lease": "1.1.00000000000000000000000000000000.elsewhere"}), 409, "stale_lease"),
        ("progress", json!({"lease": job.job["lease"], "percent": 101}), 422, "invalid"),
        ("fail", json!({"lease": job.job["lease"], "outcome": "dead", "retry_in_ms": 1}), 422, "invalid"),
        ("heartbeat", json!({"lease": "1.1.00000000000000000000000000000000.default"}), 409, "stale_lease"),
    ];
    for (verb, body, status, code) in cases {
        let answer = site.post(&format!("/api/v1/jobs/{id}/{verb}"), body.clone());
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (status, &json!(code)),
            "{verb} {body}: {}",
            answer.body
        );
    }
    let too_much =
        [json!({"count": 0}), json!({"wait_ms": 60_000}), json!({"lease_ms": 1}), json!({"queues": []})];
    for body in too_much {
        assert_eq!(site.post("/api/v1/fetch", body.clone()).status, 422, "{body}");
    }
    assert_eq!(site.post("/api/v1/fetch", json!({"weights": {"other": 2}})).status, 422);
    let huge = site.say(&job, "ack", json!({"result": "x".repeat(1024 * 1024 + 1)}));
    assert_eq!(huge.status, 413, "{}", huge.body);
    assert_eq!(site.job(&id)["state"], "running");
    assert_eq!(site.say(&job, "ack", json!({})).status, 200);
}

#[test]
fn a_silent_worker_loses_its_job_in_time_and_its_late_word_is_refused() {
    let site = Site::open();
    let id = site.enqueue(json!({"kind": "k"}));
    let silent = site.take(json!({"wait_ms": 0, "name": "silent"}));
    let began = Instant::now();
    let other = site.take(json!({"wait_ms": 20_000, "name": "other"}));
    let took = began.elapsed();
    assert_eq!((other.id(), &other.job["attempt"]), (&*id, &json!(2)));
    assert!(
        took > Duration::from_millis(LEASE_MS - 500) && took < Duration::from_millis(LEASE_MS + 2_000),
        "{took:?}"
    );
    for verb in ["ack", "fail", "heartbeat", "release"] {
        assert_eq!(site.say(&silent, verb, json!({})).status, 409, "{verb}");
    }
    assert_eq!(site.say(&other, "ack", json!({})).status, 200);
    let history = site.job(&id)["attempts"].clone();
    assert_eq!((&history[0]["outcome"], &history[1]["outcome"]), (&json!("lost"), &json!("succeeded")));
    assert!(history[0]["error"].as_str().unwrap().contains("silent"), "{history}");
    // Nobody who is gone stays in the list.
    let end = Instant::now() + Duration::from_secs(10);
    while !site.workers().is_empty() {
        assert!(Instant::now() < end, "{:?}", site.workers());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_job_whose_delivery_got_lost_comes_back_although_its_worker_lives() {
    let site = Site::open();
    let id = site.enqueue(json!({"kind": "k"}));
    let lost = site.take(json!({"wait_ms": 0}));
    // The worker knows nothing of the job and asks again.
    let again = site.take(json!({"wait_ms": 20_000, "worker": lost.worker}));
    assert_eq!((again.id(), &again.worker), (&*id, &lost.worker));
    assert_ne!(again.job["lease"], lost.job["lease"]);
    assert_eq!(site.say(&again, "ack", json!({})).status, 200);
}

#[test]
fn heartbeats_keep_a_lease_and_tell_of_a_cancel() {
    let site = Site::open();
    let id = site.enqueue(json!({"kind": "k"}));
    let job = site.take(now());
    let end = Instant::now() + Duration::from_millis(2 * LEASE_MS);
    while Instant::now() < end {
        let beat = site.say(&job, "heartbeat", json!({}));
        assert_eq!((beat.status, &beat.json()["state"]), (200, &json!("held")), "{}", beat.body);
        std::thread::sleep(Duration::from_millis(300));
    }
    assert_eq!(site.job(&id)["attempt"], 1);
    assert_eq!(site.post(&format!("/api/v1/jobs/{id}/cancel"), json!(null)).status, 200);
    let lease = json!({"id": id, "lease": job.job["lease"]});
    let gone = json!({"id": "01890a5d-ac96-774b-bcce-b302099a8057", "lease": job.job["lease"]});
    let beat = site.post("/api/v1/heartbeat", json!({"leases": [lease, gone]})).json();
    assert_eq!(
        (&beat["leases"][0]["state"], &beat["leases"][1]["state"]),
        (&json!("cancel_requested"), &json!("lost"))
    );
    assert_eq!(site.say(&job, "fail", json!({"error": "stopped"})).status, 200);
    assert_eq!(site.job(&id)["state"], "cancelled");
}

#[test]
fn a_longer_lease_needs_no_heartbeat_and_a_timeout_ends_it() {
    let site = Site::open();
    site.enqueue(json!({"kind": "k"}));
    let job = site.take(json!({"wait_ms": 0, "lease_ms": 60_000}));
    std::thread::sleep(Duration::from_millis(LEASE_MS + 1_500));
    assert_eq!(site.say(&job, "ack", json!({})).status, 200);
    let id = site.enqueue(json!({"kind": "k", "timeout_ms": 700}));
    let slow = site.take(json!({"wait_ms": 0, "lease_ms": 60_000}));
    let shown = site.until(&id, "retrying", Duration::from_secs(5));
    assert!(shown["attempts"][0]["error"].as_str().unwrap().contains("timeout of 700 ms"), "{shown}");
    assert_eq!(site.say(&slow, "ack", json!({})).status, 409);
}

#[test]
fn a_lease_outlives_the_server() {
    let mut site = Site::open();
    let id = site.enqueue(json!({"kind": "k"}));
    let job = site.take(json!({"wait_ms": 0, "name": "survivor"}));
    // The mark of the lease becomes durable with the next group, which this waits for.
    site.enqueue(json!({"kind": "other", "queue": "other"}));
    site.enqueue(json!({"kind": "other", "delay_ms": 600_000}));
    site.server.kill().expect("killed");
    site.server.restart().expect("started again");
    let end = Instant::now() + Duration::from_millis(2 * LEASE_MS);
    while Instant::now() < end {
        let beat = site.say(&job, "heartbeat", json!({}));
        assert_eq!(beat.status, 200, "{}", beat.body);
        std::thread::sleep(Duration::from_millis(300));
    }
    assert_eq!(site.workers()[0]["running_count"], 1);
    assert_eq!(site.say(&job, "ack", json!({"result": 1})).status, 200);
    let done = site.job(&id);
    assert_eq!((&done["state"], done["attempts"].as_array().map(Vec::len)), (&json!("succeeded"), Some(1)));
}

#[test]
fn a_worker_that_leaves_gives_back_what_it_holds() {
    let site = Site::open();
    let id = site.enqueue(json!({"kind": "k"}));
    let job = site.take(now());
    assert_eq!(site.ask("DELETE", &format!("/api/v1/workers/{}", job.worker), &json!(null)).status, 200);
    let again = site.take(json!({"wait_ms": 5_000}));
    assert_eq!((again.id(), &again.job["attempt"]), (&*id, &json!(1)));
    assert_eq!(site.ask("DELETE", &format!("/api/v1/workers/{}", job.worker), &json!(null)).status, 404);
}

#[test]
fn a_stopping_server_ends_the_waits_and_says_when_to_come_back() {
    let mut site = Site::open();
    let at = site.server.http;
    let waiting = std::thread::spawn(move || {
        let body = r#"{"wait_ms":40000}"#;
        windlass_tests::http::send(at, "POST", "/api/v1/fetch", &[], body.as_bytes()).expect("an answer")
    });
    while site.workers().is_empty() {
        std::thread::sleep(Duration::from_millis(10));
    }
    let began = Instant::now();
    site.server.stop().expect("stops in order");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let answer = waiting.join().expect("no panic");
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"), "{}", answer.body);
}

/// Of a caller that is gone nothing can be known until its answer is sent: what it was given comes back by the lease.
#[test]
fn a_caller_that_hangs_up_costs_a_lease_at_most() {
    let site = Site::open();
    let body = r#"{"wait_ms":10000}"#;
    let mut caller = TcpStream::connect(site.server.http).expect("connected");
    let head = format!(
        "POST /api/v1/fetch HTTP/1.1\r\nHost: x.localhost\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    caller.write_all(head.as_bytes()).expect("sent");
    while site.workers().is_empty() {
        std::thread::sleep(Duration::from_millis(10));
    }
    drop(caller);
    let id = site.enqueue(json!({"kind": "k"}));
    let began = Instant::now();
    let job = site.take(json!({"wait_ms": 20_000}));
    assert_eq!(job.id(), id);
    assert!(began.elapsed() < Duration::from_millis(LEASE_MS + 2_000), "{:?}", began.elapsed());
}

#[test]
fn many_fetches_of_one_worker_take_turns() {
    let site = Site::open();
    let worker = site.fetch(now())["worker"].clone();
    let ids: std::collections::BTreeSet<String> = std::thread::scope(|scope| {
        let fetches: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| site.take(json!({"wait_ms": 20_000, "worker": worker})).id().to_owned()))
            .collect();
        for _ in 0..8 {
            site.enqueue(json!({"kind": "k"}));
        }
        fetches.into_iter().map(|fetch| fetch.join().expect("no panic")).collect()
    });
    assert_eq!(ids.len(), 8);
    site.enqueue(json!({"kind": "k"}));
    site.enqueue(json!({"kind": "k"}));
    let both = site.fetch(json!({"wait_ms": 0, "worker": worker, "count": 10}));
    assert_eq!(both["jobs"].as_array().map(Vec::len), Some(2));
}
