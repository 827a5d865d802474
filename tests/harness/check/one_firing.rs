//! S9: one job per schedule and nominal time, and no nominal time that vanished.

use std::collections::{BTreeMap, BTreeSet};

use windlass_core::id::JobId;

use super::{Found, Property};
use crate::life::{Life, World};

/// Jobs by schedule and nominal time.
#[derive(Debug, Default)]
pub(super) struct OneFiring {
    firings: BTreeMap<String, BTreeMap<u64, BTreeSet<JobId>>>,
}

impl OneFiring {
    fn note(&mut self, id: JobId, firing: &(String, u64)) {
        self.firings.entry(firing.0.clone()).or_default().entry(firing.1).or_default().insert(id);
    }
}

impl Property for OneFiring {
    fn name(&self) -> &'static str {
        "S9 one firing per nominal time"
    }

    fn life(&mut self, life: &Life, _: &World, _: &mut Found<'_>) {
        if let Some(firing) = &life.firing {
            self.note(life.id, firing);
        }
    }

    fn end(&mut self, world: &World, found: &mut Found<'_>) {
        for (id, job) in &world.dump.jobs {
            if let Some(firing) = &job.firing {
                self.note(*id, firing);
            }
        }
        for (name, times) in &self.firings {
            for (nominal, ids) in times.iter().filter(|(_, ids)| ids.len() > 1) {
                found.add(None, format!("schedule {name} fired {} times for {nominal}: {ids:?}", ids.len()));
            }
        }
        for schedule in &world.dump.schedules {
            let none = BTreeMap::new();
            let times = self.firings.get(&schedule.name).unwrap_or(&none);
            let seen = times.len() as u64;
            if seen != schedule.fired {
                let text = format!(
                    "schedule {} says it fired {} times, {seen} jobs are known",
                    schedule.name, schedule.fired
                );
                found.add(None, text);
            }
            let (Some(every), Some(last), Some(first)) =
                (schedule.every_ms, schedule.last, times.keys().next())
            else {
                continue;
            };
            for nominal in times.keys().filter(|nominal| (*nominal - first) % every != 0) {
                found.add(
                    None,
                    format!("schedule {} fired for {nominal}, which is none of its times", schedule.name),
                );
            }
            let due = last.saturating_sub(*first) / every + 1;
            if schedule.fired + schedule.skipped < due {
                let text = format!(
                    "schedule {} had {due} times, fired {} and skipped {}",
                    schedule.name, schedule.fired, schedule.skipped
                );
                found.add(None, text);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::check::sample::Sample;

    fn fired(times: &[(u8, u64)]) -> Sample {
        let mut sample = Sample::default();
        for (at, (id, nominal)) in times.iter().enumerate() {
            let at = at as u64 * 100;
            sample
                .job(*id)
                .firing("often", *nominal)
                .run((1, u64::from(*id)), 1, at, at + 1, "done")
                .reported(at + 2);
            sample.forget(*id);
        }
        sample
    }

    #[test]
    fn it_alone_catches_a_second_firing() {
        let mut sample = fired(&[(1, 1_000), (2, 2_000), (3, 2_000)]);
        sample.schedule("often", 1_000, 2, 0, 2_000);
        sample.breaks(&["S9"]);
    }

    #[test]
    fn it_alone_catches_a_time_that_vanished() {
        let mut sample = fired(&[(1, 1_000), (2, 3_000)]);
        sample.schedule("often", 1_000, 2, 0, 3_000);
        sample.breaks(&["S9"]);
        let mut sample = fired(&[(1, 1_000), (2, 3_000)]);
        sample.schedule("often", 1_000, 2, 1, 3_000);
        sample.breaks(&[]);
    }
}
