//! Patterns as Redis has them: `*`, `?`, `[a-z]`, `[^x]` and `\` before a character that means itself. Anchored at both ends.

/// Steps that one match may take: what is beyond them counts as no match, so that a pattern cannot hold the server up.
const STEPS_MAX: usize = 4_000_000;

/// Whether the whole of `text` fits.
pub(super) fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    // Where to go on when the last star has to take one more byte.
    let mut star: Option<(usize, usize)> = None;
    for _ in 0..STEPS_MAX {
        if t == text.len() && pattern[p..].iter().all(|byte| *byte == b'*') {
            return true;
        }
        if pattern.get(p) == Some(&b'*') {
            star = Some((p + 1, t));
            p += 1;
            continue;
        }
        let one = text.get(t).and_then(|byte| one(&pattern[p..], *byte));
        if let Some(taken) = one {
            p += taken;
            t += 1;
            continue;
        }
        match star {
            Some((after, from)) if from < text.len() => {
                star = Some((after, from + 1));
                p = after;
                t = from + 1;
            }
            _ => return false,
        }
    }
    false
}

/// Whether the pattern's first element fits the byte, and how long the element is.
fn one(pattern: &[u8], byte: u8) -> Option<usize> {
    match *pattern.first()? {
        b'?' => Some(1),
        b'[' => class(pattern, byte),
        b'\\' if pattern.len() > 1 => (pattern[1] == byte).then_some(2),
        literal => (literal == byte).then_some(1),
    }
}

/// A class reaches to its `]`, or to the end of the pattern.
fn class(pattern: &[u8], byte: u8) -> Option<usize> {
    let mut at = 1;
    let negated = pattern.get(at) == Some(&b'^');
    at += usize::from(negated);
    let mut found = false;
    while at < pattern.len() && pattern[at] != b']' {
        if pattern[at] == b'\\' && at + 1 < pattern.len() {
            found |= pattern[at + 1] == byte;
            at += 2;
        } else if at + 2 < pattern.len() && pattern[at + 1] == b'-' {
            let (low, high) = (pattern[at].min(pattern[at + 2]), pattern[at].max(pattern[at + 2]));
            found |= (low..=high).contains(&byte);
            at += 3;
        } else {
            found |= pattern[at] == byte;
            at += 1;
        }
    }
    (found != negated).then_some((at + 1).min(pattern.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fits(pattern: &str, text: &str) -> bool {
        matches(pattern.as_bytes(), text.as_bytes())
    }

    #[test]
    fn patterns_of_redis() {
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("a*c", "abbc"),
            ("a?c", "abc"),
            ("[a-c]x[^y]", "bxz"),
            (r"\*\[", "*["),
            (r"[\]]", "]"),
            (r#"*\"args\":\[\"x\"\]*"#, r#"{"jid":"1","args":["x"],"retry":25}"#),
            (r#"*"args":\["fizz"\]*"#, r#"{"args":["fizz"]}"#),
            ("**a**b*", "xxaxxb"),
        ] {
            assert!(fits(pattern, text), "{pattern} fits {text}");
        }
        for (pattern, text) in
            [("a", "ab"), ("b", "ab"), ("a?", "a"), ("[^a]", "a"), ("a*d", "abc"), ("", "a")]
        {
            assert!(!fits(pattern, text), "{pattern} does not fit {text}");
        }
    }

    #[test]
    fn a_hostile_pattern_ends() {
        assert!(!fits(&"*a".repeat(2_000), &"a".repeat(1_999)));
        assert!(!fits(&format!("{}b", "*a".repeat(200)), &"a".repeat(100_000)));
    }

    proptest! {
        /// A text fits itself when every special character is escaped, and never panics on anything else.
        #[test]
        fn an_escaped_text_fits_itself(text in "[ab*?\\[\\]\\\\^-]{0,12}", other in "[ab*?\\[\\]\\\\^-]{0,12}") {
            let escaped: String = text.chars().flat_map(|c| ['\\', c]).collect();
            prop_assert!(fits(&escaped, &text));
            prop_assert_eq!(fits(&escaped, &other), text == other);
            let _ = fits(&text, &other);
        }
    }
}
