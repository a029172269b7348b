//! The bytes of a connection, watched for what comes late and what is not read.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{Member, OtherProtocol};

/// Bytes of the preface of HTTP/2.
const PREFACE_BYTES: usize = 24;

/// What comes over a connection.
#[derive(Clone, Copy, Debug)]
pub enum Protocol {
    /// Requests, each with a head.
    Http1,
    /// A preface, and then frames, of which HTTP/2 itself asks whether somebody is there.
    Http2,
}

/// A stream that tells its connection how it is doing.
#[derive(Debug)]
pub struct Watched<I> {
    inner: I,
    member: Arc<Member>,
    protocol: Protocol,
    /// Who is at the other end, if that is known.
    peer: Option<SocketAddr>,
    /// Whether anything has come.
    has_begun: bool,
    /// Bytes of the preface that have not come.
    preface_left: usize,
    is_blocked: bool,
}

impl<I> Watched<I> {
    /// Watches a stream from its beginning.
    pub const fn new(
        inner: I,
        member: Arc<Member>,
        protocol: Protocol,
        peer: Option<SocketAddr>,
    ) -> Self {
        Self {
            inner,
            member,
            protocol,
            peer,
            has_begun: false,
            preface_left: PREFACE_BYTES,
            is_blocked: false,
        }
    }

    fn received(&mut self, bytes: &[u8]) {
        match self.protocol {
            Protocol::Http1 => {
                if !bytes.is_empty() {
                    self.begin(bytes);
                    self.member.received();
                }
            }
            Protocol::Http2 => {
                if self.preface_left > 0 {
                    self.begin(bytes);
                    self.preface_left = self.preface_left.saturating_sub(bytes.len());
                    if self.preface_left == 0 {
                        self.member.has_head();
                    }
                }
            }
        }
    }

    /// Looks whether what comes first is of another protocol.
    fn begin(&mut self, bytes: &[u8]) {
        if bytes.is_empty() || std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        if let Some(other) = OtherProtocol::of(bytes, self.protocol) {
            self.member.speaks(other, self.peer);
        }
    }

    fn written<T>(&mut self, result: Poll<T>) -> Poll<T> {
        let is_blocked = result.is_pending();
        if matches!(self.protocol, Protocol::Http1) && !is_blocked {
            // Over HTTP/2 it may be something else than an answer.
            self.member.progressed();
        }
        if is_blocked != self.is_blocked {
            self.is_blocked = is_blocked;
            self.member.blocked(is_blocked);
        }
        result
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Watched<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.inner).poll_read(cx, buffer);
        if result.is_ready() {
            self.received(buffer.filled().get(before..).unwrap_or_default());
        }
        result
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Watched<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.written(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, slices);
        self.written(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.inner).poll_flush(cx);
        self.written(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
