//! The language in which jobs are looked for: one parser for lists, bulk operations, command line, API and pages.
//!
//! ```text
//!   state:dead kind:send_* tag:eu,us error:"timed out" args.user.id:123 age>10m attempt>=3 -queue:test
//! ```
//!
//! - A filter is a list of terms, and a job has to satisfy all of them. `-` before a term turns it round, and so does `!=`.
//! - A term is a field, an operator and a value. `:` and `=` ask for equality, `<` `<=` `>` `>=` compare.
//! - Several values behind `:`, with commas between them, mean any of them.
//! - `*` in a value stands for any text. In quotes everything is literal, spaces, commas and stars too; `\"` is a quote.
//! - A word without a field is looked for in kind, id, tags, errors and payload, in any case of its letters.
//! - `args.a.b` is the value at that path of a JSON payload. A path goes into every element of a list, unless it names one by
//!   its number. Numbers are compared by value, however many digits they have.
//!
//! An error says at which column it is and what was probably meant.
//!
//! ```
//! use windlass_core::filter::Filter;
//! let error = Filter::parse("kind:mail stat:dead").unwrap_err();
//! assert_eq!(error.to_string(), "column 11: there is no field \"stat\"; did you mean \"state\"?");
//! ```

mod args;
mod field;
mod matches;
mod parse;
mod scan;

#[cfg(test)]
mod filter_test;

use std::fmt;

use crate::api::JobQuery;
use crate::id::QueueName;
use crate::job::JobState;
use crate::time::Timestamp;

pub use field::{FIELDS, FieldHelp};

use field::{MomentField, NumberField, TextField};

/// Longest filter, in bytes: it stands in addresses.
pub const FILTER_BYTES_MAX: usize = 2_048;
/// Most terms of a filter: each is looked at for every job of a scan.
pub const FILTER_TERMS_MAX: usize = 32;
/// Most values of one term.
pub const FILTER_VALUES_MAX: usize = 64;

/// A filter that was read. The empty one takes every job.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Filter {
    terms: Vec<Term>,
}

/// Why a text is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("column {column}: {message}")]
pub struct FilterError {
    /// Where, in characters from 1.
    pub column: usize,
    /// What is wrong and what was probably meant.
    pub message: String,
}

#[derive(Debug, Clone, PartialEq)]
struct Term {
    negated: bool,
    test: Test,
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    State(Vec<JobState>),
    Text(TextField, Vec<Pattern>),
    /// Part of an error or of the reason, whatever the case of its letters.
    Error(Vec<Pattern>),
    Header(String, Vec<Pattern>),
    Number(NumberField, Compare, i64),
    /// Milliseconds since the job was enqueued.
    Age(Compare, u64),
    Moment(MomentField, Compare, Timestamp),
    Args(Vec<String>, Compare, Vec<Pattern>),
    Anywhere(Pattern),
}

/// How two things are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compare {
    Equal,
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
}

