//! `/live?page=…`: server-sent events that keep a page true.
//!
//! Each distinct view (page, filter, language) is drawn at most once a second, whoever watches it, and handed to all its
//! watchers through a watch channel: the newest wins, so a slow browser costs no memory. A watcher gets only the
//! fragments that differ from what it got before. A view that nobody watches is not drawn at all.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use actix_web::http::header::{self, ContentEncoding};
use actix_web::{HttpRequest, HttpResponse};
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, interval_at};
use windlass_core::access::{Caller, Grant, QueuePattern, Role, allows};
use windlass_core::api::{ApiError, ErrorCode};

use crate::Dashboard;
use crate::i18n::Lang;
use crate::pages::{Fragment, View};
use crate::problem::Problem;
use crate::shell::{Place, Shell, parameter};

/// Time between two drawings of a view.
const TICK: Duration = Duration::from_secs(1);
/// Time between signs of life. Without them the server would not notice that a browser has gone.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Open streams at one time; each is a connection and a little memory.
const STREAMS_MAX: usize = 1_000;
/// Distinct views drawn at one time; each costs a drawing per second.
const VIEWS_MAX: usize = 200;

/// What is drawn once for all who watch it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    view: View,
    lang: Lang,
    /// Drawn into buttons, which come back to it.
    here: String,
    /// What is shown depends on what the watcher may do and see.
    reach: (Role, Vec<QueuePattern>),
}

/// The newest drawing of a view; `Err` holds why there is none.
type Drawing = Result<Arc<Vec<Fragment>>, String>;

/// All open streams of a node.
pub(crate) struct Hub {
    views: Mutex<BTreeMap<Key, watch::Sender<Option<Drawing>>>>,
    stop: watch::Sender<bool>,
}

impl Default for Hub {
    fn default() -> Hub {
        Hub { views: Mutex::default(), stop: watch::Sender::new(false) }
    }
}

impl Hub {
    pub(crate) fn stop(&self) {
        self.stop.send_replace(true);
    }

    fn views(&self) -> std::sync::MutexGuard<'_, BTreeMap<Key, watch::Sender<Option<Drawing>>>> {
        // The map is whole between any two statements that hold the lock, so a panic elsewhere does not spoil it.
        self.views.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Joins the watchers of a view; the first one starts its drawing.
fn watch_view(
    dashboard: &Dashboard,
    key: Key,
    shell: Shell,
) -> Result<watch::Receiver<Option<Drawing>>, Problem> {
    let busy = || ApiError::new(ErrorCode::Busy, "too many live pages are open; close some, or reload later");
    let mut views = dashboard.inner().live.views();
    let streams: usize = views.values().map(watch::Sender::receiver_count).sum();
    if streams >= STREAMS_MAX {
        return Err(busy().into());
    }
    if let Some(sender) = views.get(&key) {
        return Ok(sender.subscribe());
    }
    if views.len() >= VIEWS_MAX {
        return Err(busy().into());
    }
    let (sender, receiver) = watch::channel(None);
    views.insert(key.clone(), sender);
    drop(views);
    // Drawn for all who may do the same: the drawing goes on when the first of them has to go.
    let (role, queues) = key.reach.clone();
    let caller = Caller { grant: Grant { role, queues }, ..Caller::process() };
    actix_web::rt::spawn(draw_while_watched(dashboard.on_behalf_of(Arc::new(caller)), key, shell));
    Ok(receiver)
}

/// Draws a view every second until nobody watches it.
async fn draw_while_watched(dashboard: Dashboard, key: Key, shell: Shell) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stop = dashboard.inner().live.stop.subscribe();
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            _ = stop.wait_for(|stopped| *stopped) => break,
        }
        let drawn = key.view.fragments(&dashboard, shell.clone()).await;
        let drawn = drawn.map(Arc::new).map_err(|problem| problem.detail);
        let mut views = dashboard.inner().live.views();
        let Some(sender) = views.get(&key) else { break };
        // Under the lock nobody can join between this look and the removal.
        if sender.receiver_count() == 0 {
            views.remove(&key);
            break;
        }
        sender.send_if_modified(|newest| {
            let changed = newest.as_ref() != Some(&drawn);
            if changed {
                *newest = Some(drawn);
            }
            changed
        });
    }
    if *dashboard.inner().live.stop.borrow() {
        dashboard.inner().live.views().remove(&key);
    }
}

