//! **Promise.** Tokens of a queue rise with every hand-out, across restarts, and none is used twice.
//!
//! **How it is judged.** Over all hand-outs of a queue in the order in which it decided them. A hand-out that a crash undid
//! counts: a worker may hold its token.

use std::collections::BTreeMap;

use windlass_core::wire::Token;

use super::{Verdict, wrong};
use crate::history::Event;

/// The judge.
#[derive(Debug, Default)]
pub struct Judge {
    last: BTreeMap<usize, Token>,
}

impl Judge {
    pub(super) fn hear(&mut self, event: &Event) -> Verdict {
        let Event::HandedOut { key, token, .. } = event else { return Ok(()) };
        match self.last.insert(key.0, *token) {
            Some(last) if last >= *token => {
                wrong("tokens rise", *key, format!("{token:?} came after {last:?}"))
            }
            _ => Ok(()),
        }
    }
}
