//! `/jobs`: lists by queue, state and kind. The whole filter stands in the address.

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use windlass_core::api::{BulkAct, JobPage, JobQuery, JobSearch, JobView, Request, Response, StateCounts};
use windlass_core::id::QueueName;
use windlass_core::job::JobState;
use windlass_core::limits;

use crate::api::unexpected;
use crate::problem::Problem;
use crate::shell::{Place, Shell, pairs};
use crate::text::encode;
use crate::ui::{Button, Html};
use crate::{Dashboard, text, ui};

/// Jobs on one page.
const PAGE: u32 = 50;
/// Longest cursor that an address may carry.
const CURSOR_BYTES_MAX: usize = 512;
/// Longest part of an error that a row shows.
const HINT_CHARS: usize = 120;

/// What is asked for, as in the address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Filter {
    pub(crate) queue: Option<QueueName>,
    pub(crate) state: Option<JobState>,
    pub(crate) kind: Option<String>,
    /// More terms, in the language of filters.
    pub(crate) terms: Option<String>,
    pub(crate) cursor: Option<String>,
}

impl Filter {
    /// Reads a query string. Empty values, as forms send them, are no filter.
    pub(crate) fn of(query: &str) -> Result<Filter, Problem> {
        let mut filter = Filter::default();
        for (key, value) in pairs(query).filter(|(_, value)| !value.trim().is_empty()) {
            let value = value.trim();
            match key.as_str() {
                "queue" => filter.queue = Some(value.parse()?),
                "state" => filter.state = Some(value.parse()?),
                "kind" if value.len() <= limits::KIND_BYTES_MAX => filter.kind = Some(value.to_owned()),
                "kind" => {
                    return Err(Problem::invalid(format!(
                        "a kind has at most {} bytes",
                        limits::KIND_BYTES_MAX
                    )));
                }
                "filter" => {
                    windlass_core::filter::Filter::parse(value)
                        .map_err(|e| Problem::invalid(format!("the filter: {e}")))?;
                    filter.terms = Some(value.to_owned());
                }
                "cursor" if value.len() <= CURSOR_BYTES_MAX => filter.cursor = Some(value.to_owned()),
                _ => {}
            }
        }
        Ok(filter)
    }

    /// The address of this filter.
    pub(crate) fn address(&self) -> String {
        let mut parts = Vec::new();
        let mut add = |key: &str, value: Option<&str>| {
            if let Some(value) = value {
                parts.push(format!("{key}={}", encode(value)));
            }
        };
        add("queue", self.queue.as_ref().map(QueueName::as_str));
        add("state", self.state.map(JobState::name));
        add("kind", self.kind.as_deref());
        add("filter", self.terms.as_deref());
        add("cursor", self.cursor.as_deref());
        if parts.is_empty() { "/jobs".to_owned() } else { format!("/jobs?{}", parts.join("&")) }
    }

    fn with_state(&self, state: Option<JobState>) -> Filter {
        Filter { state, cursor: None, ..self.clone() }
    }
}

/// One state as a tab.
struct Tab {
    href: String,
    text: &'static str,
    count: String,
    class: &'static str,
    here: bool,
}

/// One job as a row.
pub(crate) struct JobRow {
    pub(crate) view: JobView,
}

impl JobRow {
    pub(crate) fn id(&self) -> String {
        self.view.id.to_string()
    }

    /// The last part of the id: the first is a clock and looks alike for neighbours.
    pub(crate) fn short_id(&self) -> String {
        let id = self.view.id.to_string();
        format!("…{}", &id[id.len() - 12..])
    }

    pub(crate) fn attempt(&self) -> String {
        format!(
            "{} / {}",
            text::number(self.view.attempt.into()),
            text::number(self.view.max_attempts.into())
        )
    }

    /// The instant that matters in this state, with its name.
    pub(crate) fn when(&self, shell: &Shell) -> Html {
        let view = &self.view;
        let (word, time) = match view.state {
            JobState::Scheduled | JobState::Retrying => (shell.lang.t("jobs.due"), ui::ago(view.run_at)),
            JobState::Running => match view.attempts.last().filter(|attempt| attempt.ended_at.is_none()) {
                Some(attempt) => (shell.lang.t("jobs.for"), ui::since(attempt.started_at)),
                None => (shell.lang.t("jobs.since"), ui::ago(view.run_at)),
            },
            JobState::Ready | JobState::Held => (shell.lang.t("jobs.since"), ui::ago(view.enqueued_at)),
            JobState::Succeeded | JobState::Dead | JobState::Cancelled | JobState::Expired => {
                (shell.lang.t("jobs.ended"), ui::ago(view.ended_at.unwrap_or(view.run_at)))
            }
        };
        Html(format!("<span class=\"dim\">{word}</span> {time}"))
    }

