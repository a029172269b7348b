//! Counts the calls that clients reset, as they come over the wire: HTTP/2 itself tells nobody about calls
//! that are reset before anyone has looked at them.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::rate_limit::RateLimit;

/// Bytes that a client begins HTTP/2 with, before its first frame.
const PREFACE_BYTES: usize = 24;

/// Bytes that every frame begins with: its length in 24 bits, its type, flags and stream.
const HEAD_BYTES: usize = 9;

/// The type of RST_STREAM.
const RST_STREAM: u8 = 3;

/// A stream of HTTP/2 from a client, with resets counted for a worker.
#[derive(Debug)]
pub(super) struct ResetsCounted<I> {
    inner: I,
    frames: Frames,
    worker: RateLimit,
}

impl<I> ResetsCounted<I> {
    /// Counts from the beginning of a connection.
    pub(super) const fn new(inner: I, worker: RateLimit) -> Self {
        Self {
            inner,
            frames: Frames::new(),
            worker,
        }
    }
}

/// Where in a stream of frames one is.
#[derive(Debug)]
struct Frames {
    /// Bytes to the head of the next frame.
    skip: usize,
    /// What has come of that.
    head: [u8; HEAD_BYTES],
    head_length: usize,
}

impl Frames {
    const fn new() -> Self {
        Self {
            skip: PREFACE_BYTES,
            head: [0; HEAD_BYTES],
            head_length: 0,
        }
    }

    /// Goes on by these bytes: how many resets there are among them.
    fn resets_in(&mut self, mut bytes: &[u8]) -> usize {
        let mut resets = 0;
        loop {
            let Some(rest) = bytes.get(self.skip..) else {
                self.skip -= bytes.len();
                return resets;
            };
            self.skip = 0;
            let wanted = HEAD_BYTES - self.head_length;
            let Some((head, rest)) = rest.split_at_checked(wanted) else {
                self.head[self.head_length..][..rest.len()].copy_from_slice(rest);
                self.head_length += rest.len();
                return resets;
            };
            self.head[self.head_length..].copy_from_slice(head);
            self.head_length = 0;
            let [high, middle, low, kind, ..] = self.head;
            self.skip = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
            resets += usize::from(kind == RST_STREAM);
            bytes = rest;
        }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for ResetsCounted<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.inner).poll_read(cx, buffer))?;
        let resets = this.frames.resets_in(&buffer.filled()[before..]);
        if resets > 0 {
            this.worker.counts().http2().reset(resets);
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for ResetsCounted<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let head = [length[1], length[2], length[3], kind, 0, 0, 0, 0, 1];
        [&head[..], payload].concat()
    }

    #[test]
    fn resets_are_counted_wherever_the_bytes_are_cut() {
        let bytes = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(4, &[]),
            frame(RST_STREAM, &[0, 0, 0, 8]),
            // A message that looks like resets.
            frame(0, &[RST_STREAM; 300]),
            frame(RST_STREAM, &[0, 0, 0, 8]),
            frame(RST_STREAM, &[0, 0, 0, 8]),
            frame(1, &[RST_STREAM; 70_000]),
            frame(RST_STREAM, &[0, 0, 0, 8]),
        ]
        .concat();
        for part in [1, 2, 3, 7, 9, 10, 13, 64, 8_192, bytes.len()] {
            let mut frames = Frames::new();
            let resets: usize = bytes
                .chunks(part)
                .map(|bytes| frames.resets_in(bytes))
                .sum();
            assert_eq!(resets, 4, "parts of {part}");
        }
    }
}
