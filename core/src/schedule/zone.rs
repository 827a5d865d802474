//! Finding a time zone by name, and the nearest one when there is none.

use chrono_tz::{TZ_VARIANTS, Tz};

use super::BadSchedule;
use crate::job::clip;

/// Longest zone name looked at; the longest real one has 32 bytes.
const ZONE_BYTES_MAX: usize = 64;

/// The zone of that name.
pub(super) fn find(name: &str) -> Result<Tz, BadSchedule> {
    if name.len() <= ZONE_BYTES_MAX
        && let Ok(zone) = name.parse()
    {
        return Ok(zone);
    }
    let hint = nearest(name).map_or_else(
        || "; names look like Europe/Berlin or UTC".to_owned(),
        |zone| format!("; did you mean {zone}?"),
    );
    Err(BadSchedule::Zone { name: clip(name.to_owned(), ZONE_BYTES_MAX), hint })
}

/// The zone whose name, or whose city, is the fewest edits away; `None` when that is more than a third of the name.
fn nearest(name: &str) -> Option<&'static str> {
    if name.is_empty() || name.len() > ZONE_BYTES_MAX {
        return None;
    }
    let wanted = name.to_lowercase().replace(' ', "_");
    let distance = |zone: &str| {
        let zone = zone.to_lowercase();
        let city = zone.rsplit('/').next().unwrap_or(&zone);
        edits(&wanted, &zone).min(edits(&wanted, city))
    };
    let (zone, edits) =
        TZ_VARIANTS.iter().map(|tz| (tz.name(), distance(tz.name()))).min_by_key(|(_, edits)| *edits)?;
    (edits <= wanted.len() / 3).then_some(zone)
}

/// Levenshtein distance, in bytes; the names are ASCII.
fn edits(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.bytes().enumerate() {
            let replace = diagonal + usize::from(from != to);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_zone_names_the_nearest() {
        assert!(find("Europe/Berlin").is_ok());
        assert!(find("UTC").is_ok());
        let hint = |name: &str| find(name).expect_err("unknown").to_string();
        assert!(hint("Europe/Berln").contains("did you mean Europe/Berlin?"));
        assert!(hint("berlin").contains("did you mean Europe/Berlin?"));
        assert!(hint("new york").contains("did you mean America/New_York?"));
        assert!(hint("asia/shanghai").contains("did you mean Asia/Shanghai?"));
        assert!(hint("").contains("names look like"));
        assert!(hint(&"x".repeat(100_000)).len() < 300, "hostile names are clipped");
        assert!(hint("Ünïcödé/Zöne").contains("names look like"));
    }
}
