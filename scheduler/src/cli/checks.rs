//! What a command has looked at, one line each: `doctor` and `store check`.

use serde_json::{Value, json};

use super::error::CliError;
use super::output::Output;

/// One thing that was looked at.
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) ok: bool,
    pub(super) detail: String,
    /// What to do when it is not sound; empty when the detail says so.
    pub(super) advice: &'static str,
}

impl Check {
    pub(super) fn json(&self) -> Value {
        json!({ "name": self.name, "ok": self.ok, "detail": self.detail, "advice": self.advice })
    }

    pub(super) fn print(&self, out: Output) -> Result<(), CliError> {
        let verdict = if self.ok { out.paint(32, "ok  ") } else { out.paint(31, "FAIL") };
        out.line(format!("{verdict}  {:<10} {}", self.name, self.detail))?;
        if self.advice.is_empty() {
            return Ok(());
        }
        out.line(format!("      {:<10} → {}", "", self.advice))
    }
}
