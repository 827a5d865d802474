//! What surrounds every page: language, theme, navigation, the message after an action.

use actix_web::HttpRequest;
use actix_web::cookie::{Cookie, SameSite, time::Duration};
use actix_web::http::header;

use windlass_core::access::{Need, Principal};

use crate::Dashboard;
use crate::assets;
use crate::i18n::Lang;
use crate::text::encode;

/// Cookie with the chosen language.
pub(crate) const LANG_COOKIE: &str = "windlass_lang";
/// Cookie with the chosen theme, `light` or `dark`; without it the system decides.
pub(crate) const THEME_COOKIE: &str = "windlass_theme";
/// Cookie with the message that the next page shows once.
pub(crate) const NOTICE_COOKIE: &str = "windlass_notice";

/// Which entry of the navigation is marked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Overview,
    Queues,
    Jobs,
    Workers,
    Cluster,
    Schedules,
    Audit,
    Enqueue,
    Docs,
    Nowhere,
}

/// One entry of the navigation.
pub(crate) struct Entry {
    pub(crate) href: &'static str,
    pub(crate) text: &'static str,
    pub(crate) icon: &'static str,
    pub(crate) here: bool,
    pub(crate) shortcut: &'static str,
}

/// The surroundings of one page for one visitor.
#[derive(Debug, Clone)]
pub(crate) struct Shell {
    pub(crate) lang: Lang,
    /// `light`, `dark` or `auto`.
    pub(crate) theme: &'static str,
    pub(crate) place: Place,
    pub(crate) version: String,
    pub(crate) badge: Option<String>,
    /// Nothing that would change something is offered: the node is read-only, or the visitor's role.
    pub(crate) read_only: bool,
    pub(crate) may_enqueue: bool,
    pub(crate) may_review: bool,
    /// Name of the visitor's token; `None` while no token is asked for, and before the visitor has shown one.
    pub(crate) visitor: Option<String>,
    /// Whether the visitor has not said yet who they are.
    pub(crate) stranger: bool,
    /// The address of this page, for links that come back to it.
    pub(crate) here: String,
    /// The message of the action before: its text and whether it went well.
    pub(crate) notice: Option<(String, bool)>,
    /// Host and port under which the visitor reached the node.
    pub(crate) host: String,
    pub(crate) native_addr: Option<String>,
}

impl Shell {
    /// The surroundings for a request.
    pub(crate) fn of(dashboard: &Dashboard, req: &HttpRequest, place: Place) -> Shell {
        let cookie = |name: &str| req.cookie(name).map(|cookie| cookie.value().to_owned());
        let options = dashboard.options();
        let lang = lang_of(req);
        let theme = match cookie(THEME_COOKIE).as_deref() {
            Some("light") => "light",
            Some("dark") => "dark",
            _ => "auto",
        };
        let may = |need| dashboard.caller().is_some_and(|caller| caller.grant.role.allows(need));
        let host = req.headers().get(header::HOST).and_then(|v| v.to_str().ok()).unwrap_or("127.0.0.1:7420");
        Shell {
            lang,
            theme,
            place,
            version: options.version.clone(),
            badge: options.badge.clone(),
            read_only: options.read_only || !may(Need::Steer),
            may_review: may(Need::Review),
            may_enqueue: !options.read_only && may(Need::Enqueue),
            visitor: dashboard.caller().filter(|c| c.principal != Principal::Anyone).map(|c| c.name.clone()),
            stranger: dashboard.caller().is_none(),
            here: without_choices(req),
            notice: cookie(NOTICE_COOKIE).and_then(|value| read_notice(lang, &value)),
            host: host.to_owned(),
            native_addr: options.native_addr.clone(),
        }
    }

