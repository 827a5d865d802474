//! What the pages say and do, without scripts.

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::test::TestRequest;
use futures_util::StreamExt;
use windlass_core::job::JobState;
use windlass_dashboard::{Dashboard, Options};

use crate::fake::Fake;
use crate::sample::HOSTILE;
use crate::site;

#[actix_web::test]
async fn nothing_that_users_send_becomes_markup() {
    let fake = Fake::busy();
    let id = fake.hostile();
    let site = site(fake, Options { badge: Some(HOSTILE.to_owned()), ..Options::default() }).await;
    let encoded = "%22%3E%3Cimg%20src%3Dx%20onerror%3Dalert%281%29%3E";
    let pages = [
        "/".to_owned(),
        "/queues".to_owned(),
        "/jobs".to_owned(),
        "/jobs?state=dead".to_owned(),
        format!("/jobs?kind={encoded}"),
        format!("/jobs?queue={encoded}"),
        format!("/jobs?cursor={encoded}"),
        format!("/jobs/{id}"),
        format!("/jobs/{encoded}"),
        format!("/jobs?filter=kind:%22a{encoded}%22"),
        "/bulk".to_owned(),
        "/bulk/1".to_owned(),
        "/bulk/2".to_owned(),
        format!("/bulk/{encoded}"),
        "/workers".to_owned(),
        "/cluster".to_owned(),
        "/schedules".to_owned(),
        format!("/schedules/new?from={encoded}"),
        format!("/enqueue?queue={encoded}&kind={encoded}&payload={encoded}"),
        format!("/{encoded}"),
        format!("/?lang={encoded}&theme={encoded}"),
    ];
    for page in pages {
        let reply = site.page(&page).await;
        assert!(!reply.text.contains("<img"), "{page}");
        assert!(!reply.text.contains("<script>"), "{page}");
        assert_eq!(reply.text.matches("<script").count(), 1, "{page}: our own, and no other");
        assert!(!reply.text.contains(" style="), "{page} has an inline style, which the policy forbids");
        assert!(!reply.text.contains(" onclick="), "{page}");
    }
    let reply = site.form("/do", &[("do", HOSTILE), ("back", HOSTILE)]).await;
    assert!(!reply.text.contains("<img"));
    let confirm = [("do", "job:delete"), ("id", &id.to_string()), ("back", HOSTILE), (HOSTILE, HOSTILE)];
    let reply = site.form("/do", &confirm).await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(!reply.text.contains("<img") && reply.text.contains("Are you sure?"));
    let reply = site.form("/enqueue", &[("queue", HOSTILE), ("kind", HOSTILE), ("payload", HOSTILE)]).await;
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(!reply.text.contains("<img") && reply.text.contains("role=\"alert\""));
}

