//! `/queues`: what waits where, how fast it goes, and the switch that stops it.

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use windlass_core::api::{QueueView, Request, Response};
use windlass_core::job::JobState;

use crate::api::unexpected;
use crate::problem::Problem;
use crate::shell::{Place, Shell};
use crate::text::encode;
use crate::ui::{Button, Html};
use crate::{Dashboard, text};

/// Queues on one page; beyond that the jobs page finds a queue by its name.
const SHOWN_MAX: usize = 500;

/// One queue as a row.
pub(crate) struct QueueRow {
    pub(crate) view: QueueView,
}

impl QueueRow {
    pub(crate) fn name(&self) -> &str {
        self.view.name.as_str()
    }

    pub(crate) fn count(&self, state: JobState) -> u64 {
        self.view.counts.get(&state).copied().unwrap_or(0)
    }

    /// Jobs that have not come to an end.
    fn unfinished(&self) -> u64 {
        JobState::ALL.into_iter().filter(|state| !state.is_final()).map(|state| self.count(state)).sum()
    }

    pub(crate) fn ready(&self) -> String {
        text::number(self.count(JobState::Ready))
    }

    pub(crate) fn running(&self) -> String {
        text::number(self.count(JobState::Running))
    }

    /// Delayed jobs and retries together: what will be ready later.
    pub(crate) fn later(&self) -> String {
        text::number(self.count(JobState::Scheduled) + self.count(JobState::Retrying))
    }

    pub(crate) fn dead(&self) -> String {
        text::number(self.count(JobState::Dead))
    }

    pub(crate) fn has_dead(&self) -> bool {
        self.count(JobState::Dead) > 0
    }

    pub(crate) fn oldest(&self, shell: &Shell) -> String {
        if self.view.oldest_wait_ms == 0 {
            "–".to_owned()
        } else {
            text::duration(shell.lang, self.view.oldest_wait_ms)
        }
    }

    pub(crate) fn rate_in(&self) -> String {
        text::rate(self.view.enqueue_rate)
    }

    pub(crate) fn rate_out(&self) -> String {
        text::rate(self.view.done_rate)
    }

    /// Jobs wait, nothing is paused, and nobody takes them.
    pub(crate) fn is_stuck(&self) -> bool {
        self.view.workers == 0 && !self.view.paused && self.count(JobState::Ready) > 0
    }

    /// The list of its jobs, of one state or of all.
    pub(crate) fn jobs(&self, state: &str) -> String {
        let queue = encode(self.name());
        if state.is_empty() {
            format!("/jobs?queue={queue}")
        } else {
            format!("/jobs?queue={queue}&state={state}")
        }
    }

    /// Pause or resume.
    pub(crate) fn switch(&self, shell: &Shell) -> Html {
        let (action, word, icon) = if self.view.paused {
            ("queue:resume", shell.lang.t("action.resume"), "resume")
        } else {
            ("queue:pause", shell.lang.t("action.pause"), "pause")
        };
        let fields = [("queue", self.name())];
        let class = "small";
        Button { action, fields: &fields, text: word, icon, slim: false, class, confirm: None, back: "" }
            .html(shell)
    }
}

/// Rows by name.
pub(crate) fn rows(queues: Vec<QueueView>) -> Vec<QueueRow> {
    queues.into_iter().map(|view| QueueRow { view }).collect()
}

/// The rows with the most to do, again by name.
pub(crate) fn busiest(mut rows: Vec<QueueRow>, max: usize) -> Vec<QueueRow> {
    if rows.len() > max {
        rows.sort_by_key(|row| std::cmp::Reverse((row.unfinished(), row.view.enqueued_total)));
        rows.truncate(max);
        rows.sort_by(|a, b| a.view.name.cmp(&b.view.name));
    }
    rows
}

#[derive(Template)]
#[template(path = "queues.html", blocks = ["list"])]
pub(crate) struct Page {
    shell: Shell,
    queues: Vec<QueueRow>,
    total: usize,
}

super::fragments!(Page: "queues" as_list);

pub(crate) async fn load(dashboard: &Dashboard, shell: Shell) -> Result<Page, Problem> {
    let queues = match dashboard.call(Request::ListQueues).await? {
        Response::Queues(queues) => rows(queues),
        other => return Err(unexpected(&other).into()),
    };
    let total = queues.len();
    Ok(Page { shell, queues: busiest(queues, SHOWN_MAX), total })
}

pub(crate) async fn show(dashboard: Dashboard, req: HttpRequest) -> HttpResponse {
    let shell = Shell::of(&dashboard, &req, Place::Queues);
    super::send(&dashboard, &req, load(&dashboard, shell).await)
}
