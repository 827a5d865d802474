//! Whether a job satisfies a filter.

use super::field::{MomentField, NumberField, TextField};
use super::{Compare, Filter, Pattern, Test, args};
use crate::api::JobView;
use crate::time::Timestamp;

impl Filter {
    /// Whether this job is taken.
    #[must_use]
    pub fn matches(&self, job: &JobView, now: Timestamp) -> bool {
        self.terms.iter().all(|term| term.test.holds(job, now) != term.negated)
    }
}

impl Test {
    fn holds(&self, job: &JobView, now: Timestamp) -> bool {
        let any = |patterns: &[Pattern], text: &str| patterns.iter().any(|pattern| pattern.matches(text));
        match self {
            Test::State(states) => states.contains(&job.state),
            Test::Text(TextField::Kind, patterns) => any(patterns, &job.kind),
            Test::Text(TextField::Queue, patterns) => any(patterns, job.queue.as_str()),
            Test::Text(TextField::Tag, patterns) => job.tags.iter().any(|tag| any(patterns, tag)),
            Test::Text(TextField::Id, patterns) => any(patterns, &job.id.to_string()),
            Test::Text(TextField::Worker, patterns) => job
                .attempts
                .iter()
                .any(|run| any(patterns, &run.worker_name) || any(patterns, &run.worker.to_string())),
            Test::Error(patterns) => patterns.iter().any(|pattern| has_error(job, pattern)),
            Test::Header(name, patterns) => job
                .headers
                .iter()
                .any(|(known, value)| known.eq_ignore_ascii_case(name) && any(patterns, value)),
            Test::Number(field, compare, value) => compare.holds(number(*field, job).cmp(value)),
            Test::Age(compare, ms) => compare.holds(now.since_ms(job.enqueued_at).cmp(ms)),
            Test::Moment(field, compare, at) => {
                instant(*field, job).is_some_and(|moment| compare.holds(moment.cmp(at)))
            }
            Test::Args(path, Compare::Equal, patterns) if path.is_empty() => {
                let text = String::from_utf8_lossy(&job.payload.data);
                patterns.iter().any(|pattern| pattern.is_in(&text))
            }
            Test::Args(path, compare, patterns) => args::holds(job, path, *compare, patterns),
            Test::Anywhere(pattern) => {
                let pattern = pattern.to_lowercase();
                let is_in = |text: &str| pattern.is_in(&text.to_lowercase());
                is_in(&job.kind)
                    || is_in(&job.id.to_string())
                    || job.tags.iter().any(|tag| is_in(tag))
                    || has_error(job, &pattern)
                    || is_in(&String::from_utf8_lossy(&job.payload.data))
            }
        }
    }
}

fn has_error(job: &JobView, pattern: &Pattern) -> bool {
    let errors = job.attempts.iter().map(|run| &run.error).chain([&job.reason]);
    let pattern = pattern.to_lowercase();
    errors.filter(|error| !error.is_empty()).any(|error| pattern.is_in(&error.to_lowercase()))
}

fn number(field: NumberField, job: &JobView) -> i64 {
    match field {
        NumberField::Attempt => job.attempt.into(),
        NumberField::MaxAttempts => job.max_attempts.into(),
        NumberField::Crashes => job.crashes.into(),
        NumberField::Priority => job.priority.into(),
        NumberField::Size => i64::try_from(job.payload.data.len()).unwrap_or(i64::MAX),
    }
}

fn instant(field: MomentField, job: &JobView) -> Option<Timestamp> {
    match field {
        MomentField::Enqueued => Some(job.enqueued_at),
        MomentField::RunAt => Some(job.run_at),
        MomentField::Ended => job.ended_at,
    }
}

impl Pattern {
    fn to_lowercase(&self) -> Pattern {
        Pattern { pieces: self.pieces.iter().map(|piece| piece.to_lowercase()).collect() }
    }

    /// Whether the whole text is meant.
    pub(super) fn matches(&self, text: &str) -> bool {
        let (Some((first, rest)), Some(last)) = (self.pieces.split_first(), self.pieces.last()) else {
            return false;
        };
        if rest.is_empty() {
            return text == first;
        }
        let Some(inner) = text.strip_prefix(first.as_str()).and_then(|text| text.strip_suffix(last.as_str()))
        else {
            return false;
        };
        in_order(&rest[..rest.len() - 1], inner)
    }

    /// Whether a part of the text is meant.
    pub(super) fn is_in(&self, text: &str) -> bool {
        in_order(&self.pieces, text)
    }
}

/// Whether the pieces stand in the text one behind the other. The first place of each is the best one, so nothing is tried twice.
fn in_order(pieces: &[String], text: &str) -> bool {
    let mut rest = text;
    pieces.iter().all(|piece| match rest.find(piece.as_str()) {
        Some(at) => {
            rest = &rest[at + piece.len()..];
            true
        }
        None => false,
    })
}
