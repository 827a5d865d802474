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
                "?"
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
    const BUILT: [&str; 6] = ["state.", "outcome.", "status.", "gossip.", "route.", "notice."];

    fn keys_in(text: &str) -> BTreeSet<String> {
        let mut keys = BTreeSet::new();
        for (call, counted) in
            [(".t(\"", false), (".fill(\"", false), (".count(\"", true), ("key: \"", false)]
        {
            for rest in text.split(call).skip(1) {
                let key = rest.split('"').next().unwrap_or("");
                if counted {
                    keys.extend([format!("{key}_one"), format!("{key}_other")]);
                } else {
                    keys.insert(key.to_owned());
                }
            }
        }
        keys
    }

    fn used() -> BTreeSet<String> {
        let mut keys = BTreeSet::new();
        for folder in ["templates", "src", "src/pages", "src/api"] {
            let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
            for entry in std::fs::read_dir(path).unwrap() {
                let path = entry.unwrap().path();
                if path.is_file() && !path.ends_with("i18n.rs") {
                    keys.extend(keys_in(&std::fs::read_to_string(path).unwrap()));
                }
            }
        }
        keys
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
        let used = used();
        assert!(used.len() > 60, "the search for keys finds too few: {}", used.len());
        for key in used.iter().filter(|key| key.contains('.')) {
            assert!(EN.contains_key(key), "{key} is used and has no text");
        }
        for key in EN.keys() {
            let built = BUILT.iter().any(|prefix| key.starts_with(prefix));
            assert!(built || used.contains(key), "{key} has a text and no use");
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
