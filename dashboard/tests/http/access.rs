//! Who may use which route: every role, nobody, and whoever has no good token any more, against a table written by hand.

use actix_web::http::StatusCode;
use actix_web::http::header;
use actix_web::test::TestRequest;
use windlass_core::access::Role;
use windlass_dashboard::{Options, ROUTES};

use crate::fake::Fake;
use crate::guard::{fill, request};
use crate::site;

/// Who may, a letter each: producer, worker, viewer, operator, admin. `*` stands for everybody, with or without a token.
const TABLE: &str = "
GET    /healthz                              *
GET    /readyz                               *
GET    /metrics/node                         *
GET    /assets/{version}/{file:.+}           *
GET    /login                                *
POST   /login                                *
POST   /logout                               *
GET    /docs/api                             pwvoa
GET    /api/v1/openapi.json                  pwvoa
GET    /live                                 pwvoa
GET    /jobs/{id}                            pwvoa
GET    /api/v1/jobs/{id}                     pwvoa
GET    /api/v1/jobs/{id}/wait                pwvoa
GET    /                                     voa
GET    /queues                               voa
GET    /jobs                                 voa
GET    /bulk                                 voa
GET    /bulk/{bulk}                          voa
GET    /workers                              voa
GET    /cluster                              voa
GET    /schedules                            voa
GET    /metrics                              voa
GET    /api/v1/jobs                          voa
GET    /api/v1/bulk                          voa
GET    /api/v1/bulk/{bulk}                   voa
GET    /api/v1/queues                        voa
GET    /api/v1/workers                       voa
GET    /api/v1/overview                      voa
GET    /api/v1/cluster                       voa
GET    /api/v1/schedules                     voa
GET    /api/v1/schedules/{name}              voa
GET    /enqueue                              pwoa
POST   /enqueue                              pwoa
POST   /api/v1/jobs                          pwoa
POST   /api/v1/jobs/batch                    pwoa
POST   /api/v1/events                        pwoa
POST   /api/v1/fetch                         wa
POST   /api/v1/heartbeat                     wa
POST   /api/v1/jobs/{id}/ack                 wa
POST   /api/v1/jobs/{id}/fail                wa
POST   /api/v1/jobs/{id}/snooze              wa
POST   /api/v1/jobs/{id}/release             wa
POST   /api/v1/jobs/{id}/heartbeat           wa
POST   /api/v1/jobs/{id}/progress            wa
DELETE /api/v1/workers/{worker}              wa
POST   /do                                   oa
POST   /bulk                                 oa
GET    /schedules/new                        oa
POST   /schedules/new                        oa
GET    /audit                                oa
GET    /api/v1/audit                         oa
POST   /api/v1/jobs/{id}/cancel              oa
POST   /api/v1/jobs/{id}/retry               oa
DELETE /api/v1/jobs/{id}                     oa
POST   /api/v1/bulk                          oa
POST   /api/v1/bulk/{bulk}/cancel            oa
POST   /api/v1/queues/{queue}/pause          oa
POST   /api/v1/queues/{queue}/resume         oa
POST   /api/v1/queues/{queue}/dead/retry     oa
POST   /api/v1/queues/{queue}/dead/delete    oa
POST   /api/v1/nodes/{name}/drain            oa
POST   /api/v1/schedules                     oa
PUT    /api/v1/schedules/{name}              oa
DELETE /api/v1/schedules/{name}              oa
POST   /api/v1/schedules/{name}/pause        oa
POST   /api/v1/schedules/{name}/resume       oa
POST   /api/v1/schedules/{name}/trigger      oa
GET    /api/v1/tokens                        a
POST   /api/v1/tokens                        a
DELETE /api/v1/tokens/{token}                a
";

fn table() -> Vec<(&'static str, &'static str, &'static str)> {
    let row = |line: &'static str| {
        let mut words = line.split_whitespace();
        Some((words.next()?, words.next()?, words.next()?))
    };
    TABLE.lines().filter_map(row).collect()
}

/// A node with a token for each role, named like it.
fn closed() -> Fake {
    let fake = Fake::busy();
    fake.world.lock().expect("no panic before").tokens =
        Role::ALL.iter().map(|role| (role.name().to_owned(), *role)).collect();
    fake
}

#[actix_web::test]
async fn the_table_names_every_route() {
    let mut served: Vec<(&str, &str)> = ROUTES.iter().map(|route| (route.verb.name(), route.path)).collect();
    let mut described: Vec<(&str, &str)> = table().into_iter().map(|(verb, path, _)| (verb, path)).collect();
    served.sort_unstable();
    described.sort_unstable();
    assert_eq!(served, described);
}

#[actix_web::test]
async fn every_role_may_what_the_table_says_on_every_route() {
    let fake = closed();
    let id = fake.world.lock().unwrap().jobs.keys().next().unwrap().to_string();
    for route in ROUTES {
        let (_, _, who) =
            *table().iter().find(|row| (row.0, row.1) == (route.verb.name(), route.path)).unwrap();
        for role in Role::ALL {
            // A site of its own for each, since deleting a job changes what the next one finds.
            let site = site(closed(), Options::default()).await;
            let asked = request(route.verb, &fill(route.path, &id))
                .insert_header((header::AUTHORIZATION, format!("Bearer {role}")));
            let (status, _) = site.head(asked).await;
            let may = who == "*" || who.contains(&role.name()[..1]);
            let place = format!("{role} {} {}: {status}", route.verb.name(), route.path);
            // Signing in without a token is wrong for everybody.
            let own = route.path == "/login" && route.verb == windlass_dashboard::Verb::Post;
            assert_ne!(status, StatusCode::UNAUTHORIZED, "{place}");
            // What a producer watches on an overview is decided by the page that is asked for.
            let page = route.path == "/live" && matches!(role, Role::Producer | Role::Worker);
            assert_eq!(status == StatusCode::FORBIDDEN, !may || own || page, "{place}");
        }
    }
}

