//! Ears on a connection: every byte passes through unchanged and is heard, or, for a planted fault, is heard and then changed.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use windlass_core::limits;
use windlass_core::wire::{decode_exact, encode_frame, next_frame};

/// Bytes read at a time.
const READ_BYTES: usize = 16 * 1024;

/// Replaces a frame by none, itself, or several.
pub(crate) type Alter<F> = fn(F) -> Vec<F>;

/// Frames out of a stream of bytes.
pub(crate) struct Ear<F> {
    partial: BytesMut,
    hear: Box<dyn FnMut(&F) + Send>,
    alter: Option<Alter<F>>,
}

impl<F: bincode::Encode + bincode::Decode<()> + Clone> Ear<F> {
    pub(crate) fn new(hear: impl FnMut(&F) + Send + 'static, alter: Option<Alter<F>>) -> Ear<F> {
        Ear { partial: BytesMut::new(), hear: Box::new(hear), alter }
    }

    /// Hears what has come and says what goes on.
    fn pass(&mut self, bytes: &[u8], on: &mut BytesMut) {
        self.partial.extend_from_slice(bytes);
        if self.alter.is_none() {
            on.extend_from_slice(bytes);
        }
        while let Some(body) = next_frame(&mut self.partial, limits::FRAME_BYTES_MAX).expect("sound frames") {
            let frame: F = decode_exact(&body).expect("the peers speak the protocol");
            (self.hear)(&frame);
            if let Some(alter) = self.alter {
                alter(frame).iter().for_each(|frame| encode_frame(on, frame));
            }
        }
    }
}

/// A reading half with an ear.
pub(crate) struct Reader<R, F> {
    inner: R,
    ear: Ear<F>,
    ready: BytesMut,
}

impl<R, F> Reader<R, F> {
    pub(crate) fn new(inner: R, ear: Ear<F>) -> Reader<R, F> {
        Reader { inner, ear, ready: BytesMut::new() }
    }
}

impl<R, F> AsyncRead for Reader<R, F>
where
    R: AsyncRead + Unpin,
    F: bincode::Encode + bincode::Decode<()> + Clone + Unpin,
{
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        while this.ready.is_empty() {
            let mut space = [0; READ_BYTES];
            let mut read = ReadBuf::new(&mut space);
            ready!(Pin::new(&mut this.inner).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.ear.pass(read.filled(), &mut this.ready);
        }
        let count = out.remaining().min(this.ready.len());
        out.put_slice(&this.ready[..count]);
        this.ready.advance(count);
        Poll::Ready(Ok(()))
    }
}

/// A writing half with an ear: what was handed to the network counts as said.
pub(crate) struct Writer<W, F> {
    inner: W,
    ear: Ear<F>,
    /// Tells when the connection is closed from this side.
    closed: Option<Box<dyn FnOnce() + Send>>,
}

impl<W, F> Writer<W, F> {
    pub(crate) fn new(inner: W, ear: Ear<F>, closed: impl FnOnce() + Send + 'static) -> Writer<W, F> {
        Writer { inner, ear, closed: Some(Box::new(closed)) }
    }
}

impl<W, F> Drop for Writer<W, F> {
    fn drop(&mut self) {
        if let Some(closed) = self.closed.take() {
            closed();
        }
    }
}

impl<W, F> AsyncWrite for Writer<W, F>
where
    W: AsyncWrite + Unpin,
    F: bincode::Encode + bincode::Decode<()> + Clone + Unpin,
{
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let this = self.get_mut();
        let written = ready!(Pin::new(&mut this.inner).poll_write(cx, bytes))?;
        this.ear.pass(&bytes[..written], &mut BytesMut::new());
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}
