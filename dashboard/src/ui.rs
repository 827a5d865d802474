//! Small pieces of markup that many pages share. Whatever comes from outside is escaped here, once.

use std::fmt;

use askama::filters::{Html as Escaper, escape};
use windlass_core::job::{AttemptOutcome, JobState};
use windlass_core::time::Timestamp;

use crate::i18n::Lang;
use crate::shell::Shell;
use crate::text;

/// Markup that is safe to put into a page as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Html(pub(crate) String);

impl fmt::Display for Html {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl askama::FastWritable for Html {
    fn write_into(&self, dest: &mut dyn fmt::Write, _: &dyn askama::Values) -> askama::Result<()> {
        Ok(dest.write_str(&self.0)?)
    }
}

impl askama::filters::HtmlSafe for Html {}

/// Text as markup.
pub(crate) fn esc(text: &str) -> String {
    escape(text, Escaper).expect("escaping writes to a string").to_string()
}

/// An icon of 16 units, drawn in the colour of the text around it and hidden from screen readers.
pub(crate) fn icon(name: &str) -> Html {
    let shape = match name {
        "overview" => "<path d=\"M2 13.5h12M4 11V7m4 4V3m4 8V5.5\"/>",
        "queue" => "<path d=\"M2.5 4h11M2.5 8h11M2.5 12h7\"/>",
        "job" => "<path d=\"M2.5 5.2 8 2.2l5.5 3v5.6l-5.5 3-5.5-3zM2.5 5.2 8 8.2l5.5-3M8 8.2v5.6\"/>",
        "worker" => {
            "<rect x=\"3\" y=\"3\" width=\"10\" height=\"10\" rx=\"2\"/><path d=\"M6.2 6.2h3.6v3.6H6.2zM6 .8V3m4-2.2V3M6 13v2.2m4-2.2v2.2M.8 6H3m-2.2 4H3m10-4h2.2M13 10h2.2\"/>"
        }
        "schedule" => {
            "<rect x=\"2.2\" y=\"3\" width=\"11.6\" height=\"10.8\" rx=\"2\"/><path d=\"M2.2 6.4h11.6M5.2 1.4V4m5.6-2.6V4\"/>"
        }
        "code" => "<path d=\"M5.2 4.2 1.6 8l3.6 3.8m5.6-7.6L14.4 8l-3.6 3.8M9.2 2.6 6.8 13.4\"/>",
        "cluster" => {
            "<circle cx=\"8\" cy=\"3.4\" r=\"2\"/><circle cx=\"3.4\" cy=\"12.2\" r=\"2\"/><circle cx=\"12.6\" cy=\"12.2\" r=\"2\"/><path d=\"M7 5.2 4.4 10.4M9 5.2l2.6 5.2M5.4 12.2h5.2\"/>"
        }
        "owner" => "<path d=\"M2.6 12.6h10.8M2.6 10.4 1.8 4.4l3.6 2.4L8 2.6l2.6 4.2 3.6-2.4-.8 6z\"/>",
        "standby" => "<path d=\"M8 1.8 13.4 4v4c0 3.2-2.4 5.2-5.4 6.2C5 13.2 2.6 11.2 2.6 8V4z\"/>",
        "draining" => "<path d=\"M2.6 2.6v10.8h5M6.4 8h7.2m-3-3 3 3-3 3\"/>",
        "gone" => "<path d=\"m3.6 3.6 8.8 8.8m0-8.8-8.8 8.8\"/>",
        "scheduled" => "<circle cx=\"8\" cy=\"8\" r=\"5.8\"/><path d=\"M8 4.6V8l2.4 1.6\"/>",
        "ready" => {
            "<circle cx=\"8\" cy=\"8\" r=\"5.8\"/><circle cx=\"8\" cy=\"8\" r=\"1.6\" class=\"solid\"/>"
        }
        "held" => {
            "<rect x=\"3.6\" y=\"7\" width=\"8.8\" height=\"6.4\" rx=\"1.4\"/><path d=\"M5.4 7V5a2.6 2.6 0 0 1 5.2 0v2\"/>"
        }
        "running" | "resume" => "<path d=\"M4.6 2.8v10.4L13 8z\"/>",
        "retrying" | "retry" => "<path d=\"M13.4 8A5.4 5.4 0 1 1 11.6 4M13.2 1.8v3h-3\"/>",
        "succeeded" | "check" => "<path d=\"m2.8 8.4 3.4 3.6 7-8\"/>",
        "dead" => "<path d=\"M8 1.8 14.6 13.4H1.4zM8 6.2v3.4m0 1.6v.4\"/>",
        "cancelled" | "cancel" => "<circle cx=\"8\" cy=\"8\" r=\"5.8\"/><path d=\"M4 12 12 4\"/>",
        "expired" => {
            "<path d=\"M4 1.8h8M4 14.2h8M4.8 1.8c0 4 6.4 4.4 6.4 12.4M11.2 1.8c0 4-6.4 4.4-6.4 12.4\"/>"
        }
        "pause" => "<path d=\"M5 3v10m6-10v10\"/>",
        "delete" => {
            "<path d=\"M2.6 4.2h10.8M6 4.2V2.4h4v1.8M4 4.2l.6 9.4h6.8l.6-9.4M6.6 6.8v4.4m2.8-4.4v4.4\"/>"
        }
        "copy" => {
            "<rect x=\"5.4\" y=\"5.4\" width=\"8.2\" height=\"8.2\" rx=\"1.6\"/><path d=\"M3.4 10.4h-.6a.8.8 0 0 1-.8-.8V2.8a.8.8 0 0 1 .8-.8h6.8a.8.8 0 0 1 .8.8v.6\"/>"
        }
        "plus" => "<path d=\"M8 2.6v10.8M2.6 8h10.8\"/>",
        "theme" => {
            "<circle cx=\"8\" cy=\"8\" r=\"5.8\"/><path class=\"solid\" d=\"M8 2.2a5.8 5.8 0 0 1 0 11.6z\"/>"
        }
        "help" => {
            "<circle cx=\"8\" cy=\"8\" r=\"5.8\"/><path d=\"M6.2 6.4a1.8 1.8 0 1 1 2.6 1.6c-.6.3-.8.6-.8 1.2m0 1.8v.4\"/>"
        }
        "lang" => {
            "<circle cx=\"8\" cy=\"8\" r=\"5.8\"/><path d=\"M2.2 8h11.6M8 2.2c3.2 3.6 3.2 8 0 11.6-3.2-3.6-3.2-8 0-11.6z\"/>"
        }
        "trigger" => "<path d=\"M9 1.6 3.4 9h4L7 14.4 12.6 7h-4z\"/>",
        "edit" => "<path d=\"m2.6 13.4.6-3L10.6 3l2.4 2.4-7.4 7.4zM9 4.6 11.4 7\"/>",
        "next" => "<path d=\"m6 3 5 5-5 5\"/>",
        _ => "<circle cx=\"8\" cy=\"8\" r=\"2\"/>",
    };
    Html(format!("<svg class=\"icon\" viewBox=\"0 0 16 16\" aria-hidden=\"true\">{shape}</svg>"))
}

/// A copied value. Templates hand fields over by reference, items of lists by reference to a reference, and results by
/// value; this takes all of them.
pub(crate) trait Value<T: Copy> {
    fn get(self) -> T;
}

impl<T: Copy> Value<T> for T {
    fn get(self) -> T {
        self
    }
}

impl<T: Copy> Value<T> for &T {
    fn get(self) -> T {
        *self
    }
}

impl<T: Copy> Value<T> for &&T {
    fn get(self) -> T {
        **self
    }
}

/// A whole number with separators.
pub(crate) fn num(n: impl Value<u64>) -> String {
    text::number(n.get())
}

/// A size.
pub(crate) fn bytes(n: impl Value<u64>) -> String {
    text::bytes(n.get())
}

/// A state: icon, word and colour.
pub(crate) fn state(lang: impl Value<Lang>, state: impl Value<JobState>) -> Html {
    let name = state.get().name();
    let word = lang.get().t(&format!("state.{name}"));
    Html(format!("<span class=\"state {name}\">{}{word}</span>", icon(name)))
}

/// How an attempt ended; `None` while it runs.
pub(crate) fn outcome(lang: impl Value<Lang>, outcome: impl Value<Option<AttemptOutcome>>) -> Html {
    let (name, class) = match outcome.get() {
        None => ("running", "running"),
        Some(AttemptOutcome::Succeeded) => ("succeeded", "succeeded"),
        Some(AttemptOutcome::Failed) => ("failed", "dead"),
        Some(AttemptOutcome::Snoozed) => ("snoozed", "scheduled"),
        Some(AttemptOutcome::Released) => ("released", "ready"),
        Some(AttemptOutcome::Lost) => ("lost", "retrying"),
        Some(AttemptOutcome::Cancelled) => ("cancelled", "cancelled"),
    };
    Html(format!(
        "<span class=\"state {class}\">{}{}</span>",
        icon(class),
        lang.get().t(&format!("outcome.{name}"))
    ))
}

fn time_of(at: Timestamp, how: &str) -> Html {
    let Some(utc) = at.to_utc() else {
        return Html("–".to_owned());
    };
    // Scripts turn this into the visitor's zone and words; without them the text below stays true.
    let plain = utc.format("%Y-%m-%d %H:%M:%S UTC");
    Html(format!("<time datetime=\"{}\" data-time=\"{how}\">{plain}</time>", at.to_rfc3339()))
}

/// An instant, shown as its distance from now; the exact time is in the hint.
pub(crate) fn ago(at: impl Value<Timestamp>) -> Html {
    time_of(at.get(), "ago")
}

/// An instant, shown exactly and with its distance.
pub(crate) fn exact(at: impl Value<Timestamp>) -> Html {
    time_of(at.get(), "exact")
}

/// An instant to come, by day and minute.
pub(crate) fn plan(at: impl Value<Timestamp>) -> Html {
    time_of(at.get(), "plan")
}

/// The time that has gone by since an instant, counting.
pub(crate) fn since(at: impl Value<Timestamp>) -> Html {
    time_of(at.get(), "since")
}

/// A copy button for `text`.
pub(crate) fn copy(lang: impl Value<Lang>, text: &str) -> Html {
    Html(format!(
        "<button type=\"button\" class=\"ghost small needs-js\" data-copy=\"{}\">{}<span>{}</span></button>",
        esc(text),
        icon("copy"),
        lang.get().t("action.copy")
    ))
}

/// A button that does something, as a form that works without scripts.
pub(crate) struct Button<'a> {
    /// What: the value of `do`.
    pub(crate) action: &'a str,
    /// To what: further fields.
    pub(crate) fields: &'a [(&'a str, &'a str)],
    /// The word on it.
    pub(crate) text: &'a str,
    pub(crate) icon: &'a str,
    /// Shown as icon alone, with the word as its label.
    pub(crate) slim: bool,
    /// Looks of the button: empty, `danger` or `primary`.
    pub(crate) class: &'a str,
    /// What it would do, as a question; asked before it is done.
    pub(crate) confirm: Option<String>,
    /// Where to go afterwards; empty for the page it stands on.
    pub(crate) back: &'a str,
}

