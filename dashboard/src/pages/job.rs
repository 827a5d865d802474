//! `/jobs/{id}`: everything about one job.

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use windlass_core::api::{AttemptView, JobView, Request, Response};
use windlass_core::id::JobId;
use windlass_core::job::{JobState, Payload};
use windlass_core::retry::Backoff;

use super::jobs::buttons;
use crate::api::unexpected;
use crate::problem::Problem;
use crate::shell::{Place, Shell};
use crate::text::{encode, shell_quote};
use crate::ui::Html;
use crate::{Dashboard, diagram, json, text, ui};

/// Largest payload that is put into a command to copy.
const COMMAND_PAYLOAD_MAX: usize = 4 * 1024;

/// A payload or a result, laid out.
pub(crate) struct Body {
    mime: String,
    size: String,
    /// The laid-out text; `None` for bytes that are not text.
    shown: Option<Html>,
    /// The exact text, for the copy button; empty when it is too long for one.
    exact: String,
    is_cut: bool,
}

/// One attempt of the timeline.
struct AttemptRow {
    view: AttemptView,
}

impl AttemptRow {
    fn worker(&self) -> String {
        if self.view.worker_name.is_empty() {
            self.view.worker.to_string()
        } else {
            self.view.worker_name.clone()
        }
    }

    fn outcome_class(&self) -> &'static str {
        use windlass_core::job::AttemptOutcome::{Cancelled, Failed, Lost, Released, Snoozed, Succeeded};
        match self.view.outcome {
            None => "running",
            Some(Succeeded) => "succeeded",
            Some(Failed) => "dead",
            Some(Lost) => "retrying",
            Some(Snoozed) => "scheduled",
            Some(Released) => "ready",
            Some(Cancelled) => "cancelled",
        }
    }

    /// How long it took; a clock that went backwards shows nothing rather than a negative time.
    fn took(&self, shell: &Shell) -> Html {
        match self.view.ended_at {
            Some(end) => Html(text::duration(shell.lang, end.since_ms(self.view.started_at))),
            None => ui::since(self.view.started_at),
        }
    }
}

#[derive(Template)]
#[template(path = "job.html", blocks = ["head", "diagram", "attempts", "facts", "result"])]
pub(crate) struct Page {
    shell: Shell,
    view: Box<JobView>,
    attempts: Vec<AttemptRow>,
    payload: Body,
    result: Option<Body>,
    drawing: Html,
    curl: String,
    cli: String,
}

super::fragments!(Page:
    "job-head" as_head, "diagram" as_diagram, "attempts" as_attempts, "facts" as_facts, "result" as_result);

impl Page {
    fn id(&self) -> String {
        self.view.id.to_string()
    }

    fn title(&self) -> String {
        format!("{} · {}", self.view.kind, self.shell.lang.t("job.title"))
    }

    fn queue_link(&self) -> String {
        format!("/jobs?queue={}", encode(self.view.queue.as_str()))
    }

    fn buttons(&self) -> Html {
        let id = self.id();
        let back =
            format!("/jobs?queue={}&state={}", encode(self.view.queue.as_str()), self.view.state.name());
        let all = buttons(&self.view, &self.shell, &[("id", id.as_str())], false, &back);
        Html(all.iter().map(|button| button.0.as_str()).collect())
    }

    fn is_waiting(&self) -> bool {
        matches!(self.view.state, JobState::Scheduled | JobState::Retrying)
    }

