//! `/bulk/{bulk}`: one operation on many jobs. It is counted first; then the page asks, and then it shows how far it is.

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use windlass_core::api::{BulkAct, BulkState, BulkView, JobSearch, Request, Response};

use super::jobs::JobRow;
use crate::api::unexpected;
use crate::problem::Problem;
use crate::shell::{Place, Shell};
use crate::text::encode;
use crate::ui::{Button, Html};
use crate::{Dashboard, text, ui};

/// Jobs that are shown before anything is done to all of them.
const SAMPLE: usize = 10;
/// Jobs that are read to find so many: some that match are in a state that the act leaves alone.
const SAMPLE_READ: u32 = 50;

/// An operation in the words of the pages.
pub(crate) struct Operation {
    pub(crate) view: BulkView,
}

impl Operation {
    pub(crate) fn act(&self, shell: &Shell) -> &'static str {
        let lang = shell.lang;
        match self.view.act {
            BulkAct::Retry => lang.t("action.retry"),
            BulkAct::Cancel => lang.t("action.cancel"),
            BulkAct::Delete => lang.t("action.delete"),
        }
    }

    /// Icon, word and colour of how far it is.
    pub(crate) fn state(&self, shell: &Shell) -> Html {
        let lang = shell.lang;
        let (class, word) = match self.view.state {
            BulkState::Counting => ("scheduled", lang.t("bulk.counting")),
            BulkState::Running => ("running", lang.t("bulk.running")),
            BulkState::Done if self.view.dry_run => ("ready", lang.t("bulk.counted")),
            BulkState::Done => ("succeeded", lang.t("bulk.done")),
            BulkState::Cancelled => ("cancelled", lang.t("bulk.stopped")),
            BulkState::Failed => ("dead", lang.t("bulk.failed")),
        };
        Html(format!("<span class=\"state {class}\">{}{word}</span>", ui::icon(class)))
    }

    /// What is found, or how many are done.
    pub(crate) fn figures(&self, shell: &Shell) -> String {
        let lang = shell.lang;
        let n = text::number(self.view.matched);
        if self.is_counting() || self.view.dry_run {
            return lang.fill("bulk.found", &[("n", &n), ("scanned", &text::number(self.view.scanned))]);
        }
        lang.fill("bulk.so_far", &[("done", &text::number(self.view.done)), ("n", &n)])
    }

    fn is_counting(&self) -> bool {
        self.view.state == BulkState::Counting
    }

    fn is_over(&self) -> bool {
        self.view.state.is_over()
    }

    /// Jobs whose turn has come. What came to match after the count does not push the bar over its end.
    fn had_turn(&self) -> u64 {
        (self.view.done + self.view.skipped).min(self.view.matched)
    }

    /// Time that is left at the pace that was asked for.
    fn left_ms(&self) -> Option<u64> {
        let pace = self.view.pace.filter(|pace| *pace > 0)?;
        let left = self.view.matched - self.had_turn();
        (self.view.state == BulkState::Running && left > 0)
            .then(|| left.saturating_mul(1_000) / u64::from(pace))
    }
}

#[derive(Template)]
#[template(path = "bulk.html", blocks = ["head", "figures", "question", "sample", "facts"])]
pub(crate) struct Page {
    shell: Shell,
    op: Operation,
    sample: Vec<JobRow>,
}

super::fragments!(Page:
    "bulk-head" as_head, "figures" as_figures, "question" as_question, "sample" as_sample, "facts" as_facts);

