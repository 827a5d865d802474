//! One connection from its first byte to its last: greeting, lines in, answers out, in order.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{timeout, timeout_at};
use windlass_core::access::Caller;

use super::command::Command;
use super::greeting::{Challenge, Hello, hi};
use super::handle::{Next, Session};
use super::line::{Lines, TooLong};
use super::listener::FaktoryParts;
use super::reply::Reply;
use super::{
    ARRIVING_BYTES_MAX, LINE_BYTES_MAX, LINE_BYTES_MAX_UNGREETED, LINE_TIME, READ_BUFFER_BYTES, WRITE_TIME,
};
use crate::access::NO_LONGER;
use crate::door::{Origin, Pass};

/// Bytes read at a time.
const READ_BYTES: usize = 8 * 1024;
/// Answers to pipelined commands are sent together up to so many bytes.
const WRITE_BYTES: usize = 64 * 1024;
/// The longest line that counts as middling.
const MIDDLING_BYTES: usize = 1024 * 1024;

/// Bounds over all connections on the bytes of lines that do not fit into a small buffer. Two sizes, so that whoever waits for a
/// share of the larger holds none of it.
#[derive(Clone)]
pub(super) struct Budget {
    middling: Arc<Semaphore>,
    long: Arc<Semaphore>,
}

impl Budget {
    pub(super) fn new() -> Budget {
        let half = ARRIVING_BYTES_MAX / 2;
        Budget {
            middling: Arc::new(Semaphore::new(half / MIDDLING_BYTES)),
            long: Arc::new(Semaphore::new(half / LINE_BYTES_MAX)),
        }
    }
}

/// Why a conversation ends.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The peer has said all it had to say, or the server stops.
    Orderly,
    /// The peer was cut off before it had read everything: an answer on its way was lost.
    Reset,
    /// The peer broke a rule and has been told.
    Refused,
}

