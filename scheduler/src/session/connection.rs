//! One connection from its first byte to its last: handshake, reading, writing, the end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr};
use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout, timeout_at};
use windlass_core::access::{Caller, Operation, allows};
use windlass_core::api::{ApiError, ErrorCode};
use windlass_core::limits;
use windlass_core::wire::{
    ClientFrame, FrameError, Hello, PREFIX_BYTES, PROTOCOL, PROTOCOL_OLDEST, ServerFrame, Welcome,
    decode_exact, encode_frame, next_frame,
};

use super::actor::{Ended, Frames, SessionActor};
use super::hub::Arrival;
use super::link::Link;
use super::nodes::Told;
use super::{
    Budget, FRAME_MS_MAX, FRAMES_PER_MESSAGE_MAX, READ_BUFFER_BYTES, SessionParts, WRITE_STALL_MS_MAX,
};
use crate::access::no_longer;
use crate::door::{Origin, Pass};
use crate::fault::{self, Point};

/// Longest text of a client's self-description that is kept.
const TEXT_BYTES_MAX: usize = 256;
/// Most kinds of a worker that are kept for lists.
const KINDS_MAX: usize = 256;
/// Time that the last frames of a conversation have to reach the peer.
const FLUSH_MS_MAX: u64 = 2_000;
/// Time that an answer under way has to be sent when a token is revoked.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// Buffer of a connection that sends little.
const READ_BUFFER_BYTES_MIN: usize = 4 * 1024;
/// Bytes written at a time.
const WRITE_BYTES: usize = 256 * 1024;

/// How a TLS handshake begins. As the length of a frame it would be far beyond the limit.
const TLS: &[u8] = &[0x16, 0x03];

/// Why a conversation ended before it began, or in the middle.
enum End {
    /// The peer is gone.
    Gone,
    /// It broke a rule and is told so.
    Refused(ApiError),
}

impl From<std::io::Error> for End {
    fn from(_: std::io::Error) -> End {
        End::Gone
    }
}

impl From<FrameError> for End {
    fn from(error: FrameError) -> End {
        let code = match error {
            FrameError::TooLong { .. } => ErrorCode::TooLarge,
            FrameError::Garbled(_) => ErrorCode::Invalid,
        };
        End::Refused(ApiError::new(code, error.to_string()))
    }
}

