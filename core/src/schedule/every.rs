//! `@every 1h30m`: text to milliseconds.

use super::{BadSchedule, EVERY_MS_MAX, EVERY_MS_MIN};

/// Reads a duration such as `5m`, `1h30m`, `90s` or `2d`, and checks its bounds.
pub(super) fn parse(text: &str) -> Result<u64, BadSchedule> {
    let unreadable = || {
        BadSchedule::Every(
            "@every takes a duration of numbers and units d, h, m, s, such as @every 1h30m".to_owned(),
        )
    };
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(unreadable());
    }
    let mut total_ms = 0_u64;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().map_err(|_| unreadable())?;
        let unit_ms = match rest[digits..].chars().next() {
            Some('d') => 24 * 3_600_000,
            Some('h') => 3_600_000,
            Some('m') => 60_000,
            Some('s') => 1_000,
            _ => return Err(unreadable()),
        };
        total_ms =
            number.checked_mul(unit_ms).and_then(|ms| total_ms.checked_add(ms)).ok_or_else(unreadable)?;
        rest = &rest[digits + 1..];
    }
    check(total_ms)
}

/// Checks the bounds of an interval.
pub(super) fn check(every_ms: u64) -> Result<u64, BadSchedule> {
    if every_ms < EVERY_MS_MIN {
        return Err(BadSchedule::Every(format!(
            "an interval of {every_ms} ms is too short; the shortest is 1 s"
        )));
    }
    if every_ms > EVERY_MS_MAX {
        return Err(BadSchedule::Every(
            "the interval is longer than ten years; intervals are in milliseconds".to_owned(),
        ));
    }
    Ok(every_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_written() {
        assert_eq!(parse("5m"), Ok(300_000));
        assert_eq!(parse(" 1h30m "), Ok(5_400_000));
        assert_eq!(parse("2d"), Ok(172_800_000));
        assert_eq!(parse("1s"), Ok(1_000));
        for bad in [
            "",
            "5",
            "m",
            "5x",
            "0s",
            "-5m",
            "5 m",
            "99999999999999999999s",
            "18446744073709551615d",
            "5µ",
            "9999d",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
