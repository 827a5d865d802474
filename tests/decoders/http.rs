//! HTTP as the dashboard's routes read it, over a node that is none: bodies, forms, queries, path segments and headers.

use std::cell::RefCell;
use std::future::Future;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use actix_web::body::{BoxBody, MessageBody, to_bytes};
use actix_web::dev::{Service, ServiceResponse};
use actix_web::http::{Method, StatusCode, Uri, header};
use actix_web::rt::{Runtime, time};
use actix_web::{App, test};
use windlass_core::job::JobState;
use windlass_dashboard::{Dashboard, Options, ROUTES};

#[path = "../../dashboard/tests/http/fake.rs"]
#[expect(dead_code, reason = "the dashboard's own tests use all of it")]
mod fake;
#[path = "../../dashboard/tests/http/made.rs"]
#[expect(dead_code, reason = "the dashboard's own tests use all of it")]
mod made;

/// Requests after which the node that is none is made anew, so that it does not grow.
const RENEW: u32 = 200;
/// An answer that takes longer has hung.
const PATIENCE: Duration = Duration::from_secs(30);

type Answer = (StatusCode, String, Vec<u8>);
type Ask = Box<dyn Fn(test::TestRequest) -> Pin<Box<dyn Future<Output = Answer>>>>;

/// A runtime and the site in it.
struct Room {
    runtime: Runtime,
    ask: Ask,
    asked: u32,
}

/// A request in the form `METHOD target`, header lines, an empty line, the body. Whatever it is, the answer comes, has a
/// status that is no failure of the node, and is JSON where it says so.
pub fn http(data: &[u8]) {
    status_of(data);
}

/// The same, and the status of the answer; `None` for bytes that are no request.
pub fn status_of(data: &[u8]) -> Option<StatusCode> {
    thread_local! {
        // Left to the end of the process: a runtime cannot be ended while its thread is.
        static ROOM: RefCell<Option<ManuallyDrop<Room>>> = const { RefCell::new(None) };
    }
    let request = read(data)?;
    let status = ROOM.with_borrow_mut(|slot| {
        if slot.as_ref().is_some_and(|room| room.asked >= RENEW) {
            slot.take().map(ManuallyDrop::into_inner);
        }
        let room = slot.get_or_insert_with(|| ManuallyDrop::new(Room::new()));
        room.asked += 1;
        let answer = (room.ask)(request);
        let answer = room.runtime.block_on(async { time::timeout(PATIENCE, answer).await });
        let (status, kind, body) = answer.expect("an answer within half a minute");
        assert!(status != StatusCode::INTERNAL_SERVER_ERROR, "{}", String::from_utf8_lossy(&body));
        if kind.contains("json") {
            let parsed: Result<serde_json::Value, _> = serde_json::from_slice(&body);
            assert!(parsed.is_ok(), "it is no JSON: {}", String::from_utf8_lossy(&body));
        }
        if kind.starts_with("text/html") {
            // What somebody sends may be shown, and must not be run.
            let text = String::from_utf8_lossy(&body);
            assert!(!text.contains("<fuzz"), "a tag of the request stands in the page: {text}");
        }
        status
    });
    Some(status)
}

impl Room {
    fn new() -> Room {
        let runtime = Runtime::new().expect("a runtime on this thread");
        let ask = runtime.block_on(async {
            let node = fake::Fake::default();
            for state in JobState::ALL {
                let mut world = node.world.lock().expect("nobody else has it");
                world.add("default", "k<fuzz>", "{\"a\":\"<fuzz>\"}", state, 1_000);
            }
            let dashboard = Dashboard::new(Arc::new(node), Options::default());
            let app = App::new().configure(|cfg| dashboard.configure(cfg));
            let service = std::rc::Rc::new(test::init_service(app).await);
            let ask: Ask = Box::new(move |request| {
                let service = std::rc::Rc::clone(&service);
                Box::pin(async move {
                    let answer = service.call(request.to_request()).await;
                    finish(answer.expect("errors become answers").map_into_boxed_body()).await
                })
            });
            ask
        });
        Room { runtime, ask, asked: 0 }
    }
}

/// Status, content type and body of an answer; streams that do not end are left.
async fn finish(answer: ServiceResponse<BoxBody>) -> Answer {
    /// Far above any page.
    const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
    let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let (status, kind) = (answer.status(), kind.unwrap_or_default().to_owned());
    let coded = answer.headers().contains_key(header::CONTENT_ENCODING);
    if kind.starts_with("text/event-stream") {
        return (status, kind, Vec::new());
    }
    let body = answer.into_body();
    assert!(!matches!(body.size(), actix_web::body::BodySize::Sized(size) if size > BODY_BYTES_MAX as u64));
    let body = to_bytes(body).await.map(|body| body.to_vec()).unwrap_or_default();
    // A compressed body is not looked into.
    if coded { (status, String::new(), Vec::new()) } else { (status, kind, body) }
}

/// The request that the bytes spell, if actix would hand one on at all. A first line that is a number stands for the route of
/// that number.
fn read(data: &[u8]) -> Option<test::TestRequest> {
    let (line, rest) = split(data, b'\n')?;
    let line = String::from_utf8_lossy(line);
    let (method, target) = line.split_once(' ')?;
    let method = Method::from_bytes(method.as_bytes()).ok()?;
    let target = match target.parse::<usize>() {
        Ok(number) => ROUTES[number % ROUTES.len()].path.replace(['{', '}'], ""),
        Err(_) => target.to_owned(),
    };
    let target: String = target.bytes().map(escape).collect();
    let uri: Uri = target.parse().ok().filter(|uri: &Uri| uri.path().starts_with('/'))?;
    let mut request = test::TestRequest::with_uri(&uri.to_string()).method(method);
    let mut rest = rest;
    while let Some((line, tail)) = split(rest, b'\n') {
        rest = tail;
        let Some((name, value)) = split(line, b':') else { break };
        let name = header::HeaderName::from_bytes(name).ok()?;
        let value = header::HeaderValue::from_bytes(value.trim_ascii()).ok()?;
        request = request.append_header((name, value));
    }
    Some(request.set_payload(rest.to_vec()))
}

fn split(data: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let end = data.iter().position(|byte| *byte == at)?;
    Some((&data[..end], &data[end + 1..]))
}

/// What may not stand in a target is escaped, as every client does.
fn escape(byte: u8) -> String {
    match byte {
        b'!'..=b'~' if !br#""<>\^`{|}#"#.contains(&byte) => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    }
}
