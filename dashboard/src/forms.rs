//! What people send from pages: plain forms that work without scripts.

pub(crate) mod action;
pub(crate) mod bulk;
pub(crate) mod enqueue;
pub(crate) mod schedule;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use windlass_core::limits;

use crate::Dashboard;
use crate::api::read_body;
use crate::problem::Problem;
use crate::shell::{self, pairs};

/// Largest form: a payload of which every byte is percent-encoded would be three times as large; what people type is not.
const FORM_BYTES_MAX: usize = limits::PAYLOAD_BYTES_MAX + 256 * 1024;

/// The fields of a form, in order.
pub(crate) struct Fields(Vec<(String, String)>);

impl Fields {
    pub(crate) async fn read(
        dashboard: &Dashboard,
        req: &HttpRequest,
        payload: web::Payload,
    ) -> Result<Fields, Problem> {
        let body = read_body(dashboard, req, payload, FORM_BYTES_MAX).await?;
        let text =
            std::str::from_utf8(&body.bytes).map_err(|_| Problem::malformed("the form is not UTF-8"))?;
        Ok(Fields(pairs(text).collect()))
    }

    /// The first value of a field; empty when it is missing.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value)
    }

    /// The trimmed value of a field, if there is one.
    fn given(&self, name: &str) -> Option<&str> {
        Some(self.get(name).trim()).filter(|value| !value.is_empty())
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// An address on this node, or the overview: a form cannot send anybody elsewhere.
pub(crate) fn safe_back(back: &str) -> &str {
    let ours = back.starts_with('/') && !back.starts_with("//") && !back.contains(['\\', '\r', '\n']);
    if ours && back.is_ascii() { back } else { "/" }
}

/// Goes to a page that then shows a message.
fn go(to: &str, ok: bool, key: &str, count: u64) -> HttpResponse {
    HttpResponse::SeeOther()
        .insert_header((header::LOCATION, safe_back(to)))
        .cookie(shell::cookie(shell::NOTICE_COOKIE, shell::notice_value(ok, key, count), 20))
        .finish()
}

/// A number in a field.
fn number<T: std::str::FromStr>(fields: &Fields, name: &str, what: &str) -> Result<Option<T>, Problem> {
    let Some(text) = fields.given(name) else { return Ok(None) };
    text.parse()
        .map(Some)
        .map_err(|_| Problem::invalid(format!("{what} is a whole number in range, not {text:?}")))
}

#[cfg(test)]
mod tests {
    use super::safe_back;

    #[test]
    fn nobody_is_sent_elsewhere() {
        assert_eq!(safe_back("/jobs?state=dead"), "/jobs?state=dead");
        for elsewhere in ["//evil.example", "https://evil.example", "/\\evil.example", "", "/a\r\nX: y", "/ü"]
        {
            assert_eq!(safe_back(elsewhere), "/");
        }
    }
}