/// What one browser has got so far.
struct Watcher {
    newest: watch::Receiver<Option<Drawing>>,
    stop: watch::Receiver<bool>,
    keep_alive: tokio::time::Interval,
    /// Resolves when the token of this browser is good for nothing any more.
    leave: Pin<Box<dyn Future<Output = ()> + Send>>,
    sent: HashMap<&'static str, String>,
    was_down: bool,
    greeted: bool,
}

impl Watcher {
    /// The next bytes for the browser; `None` ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        if !self.greeted {
            self.greeted = true;
            // A browser that lost its stream comes back after two seconds.
            return Some(Bytes::from_static(b"retry: 2000\n\n"));
        }
        loop {
            tokio::select! {
                changed = self.newest.changed() => changed.ok()?,
                _ = self.keep_alive.tick() => return Some(Bytes::from_static(b": alive\n\n")),
                _ = self.stop.wait_for(|stopped| *stopped) => return None,
                () = &mut self.leave => return None,
            }
            if let Some(bytes) = self.news() {
                return Some(bytes);
            }
        }
    }

    /// Events for what has changed since the last time.
    fn news(&mut self) -> Option<Bytes> {
        let drawing = self.newest.borrow_and_update().clone()?;
        let mut out = String::new();
        match drawing {
            Ok(fragments) => {
                if std::mem::take(&mut self.was_down) {
                    event(&mut out, "up", "");
                }
                for fragment in fragments.iter() {
                    if self.sent.get(fragment.id) != Some(&fragment.html) {
                        event(&mut out, "patch", &fragment.html);
                        self.sent.insert(fragment.id, fragment.html.clone());
                    }
                }
            }
            Err(reason) => {
                self.was_down = true;
                event(&mut out, "down", &reason);
            }
        }
        (!out.is_empty()).then(|| Bytes::from(out))
    }
}

/// One event; every line of its data has its own prefix, as the format wants.
fn event(out: &mut String, name: &str, data: &str) {
    out.push_str("event: ");
    out.push_str(name);
    for line in data.split(['\n', '\r']) {
        out.push_str("\ndata: ");
        out.push_str(line);
    }
    out.push_str("\n\n");
}

pub(crate) async fn stream(dashboard: Dashboard, req: HttpRequest) -> Result<HttpResponse, Problem> {
    let page = parameter(&req, "page").unwrap_or_default();
    let Some(view) = View::of(&page) else {
        return Err(Problem::not_found(format!("the page {page:?} has nothing that changes")));
    };
    if *dashboard.inner().live.stop.borrow() {
        return Err(ApiError::new(ErrorCode::Unavailable, "the node is stopping").into());
    }
    let mut shell = Shell::of(&dashboard, &req, Place::Nowhere);
    shell.here.clone_from(&page);
    let caller = Arc::clone(dashboard.known()?);
    allows(&caller.grant, view.operation(), None)
        .map_err(|refused| ApiError::new(ErrorCode::Denied, refused.to_string()))?;
    let reach = (caller.grant.role, caller.grant.queues.clone());
    let key = Key { view, lang: shell.lang, here: page, reach };
    let mut keep_alive = interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
    keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut newest = watch_view(&dashboard, key, shell)?;
    // What was drawn before this browser came is news to it.
    newest.mark_changed();
    let watcher = Watcher {
        newest,
        stop: dashboard.inner().live.stop.subscribe(),
        keep_alive,
        leave: dashboard.inner().backend.leave(&caller),
        sent: HashMap::new(),
        was_down: false,
        greeted: false,
    };
    let events = stream::unfold(watcher, |mut watcher| async move {
        let bytes = watcher.next().await?;
        Some((Ok::<_, actix_web::Error>(bytes), watcher))
    });
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(("x-accel-buffering", "no"))
        // Says that it is not compressed, so that the compression leaves it alone and nothing is held back.
        .insert_header(ContentEncoding::Identity)
        .streaming(events))
}

#[cfg(test)]
mod tests {
    use super::event;

    #[test]
    fn no_line_of_data_can_start_an_event() {
        let mut out = String::new();
        event(&mut out, "patch", "<p>\nevent: evil\r\rdata: x</p>");
        assert_eq!(out, "event: patch\ndata: <p>\ndata: event: evil\ndata: \ndata: data: x</p>\n\n");
    }
}
