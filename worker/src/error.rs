//! The one error type of this crate.

use std::time::Duration;

use windlass_core::api::{ApiError, ErrorCode};
use windlass_core::id::{InvalidName, JobId};
use windlass_core::job::JobState;

/// What can go wrong between an application and its jobs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The server's address cannot be understood.
    #[error(
        "{0:?} is no server address; write host:port, such as 127.0.0.1:7421, or tls://host:port, several separated by commas"
    )]
    BadAddress(String),
    /// No server answered at any of the addresses.
    #[error(
        "no windlass server answers at {addresses}: {reason}; is it running, and is this its native port?"
    )]
    Unreachable {
        /// What was tried.
        addresses: String,
        /// What the last attempt said.
        reason: String,
    },
    /// The certificates of authorities to trust cannot be read.
    #[error("TLS: {0}")]
    Trust(String),
    /// A server answers, and cannot prove to be the one that was asked for, or does not speak TLS.
    #[error("the server at {address} cannot be trusted: {reason}")]
    Untrusted {
        /// Who was asked.
        address: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The server does not want the connection.
    #[error("the server refuses the connection: {0}")]
    Refused(#[source] ApiError),
    /// The server's answer is an error.
    #[error(transparent)]
    Server(#[from] ApiError),
    /// The job, name or option breaks a rule; nothing was sent.
    #[error("{0}")]
    Invalid(String),
    /// The payload cannot be written as JSON.
    #[error("the payload cannot be written as JSON: {0}")]
    Encode(#[source] serde_json::Error),
    /// The result is not what was expected.
    #[error("the result of job {id} does not have the expected type: {source}")]
    Decode {
        /// Whose result.
        id: JobId,
        /// What does not fit.
        source: serde_json::Error,
    },
    /// The server is away and the buffer for that time is full: slow down, or drop work knowingly.
    #[error(
        "the server is away and the buffer is full ({jobs} jobs, {bytes} bytes wait): enqueue again later"
    )]
    BufferFull {
        /// Jobs that wait to be sent.
        jobs: usize,
        /// Bytes that wait to be sent.
        bytes: usize,
    },
    /// The connection broke before the answer came, and asking twice could do the thing twice.
    #[error(
        "the connection broke before the server answered: whether it was done is not known, look before asking again"
    )]
    AnswerLost,
    /// The client was closed.
    #[error("the client is closed")]
    Closed,
    /// The time that the caller allowed has passed; what was asked goes on.
    #[error("nothing came within {0:?}")]
    Timeout(Duration),
    /// The job came to an end that is not success.
    #[error("job {id} is {state}: {reason}")]
    JobFailed {
        /// The job.
        id: JobId,
        /// Its final state.
        state: JobState,
        /// The last error, or who cancelled it.
        reason: String,
    },
    /// The server answered something else than was asked; it is of another version, or defective.
    #[error("the server's answer does not fit the question ({0})")]
    UnexpectedAnswer(&'static str),
    /// The worker is put together in a way that cannot work.
    #[error("the worker cannot start: {0}")]
    Setup(String),
}

impl Error {
    /// The server's error code, when the server said something.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Error::Server(e) | Error::Refused(e) => Some(e.code),
            _ => None,
        }
    }
}

impl From<InvalidName> for Error {
    fn from(e: InvalidName) -> Error {
        Error::Invalid(e.0)
    }
}
