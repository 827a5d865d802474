//! A port: an address that is listened at, with or without TLS.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

use super::stream::{Reader, Writer};
use super::tls::{Tls, speaks_tls};

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

    /// What comes before the protocol: the TLS handshake, where there is one.
    fn begin(raw: Self::Raw) -> impl Future<Output = io::Result<Begun<Self::Reader, Self::Writer>>>;
}

/// How a connection has begun.
pub enum Begun<R, W> {
    /// The protocol can begin.
    Ready(R, W),
    /// The port speaks TLS and the peer does not; what is written goes out in the clear.
    Plain(R, W),
}

/// A port, bound but not open: peers may connect and wait.
pub struct Port {
    listener: TcpListener,
    addr: SocketAddr,
    tls: Option<Tls>,
}

impl Port {
    /// Takes over a listener that somebody else has bound and keeps: dropping the port does not free the address. It must not block.
    /// Must run on the arbiter.
    ///
    /// # Errors
    /// What the system says.
    pub fn adopt(listener: std::net::TcpListener, tls: Option<Tls>) -> io::Result<Port> {
        let addr = listener.local_addr()?;
        Ok(Port { listener: TcpListener::from_std(listener)?, addr, tls })
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
    type Raw = (TcpStream, Option<Tls>);
    type Reader = Reader;
    type Writer = Writer;

    async fn accept(&self) -> io::Result<(Self::Raw, SocketAddr)> {
        let (stream, peer) = self.listener.accept().await?;
        settle(&stream);
        Ok(((stream, self.tls.clone()), peer))
    }

    async fn begin((stream, tls): Self::Raw) -> io::Result<Begun<Reader, Writer>> {
        let plain = |stream: TcpStream| {
            let (reader, writer) = stream.into_split();
            (Reader::Plain(reader), Writer::Plain(writer))
        };
        let Some(tls) = tls else {
            let (reader, writer) = plain(stream);
            return Ok(Begun::Ready(reader, writer));
        };
        if !speaks_tls(&stream).await? {
            let (reader, writer) = plain(stream);
            return Ok(Begun::Plain(reader, writer));
        }
        // A handshake holds more than the conversation after it, and is over soon.
        let (reader, writer) = tokio::io::split(Box::pin(tls.accept(stream)).await?);
        Ok(Begun::Ready(Reader::Tls(reader), Writer::Tls(writer)))
    }
}