    /// The last error, or how far it is.
    pub(crate) fn hint(&self) -> String {
        let error =
            || self.view.attempts.iter().rev().map(|attempt| attempt.error.as_str()).find(|e| !e.is_empty());
        let shown = match &self.view.progress {
            Some((percent, message)) if self.view.state == JobState::Running => {
                format!("{percent} % {message}")
            }
            _ if self.view.state == JobState::Succeeded => String::new(),
            _ if !self.view.reason.is_empty() => self.view.reason.clone(),
            _ => error().unwrap_or_default().to_owned(),
        };
        let line = shown.lines().next().unwrap_or_default();
        let mut short: String = line.chars().take(HINT_CHARS).collect();
        if short.len() < line.len() {
            short.push('…');
        }
        short
    }

    /// What may be done to it from the list.
    pub(crate) fn buttons(&self, shell: &Shell) -> Html {
        let id = self.id();
        let fields = [("id", id.as_str())];
        Html(buttons(&self.view, shell, &fields, true, "").iter().map(|b| b.0.as_str()).collect())
    }
}

/// The actions that a job's state allows.
pub(crate) fn buttons(
    view: &JobView,
    shell: &Shell,
    fields: &[(&str, &str)],
    slim: bool,
    back: &str,
) -> Vec<Html> {
    let lang = shell.lang;
    let mut out = Vec::new();
    let mut add = |action, key, icon, class, ask: Option<&str>, back| {
        let confirm = ask.map(|ask| lang.fill(ask, &[("kind", &view.kind)]));
        out.push(Button { action, fields, text: lang.t(key), icon, slim, class, confirm, back }.html(shell));
    };
    let state = view.state;
    if matches!(state, JobState::Dead | JobState::Cancelled | JobState::Expired) {
        add("job:retry", ACTIONS[0], "retry", "", None, "");
    } else if matches!(state, JobState::Scheduled | JobState::Retrying) {
        add("job:retry", ACTIONS[1], "resume", "", None, "");
    }
    if !state.is_final() && !view.cancel_requested {
        add("job:cancel", ACTIONS[2], "cancel", "", Some(ASKS[0]), "");
    }
    if state != JobState::Running {
        add("job:delete", ACTIONS[3], "delete", "danger", Some(ASKS[1]), back);
    }
    out
}

const ACTIONS: [&str; 4] = ["action.retry", "action.run_now", "action.cancel", "action.delete"];
const ALL: [&str; 2] = ["action.retry_all", "action.delete_all"];
const ASKS: [&str; 2] = ["ask.cancel", "ask.delete"];

#[derive(Template)]
#[template(path = "jobs.html", blocks = ["tabs", "list"])]
pub(crate) struct Page {
    shell: Shell,
    filter: Filter,
    tabs: Vec<Tab>,
    jobs: Vec<JobRow>,
    next: Option<String>,
    scanned: u64,
    queues: Vec<String>,
    dead: u64,
    /// The whole filter in its own language; empty when all jobs are shown.
    asked: String,
    /// What may be done to all that match; nothing without a filter.
    acts: Vec<BulkAct>,
}

super::fragments!(Page: "tabs" as_tabs, "jobs" as_list);

impl Page {
    /// Buttons for all dead jobs of the queue in the filter; with more terms they would take more than is shown.
    fn dead_buttons(&self) -> Html {
        let (Some(queue), Some(JobState::Dead), None) =
            (&self.filter.queue, self.filter.state, &self.filter.terms)
        else {
            return Html(String::new());
        };
        let mut fields = vec![("queue", queue.as_str())];
        if let Some(kind) = &self.filter.kind {
            fields.push(("kind", kind));
        }
        let lang = self.shell.lang;
        let count = text::number(self.dead);
        let values = [
            ("n", count.as_str()),
            ("queue", queue.as_str()),
            ("kind", self.filter.kind.as_deref().unwrap_or("")),
        ];
        let ask = |whole: &str, of_kind: &str| {
            Some(lang.fill(if self.filter.kind.is_some() { of_kind } else { whole }, &values))
        };
        let button = |action, key, icon, class, confirm| {
            let text = lang.t(key);
            Button { action, fields: &fields, text, icon, slim: false, class, confirm, back: "" }
                .html(&self.shell)
        };
        let retry = ask("ask.retry_all", "ask.retry_all_kind");
        let delete = ask("ask.delete_all", "ask.delete_all_kind");
        Html(format!(
            "{}{}",
            button("dead:retry", ALL[0], "retry", "small", retry),
            button("dead:delete", ALL[1], "delete", "small danger", delete)
        ))
    }

    /// What an act on all that match says, and its icon.
    fn act_on_all(&self, act: &BulkAct) -> (&'static str, Html) {
        let (key, icon) = match act {
            BulkAct::Retry => ("bulk.retry_all", "retry"),
            BulkAct::Cancel => ("bulk.cancel_all", "cancel"),
            BulkAct::Delete => ("bulk.delete_all", "delete"),
        };
        (self.shell.lang.t(key), ui::icon(icon))
    }

    /// Which bulk actions the selection offers.
    fn may_retry(&self) -> bool {
        matches!(
            self.filter.state,
            None | Some(
                JobState::Dead
                    | JobState::Cancelled
                    | JobState::Expired
                    | JobState::Retrying
                    | JobState::Scheduled
            )
        )
    }

