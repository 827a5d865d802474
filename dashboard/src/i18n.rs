//! The words of the pages, in every language. Catalogues are TOML files compiled in; the tests hold them to the same keys.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use crate::ui::Value;

/// A language of the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) enum Lang {
    #[default]
    En,
    ZhCn,
}

type Catalogue = BTreeMap<String, String>;

static EN: LazyLock<Catalogue> = LazyLock::new(|| parse(include_str!("../locales/en.toml")));
static ZH_CN: LazyLock<Catalogue> = LazyLock::new(|| parse(include_str!("../locales/zh-CN.toml")));

/// `[section]` and `key = "text"` become `section.key`.
fn parse(source: &str) -> Catalogue {
    let sections: BTreeMap<String, BTreeMap<String, String>> =
        toml::from_str(source).expect("the catalogues are compiled in and the tests parse them");
    let flat = sections.into_iter().flat_map(|(section, words)| {
        words.into_iter().map(move |(key, text)| (format!("{section}.{key}"), text))
    });
    flat.collect()
}

impl Lang {
    /// All languages, in the order of the switch.
    pub(crate) const ALL: [Lang; 2] = [Lang::En, Lang::ZhCn];

    /// The tag of RFC 5646, as in `lang=` and the address.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Lang::En => "en",
            Lang::ZhCn => "zh-CN",
        }
    }

    /// The language's own name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Lang::En => "English",
            Lang::ZhCn => "简体中文",
        }
    }

    /// The other language's code, for the switch.
    pub(crate) fn others(self) -> impl Iterator<Item = Lang> {
        Lang::ALL.into_iter().filter(move |lang| *lang != self)
    }

    /// The language of a tag such as `zh`, `zh-Hans-CN` or `en-GB`.
    pub(crate) fn of_tag(tag: &str) -> Option<Lang> {
        let primary = tag.split(['-', '_']).next().unwrap_or(tag);
        match primary.trim().to_ascii_lowercase().as_str() {
            "en" => Some(Lang::En),
            "zh" => Some(Lang::ZhCn),
            _ => None,
        }
    }

    /// The best language of an `Accept-Language` header.
    pub(crate) fn of_accept(header: &str) -> Option<Lang> {
        let mut best: Option<(f32, Lang)> = None;
        for entry in header.split(',').take(16) {
            let (tag, params) = entry.split_once(';').unwrap_or((entry, ""));
            let weight = params.trim().strip_prefix("q=").map_or(1.0, |q| q.parse().unwrap_or(0.0));
            if let Some(lang) = Lang::of_tag(tag.trim())
                && weight > best.map_or(0.0, |(w, _)| w)
            {
                best = Some((weight, lang));
            }
        }
        best.map(|(_, lang)| lang)
    }

    fn catalogue(self) -> &'static Catalogue {
        match self {
            Lang::En => &EN,
            Lang::ZhCn => &ZH_CN,
        }
    }

    /// The text of `key`. A key without text shows itself; the tests see to it that there is none.
    pub(crate) fn t(self, key: &str) -> &'static str {
        match self.catalogue().get(key) {
            Some(text) => text,
            None => {
                tracing::debug!(key, lang = self.code(), "no text");
                "⁇"
            }
        }
    }

    /// The text of `key` with `{name}` replaced by its value.
    pub(crate) fn fill(self, key: &str, values: &[(&str, &str)]) -> String {
        let mut text = self.t(key).to_owned();
        for (name, value) in values {
            text = text.replace(&format!("{{{name}}}"), value);
        }
        text
    }

    /// The text for `n` things: `key_one` or `key_other`, with `{n}` replaced.
    pub(crate) fn count(self, key: &str, n: impl Value<u64>) -> String {
        let n = n.get();
        let form = if n == 1 { "one" } else { "other" };
        self.fill(&format!("{key}_{form}"), &[("n", &crate::text::number(n))])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Keys that are put together at run time; each prefix stands where the code names it.
    const BUILT: [&str; 7] = ["state.", "outcome.", "status.", "gossip.", "route.", "notice.", "seat."];

    /// Every text in quotes in templates and sources.
    fn literals() -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for folder in ["templates", "src", "src/pages", "src/api", "src/forms"] {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
            for entry in std::fs::read_dir(path).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() && !path.ends_with("i18n.rs") {
                    let text = std::fs::read_to_string(path).unwrap();
                    // Escaped or unpaired quotes shift what is inside and what is outside, so both are looked at.
                    found.extend(text.split('"').map(str::to_owned));
                }
            }
        }
        found
    }

    /// Whether a literal has the form of a key: the name of a section, a dot, and a word.
    fn is_key(text: &str) -> bool {
        let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        let sections: BTreeSet<&str> = EN.keys().filter_map(|key| key.split('.').next()).collect();
        text.split_once('.')
            .is_some_and(|(section, key)| sections.contains(section) && word(key) && key != "html")
    }

    #[test]
    fn every_language_has_the_same_keys_and_holes() {
        let holes = |text: &str| -> BTreeSet<String> {
            text.split('{').skip(1).map(|rest| rest.split('}').next().unwrap_or("").to_owned()).collect()
        };
        assert_eq!(EN.keys().collect::<Vec<_>>(), ZH_CN.keys().collect::<Vec<_>>());
        for (key, text) in EN.iter() {
            assert!(!text.is_empty() && !ZH_CN[key].is_empty(), "{key} is empty");
            assert_eq!(holes(text), holes(&ZH_CN[key]), "{key}");
        }
    }

    #[test]
    fn every_key_that_is_used_exists_and_every_key_is_used() {
        let literals = literals();
        let used: BTreeSet<&String> = literals.iter().filter(|text| is_key(text)).collect();
        assert!(used.len() > 100, "the search for keys finds too few: {}", used.len());
        for key in &used {
            let counted = EN.contains_key(&format!("{key}_one")) && EN.contains_key(&format!("{key}_other"));
            assert!(counted || EN.contains_key(*key), "{key} is used and has no text");
        }
        for key in EN.keys() {
            let stem = key.trim_end_matches("_one").trim_end_matches("_other").to_owned();
            let built = BUILT.iter().any(|prefix| key.starts_with(prefix));
            assert!(
                built || literals.contains(key) || literals.contains(&stem),
                "{key} has a text and no use"
            );
        }
    }

    /// Words between tags of a template would stay English whatever the visitor speaks.
    #[test]
    fn templates_have_no_bare_text() {
        const ALLOWED: [&str; 5] = ["Windlass", "API", "pid", "UTC", "Enter"];
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("templates");
        for entry in std::fs::read_dir(path).unwrap() {
            let path = entry.unwrap().path();
            let mut text = std::fs::read_to_string(&path).unwrap();
            // Commands and examples of JSON are the same in every language.
            for (open, close) in
                [("<pre", "</pre>"), ("<kbd", "</kbd>"), ("{{", "}}"), ("{%", "%}"), ("<", ">")]
            {
                while let Some(start) = text.find(open) {
                    let end = text[start..].find(close).map_or(text.len(), |end| start + end + close.len());
                    text.replace_range(start..end, "\n");
                }
            }
            for line in text.lines() {
                let bare: String = line.split_whitespace().filter(|word| !ALLOWED.contains(word)).collect();
                assert!(!bare.chars().any(char::is_alphabetic), "{}: {line:?}", path.display());
            }
        }
    }

    #[test]
    fn the_browser_may_ask_for_any_of_them() {
        assert_eq!(Lang::of_accept("de, zh;q=0.8, en;q=0.5"), Some(Lang::ZhCn));
        assert_eq!(Lang::of_accept("en-GB,en;q=0.9,zh;q=0.8"), Some(Lang::En));
        assert_eq!(Lang::of_accept("de"), None);
        assert_eq!(Lang::of_tag("zh-Hans-CN"), Some(Lang::ZhCn));
    }
}
