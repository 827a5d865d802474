//! Just enough of Rust's lexical grammar to tell code from comments and strings.

/// The code of `text`: comments and the contents of strings become spaces, lines stay where they are.
pub(crate) fn code(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = skipped(&chars, at);
        if end > at {
            out.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        } else {
            out.push(chars[at]);
            at += 1;
        }
    }
    out
}

/// Where the comment, string or character that begins at `at` ends; `at` when none begins there.
fn skipped(chars: &[char], at: usize) -> usize {
    let next = |offset: usize| chars.get(at + offset).copied().unwrap_or('\0');
    let inside_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match chars[at] {
        '/' if next(1) == '/' => (at..chars.len()).find(|i| chars[*i] == '\n').unwrap_or(chars.len()),
        '/' if next(1) == '*' => block_comment(chars, at),
        '"' => quoted(chars, at + 1, '"'),
        'r' | 'b' | 'c' if !inside_word => prefixed(chars, at),
        // A lifetime has no second quote where a character has one.
        '\'' if next(1) == '\\' => quoted(chars, at + 1, '\''),
        '\'' if next(2) == '\'' => at + 3,
        _ => at,
    }
}

fn block_comment(chars: &[char], at: usize) -> usize {
    let (mut depth, mut i) = (0, at);
    while i < chars.len() {
        match (chars[i], chars.get(i + 1)) {
            ('/', Some('*')) => (depth, i) = (depth + 1, i + 2),
            ('*', Some('/')) => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
        if depth == 0 {
            break;
        }
    }
    i
}

/// Raw, byte and C strings: `r"…"`, `r#"…"#`, `b"…"`, `br#"…"#`, `b'…'`.
fn prefixed(chars: &[char], at: usize) -> usize {
    let letters = chars[at..].iter().take_while(|c| matches!(c, 'r' | 'b' | 'c')).count();
    let raw = chars[at..at + letters].contains(&'r');
    let hashes = chars[at + letters..].iter().take_while(|c| **c == '#').count();
    let quote = at + letters + hashes;
    match chars.get(quote) {
        Some('"') if raw => {
            let closes = |i: usize| {
                chars[i] == '"' && chars[i + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
            };
            (quote + 1..chars.len()).find(|i| closes(*i)).map_or(chars.len(), |i| i + 1 + hashes)
        }
        Some('"') if hashes == 0 => quoted(chars, quote + 1, '"'),
        Some('\'') if hashes == 0 && letters == 1 => quoted(chars, quote + 1, '\''),
        _ => at,
    }
}

fn quoted(chars: &[char], from: usize, quote: char) -> usize {
    let mut i = from;
    while i < chars.len() && chars[i] != quote {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

/// The code before the module with unit tests, which stands at the end of a file.
pub(crate) fn without_tests(code: &str) -> &str {
    code.find("#[cfg(test)]\nmod tests {").map_or(code, |at| &code[..at])
}

#[test]
fn only_code_is_left() {
    let cases = [
        ("let a = 1; // b", "let a = 1;"),
        ("a /* b /* c */ d */ e", "a e"),
        (r#"say("do_send \" x")"#, "say( )"),
        ("r#\"a\"b\"# c", "c"),
        ("'\"' 'a 'static \"x\"", "'a 'static"),
        ("br\"x\" b'\\'' var_b", "var_b"),
        ("\"a\nb\" // c\nd", "d"),
    ];
    for (text, expected) in cases {
        let code = code(text);
        assert_eq!(code.split_whitespace().collect::<Vec<_>>().join(" "), expected, "{text}");
        assert_eq!((code.len(), code.lines().count()), (text.len(), text.lines().count()), "{text}");
    }
}