/// Serves one connection until it ends.
pub(super) async fn serve<R, W>(
    mut reader: R,
    mut writer: W,
    mut origin: Origin,
    parts: SessionParts,
    mut pass: Pass,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + 'static,
{
    let mut buffer = BytesMut::with_capacity(limits::FRAME_BYTES_MAX_UNGREETED);
    let greeting =
        timeout_at(pass.deadline(), read_hello(&mut reader, &mut buffer, &mut origin, &parts)).await;
    let peer = origin.peer();
    let (hello, caller) = match greeting.unwrap_or_else(|_| Err(late())) {
        Ok(greeted) => greeted,
        Err(End::Gone) => return,
        Err(End::Refused(error)) => return refuse(&mut writer, peer, error, &parts.budget).await,
    };
    pass.greeted();
    let link = Link::new(parts.clock.now().mono);
    let welcome = welcome(&hello, &parts);
    let protocol = welcome.protocol;
    link.send(&ServerFrame::Welcome(welcome));
    let told = Told::begin(protocol, &link, &parts);
    let inherited = match &hello.worker {
        Some(worker) => {
            let (hello, client, link) = (worker.clone(), hello.client.clone(), Arc::clone(&link));
            parts.hub.arrive(Arrival { hello, client, peer, link }).await
        }
        None => Vec::new(),
    };
    let actor = SessionActor::new(
        parts.clone(),
        Arc::clone(&link),
        Arc::clone(&caller),
        hello.worker.as_ref(),
        inherited,
    )
    .start();
    let writing = actix_rt::spawn(write_all(writer, Arc::clone(&link)));
    let read = tokio::select! {
        biased;
        () = link.broken.cancelled() => Err(End::Gone),
        // Everything is said; what the peer still sends is not read.
        () = link.finish.cancelled() => Ok(()),
        () = parts.phases.closing.cancelled() => Ok(()),
        never = told.follow(&link, &parts) => match never {},
        error = shown_out(&caller, &parts) => Err(End::Refused(error)),
        read = read_frames(&mut reader, buffer, &actor, &parts) => read,
    };
    if let Err(End::Refused(error)) = read {
        if let Some(left_out) = parts.budget.strangers.pass() {
            tracing::warn!(%peer, %error, left_out, "connection broke a rule");
        }
        link.send(&ServerFrame::Refused(error));
    }
    // A mailbox that is gone means that the actor has stopped already.
    let orderly = actor.send(Ended).await.unwrap_or(false);
    if let Some(worker) = &hello.worker {
        parts.hub.leave(worker.id, link.session, orderly);
    }
    link.finish.cancel();
    // The writer ends by itself: it has a limit for its last flush.
    let _ = writing.await;
}

fn late() -> End {
    let text = format!("no Hello came within {} ms", limits::HANDSHAKE_MS_MAX);
    End::Refused(ApiError::new(ErrorCode::Timeout, text))
}

/// Resolves when the peer's token is good for nothing any more. Its frames are refused from that very moment; the connection
/// lives on for as long as the answer takes to whoever has just revoked their own.
async fn shown_out(caller: &Caller, parts: &SessionParts) -> ApiError {
    parts.access.leave(caller).await;
    tokio::time::sleep(LAST_WORDS).await;
    no_longer()
}

async fn read_hello(
    reader: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    origin: &mut Origin,
    parts: &SessionParts,
) -> Result<(Hello, Arc<Caller>), End> {
    origin.settle(reader, buffer).await?;
    let body = loop {
        if buffer.starts_with(TLS) {
            let text = "this port does not speak TLS; write HOST:PORT without tls://";
            return Err(End::Refused(ApiError::new(ErrorCode::Unsupported, text)));
        }
        if let Some(body) = next_frame(buffer, limits::FRAME_BYTES_MAX_UNGREETED)? {
            break body;
        }
        if reader.read_buf(buffer).await? == 0 {
            return Err(End::Gone);
        }
    };
    let refuse = |code, text: String| Err(End::Refused(ApiError::new(code, text)));
    let Ok(ClientFrame::Hello(mut hello)) = decode_exact(&body) else {
        let text = "the first frame has to be a Hello of the Windlass protocol; HTTP is on another port";
        return refuse(ErrorCode::Invalid, text.to_owned());
    };
    if hello.magic != *b"WLSS" {
        return refuse(ErrorCode::Invalid, "this is the native port of Windlass".to_owned());
    }
    if hello.protocol < PROTOCOL_OLDEST {
        let text = format!(
            "protocol {} is too old, this server speaks {PROTOCOL_OLDEST} to {PROTOCOL}; update the client",
            hello.protocol
        );
        return refuse(ErrorCode::Unsupported, text);
    }
    let token = hello.token.take();
    let caller = parts.access.identify(token.as_deref(), &origin.peer().to_string()).map_err(End::Refused)?;
    if hello.worker.is_some() {
        allows(&caller.grant, Operation::Fetch, None)
            .map_err(|refused| End::Refused(ApiError::new(ErrorCode::Denied, refused.to_string())))?;
    }
    tidy(&mut hello);
    Ok((hello, Arc::new(caller)))
}

/// Bounds what a peer says about itself, since it is kept and shown.
fn tidy(hello: &mut Hello) {
    let clip = |text: &mut String| *text = windlass_core::job::clip(std::mem::take(text), TEXT_BYTES_MAX);
    clip(&mut hello.client);
    if let Some(worker) = &mut hello.worker {
        clip(&mut worker.name);
        clip(&mut worker.host);
        clip(&mut worker.gossip_id);
        worker.kinds.truncate(KINDS_MAX);
        worker.kinds.iter_mut().for_each(clip);
    }
}

fn welcome(hello: &Hello, parts: &SessionParts) -> Welcome {
    let greeting = &parts.greeting;
    Welcome {
        protocol: hello.protocol.min(PROTOCOL),
        server: greeting.server.clone(),
        node: greeting.node.clone(),
        gossip_addr: greeting.gossip_addr.clone(),
        cluster: greeting.cluster.clone(),
        heartbeat_ms: parts.heartbeat_ms,
        lease_ms: parts.lease_ms,
        resume_grace_ms: parts.resume_grace_ms,
        frame_bytes_max: u32::try_from(limits::FRAME_BYTES_MAX).unwrap_or(u32::MAX),
    }
}

/// Reads frames and hands them to the actor, as many at a time as have arrived.
async fn read_frames(
    reader: &mut (impl AsyncRead + Unpin),
    mut buffer: BytesMut,
    actor: &Addr<SessionActor>,
    parts: &SessionParts,
) -> Result<(), End> {
    let mut appetite = READ_BUFFER_BYTES_MIN;
    loop {
        let mut frames = Vec::new();
        let mut failed = None;
        while frames.len() < FRAMES_PER_MESSAGE_MAX {
            match next_frame(&mut buffer, limits::FRAME_BYTES_MAX).and_then(decode) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        let complete = frames.len() >= FRAMES_PER_MESSAGE_MAX;
        // What came before a broken frame counts. A closed mailbox: the session has ended.
        if !frames.is_empty() && !actor.send(Frames(frames)).await.unwrap_or(false) {
            return Ok(());
        }
        if let Some(error) = failed {
            return Err(error.into());
        }
        if !complete {
            read_more(reader, &mut buffer, &mut appetite, parts).await?;
        }
    }
}

fn decode(body: Option<Bytes>) -> Result<Option<ClientFrame>, FrameError> {
    body.map(|body| decode_exact(&body)).transpose()
}

/// Reads what is there. A frame that does not fit the small buffer waits for a share of the budget for large ones, and
/// has to be complete in time, so that a peer that drips cannot keep its share.
async fn read_more(
    reader: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    appetite: &mut usize,
    parts: &SessionParts,
) -> Result<(), End> {
    if buffer.is_empty() {
        // A large frame, or a busy time, has been here: give its memory back.
        if buffer.capacity() > 2 * *appetite {
            *buffer = BytesMut::new();
        }
        buffer.reserve(*appetite);
        let room = buffer.capacity();
        let read = reader.read_buf(buffer).await?;
        // Many connections are idle and need little; one that fills its buffer gets more.
        *appetite = match read {
            0 => return Err(End::Gone),
            read if read == room => (*appetite * 4).min(READ_BUFFER_BYTES),
            read if read < *appetite / 4 => (*appetite / 2).max(READ_BUFFER_BYTES_MIN),
            _ => *appetite,
        };
        return Ok(());
    }
    let deadline = Instant::now() + Duration::from_millis(FRAME_MS_MAX);
    let slow = || {
        let text = format!("a frame has to arrive within {FRAME_MS_MAX} ms");
        End::Refused(ApiError::new(ErrorCode::Timeout, text))
    };
    timeout_at(deadline, finish_frame(reader, buffer, parts)).await.map_err(|_| slow())?
}

async fn finish_frame(
    reader: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
    parts: &SessionParts,
) -> Result<(), End> {
    let mut share: Option<OwnedSemaphorePermit> = None;
    loop {
        let Some(prefix) = buffer.first_chunk::<PREFIX_BYTES>() else {
            if reader.read_buf(buffer).await? == 0 {
                return Err(End::Gone);
            }
            continue;
        };
        let whole = PREFIX_BYTES + u32::from_le_bytes(*prefix) as usize;
        // The caller checks the length against the limit before it takes the frame.
        if buffer.len() >= whole || whole > PREFIX_BYTES + limits::FRAME_BYTES_MAX {
            return Ok(());
        }
        if whole > READ_BUFFER_BYTES && share.is_none() {
            let permits = u32::try_from(whole.div_ceil(1024)).unwrap_or(u32::MAX);
            // The semaphore is never closed.
            share = Arc::clone(&parts.budget.arriving).acquire_many_owned(permits).await.ok();
        }
        buffer.reserve((whole - buffer.len()).min(READ_BUFFER_BYTES));
        if reader.read_buf(buffer).await? == 0 {
            return Err(End::Gone);
        }
    }
}

/// Writes what there is to send until the conversation is over, then what is left.
async fn write_all(mut writer: impl AsyncWrite + Unpin, link: Arc<Link>) {
    let ended = loop {
        let chunk = tokio::select! {
            biased;
            () = link.broken.cancelled() => break false,
            () = link.finish.cancelled() => break true,
            chunk = link.next_outgoing() => chunk,
        };
        if write_chunk(&mut writer, chunk, &link).await.is_err() {
            link.broken.cancel();
            break false;
        }
    };
    if ended || link.finish.is_cancelled() {
        let rest = link.take_outgoing();
        let flush = async {
            writer.write_all(&rest).await?;
            writer.shutdown().await
        };
        // The peer may be gone; nobody waits for these bytes any more.
        let _ = timeout(Duration::from_millis(FLUSH_MS_MAX), flush).await;
    }
}

async fn write_chunk(
    writer: &mut (impl AsyncWrite + Unpin),
    chunk: BytesMut,
    link: &Link,
) -> std::io::Result<()> {
    fault::pass_or_fail(Point::SessionBeforeWrite)?;
    for part in chunk.chunks(WRITE_BYTES) {
        let mut rest = part;
        while !rest.is_empty() {
            let stall = Duration::from_millis(WRITE_STALL_MS_MAX);
            let written = tokio::select! {
                biased;
                () = link.broken.cancelled() => return Err(std::io::ErrorKind::ConnectionAborted.into()),
                written = timeout(stall, write_some(writer, rest)) => written??,
            };
            if written == 0 {
                return Err(std::io::ErrorKind::WriteZero.into());
            }
            rest = &rest[written..];
        }
    }
    fault::pass_or_fail(Point::SessionAfterWrite)
}

/// Writes some, and sees to it that the end of a part does not stay behind in the buffers of TLS.
async fn write_some(writer: &mut (impl AsyncWrite + Unpin), rest: &[u8]) -> std::io::Result<usize> {
    let written = writer.write(rest).await?;
    if written == rest.len() {
        writer.flush().await?;
    }
    Ok(written)
}

async fn refuse(writer: &mut (impl AsyncWrite + Unpin), peer: SocketAddr, error: ApiError, budget: &Budget) {
    if let Some(left_out) = budget.strangers.pass() {
        tracing::warn!(%peer, %error, left_out, "connection refused");
    }
    let mut out = BytesMut::new();
    encode_frame(&mut out, &ServerFrame::Refused(error));
    let flush = async {
        writer.write_all(&out).await?;
        writer.shutdown().await
    };
    let _ = timeout(Duration::from_millis(FLUSH_MS_MAX), flush).await;
}

#[cfg(test)]
mod tests {
    use tokio::io::BufWriter;

    use super::*;

    /// A stream that keeps back what it has taken until it is flushed, as TLS may.
    #[tokio::test]
    async fn what_is_written_does_not_wait_for_what_comes_next() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut writer = BufWriter::new(ours);
        let written = write_some(&mut writer, b"frame").await;
        let mut got = [0; 5];
        let read = timeout(Duration::from_secs(5), theirs.read_exact(&mut got)).await;
        read.expect("it has left").expect("and arrived");
        assert_eq!((written.expect("written"), &got), (5, b"frame"));
    }
}
