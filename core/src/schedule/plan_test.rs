//! Examples of the rules, and properties against a model that looks at every minute of the clock on the wall.

use chrono::{Datelike as _, NaiveDate, TimeZone as _, Timelike as _};
use chrono_tz::TZ_VARIANTS;
use proptest::prelude::*;
use std::collections::BTreeSet;

use super::*;
use crate::schedule::tests::spec;

fn plan(text: &str, zone: &str) -> Plan {
    Plan::parse(&spec(When::Cron(text.to_owned()), zone), Timestamp(0)).expect(text)
}

fn at(text: &str) -> Timestamp {
    let at = DateTime::parse_from_rfc3339(text).expect("rfc 3339");
    Timestamp(u64::try_from(at.timestamp_millis()).expect("after 1970"))
}

/// The next `count` firings after `after` as UTC text, without the zero milliseconds.
fn next(text: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    plan(text, zone)
        .next_n(at(after), count)
        .iter()
        .map(|t| t.to_rfc3339().replace(":00.000Z", "Z"))
        .collect()
}

fn refusal(text: &str) -> String {
    Plan::parse(&spec(When::Cron(text.to_owned()), "UTC"), Timestamp(0)).expect_err(text).to_string()
}

#[test]
fn fields_mean_what_crontab_means() {
    // 2026-01-01 is a Thursday.
    let from = "2026-01-01T00:00:00Z";
    assert_eq!(
        next("*/20 * * * *", "UTC", from, 3),
        ["2026-01-01T00:20Z", "2026-01-01T00:40Z", "2026-01-01T01:00Z"]
    );
    assert_eq!(next("0 0 * * 1", "UTC", from, 1), ["2026-01-05T00:00Z"], "1 is Monday");
    assert_eq!(next("0 0 * * 0", "UTC", from, 1), ["2026-01-04T00:00Z"], "0 is Sunday");
    assert_eq!(next("0 0 * * 7", "UTC", from, 1), ["2026-01-04T00:00Z"], "7 is Sunday too");
    assert_eq!(
        next("0 0 * * 5-7", "UTC", from, 3),
        ["2026-01-02T00:00Z", "2026-01-03T00:00Z", "2026-01-04T00:00Z"]
    );
    assert_eq!(
        next("0 0 * * 1-5/2", "UTC", from, 3),
        ["2026-01-02T00:00Z", "2026-01-05T00:00Z", "2026-01-07T00:00Z"]
    );
    assert_eq!(next("0 0 * * Sat,sun", "UTC", from, 2), ["2026-01-03T00:00Z", "2026-01-04T00:00Z"]);
    assert_eq!(next("0 0 * * fri-sun", "UTC", from, 2), ["2026-01-02T00:00Z", "2026-01-03T00:00Z"]);
    assert_eq!(next("0 0 1 FEB-mar *", "UTC", from, 2), ["2026-02-01T00:00Z", "2026-03-01T00:00Z"]);
    assert_eq!(next("0 12 ? * mon", "UTC", from, 1), ["2026-01-05T12:00Z"]);
    assert_eq!(
        next("30 0 9 * * *", "UTC", from, 1),
        ["2026-01-01T09:00:30.000Z"],
        "six fields: seconds first"
    );
    assert_eq!(next("0 0 0 29 2 * 2028-2040", "UTC", from, 1), ["2028-02-29T00:00Z"], "seven: year last");
    assert_eq!(next("  5   4  *  *  * ", "UTC", from, 1), ["2026-01-01T04:05Z"]);
    for (short, long) in [
        ("@hourly", "0 * * * *"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@weekly", "0 0 * * 0"),
        ("@monthly", "0 0 1 * *"),
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
    ] {
        assert_eq!(next(short, "UTC", from, 5), next(long, "UTC", from, 5));
    }
}

/// When day of month and day of week are both restricted, a day matches that matches either.
#[test]
fn days_are_joined_by_or() {
    let days = ["2026-02-02T00:00Z", "2026-02-09T00:00Z", "2026-02-13T00:00Z", "2026-02-16T00:00Z"];
    assert_eq!(next("0 0 13 * 1", "UTC", "2026-02-01T00:00:00Z", 4), days);
    // A field that begins with a star restricts nothing in this sense: the days are joined by "and".
    assert_eq!(
        next("0 0 */2 * 1", "UTC", "2026-02-01T00:00:00Z", 2),
        ["2026-02-09T00:00Z", "2026-02-23T00:00Z"]
    );
}

#[test]
fn intervals_count_from_the_creation() {
    let created = Timestamp(10_000);
    let every = |when| Plan::parse(&spec(when, "UTC"), created).expect("interval");
    for plan in [every(When::EveryMs(300_000)), every(When::Cron("@every 5m".to_owned()))] {
        assert_eq!(plan.next_after(Timestamp(0)), Some(Timestamp(310_000)));
        assert_eq!(plan.next_n(created, 2), [Timestamp(310_000), Timestamp(610_000)]);
        assert_eq!(plan.next_after(Timestamp(310_000)), Some(Timestamp(610_000)));
        assert_eq!(plan.next_after(Timestamp::MAX), None);
    }
}

#[test]
fn refusals_point_at_the_field() {
    assert!(refusal("0 0 1--100000000 * *").starts_with("day of month field \"1--100000000\""));
    assert!(refusal("0 0 1-100000000 * *").contains("100000000 is not between 1 and 31"));
    assert!(refusal("60 * * * *").starts_with("minute field \"60\": 60 is not between 0 and 59"));
    assert!(refusal("* 24 * * *").starts_with("hour field"));
    assert!(refusal("* * * 13 *").starts_with("month field"));
    assert!(refusal("* * * * 8").starts_with("day of week field"));
    assert!(refusal("* * * * monday").contains("or a name from sun to sat"));
    assert!(refusal("* * * april *").contains("or a name from jan to dec"));
    assert!(refusal("*/0 * * * *").contains("step \"0\" is not a number from 1 to 60"));
    assert!(refusal("*/99999999999 * * * *").contains("step"));
    assert!(refusal("10-5 * * * *").contains("goes backwards"));
    assert!(refusal("1,,2 * * * *").contains("a value is missing"));
    assert!(refusal("? * * * *").starts_with("minute field"));
    for quartz in ["0 0 L * *", "0 0 15W * *", "0 0 * * 5L", "0 0 * * fri#2", "0 0 LW * *", "0 0 L-3 * *"] {
        assert!(refusal(quartz).contains("not supported"), "{quartz}");
    }
    assert!(refusal("* * * *").contains("this one has 4"));
    assert!(refusal("").contains("this one has 0"));
    assert!(refusal("* * * * * * * *").contains("this one has 8"));
    assert!(refusal("@reboot").contains("@daily"));
    assert!(refusal("@every").contains("@every 5m"));
    assert!(refusal(&"1,".repeat(100_000)).contains("at most 256 bytes"));
    assert!(refusal("0 0 0 1 1 * 1969").starts_with("year field"));
}

#[test]
fn berlin_moves_its_clocks() {
    // Forward on 29 March 2026, 02:00 to 03:00; back on 25 October, 03:00 to 02:00.
    let spring = "2026-03-28T12:00:00Z";
    assert_eq!(next("30 2 * * *", "Europe/Berlin", spring, 2), ["2026-03-29T01:00Z", "2026-03-30T00:30Z"]);
    assert_eq!(
        next("*/10 2 * * *", "Europe/Berlin", spring, 2),
        ["2026-03-29T01:00Z", "2026-03-30T00:00Z"],
        "one firing"
    );
    assert_eq!(next("30 2,3 * * *", "Europe/Berlin", spring, 2), ["2026-03-29T01:00Z", "2026-03-29T01:30Z"]);
    assert_eq!(
        next("0 2,3 * * *", "Europe/Berlin", spring, 2),
        ["2026-03-29T01:00Z", "2026-03-30T00:00Z"],
        "merged"
    );
    assert_eq!(
        next("15 30 2 * * *", "Europe/Berlin", spring, 1),
        ["2026-03-29T01:00Z"],
        "seconds do not shift it"
    );
    let in_the_gap = "2026-03-29T00:15:00Z";
    assert_eq!(
        next("30 * * * *", "Europe/Berlin", in_the_gap, 2),
        ["2026-03-29T00:30Z", "2026-03-29T01:30Z"]
    );
    let autumn = "2026-10-24T12:00:00Z";
    assert_eq!(next("30 2 * * *", "Europe/Berlin", autumn, 2), ["2026-10-25T00:30Z", "2026-10-26T01:30Z"]);
    assert_eq!(
        next("*/30 2 * * *", "Europe/Berlin", autumn, 5),
        [
            "2026-10-25T00:00Z",
            "2026-10-25T00:30Z",
            "2026-10-25T01:00Z",
            "2026-10-25T01:30Z",
            "2026-10-26T01:00Z"
        ]
    );
}

#[test]
fn new_york_moves_its_clocks() {
    // Forward on 8 March 2026, 02:00 to 03:00; back on 1 November, 02:00 to 01:00.
    assert_eq!(
        next("30 2 * * *", "America/New_York", "2026-03-07T12:00:00Z", 2),
        ["2026-03-08T07:00Z", "2026-03-09T06:30Z"]
    );
    assert_eq!(
        next("30 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", 2),
        ["2026-11-01T05:30Z", "2026-11-02T06:30Z"]
    );
}

#[test]
fn lord_howe_moves_by_half_an_hour() {
    // Back on 5 April 2026, 02:00 to 01:30; forward on 4 October, 02:00 to 02:30.
    let zone = "Australia/Lord_Howe";
    assert_eq!(
        next("45 1 * * *", zone, "2026-04-04T00:00:00Z", 2),
        ["2026-04-04T14:45Z", "2026-04-05T15:15Z"]
    );
    assert_eq!(
        next("15 2 * * *", zone, "2026-10-03T00:00:00Z", 2),
        ["2026-10-03T15:30Z", "2026-10-04T15:15Z"]
    );
    assert_eq!(
        next("*/15 * * * *", zone, "2026-04-04T14:30:00Z", 4),
        ["2026-04-04T14:45Z", "2026-04-04T15:00Z", "2026-04-04T15:15Z", "2026-04-04T15:30Z"]
    );
}

#[test]
fn casablanca_moves_for_ramadan() {
    // Back on 15 February 2026, 03:00 to 02:00; forward on 22 March, 02:00 to 03:00.
    let zone = "Africa/Casablanca";
    assert_eq!(
        next("30 2 * * *", zone, "2026-02-14T12:00:00Z", 2),
        ["2026-02-15T01:30Z", "2026-02-16T02:30Z"]
    );
    assert_eq!(
        next("30 2 * * *", zone, "2026-03-21T12:00:00Z", 2),
        ["2026-03-22T02:00Z", "2026-03-23T01:30Z"]
    );
}

#[test]
fn shanghai_never_moves() {
    let plan = plan("30 2 * * *", "Asia/Shanghai");
    let times = plan.next_n(at("2026-01-01T00:00:00Z"), 800);
    assert!(times.windows(2).all(|pair| pair[1].0 - pair[0].0 == 24 * 3_600_000));
}

/// A whole day is missing in Samoa (30 December 2011): its firing merges with that of the next day's first instant.
#[test]
fn samoa_leaves_out_a_day() {
    let times = next("0 0 * * *", "Pacific/Apia", "2011-12-29T00:00:00Z", 3);
    assert_eq!(times, ["2011-12-29T10:00Z", "2011-12-30T10:00Z", "2011-12-31T10:00Z"]);
}

/// Every second, in both showings of the repeated hour: nothing is left out and nothing comes twice.
#[test]
fn seconds_run_through_every_change() {
    for (zone, from) in [("Europe/Berlin", "2026-03-29T00:00:00Z"), ("Europe/Berlin", "2026-10-24T23:30:00Z")]
    {
        let plan = plan("* * * * * *", zone);
        let mut last = at(from);
        for _ in 0..3 * 3_600 {
            let next = plan.next_after(last).expect("every second");
            assert_eq!(next, last.plus_ms(1_000));
            last = next;
        }
    }
}

#[test]
fn parts_of_a_second_do_not_matter() {
    let plan = plan("0 * * * *", "Europe/Berlin");
    assert_eq!(
        plan.next_after(Timestamp(at("2026-01-01T01:00:00Z").0 - 1)),
        Some(at("2026-01-01T01:00:00Z"))
    );
    assert_eq!(plan.next_after(at("2026-01-01T00:00:00.001Z")), Some(at("2026-01-01T01:00:00Z")));
    assert_eq!(
        plan.next_after(at("2026-01-01T00:00:00Z")),
        Some(at("2026-01-01T01:00:00Z")),
        "strictly later"
    );
}

#[test]
fn the_calendar_ends() {
    assert_eq!(plan("0 0 1 1 *", "UTC").next_after(at("2100-01-01T00:00:00Z")), None);
    assert_eq!(plan("0 0 31 2 *", "UTC").next_after(Timestamp(0)), None);
    assert_eq!(plan("* * * * *", "UTC").next_after(Timestamp::MAX), None);
    assert_eq!(
        next("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", 2),
        ["2028-02-29T00:00Z", "2032-02-29T00:00Z"]
    );
}

/// One field as text and as the values that the text means, made independently of the parser.
#[derive(Debug, Clone)]
struct Values {
    text: String,
    set: BTreeSet<u32>,
}

fn values(min: u32, max: u32) -> impl Strategy<Value = Values> {
    let all = move || (min..=max).collect::<BTreeSet<u32>>();
    prop_oneof![
        2 => Just(Values { text: "*".to_owned(), set: all() }),
        2 => (2u32..=8).prop_map(move |n| Values { text: format!("*/{n}"), set: (min..=max).step_by(n as usize).collect() }),
        3 => (min..=max).prop_map(|n| Values { text: n.to_string(), set: [n].into() }),
        1 => (min..=max, min..=max).prop_map(|(a, b)| {
            let (from, to) = (a.min(b), a.max(b));
            Values { text: format!("{from}-{to}"), set: (from..=to).collect() }
        }),
        1 => (min..=max, min..=max).prop_map(|(a, b)| Values { text: format!("{a},{b}"), set: [a, b].into() }),
    ]
}

/// The model: does the clock on the wall, showing this minute, match?
struct Model {
    minute: Values,
    hour: Values,
    day: Values,
    weekday: Values,
}

impl Model {
    fn text(&self) -> String {
        format!("{} {} {} * {}", self.minute.text, self.hour.text, self.day.text, self.weekday.text)
    }

    fn matches(&self, shown: NaiveDateTime) -> bool {
        let day = self.day.set.contains(&shown.day());
        let weekday = self.weekday.set.contains(&shown.weekday().num_days_from_sunday());
        let either = !self.day.text.starts_with('*') && !self.weekday.text.starts_with('*');
        self.minute.set.contains(&shown.minute())
            && self.hour.set.contains(&shown.hour())
            && if either { day || weekday } else { day && weekday }
    }

    /// Looks at every minute of `[from, from + minutes)` and fires by the rule as the module states it.
    fn firings(&self, zone: Tz, from: DateTime<Utc>, minutes: i64) -> Vec<DateTime<Utc>> {
        let rhythm = [&self.minute, &self.hour].iter().any(|field| field.text.starts_with('*'));
        let shows = |at: DateTime<Utc>| zone.from_utc_datetime(&at.naive_utc()).naive_local();
        let mut fired = Vec::new();
        let mut latest_shown = shows(from - Duration::minutes(1));
        for at in (0..minutes).map(|minute| from + Duration::minutes(minute)) {
            let (before, shown) = (shows(at - Duration::minutes(1)), shows(at));
            let skipped = (shown - before).num_minutes() - 1;
            let in_gap = (1..=skipped).any(|minute| self.matches(before + Duration::minutes(minute)));
            let repeated = shown <= latest_shown;
            let own = self.matches(shown) && (rhythm || !repeated);
            if own || (in_gap && self.hour.set.len() < 24) {
                fired.push(at);
            }
            latest_shown = latest_shown.max(shown);
        }
        fired
    }
}

/// The first change of the zone's offset within two years after `from`, to the hour; `from` itself when there is none.
fn change_after(zone: Tz, from: DateTime<Utc>) -> DateTime<Utc> {
    let offset = |at: DateTime<Utc>| zone.from_utc_datetime(&at.naive_utc()).naive_local() - at.naive_utc();
    let hours = (0..2 * 366 * 24).map(|hour| from + Duration::hours(hour));
    hours.clone().zip(hours.skip(1)).find(|(a, b)| offset(*a) != offset(*b)).map_or(from, |(at, _)| at)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(384))]

    /// Around a change of the clocks in any zone of the world, the plan fires exactly as the model does.
    #[test]
    fn plans_equal_the_model(
        zone in prop::sample::select(TZ_VARIANTS.to_vec()),
        days in 0i64..9_000,
        minute in values(0, 59), hour in values(0, 23), day in values(1, 31), weekday in values(0, 6),
    ) {
        let model = Model { minute, hour, day, weekday };
        // From 1995 on all clocks move at whole minutes.
        let start = NaiveDate::from_ymd_opt(1995, 1, 1).and_then(|d| d.and_hms_opt(0, 0, 0)).expect("a date").and_utc();
        let from = change_after(zone, start + Duration::days(days)) - Duration::hours(30);
        let minutes = 60 * 60;
        let plan = plan(&model.text(), zone.name());
        let until = from + Duration::minutes(minutes);
        let first = Timestamp(u64::try_from(from.timestamp_millis()).expect("after 1970") - 1);
        let fired: Vec<DateTime<Utc>> = std::iter::successors(plan.next_after(first), |last| plan.next_after(*last))
            .map(|at| at.to_utc().expect("in the calendar"))
            .take_while(|at| *at < until)
            .collect();
        prop_assert_eq!(fired, model.firings(zone, from, minutes), "{} in {}", model.text(), zone);
    }

    /// A daily schedule never misses a day and never fires twice for one: its firings are a day apart, give or take
    /// the shift of the clocks.
    #[test]
    fn daily_schedules_fire_daily(
        zone in prop::sample::select(TZ_VARIANTS.to_vec()), hour in 0u32..24, minute in 0u32..60,
    ) {
        let times = plan(&format!("{minute} {hour} * * *"), zone.name()).next_n(at("2024-01-01T00:00:00Z"), 3 * 365);
        prop_assert_eq!(times.len(), 3 * 365);
        for pair in times.windows(2) {
            let hours = (pair[1].0 - pair[0].0) as f64 / 3_600_000.0;
            prop_assert!((22.0..=26.0).contains(&hours), "{} h between {:?} in {}", hours, pair, zone);
        }
    }

    /// Whatever the text, reading it is quick and ends in a plan or a short sentence.
    #[test]
    fn hostile_text_is_harmless(text in "[-0-9*/,?#LWa-z@ ]{0,80}", zone in "[A-Za-z/_]{0,20}") {
        for zone in ["UTC", zone.as_str()] {
            match Plan::parse(&spec(When::Cron(text.clone()), zone), Timestamp(0)) {
                Ok(plan) => drop(plan.next_n(Timestamp(1_780_000_000_000), 3)),
                Err(bad) => prop_assert!(bad.to_string().len() < 600),
            }
        }
    }
}
