//! Numbers, durations, sizes and quoting, as people read them.

use windlass_core::time::Timestamp;

use crate::i18n::Lang;

/// Now, by the wall clock of this machine.
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(windlass_core::time::millis(since))
}

/// `1234567` as `1,234,567`. Works on the digits, so nothing is rounded.
pub(crate) fn number(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A rate per second: two digits after the point below one, none above a hundred.
pub(crate) fn rate(per_second: f64) -> String {
    if !per_second.is_finite() || per_second < 0.005 {
        "0".to_owned()
    } else if per_second < 0.995 {
        format!("{per_second:.2}").trim_end_matches('0').trim_end_matches('.').to_owned()
    } else if per_second < 100.0 {
        format!("{per_second:.1}").trim_end_matches(".0").to_owned()
    } else {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive, rounded for display"
        )]
        let whole = per_second.round() as u64;
        number(whole)
    }
}

/// A length of time, its two largest units at most: `340 ms`, `4.2 s`, `3 min 05 s`, `2 d 4 h`.
pub(crate) fn duration(lang: Lang, ms: u64) -> String {
    let unit = |key: &str| lang.t(key);
    let seconds = ms / 1_000;
    let (d, h, min, s) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    let two = |first: u64, one: &str, second: String, other: &str, rest: u64| {
        let first = format!("{} {}", number(first), unit(one));
        if rest == 0 { first } else { format!("{first} {second} {}", unit(other)) }
    };
    match seconds {
        0 => format!("{ms} {}", unit("unit.ms")),
        1..10 if ms % 1_000 >= 100 => format!("{s}.{} {}", ms / 100 % 10, unit("unit.s")),
        1..60 => format!("{s} {}", unit("unit.s")),
        60..3_600 => two(min, "unit.min", format!("{s:02}"), "unit.s", s),
        3_600..86_400 => two(h, "unit.h", format!("{min:02}"), "unit.min", min),
        _ => two(d, "unit.d", h.to_string(), "unit.h", h),
    }
}

/// Bytes in powers of 1,024.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if n < 1_024 {
        return format!("{n} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
    let mut value = n as f64 / 1_024.0;
    let mut unit = 0;
    while value >= 1_000.0 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    if value < 10.0 { format!("{value:.1} {}", UNITS[unit]) } else { format!("{value:.0} {}", UNITS[unit]) }
}

/// Percent-encodes a path segment or a query value: everything but letters, digits and `- _ ~ .`.
pub(crate) fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_~.".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// A word for a POSIX shell, in single quotes.
pub(crate) fn shell_quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_exact() {
        let cases = [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")];
        for (n, text) in cases {
            assert_eq!(number(n), text);
        }
        assert_eq!(number((1 << 53) + 1), "9,007,199,254,740,993");
        assert_eq!(number(u64::MAX), "18,446,744,073,709,551,615");
    }

    #[test]
    fn rates_keep_what_matters() {
        let cases = [
            (0.0, "0"),
            (f64::NAN, "0"),
            (0.5, "0.5"),
            (0.456, "0.46"),
            (1.26, "1.3"),
            (0.999, "1"),
            (12.34, "12.3"),
            (1234.5, "1,235"),
        ];
        for (n, text) in cases {
            assert_eq!(rate(n), text);
        }
    }

    #[test]
    fn durations_have_two_units() {
        let cases = [
            (0, "0 ms"),
            (340, "340 ms"),
            (4_250, "4.2 s"),
            (59_999, "59 s"),
            (185_000, "3 min 05 s"),
            (2_000, "2 s"),
            (3_600_000, "1 h"),
            (3_900_000, "1 h 05 min"),
            (187_200_000, "2 d 4 h"),
        ];
        for (ms, text) in cases {
            assert_eq!(duration(Lang::En, ms), text);
        }
    }

    #[test]
    fn quoting_survives_quotes() {
        assert_eq!(shell_quote("it's"), r"'it'\''s'");
        assert_eq!(encode("mail.eu/high:1 ü%"), "mail.eu%2Fhigh%3A1%20%C3%BC%25");
        assert_eq!(bytes(1_536), "1.5 KiB");
        assert_eq!(bytes(999 * 1024 * 1024), "999 MiB");
    }
}
