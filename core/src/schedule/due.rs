//! What to fire now: the nominal times between the last one that was dealt with and now, under the catch-up policy.

use super::{CatchUp, Plan};
use crate::time::Timestamp;

/// Missed nominal times are counted one by one up to this many; a longer outage counts as this many. Intervals are
/// counted exactly, whatever their number.
pub const MISSED_COUNT_MAX: u64 = 10_000;

/// A nominal time that is at most this late still counts as on time, in milliseconds: a busy store or a stopped process
/// must not make a schedule with [`CatchUp::Skip`] drop a firing, nor one with [`CatchUp::Latest`] merge several.
pub const LATE_MS_MAX: u64 = 60_000;

/// What [`Plan::due`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The nominal time to fire for; ask again from there, since more may be due.
    pub fire: Option<Timestamp>,
    /// Nominal times that the policy leaves out.
    pub skipped: u64,
    /// Every nominal time up to this one is dealt with, once `fire` has been.
    pub until: Timestamp,
}

impl Plan {
    /// What is due in `(after, now]`. Nominal times since `serving_since` (when this server began) that are less than
    /// [`LATE_MS_MAX`] late are fired one by one; older ones were missed, and `catch_up` says what becomes of them.
    ///
    /// Its work is bounded, also after years without a server: a binary search for the latest missed time, and at most
    /// [`MISSED_COUNT_MAX`] steps to count.
    #[must_use]
    pub fn due(&self, after: Timestamp, now: Timestamp, serving_since: Timestamp, catch_up: CatchUp) -> Due {
        let on_time_from = serving_since.0.max(now.0.saturating_sub(LATE_MS_MAX));
        let missed_until = Timestamp(on_time_from.saturating_sub(1).min(now.0));
        let missed = self.latest_in(after, missed_until);
        match (missed, catch_up) {
            (Some(latest), CatchUp::Latest) => {
                let skipped = self.count_in(after, latest) - 1;
                Due { fire: Some(latest), skipped, until: latest }
            }
            (missed, _) => {
                let skipped = missed.map_or(0, |latest| self.count_in(after, latest));
                let from = missed.unwrap_or(after);
                let fire = self.next_after(from).filter(|next| *next <= now);
                Due { fire, skipped, until: fire.unwrap_or(from) }
            }
        }
    }

    /// The latest nominal time in `(after, until]`, found by bisecting on "is there another one up to `until`?".
    fn latest_in(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let another = |from: u64| self.next_after(Timestamp(from)).is_some_and(|next| next <= until);
        if after >= until || !another(after.0) {
            return None;
        }
        let (mut with, mut without) = (after.0, until.0);
        while without - with > 1 {
            let middle = with + (without - with) / 2;
            if another(middle) { with = middle } else { without = middle }
        }
        Some(Timestamp(without))
    }

