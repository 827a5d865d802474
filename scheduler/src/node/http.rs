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
use actix_server::{Server, ServerHandle};
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
use crate::door::{Hush, Stream, Tls, is_gone, part, speaks_tls};

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

/// Serves `dashboard` at `listener`, at most `connections` per thread.
///
/// # Errors
/// What the system says.
pub(super) fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    connections: usize,
    dashboard: &Dashboard,
) -> std::io::Result<ServerHandle> {
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
            let (pages, stopping) = (pages.clone(), stopping.clone());
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
    handshakes: Arc<Semaphore>,
    strangers: Arc<Hush>,
}

impl Begin {
    async fn run(self, stream: TcpStream) -> Result<(Stream, Protocol, Option<SocketAddr>), DispatchError> {
        let peer = stream.peer_addr().ok();
        let Some(tls) = &self.tls else { return Ok((Stream::Plain(stream), Protocol::Http1, peer)) };
        // A handshake is several small messages.
        let _ = stream.set_nodelay(true);
        let deadline = tokio::time::Instant::now() + Duration::from_millis(limits::HANDSHAKE_MS_MAX);
        let handshake = async {
            // Never closed.
            let _turn = self.handshakes.acquire().await.ok();
            if !speaks_tls(&stream).await? {
                return Ok(Err(stream));
            }
            tls.accept(stream).await.map(|stream| Ok(Stream::Tls(Box::new(stream))))
        };
        let error = match timeout_at(deadline, handshake).await {
            Ok(Ok(Ok(stream))) => return Ok((stream, Protocol::Http1, peer)),
            Ok(Ok(Err(plain))) => {
                let (reader, writer) = plain.into_split();
                part(reader, writer, Bytes::from_static(EXCUSE.as_bytes())).await;
                std::io::Error::other("the peer does not speak TLS, which this port is set to")
            }
            Ok(Err(error)) => error,
            Err(_) => std::io::Error::other("the TLS handshake took too long"),
        };
        if let Some(peer) = peer.filter(|_| !is_gone(&error))
            && let Some(left_out) = self.strangers.pass()
        {
            tracing::warn!(door = "http", %peer, why = %error, left_out, "connection not taken");
        }
        Err(DispatchError::Io(error))
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
