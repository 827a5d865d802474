//! What terms mean: fields are looked up, values are read as what their field holds.

use chrono::{DateTime, NaiveDate, NaiveTime};

use super::field::{FIELDS, Field};
use super::scan::{Raw, scan};
use super::{Compare, Filter, FilterError, Pattern, Term, Test};
use crate::job::JobState;
use crate::near::nearest;
use crate::time::Timestamp;

pub(super) fn parse(text: &str) -> Result<Filter, FilterError> {
    let terms = scan(text)?.into_iter().map(term).collect::<Result<_, _>>()?;
    Ok(Filter { terms })
}

fn term(raw: Raw) -> Result<Term, FilterError> {
    let Raw { column, negated, head, value_column, values } = raw;
    let at_value = |message: String| FilterError { column: value_column, message };
    let Some((name, operator)) = head else {
        let word = values.into_iter().next().unwrap_or_default();
        if word.pieces.iter().all(String::is_empty) {
            return Err(FilterError { column, message: "there is nothing to look for".to_owned() });
        }
        return Ok(Term { negated, test: Test::Anywhere(word) });
    };
    let field = Field::of(&name).ok_or_else(|| FilterError { column, message: unknown(&name) })?;
    let compare = match operator {
        "<" => Compare::Less,
        "<=" => Compare::LessOrEqual,
        ">" => Compare::More,
        ">=" => Compare::MoreOrEqual,
        _ => Compare::Equal,
    };
    if values.iter().any(|value| value.literal() == Some("")) {
        return Err(at_value(format!("{name} needs a value; an empty one is not looked for")));
    }
    let test = match field {
        Field::Args(path) if compare == Compare::Equal || !path.is_empty() => {
            let ordered = compare != Compare::Equal;
            if ordered && (values.len() > 1 || values[0].literal().is_none()) {
                return Err(at_value(format!("{name} is compared with one value, without a star")));
            }
            Test::Args(path, compare, values)
        }
        Field::State | Field::Error | Field::Text(_) | Field::Header(_) | Field::Args(_)
            if compare != Compare::Equal =>
        {
            return Err(FilterError {
                column,
                message: format!("{name} has no order; write {name}: and the value"),
            });
        }
        Field::State => {
            Test::State(values.iter().map(|value| state(value).map_err(at_value)).collect::<Result<_, _>>()?)
        }
        Field::Error => Test::Error(values),
        Field::Text(field) => Test::Text(field, values),
        Field::Header(header) => Test::Header(header, values),
        Field::Args(path) => Test::Args(path, compare, values),
        Field::Number(field) => Test::Number(
            field,
            compare,
            number(&name, single(&name, &values).map_err(at_value)?).map_err(at_value)?,
        ),
        Field::Age => {
            if compare == Compare::Equal {
                let message = "no job has exactly this age; write age> or age<".to_owned();
                return Err(FilterError { column, message });
            }
            Test::Age(compare, duration(single(&name, &values).map_err(at_value)?).map_err(at_value)?)
        }
        Field::Moment(field) => Test::Moment(
            field,
            compare,
            instant(&name, single(&name, &values).map_err(at_value)?).map_err(at_value)?,
        ),
    };
    Ok(Term { negated, test })
}

fn unknown(name: &str) -> String {
    if name.is_empty() {
        return "a field's name is missing before the operator".to_owned();
    }
    match name.split_once('.') {
        Some((first @ ("args" | "header"), _)) => {
            return format!("the path behind {first}. has an empty part");
        }
        Some((first, _)) if FIELDS.iter().any(|field| field.name == first) => {
            return format!("{first} has no parts; only args and header have");
        }
        _ => {}
    }
    match nearest(name, FIELDS.iter().map(|field| field.name)) {
        Some(near) => format!("there is no field {name:?}; did you mean {near:?}?"),
        None => {
            let names: Vec<&str> = FIELDS.iter().map(|field| field.name).collect();
            format!(
                "there is no field {name:?}; the fields are {}; text with a colon is looked for in quotes",
                names.join(", ")
            )
        }
    }
}

/// The one value of a field that is compared.
fn single<'a>(name: &str, values: &'a [Pattern]) -> Result<&'a str, String> {
    match values {
        [only] => only.literal().ok_or_else(|| format!("{name} takes no star")),
        _ => Err(format!("{name} takes one value")),
    }
}

fn state(value: &Pattern) -> Result<JobState, String> {
    let names = || JobState::ALL.into_iter().map(JobState::name);
    let text = value.to_string();
    let text = value.literal().unwrap_or(&text);
    let known = JobState::ALL.into_iter().find(|state| state.name() == text);
    known.ok_or_else(|| match nearest(text, names()) {
        Some(near) => format!("there is no state {text:?}; did you mean {near:?}?"),
        None => {
            format!("there is no state {text:?}; the states are {}", names().collect::<Vec<_>>().join(", "))
        }
    })
}

fn number(name: &str, text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("{name} is compared with a whole number, not {text:?}"))
}

/// `90s`, `1h30m`, `2d`, in milliseconds.
fn duration(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 6] =
        [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 7 * 86_400_000)];
    let wrong = || format!("write a time such as 90s, 10m, 1h30m or 2d, not {text:?}");
    let (mut sum, mut rest) = (0u64, text);
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = UNITS.iter().find(|(unit, _)| *unit == &rest[..letters]).ok_or_else(wrong)?;
        rest = &rest[letters..];
        let part = number.checked_mul(unit.1).ok_or_else(wrong)?;
        sum = sum.checked_add(part).ok_or_else(wrong)?;
    }
    Ok(sum)
}

/// RFC 3339, or a day, which begins in UTC.
fn instant(name: &str, text: &str) -> Result<Timestamp, String> {
    let wrong =
        || format!("{name} is compared with a time such as 2026-11-24 or 2026-11-24T18:00:00Z, not {text:?}");
    let ms = match NaiveDate::parse_from_str(text, "%Y-%m-%d") {
        Ok(day) => day.and_time(NaiveTime::MIN).and_utc().timestamp_millis(),
        Err(_) => DateTime::parse_from_rfc3339(text).map_err(|_| wrong())?.timestamp_millis(),
    };
    u64::try_from(ms).map(Timestamp).map_err(|_| wrong())
}
