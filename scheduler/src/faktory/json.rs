//! JSON that keeps what it does not understand: objects as ordered fields with their values as they were written, so that a
//! number of forty digits comes back with forty.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The fields of an object, each once; of a name that stands twice, the last value counts.
#[derive(Debug)]
pub(super) struct Fields<'a>(pub(super) Vec<(String, &'a RawValue)>);

impl<'a> Fields<'a> {
    /// The raw value of a field.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| *value)
    }

    /// A field as some type; `None` when it is absent or null.
    ///
    /// # Errors
    /// What does not fit, with the name of the field.
    pub(super) fn read<T: Deserialize<'a>>(&self, name: &str) -> Result<Option<T>, String> {
        let Some(value) = self.get(name) else { return Ok(None) };
        serde_json::from_str(value.get()).map_err(|error| format!("invalid JSON: field {name}: {error}"))
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Fields<'a>, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields: Vec<(String, &RawValue)> = Vec::new();
                let mut index: HashMap<String, usize> = HashMap::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    let at = *index.entry(name.clone()).or_insert(fields.len());
                    match fields.get_mut(at) {
                        Some(field) => field.1 = value,
                        None => fields.push((name, value)),
                    }
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(Read).map(Fields)
    }
}

/// An object as some type; an array is not taken for one.
///
/// # Errors
/// What is wrong with the text.
pub(super) fn object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, String> {
    if !text.trim_start().starts_with('{') {
        return Err("not an object".to_owned());
    }
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// JSON without blanks between its parts. Blanks inside of strings stay, and so does every digit.
pub(super) fn compact(text: &str) -> Cow<'_, str> {
    let is_blank = |byte: u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let mut out: Option<Vec<u8>> = None;
    let (mut in_string, mut escaped) = (false, false);
    for (at, byte) in text.bytes().enumerate() {
        if !in_string && is_blank(byte) {
            out.get_or_insert_with(|| {
                let mut kept = Vec::with_capacity(text.len());
                kept.extend_from_slice(&text.as_bytes()[..at]);
                kept
            });
            continue;
        }
        if let Some(out) = &mut out {
            out.push(byte);
        }
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ => {}
        }
    }
    match out {
        None => Cow::Borrowed(text),
        Some(bytes) => {
            Cow::Owned(String::from_utf8(bytes).expect("whole ASCII blanks were taken out of UTF-8"))
        }
    }
}

/// A string as JSON.
pub(super) fn quote(text: &str) -> String {
    serde_json::to_string(text).expect("every string has a JSON form")
}

/// Writes an object field by field.
#[derive(Debug)]
pub(super) struct Object(String);

impl Object {
    pub(super) fn new() -> Object {
        Object("{".to_owned())
    }

    /// Appends a field whose value is JSON already.
    pub(super) fn raw(&mut self, name: &str, value: &str) -> &mut Object {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push_str(&quote(name));
        self.0.push(':');
        self.0.push_str(&compact(value));
        self
    }

    /// Appends a text.
    pub(super) fn text(&mut self, name: &str, value: &str) -> &mut Object {
        self.raw(name, &quote(value))
    }

    /// The object.
    pub(super) fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn blanks_go_and_everything_else_stays() {
        assert_eq!(compact(r#"{ "a b" : [ 1.0e5 ,"\" x\\" , 2 ] }"#), r#"{"a b":[1.0e5,"\" x\\",2]}"#);
        assert!(matches!(compact("[1,2]"), Cow::Borrowed(_)));
    }

    #[test]
    fn the_last_of_two_fields_counts() {
        let fields: Fields<'_> = serde_json::from_str(r#"{"a":1,"b":2,"a":3}"#).expect("object");
        let shown: Vec<_> = fields.0.iter().map(|(name, value)| (name.as_str(), value.get())).collect();
        assert_eq!(shown, [("a", "3"), ("b", "2")]);
    }

    proptest! {
        /// A compact text means the same, and is its own compact form.
        #[test]
        fn compact_keeps_the_meaning(key in "\\PC{0,8}", value in "\\PC{0,8}", number: i64, gap in "[ \t\r\n]{0,3}") {
            let text = format!("{gap}{{{gap}{}{gap}:{gap}[{number}{gap},{}]{gap}}}{gap}", quote(&key), quote(&value));
            let short = compact(&text).into_owned();
            let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
            prop_assert_eq!(read(&text), read(&short));
            prop_assert_eq!(compact(&short), short.as_str());
        }
    }
}
