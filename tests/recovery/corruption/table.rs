//! What came of the damage, by file and by kind.

use std::collections::BTreeMap;
use std::fmt;

use super::damage::Kind;

/// How a store took its damage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The very same data.
    Same,
    /// An error that says what is wrong.
    Refused(String),
}

/// Counts of outcomes.
#[derive(Default)]
pub(super) struct Table {
    cells: BTreeMap<(&'static str, Kind), (u64, u64)>,
    refused: u64,
    same: u64,
}

impl Table {
    pub(super) fn add(&mut self, class: &'static str, kind: Kind, outcome: &Outcome) {
        let cell = self.cells.entry((class, kind)).or_default();
        match outcome {
            Outcome::Same => (cell.1, self.same) = (cell.1 + 1, self.same + 1),
            Outcome::Refused(_) => (cell.0, self.refused) = (cell.0 + 1, self.refused + 1),
        }
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// Files of the store that were damaged at least once, by class.
    pub(super) fn classes(&self) -> Vec<&'static str> {
        let mut classes: Vec<_> = self.cells.keys().map(|(class, _)| *class).collect();
        classes.dedup();
        classes
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "refused/unharmed, by what was done (lines) to which file (columns):")?;
        write!(f, "{:<24}", "")?;
        let classes = self.classes();
        classes.iter().try_for_each(|class| write!(f, "{class:>20}"))?;
        writeln!(f)?;
        for kind in Kind::ALL {
            write!(f, "{:<24}", kind.name())?;
            for class in &classes {
                match self.cells.get(&(*class, kind)) {
                    Some((refused, same)) => write!(f, "{:>20}", format!("{refused}/{same}"))?,
                    None => write!(f, "{:>20}", "-")?,
                }
            }
            writeln!(f)?;
        }
        write!(
            f,
            "{} refused with an error, {} unharmed, none panicked, none lost in silence",
            self.refused, self.same
        )
    }
}