/// A value: literal pieces with any text between them. One piece is the whole value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Pattern {
    pieces: Vec<String>,
}

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// [`FilterError`].
    pub fn parse(text: &str) -> Result<Filter, FilterError> {
        parse::parse(text)
    }

    /// The filter that a query of fields stands for.
    #[must_use]
    pub fn of_query(query: &JobQuery) -> Filter {
        let literal = |field, text: &str| {
            let pattern = Pattern { pieces: vec![text.to_owned()] };
            Term { negated: false, test: Test::Text(field, vec![pattern]) }
        };
        let queue = query.queue.as_ref().map(|queue| literal(TextField::Queue, queue.as_str()));
        let state = query.state.map(|state| Term { negated: false, test: Test::State(vec![state]) });
        let kind = query.kind.as_ref().map(|kind| literal(TextField::Kind, kind));
        Filter { terms: [queue, state, kind].into_iter().flatten().collect() }
    }

    /// Whether it takes every job.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The states that a job may be in; `None` for any. So a scan can leave out where there is nothing to find.
    #[must_use]
    pub fn states(&self) -> Option<Vec<JobState>> {
        let wanted = |state: JobState| {
            self.terms.iter().all(|term| match &term.test {
                Test::State(states) => states.contains(&state) != term.negated,
                _ => true,
            })
        };
        let some = self.terms.iter().any(|term| matches!(term.test, Test::State(_)));
        some.then(|| JobState::ALL.into_iter().filter(|state| wanted(*state)).collect())
    }

    /// Whether jobs of this queue may be taken.
    #[must_use]
    pub fn may_take_queue(&self, queue: &QueueName) -> bool {
        self.terms.iter().all(|term| match &term.test {
            Test::Text(TextField::Queue, patterns) => {
                patterns.iter().any(|pattern| pattern.matches(queue.as_str())) != term.negated
            }
            _ => true,
        })
    }

    /// The one queue that it names literally, if it does: a name that does not exist is then an error, not an empty list.
    #[must_use]
    pub fn named_queue(&self) -> Option<QueueName> {
        self.terms.iter().find_map(|term| match &term.test {
            Test::Text(TextField::Queue, patterns) if !term.negated => match patterns.as_slice() {
                [only] => only.literal()?.parse().ok(),
                _ => None,
            },
            _ => None,
        })
    }

    /// This filter with the terms of another behind its own.
    #[must_use]
    pub fn and(mut self, other: Filter) -> Filter {
        self.terms.extend(other.terms);
        self
    }
}

impl Compare {
    fn holds(self, order: std::cmp::Ordering) -> bool {
        match self {
            Compare::Equal => order.is_eq(),
            Compare::Less => order.is_lt(),
            Compare::LessOrEqual => order.is_le(),
            Compare::More => order.is_gt(),
            Compare::MoreOrEqual => order.is_ge(),
        }
    }

    fn sign(self) -> &'static str {
        match self {
            Compare::Equal => ":",
            Compare::Less => "<",
            Compare::LessOrEqual => "<=",
            Compare::More => ">",
            Compare::MoreOrEqual => ">=",
        }
    }
}

impl Pattern {
    /// The value without any star.
    fn literal(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [only] => Some(only),
            _ => None,
        }
    }
}

/// A literal text as a value of a filter, in quotes.
#[must_use]
pub fn quote(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, piece) in self.pieces.iter().enumerate() {
            if index > 0 {
                f.write_str("*")?;
            }
            if !piece.is_empty() || self.pieces.len() == 1 {
                f.write_str(&quote(piece))?;
            }
        }
        Ok(())
    }
}

fn values(patterns: &[Pattern]) -> String {
    patterns.iter().map(Pattern::to_string).collect::<Vec<_>>().join(",")
}

/// The filter as text that reads back as the same filter.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, term) in self.terms.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            if term.negated {
                f.write_str("-")?;
            }
            write!(f, "{}", term.test)?;
        }
        Ok(())
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Test::State(states) => {
                let names: Vec<&str> = states.iter().map(|state| state.name()).collect();
                write!(f, "state:{}", names.join(","))
            }
            Test::Text(field, patterns) => write!(f, "{}:{}", field.name(), values(patterns)),
            Test::Error(patterns) => write!(f, "error:{}", values(patterns)),
            Test::Header(name, patterns) => write!(f, "header.{name}:{}", values(patterns)),
            Test::Number(field, compare, value) => write!(f, "{}{}{value}", field.name(), compare.sign()),
            Test::Age(compare, ms) => write!(f, "age{}{ms}ms", compare.sign()),
            Test::Moment(field, compare, at) => {
                write!(f, "{}{}{}", field.name(), compare.sign(), at.to_rfc3339())
            }
            Test::Args(path, compare, patterns) => {
                f.write_str("args")?;
                path.iter().try_for_each(|part| write!(f, ".{part}"))?;
                write!(f, "{}{}", compare.sign(), values(patterns))
            }
            Test::Anywhere(pattern) => write!(f, "{pattern}"),
        }
    }
}
