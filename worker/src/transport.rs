//! One connection: TCP, handshake, frames. Knows nothing of jobs.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use windlass_core::api::{ApiError, ErrorCode};
use windlass_core::limits;
use windlass_core::wire::{
    ClientFrame, FrameError, Hello, Nodes, PROTOCOL, PROTOCOL_NODES, ServerFrame, Welcome, WorkerHello,
    decode_exact, encode_frame, next_frame,
};

use crate::address::{Address, Addresses, Here};
use crate::surroundings::{Conn, Surroundings};
use crate::tls::explain;

/// Longest wait for one TCP connection when there is no other address to try: one lost packet costs a second.
const CONNECT_MAX: Duration = Duration::from_secs(3);
/// The same among several: one that swallows packets must not hold up the next one.
const CONNECT_AMONG_MAX: Duration = Duration::from_secs(1);
/// Longest wait for the lookup of a name.
const LOOKUP_MAX: Duration = Duration::from_secs(3);
/// Longest wait for the greeting of a server that is only guessed to be the owner by now.
const GREETING_GUESS_MAX: Duration = Duration::from_secs(1);
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
    #[error("the server does not say that it belongs to the same cluster")]
    Stranger,
}

/// Why there is no connection.
#[derive(Debug)]
pub(crate) enum ConnectError {
    /// Nobody answered properly; another attempt may succeed.
    Unreachable(String),
    /// Somebody answered who cannot be trusted; another attempt may meet a renewed certificate.
    Untrusted { address: String, reason: String },
    /// The server said no.
    Refused(ApiError),
}

impl ConnectError {
    /// What a round has to say in which two servers have failed. A token that one of them denies is no good at any of them. Whatever
    /// else one of them has against this client may be its own matter, such as its age, as long as another one may be better.
    fn or(self, later: ConnectError) -> ConnectError {
        let weight = |error: &ConnectError| match error {
            ConnectError::Refused(e) if e.code == ErrorCode::Denied => 2,
            error if error.is_final() => 0,
            _ => 1,
        };
        if weight(&self) > weight(&later) { self } else { later }
    }

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
            ConnectError::Untrusted { address, reason } => write!(f, "{address} cannot be trusted: {reason}"),
            ConnectError::Refused(e) => write!(f, "refused: {e}"),
        }
    }
}

/// A greeted connection.
pub(crate) struct Link {
    pub(crate) reader: FrameReader,
    pub(crate) writer: FrameWriter,
    pub(crate) welcome: Welcome,
    /// Our end.
    pub(crate) local: SocketAddr,
    /// The other end.
    pub(crate) here: Here,
    /// What was read already of the nodes of the cluster.
    pub(crate) nodes: Option<Nodes>,
}

/// What an attempt to reach the owner itself has found.
pub(crate) enum Way {
    /// A connection to it.
    Open(Box<Link>),
    /// The connection that stands leads there, under another name.
    Here,
}

/// Writes what is encoded. Under TLS, written bytes may wait until they are flushed, so it remembers whether they were.
pub(crate) struct FrameWriter {
    half: Box<dyn AsyncWrite + Send + Unpin>,
    unflushed: bool,
}

impl FrameWriter {
    /// Whether there is something to write or to flush.
    pub(crate) fn has_work(&self, out: &BytesMut) -> bool {
        self.unflushed || !out.is_empty()
    }

    /// Writes some; may be dropped at any await without losing bytes.
    pub(crate) async fn push(&mut self, out: &mut BytesMut) -> io::Result<()> {
        if !out.is_empty() {
            if self.half.write_buf(out).await? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.unflushed = true;
        }
        if out.is_empty() {
            self.half.flush().await?;
            self.unflushed = false;
        }
        Ok(())
    }

