//! The OpenAPI document against the routes: it names them all, and what they really answer is what it says.

use std::collections::BTreeSet;

use actix_web::http::Method;
use actix_web::test::TestRequest;
use serde_json::{Value, json};
use windlass_dashboard::{Options, ROUTES};

use crate::fake::Fake;
use crate::site;

const ID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";
const LEASE: &str = "1.1.0f1e2d3c4b5a69788796a5b4c3d2e1f0.default";

fn is_api(path: &str) -> bool {
    path.starts_with("/api/") || ["/metrics", "/metrics/node", "/healthz", "/readyz"].contains(&path)
}

/// A body that each operation takes.
fn body_of(operation: &str) -> Value {
    match operation {
        "enqueue" => {
            json!({"kind": "k", "payload": {"n": 1}, "tags": ["a"], "run_at": "2030-01-31T09:30:00Z"})
        }
        "batch" => json!([{"kind": "a"}, {"kind": "b", "backoff": {"policy": "fixed", "delay_ms": 5}}]),
        "events" => json!({"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": 1}),
        "fetch" => json!({"queues": ["a"], "wait_ms": 0, "count": 2, "worker": ID, "weights": {"a": 2}}),
        "heartbeat_all" => json!({"leases": [{"id": ID, "lease": LEASE}]}),
        "ack" => json!({"lease": LEASE, "result": [1]}),
        "fail" => json!({"lease": LEASE, "error": "e", "outcome": "dead"}),
        "snooze" => json!({"lease": LEASE, "delay_ms": 5}),
        "progress" => json!({"lease": LEASE, "percent": 5, "message": "m"}),
        "release" | "heartbeat" => json!({"lease": LEASE}),
        "bulk_start" => {
            json!({"act": "retry", "filter": "state:dead", "reason": "r", "pace": 5, "dry_run": true})
        }
        "token_create" => json!({"name": "t", "role": "worker", "queues": ["mail*"], "faktory": true}),
        "schedule_put" => json!({"name": "s", "kind": "k", "cron": "* * * * *", "catch_up": "skip"}),
        "schedule_put_named" => json!({"kind": "k", "every_ms": 1_000}),
        _ => Value::Null,
    }
}

#[actix_web::test]
async fn the_document_names_every_route_and_no_other() {
    let document = site(Fake::empty(), Options::default()).await.get("/api/v1/openapi.json").await.json();
    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for verb in item.as_object().unwrap().keys().filter(|key| key.len() <= 6) {
            described.insert((path.clone(), verb.to_uppercase()));
        }
    }
    let served: BTreeSet<_> = ROUTES
        .iter()
        .filter(|route| is_api(route.path))
        .map(|route| (route.path.to_owned(), route.verb.name().to_owned()))
        .collect();
    assert_eq!(described, served);
}

#[actix_web::test]
async fn what_is_answered_is_what_the_document_says() {
    let fake = Fake::busy();
    let ids: Vec<String> = fake.world.lock().unwrap().jobs.keys().map(ToString::to_string).collect();
    let site = site(fake, Options::default()).await;
    let document = site.get("/api/v1/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    for route in ROUTES.iter().filter(|route| is_api(route.path)) {
        let item = &document["paths"][route.path][route.verb.name().to_lowercase()];
        let operation = item["operationId"].as_str().unwrap();
        let body = body_of(operation);
        if let Some(content) = item["requestBody"]["content"].as_object() {
            let schema = &content.values().next().unwrap()["schema"];
            check(&document, schema, &body, operation);
        }
        // Every job, so that every state is shown; and one that is not there.
        let ids: Vec<&str> = if route.path.contains("{id}") && route.verb.name() == "GET" {
            ids.iter().map(String::as_str).chain([ID]).collect()
        } else {
            vec![ID]
        };
        for id in ids {
            let uri = route.path.replace("{id}", id).replace("{queue}", "default");
            let uri = uri
                .replace("{name}", "nightly-report")
                .replace("{worker}", ID)
                .replace("{bulk}", "1")
                .replace("{token}", "t");
            let method = Method::from_bytes(route.verb.name().as_bytes()).unwrap();
            let mut request = TestRequest::with_uri(&uri).method(method);
            if operation == "events" {
                request = request.insert_header(("content-type", "application/cloudevents+json"));
            }
            if !body.is_null() {
                request = request.set_payload(body.to_string());
            }
            let reply = site.ask(request).await;
            let known = &item["responses"][reply.status.as_str()];
            assert!(
                known.is_object(),
                "{operation} answered {}, which is not described: {}",
                reply.status,
                reply.text
            );
            let media = reply.header("content-type").split(';').next().unwrap().to_owned();
            let content = &known["content"][&media];
            assert!(content.is_object(), "{operation} {}: {media} is not described", reply.status);
            if media.contains("json") {
                check(&document, &content["schema"], &reply.json(), &format!("{operation} {}", reply.status));
            }
        }
    }
}

