//! `/schedules`: what fires when, and what came of it.

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use windlass_core::api::{Request, Response, ScheduleView};
use windlass_core::schedule::When;

use crate::api::unexpected;
use crate::problem::Problem;
use crate::shell::{Place, Shell};
use crate::text::encode;
use crate::ui::{Button, Html};
use crate::{Dashboard, text};

/// Schedules on one page.
const SHOWN_MAX: usize = 500;

/// One schedule as a card.
struct Card {
    view: ScheduleView,
}

impl Card {
    fn name(&self) -> &str {
        &self.view.spec.name
    }

    fn cron(&self) -> Option<&str> {
        match &self.view.spec.when {
            When::Cron(cron) => Some(cron),
            When::EveryMs(_) => None,
        }
    }

    fn every(&self, shell: &Shell) -> String {
        match self.view.spec.when {
            When::EveryMs(ms) => {
                shell.lang.fill("schedules.every", &[("wait", &text::duration(shell.lang, ms))])
            }
            When::Cron(_) => String::new(),
        }
    }

    fn edit_link(&self) -> String {
        format!("/schedules/new?from={}", encode(self.name()))
    }

    fn queue_link(&self) -> String {
        format!("/jobs?queue={}", encode(self.view.spec.queue.as_str()))
    }

    fn fired(&self) -> String {
        text::number(self.view.fired_total)
    }

    fn skipped(&self) -> String {
        text::number(self.view.skipped_total)
    }

    fn buttons(&self, shell: &Shell) -> Html {
        let lang = shell.lang;
        let fields = [("name", self.name())];
        let button = |action, text, icon, class, confirm| {
            Button { action, fields: &fields, text, icon, slim: false, class, confirm, back: "" }
                .html(shell)
                .0
        };
        let switch = if self.view.paused {
            button("schedule:resume", lang.t("action.resume"), "resume", "small", None)
        } else {
            button("schedule:pause", lang.t("action.pause"), "pause", "small", None)
        };
        let trigger = button("schedule:trigger", lang.t("action.trigger"), "trigger", "small", None);
        let ask = lang.fill("ask.schedule_delete", &[("name", self.name())]);
        let delete = button("schedule:delete", lang.t("action.delete"), "delete", "small danger", Some(ask));
        Html(format!("{trigger}{switch}{delete}"))
    }
}

#[derive(Template)]
#[template(path = "schedules.html", blocks = ["list"])]
pub(crate) struct Page {
    shell: Shell,
    schedules: Vec<Card>,
    total: usize,
}

super::fragments!(Page: "schedules" as_list);

pub(crate) async fn load(dashboard: &Dashboard, shell: Shell) -> Result<Page, Problem> {
    let views = match dashboard.call(Request::ListSchedules).await? {
        Response::Schedules(schedules) => schedules,
        other => return Err(unexpected(&other).into()),
    };
    let total = views.len();
    Ok(Page {
        shell,
        schedules: views.into_iter().take(SHOWN_MAX).map(|view| Card { view }).collect(),
        total,
    })
}

pub(crate) async fn show(dashboard: Dashboard, req: HttpRequest) -> HttpResponse {
    let shell = Shell::of(&dashboard, &req, Place::Schedules);
    super::send(&dashboard, &req, load(&dashboard, shell).await)
}
