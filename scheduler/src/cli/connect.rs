//! The one place where the command line meets the client library.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use windlass_core::api::{ErrorCode, Request, Response};
use windlass_core::id::JobId;
use windlass_worker::{Client, Connection, Error};

use super::error::{CliError, Exit};
use super::value;
use crate::config::NATIVE_DEFAULT;

/// How long a busy or full server is asked again before the command gives up.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long a server may be away, as in a restart, before a command that waits for it gives up.
const ABSENCE: Duration = Duration::from_secs(30);
/// How often a waiting command looks whether the server is away.
const GLANCE: Duration = Duration::from_millis(500);

/// Which server a client command talks to.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ClientArgs {
    /// Native address of the server, tls://HOST:PORT with TLS; of several, separated by commas, the first that serves
    #[arg(long, global = true, env = "WINDLASS_SERVER", value_name = "HOST:PORT,…", default_value = NATIVE_DEFAULT)]
    #[arg(help_heading = "Server", hide_env_values = true)]
    pub(crate) server: String,
    /// PEM file with the authorities to trust, and no others; speaks TLS. Defaults to those that this system trusts
    #[arg(
        long,
        global = true,
        env = "WINDLASS_TLS_CA",
        value_name = "FILE",
        help_heading = "Server",
        hide_env_values = true
    )]
    pub(crate) tls_ca: Option<PathBuf>,
    /// File with an access token, if the server asks for one; WINDLASS_ACCESS_TOKEN may hold the token itself instead
    #[arg(long, global = true, env = TOKEN_FILE_ENV, value_name = "FILE")]
    #[arg(help_heading = "Server", hide_env_values = true)]
    pub(crate) token_file: Option<PathBuf>,
    /// Stay with the server that was named: learn no other nodes of its cluster, do not go over to the one that owns the queues
    #[arg(long, global = true, env = "WINDLASS_NO_FOLLOW", help_heading = "Server", hide_env_values = true)]
    pub(crate) no_follow: bool,
}

/// The variable with an access token. Not `WINDLASS_TOKEN`, in which a shell job finds the token of its lease.
pub(crate) const TOKEN_ENV: &str = "WINDLASS_ACCESS_TOKEN";
/// The variable with the name of a file with an access token.
pub(crate) const TOKEN_FILE_ENV: &str = "WINDLASS_ACCESS_TOKEN_FILE";

impl ClientArgs {
    /// The access token, if there is one. There is no flag for the token itself: every user of the machine could read it in the list
    /// of processes.
    ///
    /// # Errors
    /// When the file cannot be read or is empty.
    pub(crate) fn token(&self) -> Result<Option<String>, CliError> {
        let Some(path) = &self.token_file else { return Ok(token_of_environment()) };
        let refuse = |why: String| CliError::usage(format!("token file {}: {why}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|e| refuse(format!("cannot be read: {e}")))?;
        match text.trim() {
            "" => Err(refuse("is empty; write the token into it".to_owned())),
            token => Ok(Some(token.to_owned())),
        }
    }
}

/// The access token of the environment, for commands that name no server.
#[must_use]
pub(crate) fn token_of_environment() -> Option<String> {
    std::env::var(TOKEN_ENV).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

/// A connection that turns every problem into a [`CliError`].
#[derive(Clone)]
pub(crate) struct Server {
    client: Client,
    address: String,
}

impl Server {
    /// Connects, or says at once that nobody is there.
    ///
    /// # Errors
    /// Exit code 5 with the advice to start a server.
    pub(crate) async fn connect(args: &ClientArgs) -> Result<Server, CliError> {
        Server::reach(&args.server, args.token()?, args.tls_ca.as_deref(), !args.no_follow).await
    }

    /// As [`connect`](Server::connect), with the address itself.
    ///
    /// # Errors
    /// As [`connect`](Server::connect).
    pub(crate) async fn at(address: &str, token: Option<String>) -> Result<Server, CliError> {
        Server::reach(address, token, None, true).await
    }

    async fn reach(
        address: &str,
        token: Option<String>,
        ca: Option<&Path>,
        follow: bool,
    ) -> Result<Server, CliError> {
        let mut builder = Client::builder(address).follow(follow);
        if let Some(token) = token {
            builder = builder.token(token);
        }
        if let Some(ca) = ca {
            builder = builder.tls_ca(ca);
        }
        let client = builder.connect().await.map_err(|e| translate(address, &e))?;
        Ok(Server { client, address: address.to_owned() })
    }

    /// Asks once.
    ///
    /// # Errors
    /// The server's refusal, or that it could not be reached.
    pub(crate) async fn call(&self, request: Request) -> Result<Response, CliError> {
        self.ask(request).await.map_err(|e| translate(&self.address, &e))
    }

    /// The client waits for a lost server for ever, which suits applications; whoever typed a command wants to know.
    async fn ask(&self, request: Request) -> Result<Response, Error> {
        let asked = self.client.call(request);
        tokio::pin!(asked);
        let mut away = Duration::ZERO;
        loop {
            tokio::select! {
                answer = &mut asked => return answer,
                () = tokio::time::sleep(GLANCE) => {}
            }
            match self.client.connection() {
                Connection::Away { reason } if away >= ABSENCE => {
                    return Err(Error::Unreachable { addresses: self.address.clone(), reason });
                }
                Connection::Away { .. } => away += GLANCE,
                _ => away = Duration::ZERO,
            }
        }
    }

    /// Asks again while the server is busy or full. Only for requests that may be repeated, such as enqueueing jobs
    /// that carry their ids.
    ///
    /// # Errors
    /// As [`call`](Server::call), after a minute of being refused.
    pub(crate) async fn call_patiently(&self, request: Request) -> Result<Response, CliError> {
        let begun = std::time::Instant::now();
        loop {
            let error = match self.ask(request.clone()).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let wait = match &error {
                Error::Server(e) if matches!(e.code, ErrorCode::Busy | ErrorCode::StoreFull) => {
                    e.retry_after_ms
                }
                _ => None,
            };
            match wait.filter(|_| begun.elapsed() < PATIENCE) {
                Some(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
                None => return Err(translate(&self.address, &error)),
            }
        }
    }
}

/// The client's error as the command line's.
#[must_use]
pub(crate) fn translate(address: &str, error: &Error) -> CliError {
    match error {
        Error::Server(e) | Error::Refused(e) => CliError::api(e),
        Error::Unreachable { reason, .. } => CliError::unreachable(address, reason),
        Error::Untrusted { .. } => CliError::new(Exit::Unreachable, error.to_string()),
        Error::Closed => CliError::unreachable(address, "the connection was closed"),
        Error::BadAddress(_) | Error::Invalid(_) | Error::Trust(_) => CliError::usage(error.to_string()),
        other => CliError::failure(other.to_string()),
    }
}

/// An answer of a kind that was not asked for: a defect, said without a panic.
#[must_use]
pub(crate) fn unexpected(response: &Response) -> CliError {
    let text = format!("{response:?}");
    let text: String = text.chars().take(80).collect();
    CliError::failure(format!(
        "answer: the server sent something else than was asked for ({text}…); is it of another version?"
    ))
}

/// A fresh id, sortable by time.
#[must_use]
pub(crate) fn new_id() -> JobId {
    JobId::v7(value::now(), rand::random())
}

/// Runs a client command on its own small runtime.
///
/// # Errors
/// Whatever the command returns.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::failure(format!("runtime: {e}; are file descriptors or memory exhausted?")))?;
    let result = runtime.block_on(work);
    // A blocked read of stdin must not keep a finished command alive.
    runtime.shutdown_background();
    result
}
