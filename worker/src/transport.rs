//! One connection: TCP, handshake, frames. Knows nothing of jobs.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use windlass_core::api::{ApiError, ErrorCode};
use windlass_core::limits;
use windlass_core::wire::{
    ClientFrame, FrameError, Hello, PROTOCOL, ServerFrame, Welcome, WorkerHello, decode_exact, encode_frame,
    next_frame,
};

use crate::address::Addresses;
use crate::surroundings::{Conn, Surroundings};

/// Longest wait for one TCP connection: an address that swallows packets must not hold up the next one.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// Bytes to be sent that are encoded ahead of the socket.
pub(crate) const OUT_BYTES_HIGH: usize = 1024 * 1024;
/// Free space kept in the read buffer.
const READ_BYTES: usize = 64 * 1024;

/// Why a conversation ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("the server closed the connection")]
    Closed,
    #[error("the server ended the conversation: {0}")]
    Refused(ApiError),
    #[error("the server has not answered for {0:?}")]
    Silent(Duration),
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum ConnectError {
    /// Nobody answered properly; another attempt may succeed.
    Unreachable(String),
    /// The server said no.
    Refused(ApiError),
}

impl ConnectError {
    /// Whether trying again with the same greeting cannot help.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, ConnectError::Refused(e)
            if matches!(e.code, ErrorCode::Denied | ErrorCode::Unsupported | ErrorCode::Invalid))
    }
}

impl std::fmt::Display for ConnectError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ConnectError::Unreachable(reason) => f.write_str(reason),
            ConnectError::Refused(e) => write!(f, "refused: {e}"),
        }
    }
}

/// A greeted connection.
pub(crate) struct Link {
    pub(crate) reader: FrameReader,
    pub(crate) writer: Box<dyn AsyncWrite + Send + Unpin>,
    pub(crate) welcome: Welcome,
    /// Our end.
    pub(crate) local: SocketAddr,
    /// The server's end.
    pub(crate) peer: SocketAddr,
}

/// Reads whole frames; [`FrameReader::next`] may be dropped at any await without losing bytes.
pub(crate) struct FrameReader {
    half: Box<dyn AsyncRead + Send + Unpin>,
    buffer: BytesMut,
}

impl FrameReader {
    /// The next frame, as soon as it is there.
    pub(crate) async fn next(&mut self) -> Result<ServerFrame, LinkError> {
        loop {
            if let Some(frame) = self.buffered()? {
                return Ok(frame);
            }
            self.buffer.reserve(READ_BYTES);
            if self.half.read_buf(&mut self.buffer).await? == 0 {
                return Err(LinkError::Closed);
            }
        }
    }

    /// A frame that has arrived already.
    pub(crate) fn buffered(&mut self) -> Result<Option<ServerFrame>, LinkError> {
        match next_frame(&mut self.buffer, limits::FRAME_BYTES_MAX)? {
            Some(body) => Ok(Some(decode_exact(&body)?)),
            None => Ok(None),
        }
    }
}

/// The greeting of this crate.
pub(crate) fn hello(token: Option<String>, worker: Option<WorkerHello>) -> Hello {
    Hello {
        magic: *b"WLSS",
        protocol: PROTOCOL,
        client: concat!("windlass-worker/", env!("CARGO_PKG_VERSION")).to_owned(),
        token,
        worker,
    }
}

/// Tries every address once, in order, and greets the first server that answers.
pub(crate) async fn connect(
    addresses: &Addresses,
    hello: &Hello,
    surroundings: &Surroundings,
) -> Result<Link, ConnectError> {
    let mut last = ConnectError::Unreachable("there is no address".to_owned());
    for name in addresses.iter() {
        let resolved = match tokio::net::lookup_host(name).await {
            Ok(resolved) => resolved.collect::<Vec<_>>(),
            Err(e) => {
                last = ConnectError::Unreachable(format!("{name} cannot be looked up: {e}"));
                continue;
            }
        };
        for address in resolved {
            match reach(address, hello, surroundings).await {
                Ok(link) => return Ok(link),
                Err(e) => last = e,
            }
        }
    }
    Err(last)
}

async fn reach(
    address: SocketAddr,
    hello: &Hello,
    surroundings: &Surroundings,
) -> Result<Link, ConnectError> {
    let gone = |what: String| ConnectError::Unreachable(format!("{address}: {what}"));
    let conn = match tokio::time::timeout(CONNECT_MAX, surroundings.connect(address)).await {
        Ok(conn) => conn.map_err(|e| gone(e.to_string()))?,
        Err(_) => return Err(gone(format!("no connection within {CONNECT_MAX:?}"))),
    };
    let handshake = Duration::from_millis(limits::HANDSHAKE_MS_MAX);
    match tokio::time::timeout(handshake, greet(conn, hello)).await {
        Ok(Ok(link)) => Ok(link),
        Ok(Err(LinkError::Refused(e))) => Err(ConnectError::Refused(e)),
        Ok(Err(e)) => Err(gone(format!("no proper greeting: {e}"))),
        Err(_) => Err(gone(format!("no greeting within {handshake:?}"))),
    }
}

async fn greet(conn: Conn, hello: &Hello) -> Result<Link, LinkError> {
    let Conn { reader: half, mut writer, local, peer } = conn;
    let mut out = BytesMut::new();
    encode_frame(&mut out, &ClientFrame::Hello(hello.clone()));
    writer.write_all_buf(&mut out).await?;
    let mut reader = FrameReader { half, buffer: BytesMut::with_capacity(READ_BYTES) };
    match reader.next().await? {
        ServerFrame::Welcome(welcome) => Ok(Link { reader, writer, welcome, local, peer }),
        ServerFrame::Refused(e) => Err(LinkError::Refused(e)),
        other => Err(FrameError::Garbled(format!("expected a welcome, got {}", frame_name(&other))).into()),
    }
}

/// A frame's name, for messages.
pub(crate) fn frame_name(frame: &ServerFrame) -> &'static str {
    match frame {
        ServerFrame::Welcome(_) => "Welcome",
        ServerFrame::Refused(_) => "Refused",
        ServerFrame::Reply { .. } => "Reply",
        ServerFrame::Resumed { .. } => "Resumed",
        ServerFrame::Deliver(_) => "Deliver",
        ServerFrame::Reported { .. } => "Reported",
        ServerFrame::CancelJob(_) => "CancelJob",
        ServerFrame::LeaseLost(_) => "LeaseLost",
        ServerFrame::HeartbeatAck { .. } => "HeartbeatAck",
        ServerFrame::Draining => "Draining",
    }
}