/// Holds a value against a schema, as far as this document uses the language.
fn check(document: &Value, schema: &Value, value: &Value, place: &str) {
    if let Err(why) = holds(document, schema, value) {
        panic!("{place}: {why}\n{value}");
    }
}

fn holds(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().expect("a reference has a last part");
        let target = &document["components"]["schemas"][name];
        return holds(document, target, value).map_err(|why| format!("{name}: {why}"));
    }
    if let Some(any) = schema["oneOf"].as_array().or(schema["anyOf"].as_array()) {
        let tried: Vec<_> = any.iter().map(|one| holds(document, one, value)).collect();
        let good = tried.iter().filter(|result| result.is_ok()).count();
        return if good > 0 { Ok(()) } else { Err(format!("none of {tried:?}")) };
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    };
    let is = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let fits = types.is_empty() || types.contains(&is) || (is == "integer" && types.contains(&"number"));
    if !fits {
        return Err(format!("{is} is not {types:?}"));
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        return Err(format!("{value} is not among {allowed:?}"));
    }
    match value {
        Value::Object(members) => holds_object(document, schema, members),
        Value::Array(items) if schema["items"].is_object() => {
            items.iter().try_for_each(|item| holds(document, &schema["items"], item))
        }
        _ => Ok(()),
    }
}

fn holds_object(
    document: &Value,
    schema: &Value,
    members: &serde_json::Map<String, Value>,
) -> Result<(), String> {
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !members.contains_key(name) {
            return Err(format!("{name} is missing"));
        }
    }
    for (name, member) in members {
        let known = &schema["properties"][name];
        let rest = &schema["additionalProperties"];
        if known.is_object() {
            holds(document, known, member).map_err(|why| format!("{name}: {why}"))?;
        } else if rest.is_object() {
            holds(document, rest, member).map_err(|why| format!("{name}: {why}"))?;
        } else if rest == &Value::Bool(false) {
            return Err(format!("{name} is not described"));
        }
    }
    Ok(())
}

/// A test of the test: a schema that does not fit is noticed.
#[test]
fn what_does_not_fit_is_noticed() {
    let document = json!({"components": {"schemas": {"A": {"type": "object", "required": ["n"], "additionalProperties": false,
        "properties": {"n": {"type": ["integer", "null"]}, "l": {"type": "array", "items": {"enum": ["a"]}}}}}}});
    let a = json!({"$ref": "#/components/schemas/A"});
    for good in [json!({"n": 1}), json!({"n": null, "l": ["a"]})] {
        assert_eq!(holds(&document, &a, &good), Ok(()));
    }
    for bad in [json!({}), json!({"n": "x"}), json!({"n": 1, "m": 1}), json!({"n": 1, "l": ["b"]}), json!([])]
    {
        assert!(holds(&document, &a, &bad).is_err(), "{bad}");
    }
}
