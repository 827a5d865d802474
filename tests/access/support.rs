//! A server with a token for each role.

use std::net::SocketAddr;

use windlass_core::access::{QueuePattern, Role};
use windlass_core::api::{ApiError, NewToken, Request, Response, TokenSpec};
use windlass_core::id::QueueName;
use windlass_core::job::{JobSpec, Payload};
use windlass_scheduler::testing::TestServer;
use windlass_worker::{Client, Error};

/// A token that is asked for.
pub(crate) fn spec(name: &str, role: Role) -> TokenSpec {
    TokenSpec { name: name.to_owned(), role, queues: Vec::new(), expires_in_ms: None, faktory: false }
}

/// The same, for some queues.
pub(crate) fn limited(name: &str, role: Role, queues: &[&str]) -> TokenSpec {
    let queues: Vec<QueuePattern> = queues.iter().map(|queue| queue.parse().expect("a pattern")).collect();
    TokenSpec { queues, ..spec(name, role) }
}

pub(crate) fn queue(name: &str) -> QueueName {
    name.parse().expect("a good name")
}

pub(crate) fn job() -> JobSpec {
    JobSpec::new("k", Payload::json("1"))
}

/// Makes a token from within the process.
pub(crate) async fn make(server: &TestServer, spec: TokenSpec) -> Result<NewToken, ApiError> {
    match server.api().call(Request::CreateToken(spec)).await? {
        Response::TokenMade(made) => Ok(*made),
        other => panic!("{other:?}"),
    }
}

/// A server on which tokens are asked for, with one for each role, in the order of [`Role::ALL`].
pub(crate) async fn closed(with_faktory: bool) -> (TestServer, Vec<(Role, NewToken)>) {
    let mut config = TestServer::config();
    if with_faktory {
        config.faktory = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    }
    let server = TestServer::with(config).expect("a server");
    make(&server, spec("first", Role::Admin)).await.expect("the first token");
    let mut tokens = Vec::new();
    for role in Role::ALL {
        let spec = TokenSpec { faktory: with_faktory, ..spec(role.name(), role) };
        tokens.push((role, make(&server, spec).await.expect("a token")));
    }
    (server, tokens)
}

pub(crate) async fn connect(server: &TestServer, token: &str) -> Result<Client, Error> {
    Client::builder(server.native_addr().to_string()).token(token).connect().await
}

/// Whether an answer is the refusal of somebody who may not.
pub(crate) fn is_denied<T>(result: &Result<T, Error>) -> bool {
    use windlass_core::api::ErrorCode::Denied;
    matches!(result, Err(Error::Server(e) | Error::Refused(e)) if e.code == Denied)
}