impl Page {
    fn title(&self) -> &'static str {
        let lang = self.shell.lang;
        match self.op.view.act {
            BulkAct::Retry => lang.t("bulk.retry_many"),
            BulkAct::Cancel => lang.t("bulk.cancel_many"),
            BulkAct::Delete => lang.t("bulk.delete_many"),
        }
    }

    /// Whether the count is there and somebody has to decide.
    fn asks(&self) -> bool {
        self.is_counted() && self.op.view.matched > 0 && !self.shell.read_only
    }

    fn is_counted(&self) -> bool {
        self.op.view.dry_run && self.op.view.state == BulkState::Done
    }

    fn question(&self) -> String {
        let key = match self.op.view.act {
            BulkAct::Retry => ASKS[0],
            BulkAct::Cancel => ASKS[1],
            BulkAct::Delete => ASKS[2],
        };
        self.shell.lang.count(key, self.op.view.matched)
    }

    fn jobs_link(&self) -> String {
        format!("/jobs?filter={}", encode(&self.op.view.filter))
    }

    fn stop_button(&self) -> Html {
        if self.op.is_over() {
            return Html(String::new());
        }
        let id = self.op.view.id.to_string();
        let lang = self.shell.lang;
        let confirm = (!self.op.view.dry_run).then(|| lang.t("ask.bulk_stop").to_owned());
        let fields = [("bulk", id.as_str())];
        let text = lang.t("bulk.stop");
        Button {
            action: "bulk:stop",
            fields: &fields,
            text,
            icon: "cancel",
            slim: false,
            class: "",
            confirm,
            back: "",
        }
        .html(&self.shell)
    }

    fn left(&self) -> Option<String> {
        let wait = text::duration(self.shell.lang, self.op.left_ms()?);
        Some(self.shell.lang.fill("bulk.left", &[("wait", &wait)]))
    }

    fn pace(&self) -> String {
        let lang = self.shell.lang;
        match self.op.view.pace {
            Some(pace) => lang.fill("bulk.per_second", &[("n", &text::number(pace.into()))]),
            None => lang.t("bulk.no_pace").to_owned(),
        }
    }
}

/// Keys of the questions; each has a form for one and one for many.
const ASKS: [&str; 3] = ["bulk.ask_retry", "bulk.ask_cancel", "bulk.ask_delete"];

pub(crate) async fn load(dashboard: &Dashboard, shell: Shell, id: u64) -> Result<Page, Problem> {
    let view = match dashboard.call(Request::GetBulk { id }).await? {
        Response::Bulk(view) => *view,
        other => return Err(unexpected(&other).into()),
    };
    let mut page = Page { shell, op: Operation { view }, sample: Vec::new() };
    if page.is_counted() {
        let search =
            JobSearch { filter: page.op.view.filter.clone(), cursor: None, limit: Some(SAMPLE_READ) };
        let found = match dashboard.call(Request::SearchJobs(search)).await? {
            Response::Jobs(found) => found.jobs,
            other => return Err(unexpected(&other).into()),
        };
        let act = page.op.view.act;
        let touched = found.into_iter().filter(|job| act.touches(job.state));
        page.sample = touched.take(SAMPLE).map(|view| JobRow { view }).collect();
    }
    Ok(page)
}

pub(crate) async fn show(dashboard: Dashboard, req: HttpRequest) -> HttpResponse {
    let shell = Shell::of(&dashboard, &req, Place::Jobs);
    let page = match crate::api::bulk::number(&req) {
        Ok(id) => load(&dashboard, shell, id).await,
        Err(problem) => Err(problem),
    };
    super::send(&dashboard, &req, page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use windlass_core::time::Timestamp;

    fn running(pace: Option<u32>, matched: u64, done: u64, skipped: u64) -> Operation {
        let view = BulkView {
            id: 1,
            act: BulkAct::Retry,
            filter: "state:dead".to_owned(),
            reason: String::new(),
            pace,
            dry_run: false,
            state: BulkState::Running,
            scanned: matched,
            matched,
            done,
            skipped,
            error: String::new(),
            started_at: Timestamp(0),
            ended_at: None,
        };
        Operation { view }
    }

    #[test]
    fn the_time_left_follows_the_pace_and_the_bar_stays_in_its_frame() {
        assert_eq!(running(Some(50), 1_000, 400, 100).left_ms(), Some(10_000));
        assert_eq!(running(None, 1_000, 400, 100).left_ms(), None);
        let more_than_counted = running(Some(50), 10, 12, 3);
        assert_eq!((more_than_counted.had_turn(), more_than_counted.left_ms()), (10, None));
    }
}
