//! A schedule that has been read and can say when it fires.

use chrono::{DateTime, Duration, LocalResult, NaiveDateTime, TimeZone, Utc};
use chrono_tz::Tz;

use super::crontab::Crontab;
use super::{BadSchedule, ScheduleSpec, When, crontab, every, zone};
use crate::time::Timestamp;

/// When a schedule fires: its spec, checked and ready to compute with. Pure; the current time is an argument.
#[derive(Debug, Clone)]
pub struct Plan {
    rule: Rule,
}

#[derive(Debug, Clone)]
enum Rule {
    /// Elapsed time, counted from the anchor.
    Every { every_ms: u64, anchor: Timestamp },
    /// A clock on a wall.
    Cron { crontab: Box<Crontab>, zone: Tz },
}

impl Plan {
    /// Reads the plan of a schedule that was created at `created_at`, from where intervals count.
    ///
    /// ```
    /// use windlass_core::schedule::{CatchUp, Plan, ScheduleSpec, When};
    /// use windlass_core::{id::QueueName, job::{JobSpec, Payload}, time::Timestamp};
    /// let spec = ScheduleSpec {
    ///     name: "nightly".into(),
    ///     when: When::Cron("30 2 * * *".into()),
    ///     zone: "Europe/Berlin".into(),
    ///     catch_up: CatchUp::Latest,
    ///     queue: QueueName::default(),
    ///     job: JobSpec::new("report", Payload::json("{}")),
    /// };
    /// let plan = Plan::parse(&spec, Timestamp(0))?;
    /// // On 29 March 2026 the clocks in Berlin go from 02:00 to 03:00: 02:30 fires right after the gap.
    /// let noon_before = Timestamp(1_774_695_600_000);
    /// let next = plan.next_after(noon_before).expect("daily");
    /// assert_eq!(next.to_rfc3339(), "2026-03-29T01:00:00.000Z");
    /// # Ok::<(), windlass_core::schedule::BadSchedule>(())
    /// ```
    ///
    /// # Errors
    /// [`BadSchedule`] says which part cannot be read and what is allowed there.
    pub fn parse(spec: &ScheduleSpec, created_at: Timestamp) -> Result<Plan, BadSchedule> {
        let interval = |every_ms| Plan { rule: Rule::Every { every_ms, anchor: created_at } };
        match &spec.when {
            When::EveryMs(every_ms) => every::check(*every_ms).map(interval),
            When::Cron(text) => match text.trim().strip_prefix("@every ") {
                Some(duration) => every::parse(duration).map(interval),
                None => {
                    let crontab = Box::new(crontab::parse(text)?);
                    Ok(Plan { rule: Rule::Cron { crontab, zone: zone::find(&spec.zone)? } })
                }
            },
        }
    }

    /// The first instant strictly after `after` at which the schedule fires; `None` when there is none up to the year
    /// 2100, where the calendar of the `cron` crate ends. Its work is bounded whatever the expression.
    #[must_use]
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match &self.rule {
            Rule::Every { every_ms, anchor } => {
                let whole = after.since_ms(*anchor) / every_ms;
                anchor.0.checked_add(every_ms.checked_mul(whole + 1)?).map(Timestamp)
            }
            Rule::Cron { crontab, zone } => {
                let next = crontab.next_after(*zone, after.to_utc()?)?;
                u64::try_from(next.timestamp_millis()).ok().map(Timestamp)
            }
        }
    }

    /// The first `count` instants after `after`, fewer when the calendar ends.
    #[must_use]
    pub fn next_n(&self, after: Timestamp, count: usize) -> Vec<Timestamp> {
        std::iter::successors(self.next_after(after), |last| self.next_after(*last)).take(count).collect()
    }

    /// Firings in `(after, until]` of an interval, by arithmetic; `None` for cron.
    pub(super) fn count_by_arithmetic(&self, after: Timestamp, until: Timestamp) -> Option<u64> {
        match &self.rule {
            Rule::Every { every_ms, anchor } => {
                Some(until.since_ms(*anchor) / every_ms - (after.min(until).since_ms(*anchor) / every_ms))
            }
            Rule::Cron { .. } => None,
        }
    }
}

