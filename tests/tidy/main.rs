//! Style as a test, so that no reviewer has to say it: what the house rules of `CONTRIBUTING.md` state and a program can
//! see. Exceptions stand in [`exceptions`], each with its reason; one that is no longer needed fails too.
//!
//! - [`arrows`]: which crate may use which, and what keeps the core pure.
//! - [`shape`]: heads of modules, lengths of files and functions.
//! - [`banned`]: calls that lose messages, grow without bound or hide a clock.
//! - [`documents`]: links, commands and diagrams that must be true.
//! - [`lexer`], [`tree`]: how the others see source files.

mod arrows;
mod banned;
mod documents;
mod exceptions;
mod lexer;
mod shape;
mod tree;

/// Fails with all findings at once.
fn report(rule: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{rule}:\n  {}\n", findings.join("\n  "));
}
