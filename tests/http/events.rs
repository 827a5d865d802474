//! CloudEvents in all three forms of the HTTP binding, and the filter language through the API.

use serde_json::json;
use windlass_tests::http::{Answer, send};

use crate::support::{Site, now};

fn event(site: &Site, headers: &[(&str, &str)], body: &str) -> Answer {
    send(site.server.http, "POST", "/api/v1/events?queue=events", headers, body.as_bytes())
        .expect("an answer")
}

#[test]
fn an_event_becomes_a_job_in_every_form() {
    let site = Site::open();
    let body = json!({"specversion": "1.0", "id": "a-1", "source": "/shop", "type": "order.placed", "subject": "17",
        "time": "2026-11-24T10:00:00Z", "data": {"cents": 12_345}, "partition": 7, "vip": true});
    let structured = [("Content-Type", "application/cloudevents+json; charset=utf-8")];
    let first = event(&site, &structured, &body.to_string());
    assert_eq!(first.status, 201, "{}", first.body);
    let again = event(&site, &structured, &body.to_string());
    assert_eq!(
        (again.status, &again.json()["jobs"][0]["duplicate_of"]),
        (200, &first.json()["jobs"][0]["id"])
    );
    let job = site.take(json!({"queues": ["events"], "wait_ms": 0}));
    assert_eq!((&job.job["kind"], &job.job["payload"]), (&json!("order.placed"), &json!({"cents": 12_345})));
    let headers = &job.job["headers"];
    for (name, value) in [
        ("ce-id", "a-1"),
        ("ce-source", "/shop"),
        ("ce-subject", "17"),
        ("ce-partition", "7"),
        ("ce-vip", "true"),
    ] {
        assert_eq!(headers[name], value, "{headers}");
    }
    let binary = [
        ("Content-Type", "text/plain"),
        ("ce-specversion", "1.0"),
        ("ce-id", "b-1"),
        ("ce-source", "/caf%C3%A9"),
        ("ce-type", "note"),
    ];
    assert_eq!(event(&site, &binary, "hello").status, 201);
    let note = site.take(json!({"queues": ["events"], "wait_ms": 0}));
    assert_eq!(note.job["payload"], json!({"content_type": "text/plain", "base64": "aGVsbG8="}));
    assert_eq!(note.job["headers"]["ce-source"], "/café");
    let batch = json!([
        {"specversion": "1.0", "id": "c-1", "source": "s", "type": "t", "data_base64": "AAEC", "datacontenttype": "image/png"},
        {"specversion": "1.0", "id": "c-2", "source": "s", "type": "t", "data": "plain", "datacontenttype": "text/plain"},
        {"specversion": "1.0", "id": "c-3", "source": "s", "type": "t"},
    ]);
    let batched = [("Content-Type", "application/cloudevents-batch+json")];
    let taken = event(&site, &batched, &batch.to_string());
    assert_eq!(
        (taken.status, taken.json()["jobs"].as_array().map(Vec::len)),
        (201, Some(3)),
        "{}",
        taken.body
    );
    let all = site.fetch(json!({"queues": ["events"], "wait_ms": 0, "count": 10}));
    let payloads: Vec<_> = all["jobs"].as_array().unwrap().iter().map(|job| job["payload"].clone()).collect();
    assert_eq!(payloads[0], json!({"content_type": "image/png", "base64": "AAEC"}));
    assert_eq!(payloads[1], json!({"content_type": "text/plain", "base64": "cGxhaW4="}));
    assert_eq!(payloads[2], json!(null));
    assert_eq!(event(&site, &batched, "[]").status, 200);
}

#[test]
fn what_is_no_event_is_refused_and_leaves_nothing() {
    let site = Site::open();
    let structured = [("Content-Type", "application/cloudevents+json")];
    let good = json!({"specversion": "1.0", "id": "1", "source": "s", "type": "t"});
    let without = |name: &str| {
        let mut event = good.clone();
        event.as_object_mut().unwrap().remove(name);
        event.to_string()
    };
    let with = |name: &str, value| {
        let mut event = good.clone();
        event[name] = value;
        event.to_string()
    };
    let cases = [
        (without("id"), 422, "no id"),
        (without("source"), 422, "no source"),
        (without("type"), 422, "no type"),
        (with("specversion", json!("0.3")), 422, "1.0"),
        (with("type", json!("x".repeat(200))), 422, "kind"),
        (with("subject", json!({})), 422, "subject"),
        (with("data_base64", json!("!")), 422, "base64"),
        ("{".to_owned(), 400, "JSON"),
    ];
    for (body, status, part) in cases {
        let answer = event(&site, &structured, &body);
        assert_eq!(answer.status, status, "{body}: {}", answer.body);
        assert!(answer.json()["detail"].as_str().unwrap().contains(part), "{}", answer.body);
    }
    assert_eq!(event(&site, &[("Content-Type", "application/json")], "{}").status, 415);
    let mixed = format!("[{good},{}]", without("id"));
    let batched = [("Content-Type", "application/cloudevents-batch+json")];
    let answer = event(&site, &batched, &mixed);
    assert!(answer.status == 422 && answer.body.contains("event 1: "), "{}", answer.body);
    assert_eq!(site.get("/api/v1/jobs")["jobs"], json!([]));
}

#[test]
fn lists_speak_the_language_of_filters() {
    let site = Site::open();
    for n in 0..30 {
        let body = json!({"queue": if n % 2 == 0 { "even" } else { "odd" }, "kind": "k", "payload": {"user": {"id": n}},
            "tags": [format!("t{}", n % 3)], "priority": n % 5, "delay_ms": if n == 7 { 60_000 } else { 0 }});
        site.enqueue(body);
    }
    let dead = site.take(now_of("even"));
    site.say(&dead, "fail", json!({"error": "Connection timed out", "outcome": "dead"}));
    let count = |filter: &str| {
        let page = site.get(&format!("/api/v1/jobs?limit=1000&filter={}", encode(filter)));
        page["jobs"].as_array().unwrap().len()
    };
    assert_eq!(count(""), 30);
    assert_eq!(count("queue:odd -state:scheduled"), 14);
    assert_eq!(count("state:scheduled,dead"), 2);
    assert_eq!(count("args.user.id<10 tag:t0"), 4);
    assert_eq!(count("error:\"TIMED out\" attempt:1 queue:e*"), 1);
    assert_eq!(count("age>1h"), 0);
    let page = site.get("/api/v1/jobs?queue=odd&limit=50&filter=args.user.id%3E20");
    assert_eq!((page["jobs"].as_array().unwrap().len(), page["next"].is_null()), (5, true), "{page}");
    assert_eq!(page["scanned"], 15, "every job of the queue was looked at, and the page says so");
    let wrong = site.ask("GET", "/api/v1/jobs?filter=kind:k%20stat:dead", &json!(null));
    let detail = wrong.json()["detail"].clone();
    assert_eq!(
        (wrong.status, &detail),
        (422, &json!("the filter: column 8: there is no field \"stat\"; did you mean \"state\"?"))
    );
    assert_eq!(site.ask("GET", "/api/v1/jobs?filter=queue:nowhere", &json!(null)).status, 404);
}

fn now_of(queue: &str) -> serde_json::Value {
    let mut body = now();
    body["queues"] = json!([queue]);
    body
}

fn encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
