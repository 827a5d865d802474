//! Who may ask, and what every answer carries. The tests walk the table of all routes, so a new one is covered at once.

use actix_web::http::{Method, StatusCode};
use actix_web::test::TestRequest;
use windlass_dashboard::{Options, ROUTES, Verb};

use crate::fake::Fake;
use crate::site;

/// A real address for a path with holes.
pub(crate) fn fill(path: &str, id: &str) -> String {
    path.replace("{id}", id)
        .replace("{queue}", "default")
        .replace("{name}", "nightly-report")
        .replace("{worker}", "01890a5d-ac96-774b-bcce-b302099a8057")
        .replace("{bulk}", "1")
        .replace("{token}", "t")
        .replace("{version}", "x")
        .replace("{file:.+}", "app.css")
}

pub(crate) fn request(verb: Verb, uri: &str) -> TestRequest {
    let method = Method::from_bytes(verb.name().as_bytes()).expect("it is a method");
    let uri = if uri == "/live" { "/live?page=%2F" } else { uri };
    TestRequest::with_uri(uri).method(method)
}

#[actix_web::test]
async fn every_route_answers_and_carries_the_headers() {
    let fake = Fake::busy();
    let id = fake.world.lock().unwrap().jobs.keys().next().unwrap().to_string();
    let site = site(fake, Options::default()).await;
    // Reading comes first, since one of the others deletes the job.
    let (reading, changing): (Vec<_>, Vec<_>) = ROUTES.iter().partition(|route| route.verb == Verb::Get);
    for route in reading.into_iter().chain(changing) {
        let uri = fill(route.path, &id);
        let (status, headers) = site.head(request(route.verb, &uri)).await;
        assert_ne!(status, StatusCode::METHOD_NOT_ALLOWED, "{} {uri}", route.verb.name());
        assert!(
            !status.is_server_error() || status == StatusCode::GATEWAY_TIMEOUT,
            "{} {uri}: {status}",
            route.verb.name()
        );
        if route.verb == Verb::Get {
            assert!(status.is_success() || status == StatusCode::GATEWAY_TIMEOUT, "{uri}: {status}");
        }
        let header = |name: &str| headers.get(name).map_or("", |value| value.to_str().unwrap());
        let policy = header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{uri}");
        assert!(!policy.contains("unsafe"), "{uri}");
        assert_eq!(header("x-content-type-options"), "nosniff", "{uri}");
        assert_eq!(header("referrer-policy"), "no-referrer", "{uri}");
        assert!(!header("cache-control").is_empty(), "{uri}");
    }
}

#[actix_web::test]
async fn other_methods_are_refused_with_what_is_allowed() {
    let site = site(Fake::busy(), Options::default()).await;
    for route in ROUTES {
        let uri = fill(route.path, "01890a5d-ac96-774b-bcce-b302099a8057");
        let reply = site.ask(TestRequest::with_uri(&uri).method(Method::PATCH)).await;
        assert_eq!(reply.status, StatusCode::METHOD_NOT_ALLOWED, "{uri}");
        assert_eq!(reply.header("content-type"), "application/problem+json");
        assert!(reply.header("allow").contains(route.verb.name()), "{uri}: {}", reply.header("allow"));
    }
    let head = TestRequest::with_uri("/healthz").method(Method::HEAD);
    assert_eq!(site.ask(head).await.status, StatusCode::OK);
}

#[actix_web::test]
async fn a_read_only_node_changes_nothing_whatever_is_asked() {
    let fake = Fake::busy();
    let id = fake.world.lock().unwrap().jobs.keys().next().unwrap().to_string();
    let before = fake.world.lock().unwrap().jobs.clone();
    let site = site(fake.clone(), Options { read_only: true, ..Options::default() }).await;
    let changing = |route: &&windlass_dashboard::Route| {
        // Who may look has to be able to sign in.
        route.verb != Verb::Get && !matches!(route.path, "/login" | "/logout")
    };
    for route in ROUTES.iter().filter(changing) {
        let uri = fill(route.path, &id);
        let reply = site.ask(request(route.verb, &uri).set_payload(r#"{"kind":"k"}"#)).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{uri}");
        assert_eq!(reply.json()["code"], "read_only");
    }
    assert_eq!(fake.world.lock().unwrap().jobs, before);
    for page in ["/", "/queues", "/jobs", "/workers", "/schedules", &format!("/jobs/{id}")] {
        let text = site.page(page).await.text;
        assert!(!text.contains("method=\"post\""), "{page} offers what is refused");
    }
}

#[actix_web::test]
async fn pages_of_strangers_change_nothing() {
    let fake = Fake::busy();
    let site = site(fake.clone(), Options::default()).await;
    let refused: [&[(&str, &str)]; 5] = [
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "cross-site"), ("origin", "http://localhost")],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
    ];
    for route in ROUTES.iter().filter(|route| route.verb != Verb::Get) {
        for headers in refused {
            let mut request = request(route.verb, &fill(route.path, "01890a5d-ac96-774b-bcce-b302099a8057"));
            request = request.insert_header(("host", "localhost"));
            for header in headers {
                request = request.insert_header(*header);
            }
            let reply = site.ask(request).await;
            assert_eq!(
                (reply.status, reply.json()["code"].as_str()),
                (StatusCode::FORBIDDEN, Some("cross_site"))
            );
        }
    }
    let ours: [&[(&str, &str)]; 4] = [
        &[],
        &[("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "none")],
        &[("host", "127.0.0.1:7420"), ("origin", "http://127.0.0.1:7420")],
    ];
    for headers in ours {
        let mut request = TestRequest::post().uri("/api/v1/queues/default/pause");
        for header in headers {
            request = request.insert_header(*header);
        }
        assert_eq!(site.ask(request).await.status, StatusCode::OK, "{headers:?}");
    }
}

#[actix_web::test]
async fn a_rebound_name_is_refused_everywhere() {
    let options = Options { hosts: vec!["jobs.example.org".to_owned()], ..Options::default() };
    let site = site(Fake::busy(), options).await;
    for route in ROUTES {
        let uri = fill(route.path, "01890a5d-ac96-774b-bcce-b302099a8057");
        let reply =
            site.ask(request(route.verb, &uri).insert_header(("host", "rebound.evil.example:7420"))).await;
        assert_eq!(reply.status, StatusCode::MISDIRECTED_REQUEST, "{uri}");
    }
    let known = TestRequest::get().uri("/healthz").insert_header(("host", "jobs.example.org"));
    assert_eq!(site.ask(known).await.status, StatusCode::OK);
}

#[actix_web::test]
async fn unknown_addresses_are_problems_for_programs_and_pages_for_people() {
    let site = site(Fake::busy(), Options::default()).await;
    let reply = site.get("/api/v1/nothing").await;
    assert_eq!(
        (reply.status, reply.header("content-type")),
        (StatusCode::NOT_FOUND, "application/problem+json")
    );
    let reply = site.page("/nothing").await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    assert!(reply.text.contains("<h1>Not found</h1>"));
    let reply = site.page("/jobs/01890a5d-ac96-774b-bcce-b302099a8057").await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    assert_eq!(site.page("/jobs/x").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(site.page("/jobs?state=asleep").await.status, StatusCode::UNPROCESSABLE_ENTITY);
}