impl Button<'_> {
    /// The form; nothing on a read-only node.
    pub(crate) fn html(&self, shell: &Shell) -> Html {
        if shell.read_only {
            return Html(String::new());
        }
        let hidden = |name: &str, value: &str| {
            format!("<input type=\"hidden\" name=\"{}\" value=\"{}\">", esc(name), esc(value))
        };
        let mut fields = hidden("do", self.action);
        for (name, value) in self.fields {
            fields.push_str(&hidden(name, value));
        }
        let back = if self.back.is_empty() { &shell.here } else { self.back };
        fields.push_str(&hidden("back", back));
        let confirm =
            self.confirm.as_ref().map_or(String::new(), |q| format!(" data-confirm=\"{}\"", esc(q)));
        let text = esc(self.text);
        let (class, label, body) = if self.slim {
            ("ghost slim ", format!(" aria-label=\"{text}\" title=\"{text}\""), icon(self.icon).0)
        } else {
            ("", String::new(), format!("{}<span>{text}</span>", icon(self.icon)))
        };
        Html(format!(
            "<form method=\"post\" action=\"/do\" class=\"act\"{confirm}>{fields}\
             <button class=\"{class}{}\"{label}>{body}</button></form>",
            self.class
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let hostile = "\"><img src=x onerror=alert(1)>";
        assert!(!copy(Lang::En, hostile).0.contains("<img"));
        assert_eq!(esc("<a href='x'>&\""), "&#60;a href=&#39;x&#39;&#62;&#38;&#34;");
    }

    #[test]
    fn every_state_has_its_own_icon() {
        let unknown = icon("?");
        let mut seen = Vec::new();
        for state in JobState::ALL {
            let drawn = icon(state.name());
            assert!(drawn != unknown && !seen.contains(&drawn), "{state}");
            seen.push(drawn);
        }
    }
}