impl Crontab {
    /// The next instant, by the rule in [`super`]. A rhythm also fires at the second showings of a stretch that the
    /// clock repeats; they all come after the first showings of that stretch and before everything later.
    fn next_after(&self, zone: Tz, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let shown = zone.from_utc_datetime(&after.naive_utc()).naive_local();
        let first = || self.first_showing(zone, shown, after);
        match zone.from_local_datetime(&shown) {
            LocalResult::Ambiguous(_, later) if self.rhythm && after >= later => {
                self.second_showing(zone, shown, shown).or_else(first)
            }
            LocalResult::Ambiguous(earlier, later) if self.rhythm => match first() {
                Some(first) if is_first_showing(zone, first) => Some(first),
                // No repeated nominal time lies further back than the shift.
                first => {
                    let start = shown - (later - earlier) - Duration::seconds(1);
                    self.second_showing(zone, start, shown).or(first)
                }
            },
            _ => first(),
        }
    }

    /// First instants of nominal times grow with the nominal times, and all up to `shown` lie at or before `after`. So
    /// the search starts at `shown`; it repeats only inside the second showing of a repeated hour.
    fn first_showing(&self, zone: Tz, shown: NaiveDateTime, after: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let mut nominal = shown;
        loop {
            nominal = self.nominal_after(nominal)?;
            let instant = match zone.from_local_datetime(&nominal) {
                LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => at.to_utc(),
                LocalResult::None if self.every_hour => continue,
                LocalResult::None => end_of_gap(zone, nominal)?,
            };
            if instant > after {
                return Some(instant);
            }
        }
    }

    /// The second showing of the first repeated nominal time after `start`, in the stretch that `shown` belongs to.
    fn second_showing(&self, zone: Tz, start: NaiveDateTime, shown: NaiveDateTime) -> Option<DateTime<Utc>> {
        let mut nominal = start;
        loop {
            nominal = self.nominal_after(nominal)?;
            match zone.from_local_datetime(&nominal) {
                LocalResult::Ambiguous(_, later) => return Some(later.to_utc()),
                _ if nominal > shown => return None,
                _ => {}
            }
        }
    }

    /// The next nominal time. The calendar is searched in UTC, which has neither gaps nor repeated hours.
    fn nominal_after(&self, nominal: NaiveDateTime) -> Option<NaiveDateTime> {
        let next = |calendar: &cron::Schedule| calendar.after(&nominal.and_utc()).next();
        self.calendars.iter().filter_map(next).min().map(|at| at.naive_utc())
    }
}

/// Whether the clock shows the time of `at` again later.
fn is_first_showing(zone: Tz, at: DateTime<Utc>) -> bool {
    let shown = zone.from_utc_datetime(&at.naive_utc()).naive_local();
    matches!(zone.from_local_datetime(&shown), LocalResult::Ambiguous(earlier, _) if earlier == at)
}

/// The first instant after the gap in which `nominal` lies.
fn end_of_gap(zone: Tz, nominal: NaiveDateTime) -> Option<DateTime<Utc>> {
    let shows = |minutes: i64| {
        let at = nominal + Duration::minutes(minutes);
        zone.from_local_datetime(&at).earliest().map(|at| at.to_utc())
    };
    // No gap is longer than a day (Samoa in 2011 left out one), and none is shorter than a quarter of an hour.
    let reached = (1..=2 * 24 * 4).map(|quarter| quarter * 15).find(|minutes| shows(*minutes).is_some())?;
    let first = (reached - 15..=reached).find_map(shows)?;
    // Clocks are moved at whole minutes of UTC; the nominal time may carry seconds.
    Some(first - Duration::seconds(first.timestamp().rem_euclid(60)))
}

#[cfg(test)]
#[path = "plan_test.rs"]
mod tests;
