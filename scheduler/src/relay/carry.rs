//! Bytes both ways between a peer and the owner, and what is counted of them.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::RelayFigures;

/// Buffer of a direction in which little is said.
const SMALL_BYTES: usize = 4 * 1024;
/// Buffer of a busy direction: fewer calls of the system for each byte.
const LARGE_BYTES: usize = 64 * 1024;
/// Large buffers of one relay: 16 MiB.
pub const LARGE_BUFFERS_MAX: usize = 256;
/// Time without a byte after which a connection that one side has closed is given up.
pub const HALF_OPEN_MAX: Duration = Duration::from_secs(30);
/// Time without any progress after which a peer that does not read is cut. Longer than the doors allow, since they judge what they
/// send by what the relay takes from them.
pub const STALL_MAX: Duration = Duration::from_secs(60);

/// What all connections of a port share, through all times at which it is relayed.
#[derive(Debug)]
pub(super) struct Load {
    open: AtomicU32,
    up_bytes: AtomicU64,
    down_bytes: AtomicU64,
    refused: AtomicU64,
    cut: AtomicU64,
    large: Arc<Semaphore>,
}

impl Default for Load {
    fn default() -> Load {
        Load {
            open: AtomicU32::new(0),
            up_bytes: AtomicU64::new(0),
            down_bytes: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            cut: AtomicU64::new(0),
            large: Arc::new(Semaphore::new(LARGE_BUFFERS_MAX)),
        }
    }
}

/// An open connection.
pub(super) struct Open<'a>(&'a Load);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Load {
    pub(super) fn enter(&self) -> Open<'_> {
        self.open.fetch_add(1, Ordering::Relaxed);
        Open(self)
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn cut(&self) {
        self.cut.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn figures(&self) -> RelayFigures {
        RelayFigures {
            connections: self.open.load(Ordering::Relaxed),
            up_bytes: self.up_bytes.load(Ordering::Relaxed),
            down_bytes: self.down_bytes.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
            cut: self.cut.load(Ordering::Relaxed),
        }
    }
}

/// The other side takes nothing any more.
struct Stalled;

/// Carries what each side says to the other, beginning with what the peer has `said` already, until both have ended or one of them
/// makes no progress.
pub(super) async fn carry<R, W>(
    (reader, writer): (R, W),
    (owner_says, owner_hears): (OwnedReadHalf, OwnedWriteHalf),
    said: Bytes,
    load: &Load,
) where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let passed = Cell::new(0_u64);
    let up = Way { passed: &passed, total: &load.up_bytes, large: &load.large };
    let down = Way { passed: &passed, total: &load.down_bytes, large: &load.large };
    let mut up = pin!(up.go(reader, owner_hears, said));
    let mut down = pin!(down.go(owner_says, writer, Bytes::new()));
    // One way may end by an error while the last words are still coming the other way: they arrive.
    tokio::select! {
        ended = &mut up => if ended.is_ok() { linger(down, &passed).await },
        ended = &mut down => if ended.is_ok() { linger(up, &passed).await },
    }
}

/// Lets the other way end by itself, for as long as there is progress.
async fn linger(mut rest: impl Future<Output = Result<(), Stalled>> + Unpin, passed: &Cell<u64>) {
    let mut before = passed.get();
    while timeout(HALF_OPEN_MAX, &mut rest).await.is_err() {
        let now = passed.get();
        if now == before {
            return;
        }
        before = now;
    }
}

/// One direction.
struct Way<'a> {
    passed: &'a Cell<u64>,
    total: &'a AtomicU64,
    large: &'a Arc<Semaphore>,
}

impl Way<'_> {
    /// Carries until `from` ends or either side breaks, and tells `to` that nothing more comes.
    async fn go(
        self,
        from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        said: Bytes,
    ) -> Result<(), Stalled> {
        match self.pass(from, &mut to, said).await {
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(Stalled),
            Ok(()) | Err(_) => {}
        }
        // Who is gone needs no farewell.
        let _ = to.shutdown().await;
        Ok(())
    }

    async fn pass(
        &self,
        mut from: impl AsyncRead + Unpin,
        to: &mut (impl AsyncWrite + Unpin),
        said: Bytes,
    ) -> io::Result<()> {
        self.push(to, &said).await?;
        drop(said);
        let mut buffer = Buffer::default();
        loop {
            let read = from.read_buf(buffer.empty()).await?;
            if read == 0 {
                return Ok(());
            }
            self.push(to, &buffer.bytes).await?;
            buffer.fit(read, self.large);
        }
    }

    async fn push(&self, to: &mut (impl AsyncWrite + Unpin), mut rest: &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            let written = timeout(STALL_MAX, to.write(rest)).await.map_err(|_| io::ErrorKind::TimedOut)??;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.passed.set(self.passed.get() + written as u64);
            self.total.fetch_add(written as u64, Ordering::Relaxed);
            rest = &rest[written..];
        }
        Ok(())
    }
}

/// Memory of one direction: little, unless there is much to carry and a large one to be had.
struct Buffer {
    bytes: Vec<u8>,
    large: Option<OwnedSemaphorePermit>,
}

impl Default for Buffer {
    fn default() -> Buffer {
        Buffer { bytes: Vec::with_capacity(SMALL_BYTES), large: None }
    }
}

impl Buffer {
    fn empty(&mut self) -> &mut Vec<u8> {
        self.bytes.clear();
        &mut self.bytes
    }

    /// Grows after a read that has filled it, shrinks after one that would have needed little.
    fn fit(&mut self, read: usize, large: &Arc<Semaphore>) {
        if self.large.is_some() {
            if read <= SMALL_BYTES {
                *self = Buffer::default();
            }
        } else if read >= SMALL_BYTES
            && let Ok(permit) = Arc::clone(large).try_acquire_owned()
        {
            *self = Buffer { bytes: Vec::with_capacity(LARGE_BYTES), large: Some(permit) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_buffers_are_for_the_busy_and_few() {
        let large = Arc::new(Semaphore::new(1));
        let (mut first, mut second) = (Buffer::default(), Buffer::default());
        first.fit(SMALL_BYTES, &large);
        second.fit(SMALL_BYTES, &large);
        assert_eq!((first.bytes.capacity(), second.bytes.capacity()), (LARGE_BYTES, SMALL_BYTES));
        first.fit(10, &large);
        second.fit(SMALL_BYTES, &large);
        assert_eq!((first.bytes.capacity(), second.bytes.capacity()), (SMALL_BYTES, LARGE_BYTES));
    }
}
