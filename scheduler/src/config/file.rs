//! Reading `windlass.toml`: flat keys, each with the line it stands on. A key that does not exist is refused with the
//! nearest one that does, because a misspelt setting that is silently ignored is found in production.

use toml::de::{DeTable, DeValue};

use super::{ConfigError, FIELDS};

/// One setting of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The key, known to exist.
    pub(super) key: &'static str,
    /// Its value as text.
    pub(super) value: String,
    /// Its line, from 1.
    pub(super) line: usize,
}

/// Reads the text of a file called `name`.
///
/// # Errors
/// [`ConfigError`] with name and line: broken TOML, an unknown key, a table or list in the place of a value.
pub(super) fn parse(name: &str, text: &str) -> Result<Vec<Entry>, ConfigError> {
    let table = DeTable::parse(text).map_err(|e| {
        let line = e.span().map_or(1, |span| line_of(text, span.start));
        ConfigError(format!(
            "{name}:{line}: not TOML: {}; write lines such as http = \"127.0.0.1:7420\"",
            e.message()
        ))
    })?;
    let mut entries = Vec::new();
    for (key, value) in table.into_inner() {
        let line = line_of(text, key.span().start);
        let Some(field) = FIELDS.iter().find(|f| f.key == key.get_ref().as_ref()) else {
            return Err(ConfigError(format!("{name}:{line}: {}", unknown(key.get_ref()))));
        };
        let value = scalar(value.get_ref()).ok_or_else(|| {
            ConfigError(format!(
                "{name}:{line}: {} is a {}, not a single value; write {} = \"{}\"",
                field.key,
                value.get_ref().type_str(),
                field.key,
                field.default
            ))
        })?;
        entries.push(Entry { key: field.key, value, line });
    }
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

/// What is said about a key that does not exist.
fn unknown(key: &str) -> String {
    // People write the flag's spelling; a key is looked up with underscores.
    let wanted = key.replace('-', "_").to_ascii_lowercase();
    let nearest = FIELDS
        .iter()
        .map(|field| (strsim::damerau_levenshtein(&wanted, field.key), field.key))
        .min()
        .filter(|(distance, near)| *distance <= near.len().max(wanted.len()) / 2);
    match nearest {
        Some((_, near)) => format!("there is no key {key}; did you mean {near}?"),
        None => format!("there is no key {key}; `windlass check` lists all keys"),
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Boolean(yes) => Some(yes.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        _ => None,
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_with_their_lines() {
        let entries =
            parse("w.toml", "# comment\nhttp = \"off\"\n\ninsecure_bind = true\n").expect("good file");
        let got: Vec<_> = entries.iter().map(|e| (e.key, e.value.as_str(), e.line)).collect();
        assert_eq!(got, [("http", "off", 2), ("insecure_bind", "true", 4)]);
    }

    #[test]
    fn a_misspelt_key_names_the_nearest_and_the_line() {
        let text = parse("w.toml", "http = \"off\"\ndata-dri = \"x\"\n").expect_err("unknown").to_string();
        assert_eq!(text, "w.toml:2: there is no key data-dri; did you mean data_dir?");
        let text = parse("w.toml", "zzzzzzzzzzzz = 1\n").expect_err("unknown").to_string();
        assert!(text.contains("lists all keys"), "{text}");
    }

    #[test]
    fn broken_toml_and_tables_are_refused_with_their_line() {
        let text = parse("w.toml", "log = \"info\"\nhttp = \n").expect_err("broken").to_string();
        assert!(text.starts_with("w.toml:2: not TOML"), "{text}");
        let text = parse("w.toml", "[http]\naddr = 1\n").expect_err("table").to_string();
        assert!(text.starts_with("w.toml:1: http is a table"), "{text}");
    }
}
