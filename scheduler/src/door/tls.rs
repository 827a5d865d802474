//! TLS of the server: what the doors share. rustls with `ring`; TLS 1.2 and 1.3; no client certificates.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::identity::{Identity, TlsError, TlsFiles};
use super::introduction::Introductions;

/// Silence after which a peer is taken for one without TLS, since with TLS the client speaks first. Clients of Faktory wait for
/// the server's greeting, and give up after about five seconds.
pub(super) const SILENCE: Duration = Duration::from_millis(2_500);
/// First byte of a TLS record that holds a handshake.
const HANDSHAKE: u8 = 0x16;

/// TLS with the certificate that is in the files now. Cheap to clone.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    identity: Arc<Identity>,
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").field("identity", &self.identity).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files. Blocks.
    ///
    /// # Errors
    /// [`TlsError`] names the file and what is wrong with it.
    pub fn load(files: &TlsFiles) -> Result<Tls, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let identity = Arc::new(Identity::load(files.clone(), Arc::clone(&provider))?);
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider's cipher suites serve the versions that are built in")
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&identity) as Arc<_>);
        Ok(Tls { acceptor: TlsAcceptor::from(Arc::new(config)), identity })
    }

    /// Takes renewed files up, for as long as it is polled.
    pub(crate) async fn follow(self) {
        self.identity.follow().await;
    }

    /// The handshake.
    ///
    /// # Errors
    /// When the peer breaks it off or breaks its rules.
    pub(crate) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let accepted = self.acceptor.accept(stream).await;
        accepted.map_err(|error| io::Error::new(error.kind(), format!("the TLS handshake failed: {error}")))
    }
}

/// Whether the peer has only gone away, as who looks whether a port is open does all the time.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | BrokenPipe)
}

/// Who the peer is, if somebody introduces it, and whether it begins with TLS. Takes nothing away from what it says.
///
/// # Errors
/// When the peer is gone, or introduced by somebody who may not.
pub(crate) async fn opening(
    stream: &mut TcpStream,
    from: SocketAddr,
    introductions: Option<&Introductions>,
) -> io::Result<(SocketAddr, bool)> {
    let peer = match introductions {
        Some(introductions) => introductions.take(stream, from).await?,
        None => Some(from),
    };
    match peer {
        Some(peer) => Ok((peer, speaks_tls(stream).await?)),
        // Nothing was said for as long as a client of TLS may take.
        None => Ok((from, false)),
    }
}

async fn speaks_tls(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0; 1];
    match timeout(SILENCE, stream.peek(&mut first)).await {
        Ok(Ok(0)) => Err(io::ErrorKind::UnexpectedEof.into()),
        Ok(Ok(_)) => Ok(first[0] == HANDSHAKE),
        Ok(Err(error)) => Err(error),
        Err(_) => Ok(false),
    }
}