    /// Nominal times in `(after, until]`, where there is at least one; cron times up to [`MISSED_COUNT_MAX`].
    fn count_in(&self, after: Timestamp, until: Timestamp) -> u64 {
        self.count_by_arithmetic(after, until)
            .unwrap_or_else(|| {
                let mut next = self.next_after(after);
                let mut count = 0;
                while let Some(at) = next.filter(|at| *at <= until && count < MISSED_COUNT_MAX) {
                    count += 1;
                    next = self.next_after(at);
                }
                count
            })
            .max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::When;
    use crate::schedule::tests::spec;
    use proptest::prelude::*;

    const DAY: u64 = 24 * 3_600_000;
    /// 2026-01-01T00:00:00Z.
    const START: Timestamp = Timestamp(1_767_225_600_000);

    fn plan(when: When) -> Plan {
        Plan::parse(&spec(when, "UTC"), START).expect("plan")
    }

    fn cron(text: &str) -> Plan {
        plan(When::Cron(text.to_owned()))
    }

    #[test]
    fn missed_times_follow_the_policy() {
        let hourly = cron("@hourly");
        // Down from 00:30 to 10:15: the times 01:00 to 10:00 were missed.
        let (after, now) = (START.plus_ms(DAY / 48), START.plus_ms(DAY / 24 * 41 / 4));
        let ten = START.plus_ms(DAY / 24 * 10);
        assert_eq!(
            hourly.due(after, now, now, CatchUp::Latest),
            Due { fire: Some(ten), skipped: 9, until: ten }
        );
        assert_eq!(hourly.due(after, now, now, CatchUp::Skip), Due { fire: None, skipped: 10, until: ten });
        assert_eq!(hourly.due(ten, now, now, CatchUp::Latest), Due { fire: None, skipped: 0, until: ten });
    }

    /// A server that comes up one millisecond after a nominal time has missed it.
    #[test]
    fn the_border_between_missed_and_on_time_is_exact() {
        let (hourly, one) = (cron("@hourly"), START.plus_ms(DAY / 24));
        for (since, skip) in [(one, Some(one)), (one.plus_ms(1), None)] {
            let fire = |policy| hourly.due(START, one.plus_ms(1), since, policy).fire;
            assert_eq!((fire(CatchUp::Latest), fire(CatchUp::Skip)), (Some(one), skip));
        }
    }

    /// A server that runs but is slow fires every nominal time, under either policy.
    #[test]
    fn a_slow_server_drops_nothing() {
        let every = plan(When::EveryMs(1_000));
        for policy in [CatchUp::Latest, CatchUp::Skip] {
            let (now, mut after) = (START.plus_ms(30_500), START.plus_ms(20_000));
            for second in 21..=30 {
                let due = every.due(after, now, START, policy);
                assert_eq!(
                    due,
                    Due {
                        fire: Some(START.plus_ms(second * 1_000)),
                        skipped: 0,
                        until: START.plus_ms(second * 1_000)
                    }
                );
                after = due.until;
            }
            assert_eq!(every.due(after, now, START, policy).fire, None);
        }
    }

    /// Ten years of seconds were missed; the answer comes at once and interval counts stay exact.
    #[test]
    fn years_of_downtime_cost_little() {
        let now = START.plus_ms(10 * 365 * DAY);
        let due = cron("* * * * * *").due(START, now, now, CatchUp::Latest);
        assert_eq!((due.fire, due.skipped), (Some(Timestamp(now.0 - 1_000)), MISSED_COUNT_MAX - 1));
        let due = plan(When::EveryMs(1_000)).due(START, now, now, CatchUp::Skip);
        assert_eq!((due.fire, due.skipped), (Some(now), 10 * 365 * DAY / 1_000 - 1));
    }

    #[test]
    fn a_clock_behind_the_record_fires_nothing() {
        let due = cron("@hourly").due(START.plus_ms(DAY), START, START, CatchUp::Latest);
        assert_eq!(due, Due { fire: None, skipped: 0, until: START.plus_ms(DAY) });
    }

    proptest! {
        /// However the calls fall, every nominal time is fired or skipped exactly once, and fired ones are in order.
        #[test]
        fn every_time_is_dealt_with_once(
            text in prop::sample::select(vec!["*/7 * * * *", "0 */3 * * *", "30 2 * * *", "0 0 1 * 1", "@every 11m"]),
            steps in prop::collection::vec((0u64..3 * DAY, any::<bool>()), 1..12),
            skip: bool,
        ) {
            let plan = cron(text);
            let policy = if skip { CatchUp::Skip } else { CatchUp::Latest };
            let (mut now, mut after, mut serving) = (START, START, START);
            let (mut fired, mut skipped) = (Vec::new(), 0);
            for (step, restart) in steps {
                now = now.plus_ms(step);
                if restart {
                    serving = now;
                }
                loop {
                    let due = plan.due(after, now, serving, policy);
                    prop_assert!(due.until >= after);
                    (after, skipped) = (due.until, skipped + due.skipped);
                    match due.fire {
                        Some(at) => fired.push(at),
                        None => break,
                    }
                }
            }
            prop_assert!(fired.windows(2).all(|pair| pair[0] < pair[1]));
            let mut all = Vec::new();
            let mut at = START;
            while let Some(next) = plan.next_after(at).filter(|next| *next <= now) {
                all.push(next);
                at = next;
            }
            prop_assert_eq!(all.len() as u64, fired.len() as u64 + skipped);
            prop_assert!(fired.iter().all(|at| all.contains(at)));
        }
    }
}
