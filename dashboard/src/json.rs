//! JSON as it stands, digit for digit, laid out for reading.
//!
//! Nothing is parsed into numbers: `12345678901234567890` and `1.10` come out as they went in, which no browser's
//! `JSON.parse` could promise.

use askama::filters::{Html, escape};

/// Most bytes of a document that a page lays out; the rest is behind the link to the raw document.
pub(crate) const SHOWN_BYTES_MAX: usize = 64 * 1024;
/// Indentation stops growing here, so that a hostile nest of brackets stays small.
const INDENT_MAX: usize = 32;

/// `source` as HTML with one span per string, key, number and word. `None` when it is not JSON.
pub(crate) fn to_html(source: &str) -> Option<String> {
    serde_json::from_str::<&serde_json::value::RawValue>(source).ok()?;
    let mut out = String::with_capacity(source.len() * 3);
    let mut depth = 0_usize;
    let mut rest = source.trim();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '"' => string_length(rest),
            '{' | '[' | '}' | ']' | ',' | ':' => 1,
            c if c.is_whitespace() => {
                rest = rest.trim_start();
                continue;
            }
            _ => rest.find(|c: char| ",]}: \t\r\n".contains(c)).unwrap_or(rest.len()),
        };
        let (token, tail) = rest.split_at(length);
        rest = tail.trim_start();
        match first {
            '{' | '[' => {
                out.push(first);
                if rest.starts_with(['}', ']']) {
                    out.push_str(&rest[..1]);
                    rest = &rest[1..];
                } else {
                    depth += 1;
                    line(&mut out, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut out, depth);
                out.push(first);
            }
            ',' => {
                out.push(',');
                line(&mut out, depth);
            }
            ':' => out.push_str(": "),
            '"' if rest.starts_with(':') => span(&mut out, "k", token),
            '"' => span(&mut out, "s", token),
            't' | 'f' | 'n' => span(&mut out, "w", token),
            _ => span(&mut out, "n", token),
        }
        if out.len() > SHOWN_BYTES_MAX * 4 {
            out.push('…');
            break;
        }
    }
    Some(out)
}

/// Bytes of the string literal at the start of `text`, its quotes included.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return index + 1,
            _ => {}
        }
    }
    text.len()
}

fn line(out: &mut String, depth: usize) {
    out.push('\n');
    for _ in 0..depth.min(INDENT_MAX) {
        out.push_str("  ");
    }
}

fn span(out: &mut String, class: &str, token: &str) {
    let safe = escape(token, Html).expect("escaping writes to a string");
    out.push_str(&format!("<span class=\"j{class}\">{safe}</span>"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(html: &str) -> String {
        let mut out = String::new();
        for part in html.split('<') {
            out.push_str(part.split_once('>').map_or(part, |(_, text)| text));
        }
        out.replace("&#34;", "\"")
            .replace("&#60;", "<")
            .replace("&#62;", ">")
            .replace("&#38;", "&")
            .replace("&#39;", "'")
    }

    #[test]
    fn digits_are_kept() {
        let source = r#"{"id":12345678901234567890,"price":1.10,"e":1E400,"neg":-0}"#;
        let shown = plain(&to_html(source).unwrap());
        assert_eq!(
            shown,
            "{\n  \"id\": 12345678901234567890,\n  \"price\": 1.10,\n  \"e\": 1E400,\n  \"neg\": -0\n}"
        );
    }

    #[test]
    fn strings_stay_strings() {
        let source = r#"["a\"]{,:", "<script>", [], {}, {"k":[true,null]}]"#;
        let html = to_html(source).unwrap();
        assert!(!html.contains("<script>"));
        let shown: String = plain(&html).chars().filter(|c| !c.is_whitespace()).collect();
        assert_eq!(shown, source.replace(' ', ""));
    }

    #[test]
    fn other_bytes_are_not_json() {
        assert_eq!(to_html("{"), None);
        assert_eq!(to_html("plain text"), None);
    }

    #[test]
    fn a_hostile_nest_stays_small() {
        let source = format!("{}{}", "[".repeat(100), "]".repeat(100));
        assert!(to_html(&source).unwrap().len() < 100 * 100 * 2);
    }
}
