//! The HTTP door: pages and API on threads of their own. actix-web's server would bring its own TLS; this one makes connections
//! as the other doors do, so that certificates are renewed and limits hold in the same way everywhere.
//!
//! Limits before a request is known: connections per thread (`Doors`), [`HANDSHAKES_MAX`] TLS handshakes per thread, each with
//! [`limits::HANDSHAKE_MS_MAX`], [`HEAD_TIME`] for the head of a request, of which the parser takes 128 KiB and 96 headers.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_http::error::DispatchError;
use actix_http::{HttpService, KeepAlive, Protocol};
use actix_server::{GracefulShutdownSignal, Server, ServerHandle};
use actix_service::{IntoServiceFactory as _, ServiceFactoryExt as _, fn_service, map_config};
use actix_web::App;
use actix_web::dev::AppConfig;
use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout_at;
use windlass_core::limits;
use windlass_dashboard::Dashboard;

use super::descriptors::HTTP_WORKERS;
use crate::door::{Hush, Introductions, Stream, Tls, is_gone, opening, part};

/// Time that HTTP requests have to finish when the node stops, in seconds.
const SHUTDOWN_S: u64 = 5;
/// Time that a client has to send the head of an HTTP request.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Time that a connection may rest between two requests.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Time that a client has to close its side after the last answer.
const DISCONNECT_TIME: Duration = Duration::from_secs(1);
/// TLS handshakes of one thread at the same time; more wait within their time. Each may cost 64 KiB.
const HANDSHAKES_MAX: usize = 256;
/// What a peer without TLS is told.
const EXCUSE: &str = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 36\r\n\r\n\
                      this port speaks TLS: use https://\r\n";

/// Where requests come in.
pub(super) struct Entry {
    pub(super) listener: TcpListener,
    pub(super) tls: Option<Tls>,
    /// By whom peers may be introduced.
    pub(super) introductions: Option<Introductions>,
}

/// Serves `dashboard` at this entry, at most `connections` per thread.
///
/// # Errors
/// What the system says.
pub(super) fn serve(
    entry: Entry,
    connections: usize,
    dashboard: &Dashboard,
) -> std::io::Result<ServerHandle> {
    let Entry { listener, tls, introductions } = entry;
    let (addr, pages) = (listener.local_addr()?, dashboard.clone());
    let builder = Server::build();
    let stopping = builder.graceful_shutdown_signal();
    let strangers = Arc::new(Hush::default());
    let server = builder
        .workers(HTTP_WORKERS)
        .max_concurrent_connections(connections)
        .shutdown_timeout(SHUTDOWN_S)
        .disable_signals()
        .listen("windlass-http", listener, move || {
            let (pages, stopping, begin_stopping) = (pages.clone(), stopping.clone(), stopping.clone());
            let app = App::new().configure(move |cfg| pages.configure(cfg));
            let app = app.into_factory().map_err(|error: actix_web::Error| error.error_response());
            let builder = HttpService::build()
                .graceful_shutdown_signal(move || {
                    let stopping = stopping.clone();
                    async move { stopping.notified().await }
                })
                .keep_alive(KeepAlive::Timeout(KEEP_ALIVE))
                .client_request_timeout(HEAD_TIME)
                .client_disconnect_timeout(DISCONNECT_TIME)
                .local_addr(addr);
            let http = builder.finish(map_config(app, |()| AppConfig::default()));
            let begin = Begin {
                tls: tls.clone(),
                introductions: introductions.clone(),
                stopping: begin_stopping,
                handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
                strangers: Arc::clone(&strangers),
            };
            fn_service(move |stream: TcpStream| begin.clone().run(stream)).and_then(http)
        })?
        .run();
    let handle = server.handle();
    actix_rt::spawn(async move {
        if let Err(error) = server.await {
            tracing::error!(%error, "HTTP ended");
        }
    });
    Ok(handle)
}

/// What comes before HTTP.
#[derive(Clone)]
struct Begin {
    tls: Option<Tls>,
    introductions: Option<Introductions>,
    stopping: GracefulShutdownSignal,
    handshakes: Arc<Semaphore>,
    strangers: Arc<Hush>,
}

impl Begin {
    async fn run(self, stream: TcpStream) -> Result<(Stream, Protocol, Option<SocketAddr>), DispatchError> {
        let from = stream.peer_addr().map_err(DispatchError::Io)?;
        let deadline = tokio::time::Instant::now() + Duration::from_millis(limits::HANDSHAKE_MS_MAX);
        let beginning = async {
            match &self.tls {
                Some(tls) => self.handshake(tls, stream, from).await,
                None => self.introduced(stream, from).await,
            }
        };
        let begun = timeout_at(deadline, beginning).await;
        let error =
            match begun.unwrap_or_else(|_| Err(std::io::Error::other("the TLS handshake took too long"))) {
                Ok((stream, peer)) => return Ok((stream, Protocol::Http1, Some(peer))),
                Err(error) => error,
            };
        if !is_gone(&error)
            && let Some(left_out) = self.strangers.pass()
        {
            tracing::warn!(door = "http", peer = %from, why = %error, left_out, "connection not taken");
        }
        Err(DispatchError::Io(error))
    }

    /// Only the beginning of a connection is looked at, and taken away if it is an introduction: nothing stands between the stream
    /// and the server of actix afterwards.
    async fn introduced(
        &self,
        mut stream: TcpStream,
        from: SocketAddr,
    ) -> std::io::Result<(Stream, SocketAddr)> {
        let Some(introductions) = &self.introductions else { return Ok((Stream::Plain(stream), from)) };
        let peer = tokio::select! {
            biased;
            taken = introductions.take(&mut stream, from) => taken?.unwrap_or(from),
            // Browsers keep connections in reserve, for which a stop does not wait.
            () = self.stopping.notified() => from,
        };
        Ok((Stream::Plain(stream), peer))
    }

    async fn handshake(
        &self,
        tls: &Tls,
        mut stream: TcpStream,
        from: SocketAddr,
    ) -> std::io::Result<(Stream, SocketAddr)> {
        // A handshake is several small messages.
        let _ = stream.set_nodelay(true);
        // Never closed.
        let _turn = self.handshakes.acquire().await.ok();
        let (peer, speaks_tls) = opening(&mut stream, from, self.introductions.as_ref()).await?;
        if speaks_tls {
            return Ok((Stream::Tls(Box::new(tls.accept(stream).await?)), peer));
        }
        let (reader, writer) = stream.into_split();
        part(reader, writer, Bytes::from_static(EXCUSE.as_bytes())).await;
        Err(std::io::Error::other("the peer does not speak TLS, which this port is set to"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_excuse_is_as_long_as_it_says() {
        let (head, body) = EXCUSE.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head} {}", body.len());
    }
}
