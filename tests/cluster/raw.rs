//! A peer of the native protocol that does nothing by itself: it comes from an address of its own, asks once, and reads what comes.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::BytesMut;
use socket2::{Domain, Socket, Type};
use windlass_core::api::{Request, Response};
use windlass_core::limits;
use windlass_core::wire::{
    ClientFrame, Hello, PROTOCOL, ServerFrame, Welcome, decode_exact, encode_frame, next_frame,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A connection from this host of the loopback network.
pub(crate) fn dial(from: &str, to: SocketAddr) -> Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(from.parse::<IpAddr>()?, 0).into())?;
    socket.connect_timeout(&to.into(), PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket.into())
}

/// A conversation that has begun.
pub(crate) struct Native {
    stream: TcpStream,
    buffer: BytesMut,
    pub(crate) welcome: Welcome,
}

impl Native {
    /// Says hello, after these bytes.
    pub(crate) fn open(mut stream: TcpStream, before: &[u8]) -> Result<Native> {
        let hello = Hello {
            magic: *b"WLSS",
            protocol: PROTOCOL,
            client: "raw".to_owned(),
            token: None,
            worker: None,
        };
        let mut out = BytesMut::from(before);
        encode_frame(&mut out, &ClientFrame::Hello(hello));
        stream.write_all(&out)?;
        let mut buffer = BytesMut::new();
        match frame(&mut stream, &mut buffer)? {
            ServerFrame::Welcome(welcome) => Ok(Native { stream, buffer, welcome }),
            other => bail!("no welcome: {other:?}"),
        }
    }

    /// Asks, and reads until the answer has come or the connection has ended.
    pub(crate) fn call(&mut self, body: Request) -> Result<Response> {
        let mut out = BytesMut::new();
        encode_frame(&mut out, &ClientFrame::Call { request: 1, body });
        self.stream.write_all(&out)?;
        loop {
            match frame(&mut self.stream, &mut self.buffer)? {
                ServerFrame::Reply { result, .. } => return Ok(result?),
                ServerFrame::Refused(error) => return Err(error.into()),
                _ => {}
            }
        }
    }
}

fn frame(stream: &mut TcpStream, buffer: &mut BytesMut) -> Result<ServerFrame> {
    loop {
        if let Some(body) = next_frame(buffer, limits::FRAME_BYTES_MAX)? {
            return decode_exact(&body).ok().context("a frame");
        }
        let mut chunk = [0; 4_096];
        let read = stream.read(&mut chunk)?;
        ensure!(read > 0, "the connection ended");
        buffer.extend_from_slice(&chunk[..read]);
    }
}
