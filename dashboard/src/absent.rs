//! What a browser is shown by a node that owns nothing and knows nobody who does. The page stands alone, for nobody serves what it
//! could refer to, and asks again by itself.

use actix_web::HttpResponse;
use actix_web::http::header::{self, HeaderValue};
use askama::Template;

use crate::i18n::Lang;

/// Its own style, nothing else, from nowhere.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
const SHEET: &str = include_str!("../assets/app.css");
const OWN_SHEET: &str = include_str!("../assets/absent.css");
/// Where the colours and the text of the common sheet end, and the parts of its pages begin.
const BEGINNING: &str = "/* Frame */";

#[derive(Template)]
#[template(path = "absent.html")]
struct Absent<'a> {
    lang: Lang,
    node: &'a str,
    why: &'a str,
    style: String,
}

/// The page of this node, in the language that `accept_language` asks for.
#[must_use]
pub fn absent(node: &str, why: &str, accept_language: &str) -> HttpResponse {
    let lang = Lang::of_accept(accept_language).unwrap_or_default();
    let common = SHEET.split_once(BEGINNING).map_or(SHEET, |(common, _)| common);
    let page = Absent { lang, node, why, style: format!("{common}{OWN_SHEET}") };
    let mut response = HttpResponse::ServiceUnavailable();
    response
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::RETRY_AFTER, "1"));
    match page.render() {
        Ok(text) => response.body(text),
        Err(error) => {
            tracing::error!(%error, "a page cannot be drawn");
            response.body(why.to_owned())
        }
    }
}

/// Whether who asks for this path, and says that they take these kinds of answer, is a browser that shows a page.
#[must_use]
pub fn wants_page(path: &str, accept: &str) -> bool {
    accept.contains("text/html") && !path.starts_with("/api/")
}

#[cfg(test)]
mod tests {
    use actix_web::body::MessageBody as _;

    use super::*;

    #[test]
    fn the_page_stands_alone_and_nothing_in_it_is_markup_of_others() {
        for (languages, word) in [("de, en;q=0.5", "No node owns"), ("zh-CN,zh;q=0.9", "没有节点")] {
            let response = absent("n<1>", "nobody & nothing", languages);
            let retry_after = response.headers().get(header::RETRY_AFTER);
            assert_eq!(
                (response.status().as_u16(), retry_after.map(HeaderValue::as_bytes)),
                (503, Some(&b"1"[..]))
            );
            let text = response.into_body().try_into_bytes().expect("a body in memory");
            let text = std::str::from_utf8(&text).expect("text");
            assert!(text.contains(word) && text.contains("http-equiv=\"refresh\""), "{text}");
            assert!(text.contains("--accent: light-dark(") && !text.contains(".side a"), "{text}");
            assert!(!text.contains("n<1>") && !text.contains("nobody & "), "{text}");
            for elsewhere in ["src=", "url(", "@import", "<script", "<link"] {
                assert!(!text.contains(elsewhere), "{elsewhere} in {text}");
            }
        }
    }
}
