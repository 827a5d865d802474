//! `Idempotency-Key`: the same request twice makes one job, also across a restart.

use serde_json::{Value, json};
use windlass_tests::http::{Answer, send};

use crate::support::Site;

fn enqueue(site: &Site, path: &str, key: &str, body: &Value) -> Answer {
    let headers = [("Idempotency-Key", key)];
    send(site.server.http, "POST", path, &headers, body.to_string().as_bytes()).expect("an answer")
}

#[test]
fn a_key_makes_one_job() {
    let mut site = Site::open();
    let body = json!({"kind": "charge", "payload": {"cents": 100}});
    let first = enqueue(&site, "/api/v1/jobs", "\"order-17\"", &body);
    assert_eq!(first.status, 201, "{}", first.body);
    let id = first.json()["id"].clone();
    site.server.kill().expect("killed");
    site.server.restart().expect("started again");
    let again = enqueue(&site, "/api/v1/jobs", "order-17", &body);
    assert_eq!((again.status, &again.json()["duplicate_of"]), (200, &id));
    let other = enqueue(&site, "/api/v1/jobs", "order-18", &body);
    assert_eq!(other.status, 201);
    let changed =
        enqueue(&site, "/api/v1/jobs", "order-17", &json!({"kind": "charge", "payload": {"cents": 1}}));
    assert_eq!((changed.status, &changed.json()["code"]), (422, &json!("idempotency_key_reused")));
    assert_eq!(site.get("/api/v1/jobs")["jobs"].as_array().map(Vec::len), Some(2));
}

#[test]
fn a_key_goes_for_a_whole_batch_and_not_beside_an_id() {
    let site = Site::open();
    let body = json!([{"kind": "a"}, {"kind": "b"}]);
    assert_eq!(enqueue(&site, "/api/v1/jobs/batch", "k", &body).status, 201);
    assert_eq!(enqueue(&site, "/api/v1/jobs/batch", "k", &body).status, 200);
    let reused = enqueue(&site, "/api/v1/jobs/batch", "k", &json!([{"kind": "z"}]));
    assert_eq!(reused.status, 422);
    assert_eq!(site.get("/api/v1/jobs")["jobs"].as_array().map(Vec::len), Some(2));
    let both = json!({"kind": "a", "id": "01890a5d-ac96-774b-bcce-b302099a8057"});
    assert_eq!(enqueue(&site, "/api/v1/jobs", "k", &both).status, 422);
    assert_eq!(enqueue(&site, "/api/v1/jobs", "", &json!({"kind": "a"})).status, 400);
}
