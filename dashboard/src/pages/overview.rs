//! `/`: rates, what waits and what is wrong, at one glance.

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use windlass_core::api::{Overview, Request, Response};
use windlass_core::job::JobState;

use super::queues::{QueueRow, busiest, rows};
use crate::api::unexpected;
use crate::chart::{self, Chart};
use crate::problem::Problem;
use crate::shell::{Place, Shell};
use crate::ui::Html;
use crate::{Dashboard, text, ui};

/// Queues on the overview; the page of queues has all of them.
const QUEUES_SHOWN: usize = 10;

/// One number with its name.
pub(crate) struct Tile {
    pub(crate) href: &'static str,
    pub(crate) text: &'static str,
    pub(crate) value: Html,
    /// Colour: a state's class, or nothing.
    pub(crate) class: &'static str,
}

#[derive(Template)]
#[template(path = "overview.html", blocks = ["problems", "tiles", "chart", "queues", "node"])]
pub(crate) struct Page {
    shell: Shell,
    overview: Box<Overview>,
    tiles: [Tile; 7],
    chart: Chart,
    queues: Vec<QueueRow>,
    queues_left_out: usize,
}

super::fragments!(Page: "problems" as_problems, "tiles" as_tiles, "chart" as_chart, "queues" as_queues, "node" as_node);

pub(crate) async fn load(dashboard: &Dashboard, shell: Shell) -> Result<Page, Problem> {
    let overview = match dashboard.call(Request::GetOverview).await? {
        Response::Overview(overview) => overview,
        other => return Err(unexpected(&other).into()),
    };
    let all = match dashboard.call(Request::ListQueues).await? {
        Response::Queues(queues) => rows(queues),
        other => return Err(unexpected(&other).into()),
    };
    let queues_left_out = all.len().saturating_sub(QUEUES_SHOWN);
    let chart = chart::draw(shell.lang, &overview.history, overview.history_step_ms);
    let tiles = tiles(&shell, &overview);
    Ok(Page { tiles, chart, queues: busiest(all, QUEUES_SHOWN), queues_left_out, overview, shell })
}

fn tiles(shell: &Shell, overview: &Overview) -> [Tile; 7] {
    let lang = shell.lang;
    let count = |state: JobState| text::number(overview.counts.get(&state).copied().unwrap_or(0));
    let rate = |per_second: f64| format!("{} {}", text::rate(per_second), lang.t("unit.per_s"));
    let tile = |href, text, value: String, class| Tile { href, text, value: small_units(&value), class };
    let failing = if overview.fail_rate >= 0.005 { "retrying" } else { "" };
    let dead = if overview.counts.get(&JobState::Dead).is_some_and(|n| *n > 0) { "dead" } else { "" };
    [
        tile("/queues", lang.t("tile.enqueued"), rate(overview.enqueue_rate), ""),
        tile("/jobs?state=succeeded", lang.t("tile.done"), rate(overview.done_rate), ""),
        tile("/jobs?state=retrying", lang.t("tile.failed"), rate(overview.fail_rate), failing),
        tile("/jobs?state=running", lang.t("tile.running"), count(JobState::Running), ""),
        tile("/queues", lang.t("tile.oldest"), text::duration(lang, overview.oldest_wait_ms), ""),
        tile("/jobs?state=scheduled", lang.t("tile.scheduled"), count(JobState::Scheduled), ""),
        tile("/jobs?state=dead", lang.t("tile.dead"), count(JobState::Dead), dead),
    ]
}

/// `3 min 05 s` with the words smaller than the numbers.
fn small_units(value: &str) -> Html {
    let part = |part: &str| {
        if part.starts_with(|c: char| c.is_ascii_digit()) {
            part.to_owned()
        } else {
            format!("<small>{}</small>", ui::esc(part))
        }
    };
    Html(value.split(' ').map(part).collect::<Vec<_>>().join(" "))
}

pub(crate) async fn show(dashboard: Dashboard, req: HttpRequest) -> HttpResponse {
    let shell = Shell::of(&dashboard, &req, Place::Overview);
    super::send(&dashboard, &req, load(&dashboard, shell).await)
}