    fn may_cancel(&self) -> bool {
        self.filter.state.is_none_or(|state| !state.is_final())
    }

    fn first_page(&self) -> Option<String> {
        self.filter.cursor.is_some().then(|| Filter { cursor: None, ..self.filter.clone() }.address())
    }

    fn next_page(&self) -> Option<String> {
        self.next.as_ref().map(|next| Filter { cursor: Some(next.clone()), ..self.filter.clone() }.address())
    }

    /// Whether jobs were left out, so that it matters how many were looked at.
    fn is_sifted(&self) -> bool {
        self.filter.kind.is_some() || self.filter.terms.is_some()
    }

    fn queue_value(&self) -> &str {
        self.filter.queue.as_ref().map_or("", QueueName::as_str)
    }
}

fn tabs(shell: &Shell, filter: &Filter, counts: &StateCounts) -> Vec<Tab> {
    let all = Tab {
        href: filter.with_state(None).address(),
        text: shell.lang.t("jobs.all"),
        count: text::number(counts.values().sum()),
        class: "",
        here: filter.state.is_none(),
    };
    let mut tabs = vec![all];
    tabs.extend(JobState::ALL.into_iter().map(|state| Tab {
        href: filter.with_state(Some(state)).address(),
        text: shell.lang.t(&format!("state.{}", state.name())),
        count: text::number(counts.get(&state).copied().unwrap_or(0)),
        class: state.name(),
        here: filter.state == Some(state),
    }));
    tabs
}

/// Counts of the queue in the filter, or of all queues.
fn counts_of(queues: &[windlass_core::api::QueueView], queue: Option<&QueueName>) -> StateCounts {
    let mut counts = StateCounts::new();
    for view in queues.iter().filter(|view| queue.is_none_or(|queue| view.name == *queue)) {
        for (state, count) in &view.counts {
            *counts.entry(*state).or_default() += count;
        }
    }
    counts
}

pub(crate) async fn load(dashboard: &Dashboard, shell: Shell, filter: Filter) -> Result<Page, Problem> {
    let (queue, state, kind) = (filter.queue.clone(), filter.state, filter.kind.clone());
    let fields = JobQuery { queue, state, kind, ..JobQuery::default() };
    let asked = crate::api::jobs::search(&fields, filter.terms.as_deref().unwrap_or(""))?;
    let search = JobSearch { filter: asked.clone(), cursor: filter.cursor.clone(), limit: Some(PAGE) };
    let JobPage { jobs, next, scanned } = match dashboard.call(Request::SearchJobs(search)).await? {
        Response::Jobs(page) => page,
        other => return Err(unexpected(&other).into()),
    };
    let queues = match dashboard.call(Request::ListQueues).await? {
        Response::Queues(queues) => queues,
        other => return Err(unexpected(&other).into()),
    };
    let counts = counts_of(&queues, filter.queue.as_ref());
    Ok(Page {
        tabs: tabs(&shell, &filter, &counts),
        jobs: jobs.into_iter().map(|view| JobRow { view }).collect(),
        next,
        scanned,
        queues: queues.iter().take(200).map(|queue| queue.name.to_string()).collect(),
        dead: counts.get(&JobState::Dead).copied().unwrap_or(0),
        acts: acts_on_all(&asked)?,
        asked,
        shell,
        filter,
    })
}

/// The acts that touch a job in one of the filter's states.
fn acts_on_all(asked: &str) -> Result<Vec<BulkAct>, Problem> {
    let filter = windlass_core::filter::Filter::parse(asked)
        .map_err(|e| Problem::invalid(format!("the filter: {e}")))?;
    if filter.is_empty() {
        return Ok(Vec::new());
    }
    let states = filter.states().unwrap_or_else(|| JobState::ALL.to_vec());
    Ok(BulkAct::ALL.into_iter().filter(|act| states.iter().any(|state| act.touches(*state))).collect())
}

pub(crate) async fn show(dashboard: Dashboard, req: HttpRequest) -> HttpResponse {
    let shell = Shell::of(&dashboard, &req, Place::Jobs);
    let page = match Filter::of(req.query_string()) {
        Ok(filter) => load(&dashboard, shell, filter).await,
        Err(problem) => Err(problem),
    };
    super::send(&dashboard, &req, page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_survives_its_address() {
        let filter = Filter {
            queue: Some("mail.eu/high:1".parse().unwrap()),
            state: Some(JobState::Dead),
            kind: Some("a b&c=d%\"><img>".to_owned()),
            terms: Some("error:\"a & b\" age>10m".to_owned()),
            cursor: Some("x+/=".to_owned()),
        };
        let address = filter.address();
        let query = address.strip_prefix("/jobs?").unwrap();
        assert_eq!(Filter::of(query).unwrap(), filter);
        assert_eq!(Filter::of("queue=&state=&kind=").unwrap(), Filter::default());
        assert!(Filter::of("state=asleep").is_err());
        assert!(Filter::of("filter=stat:dead").unwrap_err().detail.contains("did you mean \"state\""));
    }
}
