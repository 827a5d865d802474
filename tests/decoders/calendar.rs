//! Cron text, intervals and zones.

use windlass_core::id::QueueName;
use windlass_core::job::{JobSpec, Payload};
use windlass_core::schedule::{BadSchedule, CatchUp, EVERY_MS_MAX, EVERY_MS_MIN, Plan, ScheduleSpec, When};
use windlass_core::time::Timestamp;

/// Longest refusal: what it quotes of the text is cut.
const REFUSAL_BYTES_MAX: usize = 600;
/// Times that are looked at behind each start.
const TIMES: usize = 50;
/// 2026-03-28, the day before clocks in Europe go forward; 2026-10-24, the day before they go back; the beginning; the end
/// of the calendar; the end of time.
const STARTS: [u64; 5] = [1_774_656_000_000, 1_792_800_000_000, 0, 4_133_894_400_000, u64::MAX - 1];

fn spec(when: When, zone: &str) -> ScheduleSpec {
    ScheduleSpec {
        name: "fuzz".to_owned(),
        when,
        zone: zone.to_owned(),
        catch_up: CatchUp::Latest,
        queue: QueueName::default(),
        job: JobSpec::new("k", Payload::json("1")),
    }
}

fn refused(error: &BadSchedule) {
    let said = error.to_string();
    assert!(!said.is_empty() && said.len() <= REFUSAL_BYTES_MAX, "{} bytes of refusal", said.len());
}

/// Cron text in the zone of its second line, if it has one: what is taken fires at times that grow, as `next_n` says too.
pub fn cron(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (text, zone) = text.split_once('\n').unwrap_or((text, "Europe/Berlin"));
    let spec = spec(When::Cron(text.to_owned()), zone);
    let plan = match Plan::parse(&spec, Timestamp(STARTS[0])) {
        Ok(plan) => plan,
        Err(error) => return refused(&error),
    };
    if let Err(error) = spec.validate(Timestamp(STARTS[0])) {
        refused(&error);
        assert!(plan.next_after(Timestamp(STARTS[0])).is_none(), "refused for another reason: {error}");
    }
    for start in STARTS.map(Timestamp) {
        let mut last = start;
        let times = plan.next_n(start, TIMES);
        for (at, time) in times.iter().enumerate() {
            assert!(*time > last, "time {at} of {text:?} in {zone} after {start:?}: {time:?} after {last:?}");
            // Asked from just before it, the plan says the same.
            assert_eq!(plan.next_after(Timestamp(time.0 - 1)), Some(*time), "{text:?} in {zone}");
            last = *time;
        }
    }
}

/// `@every` text: what is taken is an interval within its bounds, and keeps to it.
pub fn every(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let anchor = Timestamp(STARTS[0]);
    match Plan::parse(&spec(When::Cron(format!("@every {text}")), "UTC"), anchor) {
        Ok(plan) => {
            let times = plan.next_n(anchor, 3);
            let every_ms = times[0].since_ms(anchor);
            assert!((EVERY_MS_MIN..=EVERY_MS_MAX).contains(&every_ms), "{text:?} is {every_ms} ms");
            assert!(times.windows(2).all(|pair| pair[1].since_ms(pair[0]) == every_ms));
            // The same interval as a number.
            let number =
                Plan::parse(&spec(When::EveryMs(every_ms), "UTC"), anchor).expect("within its bounds");
            assert_eq!(number.next_n(anchor, 3), times);
        }
        Err(error) => refused(&error),
    }
    if let Ok(bytes) = data.try_into() {
        let plan = Plan::parse(&spec(When::EveryMs(u64::from_le_bytes(bytes)), "UTC"), anchor);
        plan.map_or_else(|error| refused(&error), |plan| assert!(plan.next_after(anchor) > Some(anchor)));
    }
}

/// Names of zones: what is taken can be planned in; what is not is refused shortly.
pub fn zone(data: &[u8]) {
    let Ok(name) = std::str::from_utf8(data) else { return };
    match Plan::parse(&spec(When::Cron("30 2 * * *".to_owned()), name), Timestamp(0)) {
        Ok(plan) => assert_eq!(plan.next_n(Timestamp(STARTS[0]), 5).len(), 5, "{name}"),
        Err(error) => refused(&error),
    }
}