    /// Where this version's files are.
    pub(crate) fn assets(&self) -> &'static str {
        assets::prefix()
    }

    /// The navigation.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        let entry = |href, key, icon, place, shortcut| Entry {
            href,
            text: self.lang.t(key),
            icon,
            here: self.place == place,
            shortcut,
        };
        let mut entries = vec![
            entry("/", NAV[0], "overview", Place::Overview, "g o"),
            entry("/queues", NAV[1], "queue", Place::Queues, "g q"),
            entry("/jobs", NAV[2], "job", Place::Jobs, "g j"),
            entry("/workers", NAV[3], "worker", Place::Workers, "g w"),
            entry("/schedules", NAV[4], "schedule", Place::Schedules, "g s"),
            entry("/cluster", NAV[5], "cluster", Place::Cluster, "g c"),
            entry("/docs/api", NAV[6], "code", Place::Docs, "g a"),
        ];
        if self.may_review {
            entries.push(entry("/audit", NAV[7], "check", Place::Audit, "g l"));
        }
        entries
    }

    /// This page's address with one more query parameter.
    pub(crate) fn here_with(&self, name: &str, value: &str) -> String {
        let join = if self.here.contains('?') { '&' } else { '?' };
        format!("{}{join}{name}={}", self.here, encode(value))
    }
}

/// Keys of the navigation's words.
const NAV: [&str; 8] = [
    "nav.overview",
    "nav.queues",
    "nav.jobs",
    "nav.workers",
    "nav.schedules",
    "nav.cluster",
    "nav.api",
    "nav.audit",
];

/// The language of a request: asked for in the address, then chosen before, then preferred by the browser.
pub(crate) fn lang_of(req: &HttpRequest) -> Lang {
    let asked = parameter(req, "lang").and_then(|tag| Lang::of_tag(&tag));
    let chosen = || req.cookie(LANG_COOKIE).and_then(|cookie| Lang::of_tag(cookie.value()));
    let preferred = || {
        let header = req.headers().get(header::ACCEPT_LANGUAGE)?;
        Lang::of_accept(header.to_str().ok()?)
    };
    asked.or_else(chosen).or_else(preferred).unwrap_or_default()
}

/// The first value of a query parameter.
pub(crate) fn parameter(req: &HttpRequest, name: &str) -> Option<String> {
    pairs(req.query_string()).find(|(key, _)| key == name).map(|(_, value)| value)
}

/// The pairs of a query string or a form, decoded. Pairs that are not UTF-8 are left out.
pub(crate) fn pairs(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    text.split('&').filter(|pair| !pair.is_empty()).filter_map(|pair| {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let decode = |text: &str| crate::api::percent_decode(&text.replace('+', " "));
        Some((decode(key)?, decode(value)?))
    })
}

/// Path and query without the choices of language and theme, which live in cookies.
fn without_choices(req: &HttpRequest) -> String {
    let kept: Vec<&str> = req
        .query_string()
        .split('&')
        .filter(|pair| !pair.is_empty() && !pair.starts_with("lang=") && !pair.starts_with("theme="))
        .collect();
    let path = req.uri().path();
    if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) }
}

/// A cookie for this site alone, for a year, or for as long as `seconds`.
pub(crate) fn cookie(name: &'static str, value: String, seconds: i64) -> Cookie<'static> {
    // Scripts may read language and theme, so that a switch takes effect at once; neither is a secret.
    Cookie::build(name, value)
        .path("/")
        .same_site(SameSite::Strict)
        .max_age(Duration::seconds(seconds))
        .finish()
}

/// A year, for choices.
pub(crate) const YEAR: i64 = 365 * 24 * 3600;

/// The notice cookie holds `outcome:key:count`; text from outside never travels in it.
pub(crate) fn notice_value(ok: bool, key: &str, count: u64) -> String {
    format!("{}:{key}:{count}", if ok { "ok" } else { "bad" })
}

fn read_notice(lang: Lang, value: &str) -> Option<(String, bool)> {
    let mut parts = value.split(':');
    let (outcome, key, count) = (parts.next()?, parts.next()?, parts.next()?.parse().ok()?);
    let known = key.len() < 40 && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    known.then(|| (notice_text(lang, key, count), outcome == "ok"))
}

/// The sentence of a notice.
pub(crate) fn notice_text(lang: Lang, key: &str, count: u64) -> String {
    if count == 1 {
        lang.t(&format!("notice.{key}")).to_owned()
    } else {
        lang.fill(&format!("notice.{key}_many"), &[("n", &crate::text::number(count))])
    }
}
