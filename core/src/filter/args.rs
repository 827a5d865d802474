//! Values at a path of a JSON payload. Only what lies on the path is read, and numbers keep their digits.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Compare, Pattern};
use crate::api::JobView;

/// Values looked at for one job: a path may go through lists in lists.
const VALUES_MAX: usize = 10_000;

/// Whether a value at the path compares so with one of the patterns.
pub(super) fn holds(job: &JobView, path: &[String], compare: Compare, patterns: &[Pattern]) -> bool {
    if !job.payload.is_json() {
        return false;
    }
    let Ok(text) = std::str::from_utf8(&job.payload.data) else { return false };
    let mut found = vec![text.trim()];
    for part in path {
        found = found.into_iter().flat_map(|value| children(value, part)).take(VALUES_MAX).collect();
    }
    found.iter().any(|value| leaf_holds(value, compare, patterns))
}

fn leaf_holds(value: &str, compare: Compare, patterns: &[Pattern]) -> bool {
    match value.as_bytes().first() {
        // Of a list any element is meant.
        Some(b'[') if compare != Compare::Equal || patterns.iter().all(|p| !is_star(p)) => elements(value)
            .into_iter()
            .filter(|value| !value.starts_with('['))
            .any(|value| leaf_holds(value, compare, patterns)),
        Some(b'[' | b'{') => compare == Compare::Equal && patterns.iter().any(is_star),
        Some(b'"') => {
            let Ok(text) = serde_json::from_str::<Cow<'_, str>>(value) else { return false };
            patterns.iter().any(|pattern| text_holds(&text, compare, pattern))
        }
        Some(_) => patterns.iter().any(|pattern| number_holds(value, compare, pattern)),
        None => false,
    }
}

/// A star alone: whatever it is, it is there.
fn is_star(pattern: &Pattern) -> bool {
    pattern.pieces.len() > 1 && pattern.pieces.iter().all(String::is_empty)
}

fn text_holds(text: &str, compare: Compare, pattern: &Pattern) -> bool {
    match (compare, pattern.literal()) {
        (Compare::Equal, _) => pattern.matches(text),
        // Numbers are often sent as text; other text is compared as such, which is right for times in RFC 3339.
        (_, Some(literal)) => {
            let order = order_of(text, literal).unwrap_or_else(|| text.cmp(literal));
            compare.holds(order)
        }
        (_, None) => false,
    }
}

/// A number, `true`, `false` or `null`.
fn number_holds(value: &str, compare: Compare, pattern: &Pattern) -> bool {
    let order = pattern.literal().and_then(|literal| order_of(value, literal));
    match order {
        Some(order) => compare.holds(order),
        None => compare == Compare::Equal && pattern.matches(value),
    }
}

/// Two numbers by value; whole ones exactly.
fn order_of(left: &str, right: &str) -> Option<Ordering> {
    if let (Ok(left), Ok(right)) = (left.parse::<i128>(), right.parse::<i128>()) {
        return Some(left.cmp(&right));
    }
    let number = |text: &str| {
        let is_number = text.starts_with(|c: char| c.is_ascii_digit() || c == '-');
        is_number.then(|| text.parse::<f64>().ok()).flatten()
    };
    number(left)?.partial_cmp(&number(right)?)
}

/// What stands under this part of a path; a list hands the part on to its elements unless it is a number.
fn children<'a>(value: &'a str, part: &str) -> Vec<&'a str> {
    match value.as_bytes().first() {
        Some(b'{') => member(value, part).into_iter().collect(),
        Some(b'[') => match part.parse::<usize>() {
            Ok(index) => elements(value).into_iter().nth(index).into_iter().collect(),
            Err(_) => elements(value).into_iter().filter_map(|element| member(element, part)).collect(),
        },
        _ => Vec::new(),
    }
}

fn member<'a>(value: &'a str, key: &str) -> Option<&'a str> {
    if !value.starts_with('{') {
        return None;
    }
    let mut reader = serde_json::Deserializer::from_str(value);
    reader.deserialize_map(Member(key)).ok().flatten().map(|raw| raw.get().trim())
}

fn elements(value: &str) -> Vec<&str> {
    let mut reader = serde_json::Deserializer::from_str(value);
    reader.deserialize_seq(Elements).unwrap_or_default()
}

/// Takes one member of an object.
struct Member<'k>(&'k str);

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            // Of a key that stands twice the last one counts, as in most readers.
            if key == self.0 {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Takes the elements of a list.
struct Elements;

impl<'de> Visitor<'de> for Elements {
    type Value = Vec<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut out = Vec::new();
        while let Some(value) = seq.next_element::<&'de RawValue>()? {
            if out.len() < VALUES_MAX {
                out.push(value.get().trim());
            }
        }
        Ok(out)
    }
}
