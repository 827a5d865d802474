//! Data on stdout, talk on stderr; tables for people, JSON for programs.

use std::io::{self, IsTerminal, Write};

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, TableStyle, presets};
use serde::Serialize;
use windlass_core::api::{Enqueued, Response};
use windlass_core::job::{JobState, Payload};
use windlass_core::time::Timestamp;

use super::error::CliError;

/// Longest text in one cell of a table, in characters; the whole is in `--json`.
const CELL_CHARS_MAX: usize = 80;

/// How a command speaks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    /// Data as JSON.
    pub(crate) json: bool,
    /// Whether stdout may be coloured.
    pub(crate) colour: bool,
    /// Whether stderr is a terminal, so that progress bars and hints make sense.
    pub(crate) chatty: bool,
}

impl Output {
    /// Looks at the terminal and at `NO_COLOR`.
    #[must_use]
    pub(crate) fn new(json: bool) -> Output {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        Output {
            json,
            colour: !json && !no_colour && io::stdout().is_terminal(),
            chatty: io::stderr().is_terminal(),
        }
    }

    /// One line of data.
    ///
    /// # Errors
    /// [`CliError`] when stdout does not take it; a closed pipe ends the command without complaint.
    pub(crate) fn line(&self, text: impl AsRef<str>) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_ref().as_bytes())?;
        out.write_all(b"\n")?;
        out.flush()?;
        Ok(())
    }

    /// Bytes of data as they are, with a line end if they have none.
    ///
    /// # Errors
    /// As [`line`](Output::line).
    pub(crate) fn bytes(&self, data: &[u8]) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        out.write_all(data)?;
        if !data.is_empty() && !data.ends_with(b"\n") {
            out.write_all(b"\n")?;
        }
        out.flush()?;
        Ok(())
    }

    /// One JSON value on one line.
    ///
    /// # Errors
    /// As [`line`](Output::line).
    pub(crate) fn json_value(&self, value: &impl Serialize) -> Result<(), CliError> {
        let text = serde_json::to_string(value).map_err(|e| {
            CliError::failure(format!("output: the answer does not fit into JSON: {e}; this is a defect"))
        })?;
        self.line(text)
    }

    /// An answer of the server as JSON, with the keys of the API.
    ///
    /// # Errors
    /// As [`line`](Output::line).
    pub(crate) fn response(&self, response: &Response) -> Result<(), CliError> {
        self.json_value(response)
    }

    /// A confirmed job as JSON, in the words of the HTTP API: `duplicate_of` stands there only when no second job was made.
    ///
    /// # Errors
    /// As [`line`](Output::line).
    pub(crate) fn enqueued(&self, entry: &Enqueued) -> Result<(), CliError> {
        let mut value = serde_json::json!({ "id": entry.id });
        if entry.duplicate {
            value["duplicate_of"] = serde_json::json!(entry.id);
        }
        self.json_value(&value)
    }

    /// A remark for people, on stderr; nothing when it is not a terminal.
    pub(crate) fn hint(&self, text: impl AsRef<str>) {
        if self.chatty {
            note(text);
        }
    }

    /// `text` in a colour of the terminal's palette, if colours are wanted.
    #[must_use]
    pub(crate) fn paint(&self, code: u8, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A table for people. Headers are bold on a terminal; piped, the columns stay aligned and nothing is wrapped.
    ///
    /// # Errors
    /// As [`line`](Output::line).
    pub(crate) fn table(&self, headers: &[&str], rows: Vec<Vec<Word>>) -> Result<(), CliError> {
        let mut table = Table::new();
        table.load_style(COLUMNS);
        let arrangement = if io::stdout().is_terminal() {
            ContentArrangement::Dynamic
        } else {
            ContentArrangement::Disabled
        };
        table.set_content_arrangement(arrangement);
        if self.colour {
            table.enforce_styling()
        } else {
            table.force_no_tty()
        };
        table.set_header(
            headers.iter().map(|h| Cell::new(h).add_attribute(Attribute::Bold)).collect::<Vec<_>>(),
        );
        let numeric: Vec<_> = (0..headers.len()).map(|column| is_numeric(&rows, column)).collect();
        for row in rows {
            table.add_row(row.into_iter().map(Word::cell).collect::<Vec<_>>());
        }
        for (column, numeric) in table.column_iter_mut().zip(numeric) {
            column.set_padding((0, 2));
            if numeric {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self.line(table.trim_fmt())
    }
}

/// No lines: blanks keep columns apart, and tools that split on them work.
const COLUMNS: TableStyle = presets::NOTHING;

/// Whether a column holds nothing but numbers, which people compare from the right.
fn is_numeric(rows: &[Vec<Word>], column: usize) -> bool {
    let is_number = |text: &str| text.chars().all(|c| c.is_ascii_digit() || ",.-".contains(c));
    rows.iter().all(|row| row.get(column).is_some_and(|word| is_number(&word.text)))
}

/// A cell of a table: text, and perhaps a colour of the terminal's palette.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    /// What it says; the colour only repeats it.
    pub(crate) text: String,
    /// 31 to 36: red, green, yellow, blue, magenta, cyan.
    pub(crate) colour: Option<u8>,
}

impl Word {
    /// A coloured word.
    #[must_use]
    pub(crate) fn tinted(colour: u8, text: impl Into<String>) -> Word {
        Word { text: text.into(), colour: Some(colour) }
    }

    fn cell(self) -> Cell {
        let colour = match self.colour {
            Some(31) => Color::DarkRed,
            Some(32) => Color::DarkGreen,
            Some(33) => Color::DarkYellow,
            Some(34) => Color::DarkBlue,
            Some(35) => Color::DarkMagenta,
            Some(36) => Color::DarkCyan,
            _ => return Cell::new(self.text),
        };
        Cell::new(self.text).fg(colour)
    }
}

impl<T: Into<String>> From<T> for Word {
    fn from(text: T) -> Word {
        Word { text: text.into(), colour: None }
    }
}

/// A line on stderr, whoever reads it. A closed stderr is nothing to fail for.
pub(crate) fn note(text: impl AsRef<str>) {
    let mut err = io::stderr().lock();
    let _ = writeln!(err, "{}", text.as_ref());
}

/// Colour of a state: an addition to its word, never instead of it.
#[must_use]
pub(crate) fn state_colour(state: JobState) -> u8 {
    match state {
        JobState::Succeeded => 32,
        JobState::Running => 36,
        JobState::Retrying | JobState::Held | JobState::Expired => 33,
        JobState::Dead => 31,
        JobState::Cancelled => 35,
        JobState::Ready | JobState::Scheduled => 34,
    }
}

/// A duration as short as is useful: `632ms`, `4.6s`, `17m 42s`, `14h 1m`, `2d 14h`.
#[must_use]
pub(crate) fn span(ms: u64) -> String {
    let (seconds, minutes, hours, days) = (ms / 1_000, ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    let two = |large: u64, unit: char, small: u64, below: char| match small {
        0 => format!("{large}{unit}"),
        _ => format!("{large}{unit} {small}{below}"),
    };
    match ms {
        0..1_000 => format!("{ms}ms"),
        _ if ms < 10_000 && ms % 1_000 >= 100 => format!("{seconds}.{}s", ms % 1_000 / 100),
        _ if minutes == 0 => format!("{seconds}s"),
        _ if hours == 0 => two(minutes, 'm', seconds % 60, 's'),
        _ if days == 0 => two(hours, 'h', minutes % 60, 'm'),
        _ => two(days, 'd', hours % 24, 'h'),
    }
}

/// How long ago `at` was, or how long it still takes.
#[must_use]
pub(crate) fn relative(at: Timestamp, now: Timestamp) -> String {
    if at > now {
        format!("in {}", span(at.since_ms(now)))
    } else {
        format!("{} ago", span(now.since_ms(at)))
    }
}

/// Bytes for people.
#[must_use]
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A count with thin groups of three: `1,234,567`.
#[must_use]
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// One line of `text`, short enough for a cell, without control characters that could move the cursor.
#[must_use]
pub(crate) fn cell(text: &str) -> String {
    let mut out: String =
        text.chars().take(CELL_CHARS_MAX).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(CELL_CHARS_MAX).is_some() {
        out.pop();
        out.push('…');
    }
    out
}

/// A payload as people want to see it: a JSON string as its text, other text as it is, anything else by its size.
#[must_use]
pub(crate) fn payload_text(payload: &Payload) -> String {
    if payload.is_json()
        && let Ok(text) = serde_json::from_slice::<String>(&payload.data)
    {
        return text;
    }
    match std::str::from_utf8(&payload.data) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("({} of {})", bytes(payload.data.len() as u64), payload.mime()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(3 * 1024 * 1024 / 2), "1.5 MiB");
        let spans =
            [(0, "0ms"), (632, "632ms"), (1_040, "1s"), (4_620, "4.6s"), (12_345, "12s"), (90_000, "1m 30s")];
        for (ms, text) in spans {
            assert_eq!(span(ms), text);
        }
        assert_eq!(
            (span(3_600_000), span(3_661_000), span(223_200_000)),
            ("1h".into(), "1h 1m".into(), "2d 14h".into())
        );
    }

    #[test]
    fn numbers_stand_at_the_right() {
        let rows = vec![vec![Word::from("a"), Word::from("1,234.5")], vec![Word::from("1"), Word::from("-")]];
        assert!(is_numeric(&rows, 1) && !is_numeric(&rows, 0) && !is_numeric(&rows, 2));
    }

    #[test]
    fn a_cell_is_one_short_line_that_cannot_move_the_cursor() {
        assert_eq!(cell("a\nb\x1b[2J"), "a b [2J");
        assert_eq!(cell(&"x".repeat(500)).chars().count(), CELL_CHARS_MAX);
    }

    #[test]
    fn a_json_string_is_shown_as_its_text() {
        assert_eq!(payload_text(&Payload::json("\"a\\nb\"")), "a\nb");
        assert_eq!(payload_text(&Payload::json("{\"a\":1}")), "{\"a\":1}");
    }
}