#[actix_web::test]
async fn a_job_is_shown_exactly() {
    let fake = Fake::busy();
    let id = {
        let mut world = fake.world.lock().unwrap();
        world.add("default", "k", r#"{"id":12345678901234567890,"price":1.10}"#, JobState::Dead, 5_000)
    };
    let site = site(fake, Options::default()).await;
    let text = site.page(&format!("/jobs/{id}")).await.text;
    assert!(text.contains("12345678901234567890") && text.contains("1.10"));
    assert_eq!(text.matches(" here\"").count(), 1, "the diagram marks one state");
    assert!(text.contains("Attempt 3") && text.contains("greylisted"));
    assert!(text.contains("curl &#39;http://"), "the command is there");
}

#[actix_web::test]
async fn buttons_work_without_scripts() {
    let fake = Fake::busy();
    let site = site(fake.clone(), Options::default()).await;
    let pause = [("do", "queue:pause"), ("queue", "images"), ("back", "/queues")];
    let reply = site.form("/do", &pause).await;
    assert_eq!((reply.status, reply.header("location")), (StatusCode::SEE_OTHER, "/queues"));
    assert!(fake.world.lock().unwrap().paused.contains_key("images"));
    let cookie = reply.header("set-cookie").split(';').next().unwrap().to_owned();
    let request = TestRequest::get()
        .uri("/queues")
        .insert_header(("cookie", cookie))
        .insert_header(("accept", "text/html"));
    let shown = site.ask(request).await;
    assert!(shown.text.contains("The queue is paused."), "the next page says what was done");
    assert!(shown.header("set-cookie").contains("Max-Age=0"), "and only once");
    assert!(!site.page("/queues").await.text.contains("The queue is paused."));
}

#[actix_web::test]
async fn what_destroys_asks_first() {
    let fake = Fake::busy();
    let dead =
        || fake.world.lock().unwrap().jobs.values().filter(|view| view.state == JobState::Dead).count();
    let site = site(fake.clone(), Options::default()).await;
    let fields = [("do", "dead:delete"), ("queue", "mail.eu/high"), ("back", "/jobs?state=dead")];
    let reply = site.form("/do", &fields).await;
    assert_eq!((reply.status, dead()), (StatusCode::OK, 7));
    assert!(reply.text.contains("Are you sure?") && reply.text.contains("name=\"confirm\" value=\"yes\""));
    let sure: Vec<(&str, &str)> = fields.iter().copied().chain([("confirm", "yes")]).collect();
    let reply = site.form("/do", &sure).await;
    assert_eq!((reply.status, dead()), (StatusCode::SEE_OTHER, 0));
    let elsewhere = [("do", "queue:pause"), ("queue", "images"), ("back", "https://evil.example/")];
    assert_eq!(site.form("/do", &elsewhere).await.header("location"), "/");
}

#[actix_web::test]
async fn all_that_match_are_counted_before_anything_is_done() {
    let fake = Fake::busy();
    let site = site(fake.clone(), Options::default()).await;
    let text = site.page("/jobs?state=dead&queue=mail.eu%2Fhigh&filter=attempt%3E%3D1").await.text;
    let filter = "name=\"filter\" value=\"queue:&#34;mail.eu/high&#34; state:dead attempt&#62;=1\"";
    assert!(text.contains("All that match:") && text.contains(filter), "{text}");
    assert!(!text.contains("Retry all dead"), "which would take more than is shown");
    let form =
        |text: &str| text.split("id=\"many\"").nth(1).unwrap().split("</form>").next().unwrap().to_owned();
    let offered = form(&text);
    assert!(offered.contains("value=\"retry\"") && offered.contains("value=\"delete\""));
    assert!(!offered.contains("value=\"cancel\""), "a dead job cannot be cancelled");
    let text = site.page("/jobs?state=ready").await.text;
    assert!(!form(&text).contains("value=\"retry\"") && form(&text).contains("value=\"cancel\""));
    assert!(
        !site.page("/jobs").await.text.contains("All that match:"),
        "without a filter it would be all jobs"
    );

    let act = [("act", "delete"), ("filter", "state:dead")];
    let reply = site.form("/bulk", &act).await;
    assert_eq!((reply.status, reply.header("location")), (StatusCode::SEE_OTHER, "/bulk/1"));
    assert!(fake.world.lock().unwrap().begun.pop().unwrap().dry_run, "it counts first");
    let text = site.page("/bulk/2").await.text;
    assert!(text.contains("Delete 7 jobs with their history? This cannot be undone."));
    assert!(text.contains("name=\"run\" value=\"yes\"") && text.contains("state:dead"));
    assert_eq!(text.matches("<tr id=\"j-").count(), 7, "the sample shows them");
    let yes = [act[0], act[1], ("run", "yes"), ("pace", "50"), ("reason", " old ones ")];
    assert_eq!(site.form("/bulk", &yes).await.status, StatusCode::SEE_OTHER);
    let spec = fake.world.lock().unwrap().begun.pop().unwrap();
    assert_eq!((spec.dry_run, spec.pace, spec.reason.as_str()), (false, Some(50), "old ones"));
}

#[actix_web::test]
async fn an_operation_is_watched_and_stopped() {
    let fake = Fake::busy();
    let site = site(fake.clone(), Options::default()).await;
    let text = site.page("/bulk/1").await.text;
    assert!(text.contains("<progress class=\"whole\" max=\"7\" value=\"4\""), "{text}");
    assert!(text.contains("3 of 7 done") && text.contains("1 job had changed") && text.contains("because"));
    assert!(text.contains("value=\"bulk:stop\"") && !text.contains("name=\"run\""));
    let stop = [("do", "bulk:stop"), ("bulk", "1"), ("back", "/bulk/1")];
    assert!(site.form("/do", &stop).await.text.contains("Are you sure?"));
    let sure: Vec<(&str, &str)> = stop.iter().copied().chain([("confirm", "yes")]).collect();
    assert_eq!(site.form("/do", &sure).await.header("location"), "/bulk/1");
    assert!(site.page("/bulk").await.text.contains("href=\"/bulk/1\""));
    for bad in [
        [("act", "burn"), ("filter", "state:dead"), ("pace", "")],
        [("act", "retry"), ("filter", "state:dead"), ("pace", "-1")],
        [("act", "retry"), ("filter", ""), ("pace", "5")],
    ] {
        assert_eq!(site.form("/bulk", &bad).await.status, StatusCode::UNPROCESSABLE_ENTITY, "{bad:?}");
    }
    assert!(fake.world.lock().unwrap().begun.is_empty());
    assert_eq!(site.page("/bulk/x").await.status, StatusCode::BAD_REQUEST);
    let read_only = crate::site(fake, Options { read_only: true, ..Options::default() }).await;
    let text = read_only.page("/bulk/2").await.text;
    assert!(!text.contains("name=\"run\"") && !text.contains("method=\"post\""));
    assert!(!read_only.page("/jobs?state=dead").await.text.contains("All that match:"));
}

#[actix_web::test]
async fn several_jobs_at_once_and_the_first_failure_is_told() {
    let fake = Fake::busy();
    let ids: Vec<String> = {
        let world = fake.world.lock().unwrap();
        world
            .jobs
            .values()
            .filter(|view| view.state == JobState::Dead)
            .map(|view| view.id.to_string())
            .collect()
    };
    let site = site(fake.clone(), Options::default()).await;
    let mut fields = vec![("do", "job:retry"), ("back", "/jobs")];
    fields.extend(ids.iter().map(|id| ("id", id.as_str())));
    assert_eq!(site.form("/do", &fields).await.status, StatusCode::SEE_OTHER);
    let world = fake.world.lock().unwrap().jobs.clone();
    assert!(ids.iter().all(|id| world[&id.parse().unwrap()].state == JobState::Ready));
    fields.push(("id", "01890a5d-ac96-774b-bcce-b302099a8057"));
    let reply = site.form("/do", &fields).await;
    assert_eq!(reply.status, StatusCode::NOT_FOUND);
    assert!(reply.text.contains("7 of 8 done"), "{}", reply.text);
    assert_eq!(site.form("/do", &[("do", "job:retry")]).await.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[actix_web::test]
async fn a_job_by_hand() {
    let fake = Fake::empty();
    let site = site(fake.clone(), Options::default()).await;
    let fields = [
        ("queue", "mail"),
        ("kind", "send_email"),
        ("payload", r#"{"n":12345678901234567890}"#),
        ("priority", "-3"),
        ("delay_s", "60"),
        ("max_attempts", "2"),
        ("tags", "vip, nightly"),
    ];
    let reply = site.form("/enqueue", &fields).await;
    assert_eq!(reply.status, StatusCode::SEE_OTHER);
    let world = fake.world.lock().unwrap();
    let view = world.jobs.values().next().unwrap();
    assert_eq!(reply.header("location"), format!("/jobs/{}", view.id));
    assert_eq!((view.priority, view.max_attempts, view.state), (-3, 2, JobState::Scheduled));
    assert_eq!(view.tags, ["vip", "nightly"]);
    assert_eq!(view.payload.data, r#"{"n":12345678901234567890}"#);
}

#[actix_web::test]
async fn a_schedule_by_hand_and_changed() {
    let fake = Fake::empty();
    let site = site(fake.clone(), Options::default()).await;
    let fields =
        [("name", "nightly"), ("cron", "0 3 * * *"), ("zone", "UTC"), ("kind", "report"), ("payload", "{}")];
    assert_eq!(site.form("/schedules/new", &fields).await.status, StatusCode::SEE_OTHER);
    let page = site.page("/schedules/new?from=nightly").await.text;
    assert!(page.contains("value=\"0 3 * * *\""));
    let both = [("name", "x"), ("cron", "0 3 * * *"), ("every_s", "5"), ("kind", "report")];
    let reply = site.form("/schedules/new", &both).await;
    assert_eq!(reply.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(reply.text.contains("not both"));
    let change =
        [("change", "yes"), ("name", "nightly"), ("every_s", "90"), ("kind", "report"), ("payload", "1")];
    assert_eq!(site.form("/schedules/new", &change).await.status, StatusCode::SEE_OTHER);
    assert!(site.page("/schedules").await.text.contains("every 1 min 30 s"));
}

#[actix_web::test]
async fn the_language_is_asked_for_chosen_or_preferred() {
    let site = site(Fake::busy(), Options::default()).await;
    let ask = |uri: &str, cookie: &str, accept: &str| {
        let mut request = TestRequest::get().uri(uri).insert_header(("accept", "text/html"));
        if !cookie.is_empty() {
            request = request.insert_header(("cookie", format!("windlass_lang={cookie}")));
        }
        if !accept.is_empty() {
            request = request.insert_header(("accept-language", accept));
        }
        request
    };
    let cases = [
        (ask("/", "", ""), "en"),
        (ask("/", "", "zh-CN,zh;q=0.9"), "zh-CN"),
        (ask("/", "en", "zh-CN"), "en"),
        (ask("/?lang=zh-CN", "en", "en"), "zh-CN"),
        (ask("/?lang=xx", "", "de"), "en"),
    ];
    for (request, lang) in cases {
        let text = site.ask(request).await.text;
        assert!(text.contains(&format!("<html lang=\"{lang}\"")), "{lang}");
    }
    let reply = site.page("/queues?lang=zh-CN").await;
    assert!(reply.text.contains("<h1>队列</h1>"));
    assert!(reply.header("set-cookie").starts_with("windlass_lang=zh-CN"));
    for page in [
        "/",
        "/queues",
        "/jobs",
        "/workers",
        "/cluster",
        "/schedules",
        "/schedules/new",
        "/enqueue",
        "/docs/api",
    ] {
        let text = site.page(&format!("{page}?lang=zh-CN")).await.text;
        assert!(!text.contains('⁇'), "{page} has a key without text");
    }
}

#[actix_web::test]
async fn pages_keep_their_filter_across_a_switch_of_language() {
    let site = site(Fake::busy(), Options::default()).await;
    let text = site.page("/jobs?state=dead&queue=mail.eu%2Fhigh").await.text;
    assert!(text.contains("href=\"/jobs?state=dead&#38;queue=mail.eu%2Fhigh&#38;lang=zh-CN\""), "{text}");
}

#[actix_web::test]
async fn the_files_are_there_under_their_version() {
    let site = site(Fake::busy(), Options::default()).await;
    let text = site.page("/").await.text;
    let sheet = text.split("rel=\"stylesheet\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(sheet.starts_with("/assets/") && sheet.ends_with("/app.css"));
    let reply = site.get(sheet).await;
    assert_eq!((reply.status, reply.header("content-type")), (StatusCode::OK, "text/css; charset=utf-8"));
    let script = sheet.replace("app.css", "js/main.js");
    assert_eq!(site.get(&script).await.header("content-type"), "text/javascript; charset=utf-8");
    for outside in ["/assets/x/../../Cargo.toml", "/assets/x/..%2f..%2fCargo.toml", "/assets/x/none.js"] {
        assert_eq!(site.get(outside).await.status, StatusCode::NOT_FOUND, "{outside}");
    }
}

/// What the page about the API shows is taken as it stands.
#[actix_web::test]
async fn the_example_with_every_option_is_true() {
    let site = site(Fake::empty(), Options::default()).await;
    let text = site.page("/docs/api").await.text;
    let body =
        text.split("id=\"every-option\" tabindex=\"0\">").nth(1).unwrap().split("</pre>").next().unwrap();
    let reply = site.post("/api/v1/jobs", body).await;
    assert_eq!(reply.status, StatusCode::CREATED, "{}", reply.text);
}

/// The scripts are small, and stay so.
#[actix_web::test]
async fn the_scripts_keep_their_budget() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/js");
    let mut total = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("// @ts-check\n"), "{}", path.display());
        for forbidden in ["http://", "https://", "eval(", ".style.", "new Function"] {
            assert!(!text.contains(forbidden), "{} has {forbidden}", path.display());
        }
        let lines = text.lines().count();
        assert!(!path.ends_with("morph.js") || lines <= 130, "the morph has {lines} lines");
        total += lines;
    }
    assert!(total < 1_200, "{total} lines");
}

/// Reads a live stream until `enough` says so, or for five seconds.
async fn read_live(address: &str, enough: impl Fn(&str) -> bool) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("the server listens");
    tokio::io::AsyncWriteExt::write_all(
        &mut stream,
        b"GET /live?page=%2Fqueues HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    )
    .await
    .expect("the server reads");
    let mut chunks = tokio_stream(stream);
    let mut text = String::new();
    let read = async {
        while let Some(chunk) = chunks.next().await {
            text.push_str(&chunk);
            if enough(&text) {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(5), read).await.expect("the stream has what is waited for");
    text
}

fn tokio_stream(
    stream: tokio::net::TcpStream,
) -> std::pin::Pin<Box<dyn futures_util::Stream<Item = String>>> {
    Box::pin(futures_util::stream::unfold(stream, |mut stream| async move {
        let mut buffer = vec![0; 16 * 1024];
        match tokio::io::AsyncReadExt::read(&mut stream, &mut buffer).await {
            Ok(0) | Err(_) => None,
            Ok(n) => Some((String::from_utf8_lossy(&buffer[..n]).into_owned(), stream)),
        }
    }))
}

#[actix_web::test]
async fn a_live_page_hears_of_changes_and_of_trouble() {
    let fake = Fake::busy();
    let dashboard = Dashboard::new(std::sync::Arc::new(fake.clone()), Options::default());
    let for_app = dashboard.clone();
    let server = actix_web::HttpServer::new(move || {
        let dashboard = for_app.clone();
        actix_web::App::new().configure(move |cfg| dashboard.configure(cfg))
    });
    let server = server.workers(1).disable_signals().shutdown_timeout(30).bind(("127.0.0.1", 0)).unwrap();
    let address = server.addrs()[0].to_string();
    let server = server.run();
    let handle = server.handle();
    let running = actix_web::rt::spawn(server);

    let first =
        read_live(&address, |text| text.contains("event: patch") && text.contains("</section>")).await;
    assert!(first.contains("text/event-stream") && first.contains("retry: 2000"));
    assert!(first.contains("data: <section id=\"queues\""));

    let paused = fake.clone();
    let change = async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        paused.world.lock().unwrap().add("brand-new", "k", "1", JobState::Ready, 10);
    };
    let watch = read_live(&address, |text| text.contains("brand-new"));
    let (_, seen) = tokio::join!(change, watch);
    assert!(seen.contains("/jobs?queue=brand-new"));

    let broken =
        windlass_core::api::ApiError::new(windlass_core::api::ErrorCode::Unavailable, "gone fishing");
    fake.world.lock().unwrap().broken = Some(broken);
    let seen = read_live(&address, |text| text.contains("gone fishing")).await;
    assert!(seen.contains("event: down"));

    // An open stream must not hold up a stop.
    let open = read_live(&address, |text| text.contains("retry")).await;
    assert!(!open.is_empty());
    let began = std::time::Instant::now();
    dashboard.stop();
    handle.stop(true).await;
    running.await.unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(5), "stopping took {:?}", began.elapsed());
}
