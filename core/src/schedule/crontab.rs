//! Cron text as crontab means it, turned into what the `cron` crate means by it.
//!
//! That crate wants seconds, counts weekdays from Sunday = 1, joins day of month and day of week by "and", and may expand
//! a range before it looks at its bounds. So every field is read here first, bounded, and handed over as a plain list of
//! numbers. What the crate adds is the search through the calendar.

use std::collections::BTreeSet;
use std::str::FromStr;

use super::BadSchedule;
use crate::job::clip;
use crate::limits;

/// A field of an expression: its name in errors, its bounds, and the names of its values, if it has any.
struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MONTHS: &[&str] = &["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const SECOND: Field = Field { name: "second", min: 0, max: 59, names: &[] };
const MINUTE: Field = Field { name: "minute", min: 0, max: 59, names: &[] };
const HOUR: Field = Field { name: "hour", min: 0, max: 23, names: &[] };
const DAY: Field = Field { name: "day of month", min: 1, max: 31, names: &[] };
const MONTH: Field = Field { name: "month", min: 1, max: 12, names: MONTHS };
/// As in crontab both 0 and 7 are Sunday.
const WEEKDAY: Field = Field { name: "day of week", min: 0, max: 7, names: WEEKDAYS };
/// The calendar of the `cron` crate.
const YEAR: Field = Field { name: "year", min: 1970, max: 2100, names: &[] };

/// The values of one field.
struct Values {
    /// Whether the text begins with `*` or `?`: what crontab calls a wildcard, and the sign of a rhythm.
    wildcard: bool,
    set: BTreeSet<u32>,
}

impl Values {
    fn list(&self) -> String {
        let numbers: Vec<String> = self.set.iter().map(u32::to_string).collect();
        numbers.join(",")
    }
}

/// An expression, read.
#[derive(Debug, Clone)]
pub(super) struct Crontab {
    /// One calendar, or two that are joined by "or".
    pub(super) calendars: Vec<cron::Schedule>,
    /// Whether second, minute or hour has a wildcard: the schedule means a rhythm, not a time of day.
    pub(super) rhythm: bool,
    /// Whether it fires in every hour of its days.
    pub(super) every_hour: bool,
}

/// Reads five fields (second 0), six (seconds first) or seven (year last), or a macro such as `@daily`.
pub(super) fn parse(text: &str) -> Result<Crontab, BadSchedule> {
    if text.len() > limits::CRON_BYTES_MAX {
        return Err(BadSchedule::Expression(format!(
            "a cron expression has at most {} bytes, this one has {}",
            limits::CRON_BYTES_MAX,
            text.len()
        )));
    }
    let text = expand_macro(text.trim())?;
    let fields: Vec<&str> = text.split_whitespace().collect();
    let (second, five, year) = match fields.as_slice() {
        five if five.len() == 5 => ("0", five, "*"),
        [second, five @ ..] if five.len() == 5 => (*second, five, "*"),
        [second, five @ .., year] if five.len() == 5 => (*second, five, *year),
        _ => {
            return Err(BadSchedule::Expression(format!(
                "a cron expression has 5 fields (minute hour day month weekday), 6 (second first) or 7 (year last); \
                 this one has {}",
                fields.len()
            )));
        }
    };
    let read = [
        (&SECOND, second),
        (&MINUTE, five[0]),
        (&HOUR, five[1]),
        (&DAY, five[2]),
        (&MONTH, five[3]),
        (&WEEKDAY, five[4]),
        (&YEAR, year),
    ];
    let [second, minute, hour, day, month, weekday, year] = read.map(|(field, text)| field.read(text));
    build(&[second?, minute?, hour?], &day?, &month?, &weekday?, &year?)
}

fn build(
    clock: &[Values; 3],
    day: &Values,
    month: &Values,
    weekday: &Values,
    year: &Values,
) -> Result<Crontab, BadSchedule> {
    let [second, minute, hour] = clock;
    // The crate counts weekdays from Sunday = 1.
    let weekdays: Vec<String> = weekday.set.iter().map(|day| (day % 7 + 1).to_string()).collect();
    let (days, weekdays) = (day.list(), weekdays.join(","));
    // Crontab's rule: when both are restricted, a day matches that matches either.
    let pairs = if day.wildcard || weekday.wildcard {
        vec![(days.as_str(), weekdays.as_str())]
    } else {
        vec![(days.as_str(), "*"), ("*", weekdays.as_str())]
    };
    let calendar = |(days, weekdays): (&str, &str)| {
        let text = format!(
            "{} {} {} {days} {} {weekdays} {}",
            second.list(),
            minute.list(),
            hour.list(),
            month.list(),
            year.list()
        );
        cron::Schedule::from_str(&text)
            .map_err(|e| BadSchedule::Expression(format!("the expression is refused: {e}")))
    };
    Ok(Crontab {
        calendars: pairs.into_iter().map(calendar).collect::<Result<_, _>>()?,
        rhythm: clock.iter().any(|values| values.wildcard),
        every_hour: hour.set.len() == 24,
    })
}

fn expand_macro(text: &str) -> Result<&str, BadSchedule> {
    if !text.starts_with('@') {
        return Ok(text);
    }
    match text {
        "@hourly" => Ok("0 * * * *"),
        "@daily" | "@midnight" => Ok("0 0 * * *"),
        "@weekly" => Ok("0 0 * * 0"),
        "@monthly" => Ok("0 0 1 * *"),
        "@yearly" | "@annually" => Ok("0 0 1 1 *"),
        other => Err(BadSchedule::Expression(format!(
            "there is no {:?}; there are @hourly @daily @midnight @weekly @monthly @yearly @annually and @every 5m",
            clip(other.to_owned(), 32)
        ))),
    }
}

impl Field {
    fn read(&self, text: &str) -> Result<Values, BadSchedule> {
        let mut set = BTreeSet::new();
        for item in text.split(',') {
            let (from, to, step) = self.item(item).map_err(|problem| self.refuse(text, problem))?;
            set.extend((from..=to).step_by(step));
        }
        Ok(Values { wildcard: text.starts_with(['*', '?']), set })
    }

    /// First value, last value and step of one item of a list. Bounded before anything is expanded.
    fn item(&self, item: &str) -> Result<(u32, u32, usize), String> {
        let (base, step) = match item.split_once('/') {
            Some((base, step)) => (base, Some(self.step(step)?)),
            None => (item, None),
        };
        let full = if self.is_weekday() { self.max - 1 } else { self.max };
        let (from, to) = match base {
            "" => return Err("a value is missing".to_owned()),
            "*" => (self.min, full),
            "?" if self.name.starts_with("day") => (self.min, full),
            _ => match base.split_once('-') {
                Some((from, to)) => (self.value(from)?, self.value(to)?),
                // `5/15` means from 5 to the end in steps, as in Quartz; crontab leaves it open.
                None if step.is_some() => self.value(base).map(|from| (from, full.max(from)))?,
                None => self.value(base).map(|value| (value, value))?,
            },
        };
        // In "fri-sun" Sunday ends the week.
        let to = if self.is_weekday() && to == 0 && from > 0 { self.max } else { to };
        if from > to {
            return Err(format!("the range {base} goes backwards; write it as two, separated by a comma"));
        }
        Ok((from, to, step.unwrap_or(1)))
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        let named = self.names.iter().position(|name| name.eq_ignore_ascii_case(text));
        if let Some(position) = named {
            // Names count from the field's first value.
            return Ok(self.min + u32::try_from(position).expect("a dozen names at most"));
        }
        let number = if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(self.not_a_value(text));
        } else {
            // Digits too many for the type are out of bounds all the same.
            text.parse().unwrap_or(u32::MAX)
        };
        if (self.min..=self.max).contains(&number) {
            Ok(number)
        } else {
            Err(format!("{} is not between {} and {}", clip(text.to_owned(), 32), self.min, self.max))
        }
    }

    fn step(&self, text: &str) -> Result<usize, String> {
        let span = self.max - self.min + 1;
        let step = text.parse::<u32>().ok().filter(|step| (1..=span).contains(step));
        step.map(|step| step as usize).ok_or_else(|| {
            format!("the step {:?} is not a number from 1 to {span}", clip(text.to_owned(), 32))
        })
    }

    fn not_a_value(&self, text: &str) -> String {
        let upper = text.to_ascii_uppercase();
        let stem = upper.trim_end_matches(['L', 'W']);
        let quartz = stem.len() < upper.len() && (stem.is_empty() || self.value(stem).is_ok());
        if quartz || upper.starts_with("L-") || text.contains('#') {
            return "L, W and # (last day, nearest weekday, nth weekday) are not supported; \
                    let the job check the date, or use several schedules"
                .to_owned();
        }
        let names = match self.names {
            [first, .., last] => format!(" or a name from {first} to {last}"),
            _ => String::new(),
        };
        format!("{:?} is not a number from {} to {}{names}", clip(text.to_owned(), 32), self.min, self.max)
    }

    fn is_weekday(&self) -> bool {
        self.names.len() == WEEKDAYS.len()
    }

    fn refuse(&self, text: &str, problem: String) -> BadSchedule {
        BadSchedule::Field { field: self.name, text: clip(text.to_owned(), 64), problem }
    }
}
