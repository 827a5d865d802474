//! `/cluster`: which node owns what, who stands by, and how ownership has moved.

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use windlass_core::api::{ClusterNode, ClusterView, NodeState, Request, Response};

use crate::api::unexpected;
use crate::map::Map;
use crate::problem::Problem;
use crate::shell::{Place, Shell};
use crate::ui::{Button, Html};
use crate::{Dashboard, map, text, ui};

/// Clocks that differ by more are worth a word: due times, and the ids of jobs, follow the owner's clock. What is heard of a clock is
/// up to a second and a half old at first.
const SKEW_MS_MAX: u64 = 2_000;
/// What is to be read about running several nodes.
const MANUAL: &str =
    concat!(env!("CARGO_PKG_REPOSITORY"), "/blob/main/docs/operations.md#one-machine-or-several");

/// One node as a row.
struct Row {
    node: ClusterNode,
    /// The node that answers.
    here: bool,
    drain: Html,
}

impl Row {
    fn state(&self, shell: &Shell) -> Html {
        let name = self.node.state.name();
        let word = shell.lang.t(&format!("seat.{name}"));
        Html(format!("<span class=\"state {name}\">{}{word}</span>", ui::icon(name)))
    }

    fn epoch(&self) -> String {
        if self.node.epoch == 0 { "–".to_owned() } else { text::number(self.node.epoch) }
    }

    fn addresses(&self) -> impl Iterator<Item = &String> {
        [&self.node.http, &self.node.native, &self.node.faktory].into_iter().filter(|addr| !addr.is_empty())
    }

    fn heartbeat(&self, shell: &Shell) -> String {
        if self.here { "–".to_owned() } else { map::silence(shell.lang, self.node.lag_ms) }
    }

    fn clock(&self, shell: &Shell) -> String {
        match self.node.clock_skew_ms {
            Some(_) if self.here => "–".to_owned(),
            Some(skew) => {
                let sign = if skew < 0 { "−" } else { "+" };
                format!("{sign}{}", text::duration(shell.lang, skew.unsigned_abs()))
            }
            None => "?".to_owned(),
        }
    }

    fn rate(&self) -> String {
        text::rate(self.node.rate)
    }
}

#[derive(Template)]
#[template(path = "cluster.html", blocks = ["notes", "map", "nodes", "moves"])]
pub(crate) struct Page {
    shell: Shell,
    view: Box<ClusterView>,
    lead: String,
    /// What an operator should look at.
    notes: Vec<String>,
    /// What several nodes would give, where there is one.
    advice: Option<&'static str>,
    drawn: Map,
    rows: Vec<Row>,
}

super::fragments!(Page: "notes" as_notes, "map" as_map, "nodes" as_nodes, "moves" as_moves);

impl Page {
    fn manual(&self) -> &'static str {
        MANUAL
    }
}

pub(crate) async fn load(dashboard: &Dashboard, shell: Shell) -> Result<Page, Problem> {
    let view = match dashboard.call(Request::GetCluster).await? {
        Response::Cluster(view) => view,
        other => return Err(unexpected(&other).into()),
    };
    let alive = view.nodes.iter().filter(|node| node.state != NodeState::Gone).count();
    let advice =
        (alive == 1).then(|| shell.lang.t(if is_shared(&view) { "cluster.more" } else { "cluster.why" }));
    let (lead, notes) = (lead(&shell, &view), notes(&shell, &view, alive));
    let drawn = map::draw(shell.lang, &view, is_shared(&view));
    let row = |node: &ClusterNode| Row {
        here: node.name == view.node,
        drain: drain(&shell, node, alive),
        node: node.clone(),
    };
    let rows = view.nodes.iter().map(row).collect();
    Ok(Page { shell, lead, notes, advice, drawn, rows, view })
}

/// Whether further nodes could share the store.
fn is_shared(view: &ClusterView) -> bool {
    view.store.starts_with("postgres")
}

fn lead(shell: &Shell, view: &ClusterView) -> String {
    let lang = shell.lang;
    let of = |state| view.nodes.iter().filter(|node| node.state == state).count() as u64;
    let owners: Vec<&str> = view.shards.iter().filter_map(|shard| shard.owner.as_deref()).collect();
    match (view.nodes.len(), owners.first()) {
        (1, Some(_)) => lang.fill("cluster.lead_alone", &[("store", &view.store)]),
        (n, Some(owner)) => {
            let standby = lang.count("cluster.standbys", of(NodeState::Standby));
            let nodes = lang.count("cluster.nodes", n as u64);
            lang.fill("cluster.lead", &[("nodes", &nodes), ("owner", owner), ("standbys", &standby)])
        }
        (n, None) => lang.count("cluster.nodes", n as u64),
    }
}

fn notes(shell: &Shell, view: &ClusterView, alive: usize) -> Vec<String> {
    let lang = shell.lang;
    let mut notes: Vec<String> = view.trouble.iter().cloned().collect();
    for shard in &view.shards {
        let number = shard.shard.to_string();
        let Some(owner) = &shard.owner else {
            notes.push(lang.fill("cluster.no_owner", &[("n", &number)]));
            continue;
        };
        let gone = |node: &&ClusterNode| node.name == *owner && node.state == NodeState::Gone;
        if view.nodes.iter().any(|node| gone(&node)) {
            notes.push(lang.fill("cluster.owner_gone", &[("name", owner), ("n", &number)]));
        }
    }
    if is_shared(view) && alive == 1 {
        notes.push(lang.t("cluster.no_standby").to_owned());
    }
    for node in &view.nodes {
        let owns = view.shards.iter().any(|shard| shard.owner.as_deref() == Some(&node.name));
        if node.state == NodeState::Gone && !owns {
            let wait = text::duration(lang, node.lag_ms / 1_000 * 1_000);
            notes.push(lang.fill("cluster.node_gone", &[("name", &node.name), ("wait", &wait)]));
        }
        if let Some(skew) = node.clock_skew_ms.filter(|skew| skew.unsigned_abs() >= SKEW_MS_MAX) {
            let wait = text::duration(lang, skew.unsigned_abs());
            let key = if skew < 0 { "cluster.clock_late" } else { "cluster.clock_early" };
            notes.push(lang.fill(key, &[("name", &node.name), ("wait", &wait)]));
        }
    }
    notes
}

/// The button that lets a node give up what it owns; nothing where nobody could take over, and for nodes that own nothing, which can
/// be stopped at any time.
fn drain(shell: &Shell, node: &ClusterNode, alive: usize) -> Html {
    if alive < 2 || node.state != NodeState::Owner {
        return Html(String::new());
    }
    let fields = [("name", node.name.as_str())];
    let confirm = Some(shell.lang.fill("ask.node_drain", &fields));
    let (action, text) = ("node:drain", shell.lang.t("action.drain"));
    let (icon, slim, class, back) = ("draining", false, "small danger", "");
    Button { action, fields: &fields, text, icon, slim, class, confirm, back }.html(shell)
}

pub(crate) async fn show(dashboard: Dashboard, req: HttpRequest) -> HttpResponse {
    let shell = Shell::of(&dashboard, &req, Place::Cluster);
    super::send(&dashboard, &req, load(&dashboard, shell).await)
}