/// Nobody, a wrong token, a wrong scheme, a session that never was, and a session whose token was revoked.
#[actix_web::test]
async fn without_a_good_token_every_route_but_the_open_ones_is_shut() {
    let fake = closed();
    let id = fake.world.lock().unwrap().jobs.keys().next().unwrap().to_string();
    let before = fake.world.lock().unwrap().jobs.clone();
    let site = site(fake.clone(), Options::default()).await;
    let session = sign_in(&site, "admin").await;
    let cookie = |value: &str| ("cookie", format!("windlass_session={value}"));
    let works = TestRequest::get().uri("/api/v1/queues").insert_header(cookie(&session));
    assert_eq!(site.ask(works).await.status, StatusCode::OK);
    fake.world.lock().unwrap().tokens.remove("admin");
    let strangers: [Option<(&str, String)>; 3] = [None, Some(cookie("0")), Some(cookie(&session))];
    for route in ROUTES {
        let open = table().iter().any(|row| (row.0, row.1, row.2) == (route.verb.name(), route.path, "*"));
        for stranger in strangers.iter().flatten().map(Some).chain([None]) {
            let mut asked = request(route.verb, &fill(route.path, &id));
            if let Some((name, value)) = stranger {
                asked = asked.insert_header((*name, value.clone()));
            }
            let (status, headers) = site.head(asked).await;
            let place = format!("{stranger:?} {} {}: {status}", route.verb.name(), route.path);
            assert_eq!(status == StatusCode::UNAUTHORIZED, !open, "{place}");
            assert!(
                open || headers.get("www-authenticate").is_some_and(|v| v == "Bearer realm=\"windlass\"")
            );
            assert!(headers.contains_key("content-security-policy"), "{place}");
        }
    }
    for header in ["Bearer nobody", "Bearer ", "Basic dmlld2VyOg==", "viewer"] {
        let asked = TestRequest::get().uri("/api/v1/queues").insert_header((header::AUTHORIZATION, header));
        let reply = site.ask(asked).await;
        assert_eq!(
            (reply.status, &reply.json()["code"]),
            (StatusCode::UNAUTHORIZED, &"unauthenticated".into())
        );
    }
    assert_eq!(fake.world.lock().unwrap().jobs, before, "nobody has changed anything");
}

async fn sign_in<S>(site: &crate::Site<S>, token: &str) -> String
where
    S: actix_web::dev::Service<
            actix_http::Request,
            Response = actix_web::dev::ServiceResponse<actix_web::body::BoxBody>,
            Error = actix_web::Error,
        >,
{
    let reply = site.form("/login", &[("token", token), ("back", "/queues")]).await;
    assert_eq!(
        (reply.status, reply.header("location")),
        (StatusCode::SEE_OTHER, "/queues"),
        "{}",
        reply.text
    );
    let cookie = reply.header("set-cookie").to_owned();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    cookie.split(['=', ';']).nth(1).expect("it has a value").to_owned()
}

#[actix_web::test]
async fn a_person_signs_in_looks_and_signs_out() {
    let fake = closed();
    let site = site(fake, Options { read_only: false, ..Options::default() }).await;
    let reply = site.page("/jobs?state=dead").await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER);
    assert_eq!(reply.header("location"), "/login?back=%2Fjobs%3Fstate%3Ddead");
    let page = site.page("/login?back=%2Fjobs").await;
    assert!(page.text.contains("name=\"token\"") && page.text.contains("value=\"/jobs\""), "{}", page.text);
    assert!(!page.text.contains("href=\"/workers\""), "a stranger is offered nothing");
    let wrong = site.form("/login", &[("token", "nobody")]).await;
    assert!(wrong.status == StatusCode::FORBIDDEN && wrong.text.contains("role=\"alert\""));
    assert!(wrong.header("set-cookie").is_empty());

    let session = sign_in(&site, "viewer").await;
    let cookie = ("cookie", format!("windlass_session={session}"));
    let page = |uri: &str| {
        TestRequest::get().uri(uri).insert_header(("accept", "text/html")).insert_header(cookie.clone())
    };
    for uri in ["/", "/queues", "/jobs", "/workers", "/cluster", "/schedules"] {
        let reply = site.ask(page(uri)).await;
        assert_eq!(reply.status, StatusCode::OK, "{uri}");
        let forms = reply.text.matches("method=\"post\"").count();
        assert_eq!(forms, 1, "{uri} offers a viewer nothing but to sign out");
        assert!(
            !reply.text.contains("href=\"/enqueue\"") && !reply.text.contains("href=\"/audit\""),
            "{uri}"
        );
    }
    let paused = TestRequest::post()
        .uri("/do")
        .insert_header(cookie.clone())
        .set_form([("do", "queue:pause"), ("queue", "default")]);
    assert_eq!(site.ask(paused).await.status, StatusCode::FORBIDDEN);
    let reply = site.ask(TestRequest::post().uri("/logout").insert_header(cookie.clone())).await;
    assert_eq!((reply.status, reply.header("location")), (StatusCode::SEE_OTHER, "/login"));
    assert_eq!(site.ask(page("/")).await.status, StatusCode::SEE_OTHER);

    let operator = ("cookie", format!("windlass_session={}", sign_in(&site, "operator").await));
    let audit =
        TestRequest::get().uri("/audit").insert_header(operator).insert_header(("accept", "text/html"));
    let reply = site.ask(audit).await;
    assert!(
        reply.text.contains("queue.pause") && reply.text.contains("queue &#60;mail&#62;"),
        "{}",
        reply.text
    );
}