    /// Writes the last bytes and closes this direction.
    pub(crate) async fn finish(&mut self, out: &mut BytesMut) -> io::Result<()> {
        self.half.write_all_buf(out).await?;
        self.half.shutdown().await
    }
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

/// Tries every address once, without a wait in between: the owner by the last word, those that were given, beginning behind the one
/// that served last, and those that were learnt. Greets the first server that takes this client. One that refuses because it stops or knows no owner is passed over like one that is away.
pub(crate) async fn connect(
    addresses: &Addresses,
    hello: &Hello,
    surroundings: &Surroundings,
) -> Result<Link, ConnectError> {
    let mut failed: Option<ConnectError> = None;
    let mut fail = |error: ConnectError| {
        failed = Some(match failed.take() {
            Some(earlier) => earlier.or(error),
            None => error,
        });
    };
    let round = addresses.round();
    for candidate in &round {
        let resolved = match lookup(&candidate.address.name).await {
            Ok(resolved) => resolved,
            Err(error) => {
                fail(error);
                continue;
            }
        };
        let patience = if round.len() == 1 && resolved.len() == 1 {
            Patience::ALONE
        } else if candidate.is_guess {
            Patience::GUESS
        } else {
            Patience::AMONG
        };
        for address in resolved {
            let reached =
                reach(&candidate.address, address, patience, candidate.cluster, hello, surroundings);
            match reached.await {
                Ok(link) => {
                    candidate.place.into_iter().for_each(|place| addresses.serves(place));
                    return Ok(link);
                }
                // Somebody else may live at an address that was only learnt, and has no say about this client.
                Err(ConnectError::Refused(e)) if candidate.cluster.is_some() => {
                    fail(ConnectError::Unreachable(format!("{address}: refused: {e}")));
                }
                Err(error) => fail(error),
            }
        }
    }
    Err(failed.unwrap_or_else(|| ConnectError::Unreachable("there is no address".to_owned())))
}

/// Tries the owner at its own address, for a connection that stands.
pub(crate) async fn direct(
    owner: &Address,
    cluster: [u8; 16],
    here: &Here,
    hello: &Hello,
    surroundings: &Surroundings,
) -> Result<Way, ConnectError> {
    let mut failed = ConnectError::Unreachable(format!("{} has no address", owner.name));
    let resolved = lookup(&owner.name).await?;
    if resolved.contains(&here.peer) {
        return Ok(Way::Here);
    }
    for address in resolved {
        match reach(owner, address, Patience::ALONE, Some(cluster), hello, surroundings).await {
            Ok(link) => return Ok(Way::Open(Box::new(link))),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// How long one server is waited for.
#[derive(Debug, Clone, Copy)]
struct Patience {
    connect: Duration,
    greeting: Duration,
}

impl Patience {
    const ALONE: Patience =
        Patience { connect: CONNECT_MAX, greeting: Duration::from_millis(limits::HANDSHAKE_MS_MAX) };
    const AMONG: Patience = Patience { connect: CONNECT_AMONG_MAX, ..Patience::ALONE };
    const GUESS: Patience = Patience { greeting: GREETING_GUESS_MAX, ..Patience::AMONG };
}

async fn lookup(name: &str) -> Result<Vec<SocketAddr>, ConnectError> {
    let fail = |why: String| ConnectError::Unreachable(format!("{name} cannot be looked up: {why}"));
    match tokio::time::timeout(LOOKUP_MAX, tokio::net::lookup_host(name)).await {
        Ok(Ok(resolved)) => Ok(resolved.collect()),
        Ok(Err(error)) => Err(fail(error.to_string())),
        Err(_) => Err(fail(format!("no answer within {LOOKUP_MAX:?}"))),
    }
}

async fn reach(
    server: &Address,
    address: SocketAddr,
    patience: Patience,
    cluster: Option<[u8; 16]>,
    hello: &Hello,
    surroundings: &Surroundings,
) -> Result<Link, ConnectError> {
    let Patience { connect, greeting: handshake } = patience;
    let gone = |what: String| ConnectError::Unreachable(format!("{address}: {what}"));
    let conn = match tokio::time::timeout(connect, surroundings.connect(address)).await {
        Ok(conn) => conn.map_err(|e| gone(e.to_string()))?,
        Err(_) => return Err(gone(format!("no connection within {connect:?}"))),
    };
    let greeting = async {
        let conn = match &server.tls {
            None => conn,
            Some((tls, name)) => match tls.secure(conn, name.clone()).await {
                Ok(conn) => conn,
                Err(error) => {
                    return Err(match explain(&error) {
                        Ok(reason) => gone(reason),
                        Err(reason) => ConnectError::Untrusted { address: server.to_string(), reason },
                    });
                }
            },
        };
        let greeted = greet(server, conn, cluster, hello).await;
        greeted.map_err(|e| match e {
            LinkError::Refused(e) => ConnectError::Refused(e),
            e => gone(format!("no proper greeting: {e}")),
        })
    };
    match tokio::time::timeout(handshake, greeting).await {
        Ok(greeted) => greeted,
        Err(_) => Err(gone(format!("no greeting within {handshake:?}"))),
    }
}

/// Says hello. Where a cluster has to be there, the server has to say that it is, which it does right behind the welcome.
async fn greet(
    server: &Address,
    conn: Conn,
    cluster: Option<[u8; 16]>,
    hello: &Hello,
) -> Result<Link, LinkError> {
    let Conn { reader: half, writer, local, peer } = conn;
    let mut writer = FrameWriter { half: writer, unflushed: false };
    let mut out = BytesMut::new();
    encode_frame(&mut out, &ClientFrame::Hello(hello.clone()));
    while writer.has_work(&out) {
        writer.push(&mut out).await?;
    }
    let mut reader = FrameReader { half, buffer: BytesMut::with_capacity(READ_BYTES) };
    let welcome = match reader.next().await? {
        ServerFrame::Welcome(welcome) => welcome,
        ServerFrame::Refused(e) => return Err(LinkError::Refused(e)),
        other => {
            let text = format!("expected a welcome, got {}", frame_name(&other));
            return Err(FrameError::Garbled(text).into());
        }
    };
    let mut nodes = None;
    if let Some(cluster) = cluster {
        if welcome.protocol < PROTOCOL_NODES {
            return Err(LinkError::Stranger);
        }
        match reader.next().await? {
            ServerFrame::Nodes(told) if told.cluster == cluster => nodes = Some(told),
            ServerFrame::Refused(e) => return Err(LinkError::Refused(e)),
            _ => return Err(LinkError::Stranger),
        }
    }
    let here = Here { address: server.clone(), peer };
    Ok(Link { reader, writer, welcome, local, here, nodes })
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
        ServerFrame::Nodes(_) => "Nodes",
        ServerFrame::Moved { .. } => "Moved",
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::BufWriter;

    use super::*;

    #[test]
    fn a_token_that_is_denied_outweighs_servers_that_are_away_and_they_outweigh_an_old_server() {
        let refused = |code| ConnectError::Refused(ApiError::new(code, "no"));
        let away = || ConnectError::Unreachable("away".to_owned());
        let is_final = |first: ConnectError, second: ConnectError| first.or(second).is_final();
        assert!(is_final(refused(ErrorCode::Denied), away()) && is_final(away(), refused(ErrorCode::Denied)));
        for code in [ErrorCode::Unsupported, ErrorCode::Invalid] {
            assert!(!is_final(refused(code), away()) && !is_final(away(), refused(code)));
            assert!(is_final(refused(code), refused(code)));
        }
        assert!(!is_final(refused(ErrorCode::Unavailable), away()));
        let said = away().or(refused(ErrorCode::Unavailable)).to_string();
        assert_eq!(said, "refused: no", "of two that weigh the same the later one is told");
    }

    /// A stream that keeps back what it has taken until it is flushed, as TLS may.
    #[tokio::test]
    async fn what_is_written_does_not_wait_for_what_comes_next() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut writer = FrameWriter { half: Box::new(BufWriter::new(ours)), unflushed: false };
        let mut out = BytesMut::from(&b"frame"[..]);
        writer.push(&mut out).await.expect("written");
        assert!(!writer.has_work(&out));
        let mut got = [0; 5];
        let read = tokio::time::timeout(Duration::from_secs(5), theirs.read_exact(&mut got)).await;
        read.expect("it has left").expect("and arrived");
        assert_eq!(&got, b"frame");
    }

    /// Who gives a flush up for something else comes back to it.
    #[tokio::test]
    async fn a_flush_that_was_given_up_is_made_up_for() {
        let (ours, mut theirs) = tokio::io::duplex(1);
        let mut writer = FrameWriter { half: Box::new(BufWriter::new(ours)), unflushed: false };
        let mut out = BytesMut::from(&b"frame"[..]);
        let given_up = tokio::time::timeout(Duration::from_millis(10), writer.push(&mut out)).await;
        assert!(given_up.is_err() && out.is_empty() && writer.has_work(&out));
        let mut got = [0; 5];
        let (pushed, read) = tokio::join!(writer.push(&mut out), theirs.read_exact(&mut got));
        pushed.expect("flushed");
        read.expect("arrived");
        assert!(&got == b"frame" && !writer.has_work(&out));
    }
}
