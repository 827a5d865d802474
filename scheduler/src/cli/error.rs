//! Exit codes and the one line that goes with them: what, why, what to do.

use std::fmt;
use std::process::ExitCode;

use windlass_core::api::{ApiError, ErrorCode};
use windlass_core::id::InvalidName;

use crate::config::ConfigError;

/// How a command ended. Scripts depend on the numbers; `docs/cli.md` lists them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Ok = 0,
    /// Failed for a reason without a number of its own; a job that was waited for did not succeed.
    Failure = 1,
    /// The command line, a file or a value is wrong; the same command fails again.
    Usage = 2,
    /// There is no such job, queue, schedule.
    NotFound = 3,
    /// The server refused: wrong state, busy, full, not allowed.
    Refused = 4,
    /// No server could be reached, or it is starting or stopping.
    Unreachable = 5,
    /// A check found something wrong.
    CheckFailed = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// A failed command. Its text is one line: "what: why; what to do".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CliError {
    /// The exit code.
    pub exit: Exit,
    /// Stable name of the kind of error, for `--json`.
    pub code: &'static str,
    /// The line.
    pub text: String,
}

impl CliError {
    /// An error with any exit code.
    pub fn new(exit: Exit, text: impl Into<String>) -> CliError {
        let code = match exit {
            Exit::Ok => "ok",
            Exit::Failure => "failure",
            Exit::Usage => "usage",
            Exit::NotFound => "not_found",
            Exit::Refused => "refused",
            Exit::Unreachable => "unreachable",
            Exit::CheckFailed => "check_failed",
        };
        CliError { exit, code, text: text.into() }
    }

    /// A mistake on the command line or in a file it names.
    pub fn usage(text: impl Into<String>) -> CliError {
        CliError::new(Exit::Usage, text)
    }

    /// A failure without a number of its own.
    pub fn failure(text: impl Into<String>) -> CliError {
        CliError::new(Exit::Failure, text)
    }

    /// The server's answer to a request that was not done.
    #[must_use]
    pub fn api(error: &ApiError) -> CliError {
        let exit = match error.code {
            ErrorCode::Invalid | ErrorCode::TooLarge | ErrorCode::Unsupported => Exit::Usage,
            ErrorCode::NotFound => Exit::NotFound,
            ErrorCode::Conflict | ErrorCode::StaleLease | ErrorCode::Denied => Exit::Refused,
            ErrorCode::Busy | ErrorCode::StoreFull => Exit::Refused,
            ErrorCode::Unavailable => Exit::Unreachable,
            ErrorCode::StoreFailed | ErrorCode::Timeout | ErrorCode::Internal => Exit::Failure,
        };
        CliError { exit, code: error.code.name(), text: error.message.clone() }
    }

    /// Nobody answers at `server`.
    #[must_use]
    pub fn unreachable(server: &str, why: &str) -> CliError {
        let advice = "start one with `windlass dev`, or name it with --server HOST:PORT (WINDLASS_SERVER)";
        CliError::new(Exit::Unreachable, format!("no server at {server}: {why}; {advice}"))
    }

    /// The same error with the thing it is about in front.
    #[must_use]
    pub fn about(mut self, what: impl fmt::Display) -> CliError {
        self.text = format!("{what}: {}", self.text);
        self
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for CliError {}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> CliError {
        CliError::usage(error.0)
    }
}

impl From<InvalidName> for CliError {
    fn from(error: InvalidName) -> CliError {
        CliError::usage(error.0)
    }
}

/// What `From<io::Error>` is for: writing to stdout, where a closed pipe is not an error but the reader's wish.
impl From<std::io::Error> for CliError {
    fn from(error: std::io::Error) -> CliError {
        match error.kind() {
            std::io::ErrorKind::BrokenPipe => CliError::new(Exit::Ok, String::new()),
            _ => CliError::failure(format!("output: {error}; is the disk full or the terminal gone?")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers are a promise to scripts.
    #[test]
    fn answers_of_the_server_have_their_exit_codes() {
        let exit = |code| CliError::api(&ApiError::new(code, "x")).exit as u8;
        assert_eq!(exit(ErrorCode::NotFound), 3);
        assert_eq!(exit(ErrorCode::Conflict), 4);
        assert_eq!(exit(ErrorCode::Busy), 4);
        assert_eq!(exit(ErrorCode::Unavailable), 5);
        assert_eq!(exit(ErrorCode::Invalid), 2);
        assert_eq!(exit(ErrorCode::Internal), 1);
    }

    #[test]
    fn a_closed_pipe_is_not_an_error() {
        assert_eq!(CliError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe)).exit, Exit::Ok);
    }
}
