//! A port: an address that is listened at, with or without TLS.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use super::introduction::{Introductions, Origin};
use super::stream::{Reader, Writer};
use super::tls::{Tls, opening};

/// Silence of a connection after which the system asks whether the peer is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Where connections come from: a [`Port`], or the network of a simulation.
pub trait Listen: 'static {
    /// A connection on which nothing has been said.
    type Raw: 'static;
    /// What the peer sends.
    type Reader: AsyncRead + Unpin + 'static;
    /// What the peer is sent; shut down in order when the conversation ends.
    type Writer: AsyncWrite + Unpin + 'static;

    /// The next connection, and where it comes from. Dropping the future loses none.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Raw, SocketAddr)>>;

    /// What comes before the protocol: the TLS handshake, where there is one. `peer` is what [`accept`](Listen::accept) has said.
    fn begin(
        raw: Self::Raw,
        peer: SocketAddr,
    ) -> impl Future<Output = io::Result<Begun<Self::Reader, Self::Writer>>>;
}

/// How a connection has begun.
pub enum Begun<R, W> {
    /// The protocol can begin.
    Ready(R, W, Origin),
    /// The port speaks TLS and the peer does not; what is written goes out in the clear.
    Plain(R, W),
}

/// A port, bound but not open: peers may connect and wait.
pub struct Port {
    listener: TcpListener,
    addr: SocketAddr,
    manners: Manners,
}

/// What is done before the protocol begins.
#[derive(Debug, Clone)]
pub struct Manners {
    tls: Option<Tls>,
    introductions: Option<Introductions>,
}

impl Port {
    /// Takes over a listener that somebody else has bound and keeps: dropping the port does not free the address. It must not block.
    /// Must run on the arbiter. `introductions`: by whom peers may be introduced.
    ///
    /// # Errors
    /// What the system says.
    pub fn adopt(
        listener: std::net::TcpListener,
        tls: Option<Tls>,
        introductions: Option<Introductions>,
    ) -> io::Result<Port> {
        let addr = listener.local_addr()?;
        let manners = Manners { tls, introductions };
        Ok(Port { listener: TcpListener::from_std(listener)?, addr, manners })
    }

    /// The address, with the real port.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

/// Sets a connection up. A system that refuses this serves it all the same.
pub(crate) fn settle(stream: &TcpStream) {
    // A frame is written as a whole, so waiting for more would only cost time.
    let _ = stream.set_nodelay(true);
    // A peer whose machine vanished says nothing for ever; the system finds out. Workers are watched more closely.
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE);
    let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&keepalive);
}

impl Listen for Port {
    type Raw = (TcpStream, Manners);
    type Reader = Reader;
    type Writer = Writer;

    async fn accept(&self) -> io::Result<(Self::Raw, SocketAddr)> {
        let (stream, peer) = self.listener.accept().await?;
        settle(&stream);
        Ok(((stream, self.manners.clone()), peer))
    }

    async fn begin((mut stream, manners): Self::Raw, peer: SocketAddr) -> io::Result<Begun<Reader, Writer>> {
        let Manners { tls, introductions } = manners;
        let plain = |stream: TcpStream| {
            let (reader, writer) = stream.into_split();
            (Reader::Plain(reader), Writer::Plain(writer))
        };
        let Some(tls) = tls else {
            let (reader, writer) = plain(stream);
            return Ok(Begun::Ready(reader, writer, Origin::open(peer, introductions)));
        };
        let (peer, speaks_tls) = opening(&mut stream, peer, introductions.as_ref()).await?;
        if !speaks_tls {
            let (reader, writer) = plain(stream);
            return Ok(Begun::Plain(reader, writer));
        }
        // A handshake holds more than the conversation after it, and is over soon.
        let (reader, writer) = tokio::io::split(Box::pin(tls.accept(stream)).await?);
        Ok(Begun::Ready(Reader::Tls(reader), Writer::Tls(writer), Origin::direct(peer)))
    }
}
