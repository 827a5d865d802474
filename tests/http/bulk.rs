//! Operations on many jobs: counted first, carried out at a pace, stopped, and never for ever.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::Site;

fn start(site: &Site, body: Value) -> Value {
    let answer = site.post("/api/v1/bulk", body);
    assert_eq!(answer.status, 202, "{}", answer.body);
    answer.json()
}

fn until_over(site: &Site, id: &Value) -> Value {
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let view = site.get(&format!("/api/v1/bulk/{id}"));
        if !["counting", "running"].contains(&view["state"].as_str().expect("a state")) {
            return view;
        }
        assert!(Instant::now() < end, "{view}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn count(site: &Site, filter: &str) -> usize {
    let filter: String = filter.bytes().map(|byte| format!("%{byte:02X}")).collect();
    site.get(&format!("/api/v1/jobs?limit=1000&filter={filter}"))["jobs"]
        .as_array()
        .expect("a list of jobs")
        .len()
}

/// So many dead jobs, in turn of the kinds a and b.
fn bury(site: &Site, jobs: usize) {
    let batch: Vec<Value> =
        (0..jobs).map(|n| json!({"kind": if n % 2 == 0 { "a" } else { "b" }, "payload": n})).collect();
    assert_eq!(site.post("/api/v1/jobs/batch", json!(batch)).status, 201);
    let mut left = jobs;
    while left > 0 {
        let fetched = site.fetch(json!({"wait_ms": 0, "count": 100, "lease_ms": 60_000}));
        for job in fetched["jobs"].as_array().expect("a list of jobs") {
            let path = format!("/api/v1/jobs/{}/fail", job["id"].as_str().expect("an id"));
            let body = json!({"lease": job["lease"], "outcome": "dead", "error": "gone"});
            assert_eq!(site.post(&path, body).status, 200);
            left -= 1;
        }
    }
}

#[test]
fn what_a_filter_finds_is_counted_then_retried_or_deleted() {
    let site = Site::open();
    bury(&site, 60);
    let counted = start(&site, json!({"act": "retry", "filter": "state:dead kind:a", "dry_run": true}));
    let counted = until_over(&site, &counted["id"]);
    assert_eq!(
        (&counted["matched"], &counted["done"], &counted["scanned"]),
        (&json!(30), &json!(0), &json!(60))
    );
    assert_eq!(count(&site, "state:dead"), 60);
    let reason = "the relay is back";
    let retried = start(&site, json!({"act": "retry", "filter": "kind:a error:gone", "reason": reason}));
    let retried = until_over(&site, &retried["id"]);
    assert_eq!(
        (&retried["state"], &retried["done"], &retried["reason"]),
        (&json!("done"), &json!(30), &json!(reason))
    );
    assert_eq!((count(&site, "state:ready kind:a"), count(&site, "state:dead kind:b")), (30, 30));
    let deleted = start(&site, json!({"act": "delete", "filter": "state:dead kind:b"}));
    assert_eq!(site.post("/api/v1/bulk/999/cancel", json!(null)).status, 404);
    until_over(&site, &deleted["id"]);
    let cancelled = start(&site, json!({"act": "cancel", "filter": "queue:default"}));
    let cancelled = until_over(&site, &cancelled["id"]);
    assert_eq!((&cancelled["done"], count(&site, "state:cancelled")), (&json!(30), 30), "{cancelled}");
    let list = site.get("/api/v1/bulk");
    assert_eq!((list.as_array().map(Vec::len), &list[0]["act"]), (Some(4), &json!("cancel")));
}

#[test]
fn an_operation_keeps_its_pace_and_can_be_stopped() {
    let site = Site::open();
    bury(&site, 60);
    let slow = start(&site, json!({"act": "retry", "filter": "state:dead", "pace": 20}));
    std::thread::sleep(Duration::from_millis(1_200));
    let path = format!("/api/v1/bulk/{}/cancel", slow["id"]);
    assert_eq!(site.post(&path, json!(null)).status, 200);
    let over = until_over(&site, &slow["id"]);
    let done = over["done"].as_u64().unwrap();
    // The first chunk goes at once, the next ones one second apart each.
    assert!(over["state"] == "cancelled" && (20..60).contains(&done), "{over}");
    assert_eq!(count(&site, "state:ready"), usize::try_from(done).unwrap());
    assert_eq!(site.post(&path, json!(null)).status, 409);
}

#[test]
fn nonsense_is_refused() {
    let site = Site::open();
    for body in [
        json!({"act": "retry", "filter": ""}),
        json!({"act": "retry", "filter": "stat:dead"}),
        json!({"act": "explode", "filter": "state:dead"}),
        json!({"act": "retry", "filter": "state:dead", "pace": 0}),
        json!({"act": "retry"}),
    ] {
        assert_eq!(site.post("/api/v1/bulk", body.clone()).status, 422, "{body}");
    }
    assert_eq!(site.ask("GET", "/api/v1/bulk/x", &json!(null)).status, 400);
    assert_eq!(site.get("/api/v1/bulk"), json!([]));
}
