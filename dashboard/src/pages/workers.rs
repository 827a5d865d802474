//! `/workers`: who works, on what, and who was lost.

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use windlass_core::api::{Request, Response, WorkerView};

use crate::api::unexpected;
use crate::problem::Problem;
use crate::shell::{Place, Shell};
use crate::{Dashboard, text};

/// Workers on one page.
const SHOWN_MAX: usize = 300;
/// Jobs listed per worker.
const JOBS_SHOWN: usize = 20;

/// One worker as a card.
struct Card {
    view: WorkerView,
    left_out: usize,
}

impl Card {
    fn slots(&self) -> u64 {
        u64::from(self.view.running_count) + u64::from(self.view.free_slots)
    }

    fn load(&self) -> String {
        format!("{} / {}", text::number(self.view.running_count.into()), text::number(self.slots()))
    }

    fn status(&self, shell: &Shell) -> &'static str {
        match self.view.status.as_str() {
            "connected" => shell.lang.t("status.connected"),
            "away" => shell.lang.t("status.away"),
            "quiet" => shell.lang.t("status.quiet"),
            _ => shell.lang.t("status.unknown"),
        }
    }

    fn status_class(&self) -> &'static str {
        match self.view.status.as_str() {
            "connected" => "succeeded",
            "away" => "retrying",
            _ => "held",
        }
    }

    fn gossip(&self, shell: &Shell) -> &'static str {
        match self.view.gossip.as_str() {
            "alive" => shell.lang.t("gossip.alive"),
            "dead" => shell.lang.t("gossip.dead"),
            _ => shell.lang.t("gossip.unknown"),
        }
    }

    /// Whole seconds, so that the page does not change with every heartbeat.
    fn heartbeat(&self, shell: &Shell) -> String {
        match self.view.heartbeat_age_ms / 1_000 {
            0 | 1 => shell.lang.t("workers.beat_now").to_owned(),
            seconds => text::duration(shell.lang, seconds * 1_000),
        }
    }

    fn queues(&self) -> Vec<String> {
        let name = |(queue, weight): &(windlass_core::id::QueueName, u32)| {
            if *weight == 1 || self.view.strict { queue.to_string() } else { format!("{queue} ×{weight}") }
        };
        self.view.queues.iter().map(name).collect()
    }
}

#[derive(Template)]
#[template(path = "workers.html", blocks = ["list"])]
pub(crate) struct Page {
    shell: Shell,
    workers: Vec<Card>,
    total: usize,
    running: u64,
    slots: u64,
}

super::fragments!(Page: "workers" as_list);

pub(crate) async fn load(dashboard: &Dashboard, shell: Shell) -> Result<Page, Problem> {
    let views = match dashboard.call(Request::ListWorkers).await? {
        Response::Workers(workers) => workers,
        other => return Err(unexpected(&other).into()),
    };
    let total = views.len();
    let running = views.iter().map(|view| u64::from(view.running_count)).sum();
    let cards = views.into_iter().map(|mut view| {
        let listed = view.running.len().min(JOBS_SHOWN);
        view.running.truncate(listed);
        let left_out = (view.running_count as usize).saturating_sub(listed);
        Card { view, left_out }
    });
    let workers: Vec<Card> = cards.take(SHOWN_MAX).collect();
    let slots = workers.iter().map(Card::slots).sum();
    Ok(Page { shell, workers, total, running, slots })
}

pub(crate) async fn show(dashboard: Dashboard, req: HttpRequest) -> HttpResponse {
    let shell = Shell::of(&dashboard, &req, Place::Workers);
    super::send(&dashboard, &req, load(&dashboard, shell).await)
}