    /// The policy in words.
    fn backoff(&self) -> String {
        let lang = self.shell.lang;
        let wait = |ms: &u64| text::duration(lang, *ms);
        let (shape, jitter) = match &self.view.backoff {
            Backoff::Fixed { delay_ms, jitter_percent } => {
                (lang.fill("job.backoff_fixed", &[("wait", &wait(delay_ms))]), *jitter_percent)
            }
            Backoff::Exponential { base_ms, factor_tenths, max_ms, jitter_percent } => {
                let factor = format!("{}.{}", factor_tenths / 10, factor_tenths % 10);
                let values = [
                    ("base", &*wait(base_ms)),
                    ("factor", factor.trim_end_matches(".0")),
                    ("max", &*wait(max_ms)),
                ];
                (lang.fill("job.backoff_exponential", &values), *jitter_percent)
            }
            Backoff::List { delays_ms, jitter_percent } => {
                (delays_ms.iter().map(wait).collect::<Vec<_>>().join(", "), *jitter_percent)
            }
        };
        if jitter == 0 {
            shape
        } else {
            format!("{shape} {}", lang.fill("job.jitter", &[("n", &jitter.to_string())]))
        }
    }

    fn attempts_used(&self) -> String {
        format!(
            "{} / {}",
            text::number(self.view.attempt.into()),
            text::number(self.view.max_attempts.into())
        )
    }

    fn progress(&self) -> Option<(u8, &str)> {
        let (percent, message) = self.view.progress.as_ref()?;
        (self.view.state == JobState::Running).then_some(((*percent).min(100), message.as_str()))
    }

    fn duration(&self, ms: &u64) -> String {
        text::duration(self.shell.lang, *ms)
    }
}

fn lay_out(payload: &Payload) -> Body {
    let data = &payload.data;
    let text = std::str::from_utf8(data).ok();
    let mut is_cut = false;
    let shown = text.map(|text| {
        if text.len() <= json::SHOWN_BYTES_MAX
            && let Some(html) = json::to_html(text)
        {
            return Html(html);
        }
        let mut end = text.len().min(json::SHOWN_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        is_cut = end < text.len();
        Html(ui::esc(&text[..end]))
    });
    let exact = text.filter(|text| text.len() <= json::SHOWN_BYTES_MAX).unwrap_or_default().to_owned();
    Body { mime: payload.mime().to_owned(), size: text::bytes(data.len() as u64), shown, exact, is_cut }
}

/// The same job again, as a command for a shell.
fn commands(shell: &Shell, view: &JobView) -> (String, String) {
    let payload = std::str::from_utf8(&view.payload.data).ok();
    let payload =
        payload.filter(|text| view.payload.is_json() && text.len() <= COMMAND_PAYLOAD_MAX).unwrap_or("null");
    let word = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let mut body = format!(
        "{{\"queue\":{},\"kind\":{},\"payload\":{payload}",
        word(view.queue.as_str()),
        word(&view.kind)
    );
    if view.priority != 0 {
        body.push_str(&format!(",\"priority\":{}", view.priority));
    }
    body.push('}');
    let url = format!("http://{}/api/v1/jobs", shell.host);
    let curl =
        format!("curl {} -H 'content-type: application/json' -d {}", shell_quote(&url), shell_quote(&body));
    let server =
        shell.native_addr.as_ref().map_or(String::new(), |addr| format!(" --server {}", shell_quote(addr)));
    (curl, format!("windlass job get {}{server}", view.id))
}

pub(crate) async fn load(dashboard: &Dashboard, shell: Shell, id: JobId) -> Result<Page, Problem> {
    let view = match dashboard.call(Request::GetJob { id }).await? {
        Response::Job(view) => view,
        other => return Err(unexpected(&other).into()),
    };
    let (curl, cli) = commands(&shell, &view);
    let drawing = Html(diagram::draw(shell.lang, view.state));
    let attempts = view.attempts.iter().rev().map(|view| AttemptRow { view: view.clone() }).collect();
    let (payload, result) = (lay_out(&view.payload), view.result.as_ref().map(lay_out));
    Ok(Page { shell, attempts, payload, result, drawing, curl, cli, view })
}

pub(crate) async fn show(dashboard: Dashboard, req: HttpRequest) -> HttpResponse {
    let shell = Shell::of(&dashboard, &req, Place::Jobs);
    let page = match req.match_info().query("id").parse::<JobId>() {
        Ok(id) => load(&dashboard, shell, id).await,
        Err(e) => Err(Problem::malformed(e.to_string())),
    };
    super::send(&dashboard, &req, page)
}
