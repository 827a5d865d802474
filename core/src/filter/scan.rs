//! The text as terms: where each begins, what its field, operator and values are. What they mean is decided elsewhere.

use super::{FILTER_BYTES_MAX, FILTER_TERMS_MAX, FILTER_VALUES_MAX, FilterError, Pattern};

/// A term as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Raw {
    /// Where its name or word begins.
    pub(super) column: usize,
    pub(super) negated: bool,
    /// Field and operator; `None` for a word alone.
    pub(super) head: Option<(String, &'static str)>,
    /// Where the values begin.
    pub(super) value_column: usize,
    pub(super) values: Vec<Pattern>,
}

const OPERATORS: [&str; 7] = ["!=", "<=", ">=", ":", "=", "<", ">"];

/// Reads characters and knows where it is.
struct Reader<'a> {
    rest: &'a str,
    column: usize,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        self.column += 1;
        Some(c)
    }

    fn take(&mut self, text: &str) -> bool {
        let there = self.rest.starts_with(text);
        if there {
            self.rest = &self.rest[text.len()..];
            self.column += text.chars().count();
        }
        there
    }

    fn error(&self, message: impl Into<String>) -> FilterError {
        FilterError { column: self.column, message: message.into() }
    }

    fn skip_space(&mut self) {
        while self.peek().is_some_and(char::is_whitespace) {
            self.next();
        }
    }

    /// One value, up to a comma or a space outside of quotes; a comma is part of a word that has no field.
    fn value(&mut self, commas_end: bool) -> Result<Pattern, FilterError> {
        let mut pieces = vec![String::new()];
        while let Some(c) = self.peek() {
            if c.is_whitespace() || (c == ',' && commas_end) {
                break;
            }
            let piece = pieces.last_mut().expect("there is always a piece");
            match c {
                '"' => {
                    let start = self.column;
                    self.next();
                    self.quoted(piece).ok_or(FilterError {
                        column: start,
                        message: "the quote that begins here does not end; put \" behind the text".to_owned(),
                    })?;
                }
                '*' => {
                    self.next();
                    pieces.push(String::new());
                }
                c => {
                    piece.push(c);
                    self.next();
                }
            }
        }
        Ok(Pattern { pieces })
    }

    /// The rest of a quoted text; `None` when it does not end.
    fn quoted(&mut self, into: &mut String) -> Option<()> {
        loop {
            match self.next()? {
                '"' => return Some(()),
                '\\' => into.push(self.next()?),
                c => into.push(c),
            }
        }
    }

    /// Field and operator, if the word has them.
    fn head(&mut self) -> Option<(String, &'static str)> {
        let end = self.rest.find(|c: char| c.is_whitespace() || ":=<>!\"*,".contains(c))?;
        let operator = OPERATORS.into_iter().find(|operator| self.rest[end..].starts_with(operator))?;
        let name = self.rest[..end].to_owned();
        self.take(&name);
        self.take(operator);
        Some((name, operator))
    }
}

/// The terms of a text.
pub(super) fn scan(text: &str) -> Result<Vec<Raw>, FilterError> {
    if text.len() > FILTER_BYTES_MAX {
        let message = format!("the filter has {} bytes, at most {FILTER_BYTES_MAX} are taken", text.len());
        return Err(FilterError { column: 1, message });
    }
    let mut reader = Reader { rest: text, column: 1 };
    let mut terms = Vec::new();
    loop {
        reader.skip_space();
        if reader.rest.is_empty() {
            return Ok(terms);
        }
        if terms.len() == FILTER_TERMS_MAX {
            return Err(reader.error(format!("a filter has at most {FILTER_TERMS_MAX} terms")));
        }
        let mut negated = reader.take("-");
        let column = reader.column;
        let head = reader.head();
        negated ^= head.as_ref().is_some_and(|(_, operator)| *operator == "!=");
        let value_column = reader.column;
        let mut values = vec![reader.value(head.is_some())?];
        while reader.take(",") {
            if values.len() == FILTER_VALUES_MAX {
                return Err(reader.error(format!("a term has at most {FILTER_VALUES_MAX} values")));
            }
            values.push(reader.value(true)?);
        }
        terms.push(Raw { column, negated, head, value_column, values });
    }
}