/// The two directions of a connection.
pub(super) struct Wire<R, W> {
    reader: R,
    writer: W,
    buffer: BytesMut,
    lines: Lines,
    out: BytesMut,
    budget: Budget,
    shares: Vec<OwnedSemaphorePermit>,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Wire<R, W> {
    fn new(reader: R, writer: W, budget: Budget) -> Wire<R, W> {
        let lines = Lines::new(LINE_BYTES_MAX_UNGREETED);
        Wire {
            reader,
            writer,
            buffer: BytesMut::new(),
            lines,
            out: BytesMut::new(),
            budget,
            shares: Vec::new(),
        }
    }

    /// The next line; waits for as long as the peer says nothing, but not for one that stops in the middle of a line.
    async fn line(&mut self) -> Result<Result<Bytes, TooLong>, End> {
        self.shares.clear();
        if let Some(line) = self.lines.next(&mut self.buffer).transpose() {
            return Ok(line);
        }
        self.flush().await?;
        if self.buffer.is_empty() {
            // Idle connections are many; a buffer that once held a long line would stay as large.
            if self.buffer.capacity() > READ_BUFFER_BYTES {
                self.buffer = BytesMut::new();
            }
            self.read().await?;
        }
        timeout(LINE_TIME, self.rest_of_line()).await.unwrap_or(Err(End::Orderly))
    }

    async fn rest_of_line(&mut self) -> Result<Result<Bytes, TooLong>, End> {
        loop {
            if let Some(line) = self.lines.next(&mut self.buffer).transpose() {
                return Ok(line);
            }
            let long = [(READ_BUFFER_BYTES, &self.budget.middling), (MIDDLING_BYTES, &self.budget.long)];
            if let Some((bytes, share)) = long.get(self.shares.len())
                && self.buffer.len() > *bytes
            {
                let share = Arc::clone(share).acquire_owned().await.map_err(|_| End::Orderly)?;
                self.shares.push(share);
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Result<(), End> {
        self.buffer.reserve(READ_BYTES);
        match self.reader.read_buf(&mut self.buffer).await {
            Ok(0) => Err(End::Orderly),
            Ok(_) => Ok(()),
            Err(_) => Err(End::Reset),
        }
    }

    /// Resolves when the peer is gone, while an answer is being waited for. What it sends meanwhile is kept.
    pub(super) async fn gone(&mut self) -> End {
        while self.buffer.len() < READ_BUFFER_BYTES {
            if let Err(end) = self.read().await {
                return end;
            }
        }
        std::future::pending().await
    }

    /// Takes an answer on; it is sent when nothing more can be answered without waiting.
    async fn answer(&mut self, reply: &Reply) -> Result<(), End> {
        reply.write(&mut self.out);
        if self.out.len() >= WRITE_BYTES { self.flush().await } else { Ok(()) }
    }

    /// Sends the answers so far.
    pub(super) async fn flush(&mut self) -> Result<(), End> {
        if self.out.is_empty() {
            return Ok(());
        }
        let out = self.out.split();
        if self.out.capacity() > READ_BUFFER_BYTES {
            self.out = BytesMut::new();
        }
        let sending = async {
            self.writer.write_all(&out).await?;
            // Under TLS, written bytes may wait until they are flushed.
            self.writer.flush().await
        };
        match timeout(WRITE_TIME, sending).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(End::Reset),
        }
    }

    /// The last words to a peer who is cut off.
    fn refuse(&mut self, text: &str) {
        Reply::error(text).write(&mut self.out);
    }

    async fn close(mut self) {
        let _ = self.flush().await;
        let _ = timeout(WRITE_TIME, self.writer.shutdown()).await;
    }
}

/// Serves one connection until it ends.
pub(super) async fn serve<R, W>(reader: R, writer: W, mut origin: Origin, parts: FaktoryParts, mut pass: Pass)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut wire = Wire::new(reader, writer, parts.budget.clone());
    let (hello, caller) = match timeout_at(pass.deadline(), greet(&mut wire, &mut origin, &parts)).await {
        Ok(Some(greeted)) => greeted,
        Ok(None) => return wire.close().await,
        Err(_) => return,
    };
    pass.greeted();
    wire.lines.allow(LINE_BYTES_MAX);
    let mut session = Session::begin(parts.clone(), &hello, Arc::clone(&caller));
    let broken = session.broken();
    let end = tokio::select! {
        biased;
        () = broken.cancelled() => End::Refused,
        () = parts.access.leave(&caller) => {
            wire.refuse(NO_LONGER);
            End::Refused
        }
        end = converse(&mut wire, &mut session) => end,
    };
    tracing::debug!(peer = %origin.peer(), ?end, "Faktory connection ended");
    session.end(end == End::Reset);
    wire.close().await;
}

/// Both sides say who they are. `None`: the conversation is over.
async fn greet<R, W>(
    wire: &mut Wire<R, W>,
    origin: &mut Origin,
    parts: &FaktoryParts,
) -> Option<(Hello, Arc<Caller>)>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let chance = &parts.desk.parts().chance;
    let challenge = parts.is_closed().then(|| Challenge::new([chance.u64(), chance.u64()]));
    wire.out.extend_from_slice(hi(challenge.as_ref()).as_bytes());
    // A client says nothing before it has read the greeting.
    wire.flush().await.ok()?;
    origin.settle(&mut wire.reader, &mut wire.buffer).await.ok()?;
    let line = wire.line().await.ok()?.ok()?;
    let Command::Hello(text) = Command::read(std::str::from_utf8(&line).ok()?) else { return None };
    let hello = Hello::read(text)?;
    let caller = match &challenge {
        Some(challenge) => parts.recognise(challenge, &hello),
        // Should a token have been made since the greeting, this one has to come again.
        None => parts.access.identify(None, "").ok(),
    };
    let Some(caller) = caller else {
        let _ = wire.answer(&Reply::error("Invalid password")).await;
        return None;
    };
    wire.answer(&Reply::Ok).await.ok()?;
    Some((hello, Arc::new(caller.at(origin.peer().to_string()))))
}

async fn converse<R, W>(wire: &mut Wire<R, W>, session: &mut Session) -> End
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let closing = session.closing();
    loop {
        let line = tokio::select! {
            biased;
            line = wire.line() => line,
            // Between two commands nothing is lost.
            () = closing.cancelled() => {
                let _ = wire.answer(&Reply::error("shutdown in progress")).await;
                return End::Orderly;
            }
        };
        let line = match line {
            Ok(Ok(line)) => line,
            Ok(Err(error)) => {
                let _ = wire.answer(&Reply::error(error)).await;
                return End::Refused;
            }
            Err(end) => return end,
        };
        let next = match std::str::from_utf8(&line) {
            Ok(text) => session.handle(Command::read(text), wire).await,
            Err(_) => Next::Answer(Reply::error("the command is not UTF-8")),
        };
        let sent = match next {
            Next::Answer(reply) => wire.answer(&reply).await,
            Next::End(end) => return end,
        };
        if let Err(end) = sent {
            return end;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::BufWriter;

    use super::*;

    /// A stream that keeps back what it has taken until it is flushed, as TLS may.
    #[tokio::test]
    async fn answers_do_not_wait_for_the_next_ones() {
        let (ours, mut theirs) = tokio::io::duplex(64);
        let mut wire = Wire::new(tokio::io::empty(), BufWriter::new(ours), Budget::new());
        wire.answer(&Reply::Ok).await.expect("taken");
        wire.flush().await.expect("sent");
        let mut got = [0; 5];
        let read = timeout(WRITE_TIME, theirs.read_exact(&mut got)).await;
        read.expect("it has left").expect("and arrived");
        assert_eq!(&got, b"+OK\r\n");
    }
}
