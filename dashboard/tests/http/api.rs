//! JSON in, JSON out.

use actix_web::http::StatusCode;
use actix_web::test::TestRequest;
use windlass_core::api::{ApiError, ErrorCode};
use windlass_core::job::JobState;
use windlass_dashboard::Options;

use crate::fake::Fake;
use crate::site;

#[actix_web::test]
async fn a_job_is_created_once_and_told_so() {
    let site = site(Fake::empty(), Options::default()).await;
    let body = r#"{"queue":"mail.eu/high","kind":"send_email","payload":{"n":12345678901234567890,"x":1.10},
                   "id":"01890a5d-ac96-774b-bcce-b302099a8057","priority":5,"tags":["vip"],"headers":{"traceparent":"00"}}"#;
    let first = site.post("/api/v1/jobs", body).await;
    assert_eq!(first.status, StatusCode::CREATED, "{}", first.text);
    assert_eq!(first.text, r#"{"id":"01890a5d-ac96-774b-bcce-b302099a8057"}"#);
    assert_eq!(first.header("location"), "/api/v1/jobs/01890a5d-ac96-774b-bcce-b302099a8057");
    let again = site.post("/api/v1/jobs", body).await;
    assert_eq!(again.status, StatusCode::OK);
    assert_eq!(again.json()["duplicate_of"], "01890a5d-ac96-774b-bcce-b302099a8057");
    let job = site.get("/api/v1/jobs/01890a5d-ac96-774b-bcce-b302099a8057").await;
    assert_eq!(job.status, StatusCode::OK);
    assert!(job.text.contains(r#""payload":{"n":12345678901234567890,"x":1.10}"#), "{}", job.text);
    assert_eq!(job.json()["queue"], "mail.eu/high");
    assert_eq!(job.json()["priority"], 5);
}

#[actix_web::test]
async fn broken_requests_get_problems() {
    let site = site(Fake::empty(), Options::default()).await;
    let cases = [
        ("/api/v1/jobs", "{", 400, "malformed", "line 1 column 1"),
        ("/api/v1/jobs", "", 400, "malformed", "empty"),
        ("/api/v1/jobs", "\u{1}", 400, "malformed", "not JSON"),
        ("/api/v1/jobs", "{}", 422, "invalid", "kind"),
        ("/api/v1/jobs", r#"{"kind":"k","priorty":1}"#, 422, "invalid", r#"did you mean "priority"?"#),
        ("/api/v1/jobs", r#"{"kind":"k","queue":"two words"}"#, 422, "invalid", "character ' '"),
        ("/api/v1/jobs", r#"{"kind":"k","id":"7"}"#, 422, "invalid", "UUID"),
        ("/api/v1/jobs/batch", "[]", 422, "invalid", "1 to 10000"),
        (
            "/api/v1/jobs/batch",
            r#"[{"kind":"a"},{"kind":"b","queue":"other"}]"#,
            422,
            "invalid",
            "one batch per queue",
        ),
        ("/api/v1/jobs/batch", r#"{"jobs":[{"kind":"a"},{"kind":""}]}"#, 422, "invalid", "job 1: "),
        ("/api/v1/jobs/nonsense/cancel", "", 400, "malformed", "UUID"),
        ("/api/v1/queues/two%20words/pause", "", 400, "malformed", "character"),
        ("/api/v1/schedules", r#"{"kind":"k","cron":"* * * * *"}"#, 422, "invalid", "needs a name"),
        ("/api/v1/schedules", r#"{"name":"s","kind":"k"}"#, 422, "invalid", "cron or every_ms"),
    ];
    for (uri, body, status, code, part) in cases {
        let reply = site.post(uri, body).await;
        assert_eq!(reply.status.as_u16(), status, "{uri} {body}: {}", reply.text);
        assert_eq!(reply.header("content-type"), "application/problem+json");
        let problem = reply.json();
        assert_eq!(problem["code"], code, "{body}");
        assert_eq!(problem["status"], status);
        assert!(problem["detail"].as_str().unwrap().contains(part), "{uri} {body}: {}", problem["detail"]);
        assert!(!problem["title"].as_str().unwrap().is_empty());
        assert_eq!(problem["type"], format!("urn:windlass:error:{code}"));
    }
    for uri in ["/api/v1/jobs?stat=dead", "/api/v1/jobs?state=asleep", "/api/v1/jobs?limit=x"] {
        assert_eq!(site.get(uri).await.status, StatusCode::BAD_REQUEST, "{uri}");
    }
    let detail = site.get("/api/v1/jobs?stat=dead").await.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("did you mean \"state\""), "{detail}");
    assert_eq!(site.get("/api/v1/jobs?limit=0").await.status, StatusCode::UNPROCESSABLE_ENTITY);
    let kindless = site.get("/api/v1/jobs?queue=mail&kind=").await;
    assert_eq!(kindless.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(kindless.json()["detail"].as_str().unwrap().contains("leave it out"));
}

#[actix_web::test]
async fn a_batch_answers_for_each_job() {
    let fake = Fake::empty();
    let site = site(fake.clone(), Options::default()).await;
    let body = r#"{"jobs":[{"kind":"a"},{"kind":"b","delay_ms":60000},{"kind":"c","id":"01890a5d-ac96-774b-bcce-b302099a8057"}]}"#;
    let reply = site.post("/api/v1/jobs/batch", body).await;
    assert_eq!(reply.status, StatusCode::CREATED);
    let jobs = reply.json()["jobs"].as_array().unwrap().clone();
    assert_eq!(jobs.len(), 3);
    assert_eq!(jobs[2]["id"], "01890a5d-ac96-774b-bcce-b302099a8057");
    assert!(jobs.iter().all(|job| job.get("duplicate_of").is_none()));
    let states: Vec<JobState> = fake.world.lock().unwrap().jobs.values().map(|view| view.state).collect();
    assert_eq!(states.iter().filter(|state| **state == JobState::Scheduled).count(), 1);
    let refused = site.post("/api/v1/jobs/batch", r#"[{"kind":"a"},{"kind":"b","queue":"other"}]"#).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(fake.world.lock().unwrap().jobs.len(), 3, "a refused batch leaves nothing behind");
}

#[actix_web::test]
async fn bodies_have_a_limit() {
    let site = site(Fake::empty(), Options::default()).await;
    let payload = "x".repeat(5 * 1024 * 1024);
    let reply = site.post("/api/v1/jobs", format!(r#"{{"kind":"k","payload":"{payload}"}}"#)).await;
    assert_eq!(
        (reply.status, reply.json()["code"].as_str()),
        (StatusCode::PAYLOAD_TOO_LARGE, Some("too_large"))
    );
    let almost = "x".repeat(4 * 1024 * 1024 - 2);
    let reply = site.post("/api/v1/jobs", format!(r#"{{"kind":"k","payload":"{almost}"}}"#)).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text);
    let announced = TestRequest::post().uri("/api/v1/jobs").insert_header(("content-length", "99999999999"));
    assert_eq!(site.ask(announced).await.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[actix_web::test]
async fn names_with_slashes_and_percents_reach_their_queue() {
    let fake = Fake::busy();
    let site = site(fake.clone(), Options::default()).await;
    let reply = site.post("/api/v1/queues/mail.eu%2Fhigh/pause", "").await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    assert!(fake.world.lock().unwrap().paused.contains_key("mail.eu/high"));
    let retried = site.post("/api/v1/queues/mail.eu%2Fhigh/dead/retry?kind=send_email", "").await;
    assert_eq!(retried.json()["count"], 7);
    assert_eq!(site.get("/api/v1/schedules/weekday%2Fdigest").await.json()["cron"], "30 8 * * mon-fri");
    let listed = site.get("/api/v1/jobs?queue=mail.eu%2Fhigh&state=ready&limit=3").await.json();
    assert_eq!(listed["jobs"].as_array().unwrap().len(), 3);
    let next = listed["next"].as_str().unwrap();
    let rest = site.get(&format!("/api/v1/jobs?queue=mail.eu%2Fhigh&state=ready&cursor={next}")).await.json();
    assert_eq!(rest["jobs"].as_array().unwrap().len(), 4);
    assert!(rest["next"].is_null());
}

#[actix_web::test]
async fn a_schedule_carries_its_job() {
    let site = site(Fake::empty(), Options::default()).await;
    let body = r#"{"cron":"0 9 * * mon-fri","zone":"Asia/Shanghai","catch_up":"skip","queue":"mail","kind":"digest",
                   "payload":{"big":9007199254740993},"max_attempts":3}"#;
    let put = TestRequest::put().uri("/api/v1/schedules/morning").set_payload(body);
    let reply = site.ask(put).await;
    assert_eq!(reply.status, StatusCode::OK, "{}", reply.text);
    assert!(reply.text.contains(r#""payload":{"big":9007199254740993}"#), "{}", reply.text);
    let view = reply.json();
    assert_eq!(
        (&view["name"], &view["kind"], &view["max_attempts"]),
        (&"morning".into(), &"digest".into(), &3.into())
    );
    assert_eq!(site.post("/api/v1/schedules/morning/pause", "").await.json()["paused"], true);
    let fired = site.post("/api/v1/schedules/morning/trigger", "").await;
    assert_eq!(fired.status, StatusCode::CREATED);
    assert!(fired.json()["id"].is_string());
    let gone = site.ask(TestRequest::delete().uri("/api/v1/schedules/morning")).await;
    assert_eq!(gone.status, StatusCode::OK);
    assert_eq!(site.get("/api/v1/schedules/morning").await.status, StatusCode::NOT_FOUND);
    let twice = TestRequest::put()
        .uri("/api/v1/schedules/a")
        .set_payload(r#"{"name":"b","kind":"k","every_ms":1000}"#);
    assert_eq!(site.ask(twice).await.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[actix_web::test]
async fn errors_of_the_node_keep_their_meaning() {
    let fake = Fake::empty();
    let site = site(fake.clone(), Options::default()).await;
    let cases = [
        (ErrorCode::Busy, 429, "1"),
        (ErrorCode::StoreFull, 503, "1"),
        (ErrorCode::Unavailable, 503, "1"),
        (ErrorCode::Timeout, 504, "1"),
        (ErrorCode::StoreFailed, 500, ""),
        (ErrorCode::Internal, 500, ""),
        (ErrorCode::Conflict, 409, ""),
        (ErrorCode::NotFound, 404, ""),
        (ErrorCode::Denied, 403, ""),
        (ErrorCode::TooLarge, 413, ""),
        (ErrorCode::Unsupported, 501, ""),
    ];
    for (code, status, retry_after) in cases {
        fake.world.lock().unwrap().broken = Some(ApiError::new(code, "it says why"));
        let reply = site.get("/api/v1/queues").await;
        assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (status, retry_after), "{code:?}");
        assert_eq!(reply.json()["code"], code.name());
        assert_eq!(reply.json()["detail"], "it says why");
    }
    assert_eq!(site.get("/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(site.get("/healthz").await.status, StatusCode::OK);
}

#[actix_web::test]
async fn metrics_are_well_formed_and_bounded() {
    let fake = Fake::busy();
    for n in 0..400 {
        fake.world.lock().unwrap().add(&format!("tenant-{n}"), "k", "1", JobState::Ready, 1_000);
    }
    let site = site(fake, Options::default()).await;
    let reply = site.get("/metrics").await;
    assert_eq!(reply.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let mut families = std::collections::BTreeSet::new();
    let mut queues = std::collections::BTreeSet::new();
    for line in reply.text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            assert!(families.insert(rest.split(' ').next().unwrap().to_owned()), "{line} stands twice");
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let name = series.split('{').next().unwrap();
            assert!(families.contains(name), "{line} has no type");
            assert!(value.parse::<f64>().is_ok(), "{line}");
            if let Some((_, rest)) = series.split_once("queue=\"") {
                queues.insert(rest.split('"').next().unwrap().to_owned());
            }
        }
    }
    assert!(families.contains("windlass_jobs") && families.contains("windlass_jobs_enqueued_total"));
    assert_eq!(queues.len(), 201, "200 queues and the sum of the others");
    assert!(queues.contains("*other"));
    assert!(reply.text.contains("windlass_jobs{queue=\"default\",state=\"succeeded\"} 64"));
}

#[actix_web::test]
async fn a_wait_answers_or_says_that_time_is_up() {
    let fake = Fake::empty();
    let (done, open) = {
        let mut world = fake.world.lock().unwrap();
        (world.add("q", "k", "1", JobState::Succeeded, 5), world.add("q", "k", "1", JobState::Ready, 5))
    };
    let site = site(fake, Options::default()).await;
    let reply = site.get(&format!("/api/v1/jobs/{done}/wait?timeout_ms=10")).await;
    assert!(reply.text.contains(r#""message_id":9007199254740993"#), "{}", reply.text);
    assert_eq!(
        site.get(&format!("/api/v1/jobs/{open}/wait?timeout_ms=10")).await.status,
        StatusCode::GATEWAY_TIMEOUT
    );
    let long = site.get(&format!("/api/v1/jobs/{open}/wait?timeout_ms=99999999")).await;
    assert_eq!(long.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[actix_web::test]
async fn a_node_tells_of_itself_without_being_asked_who_asks() {
    let site = site(Fake::empty(), Options::default()).await;
    let reply = site.get("/metrics/node").await;
    assert_eq!(reply.status, StatusCode::OK);
    for family in ["windlass_node_info", "windlass_node_has_owner", "windlass_relay_bytes_total"] {
        assert!(reply.text.contains(&format!("# TYPE {family} ")), "{}", reply.text);
    }
}
