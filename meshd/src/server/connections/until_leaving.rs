//! Answers without an end of their own, which end with their connection.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hyper::HeaderMap;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use tonic::Status;

use super::Member;

/// The body of an answer that ends, with UNAVAILABLE, when its connection is to close and there is nothing to
/// send at once.
pub struct UntilLeaving<B> {
    inner: B,
    /// None once it has ended so.
    leaving: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl<B> fmt::Debug for UntilLeaving<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UntilLeaving").finish_non_exhaustive()
    }
}

impl<B> UntilLeaving<B> {
    /// The answer of a call over this connection.
    pub fn new(inner: B, member: &Member) -> Self {
        let leaving = Some(Box::pin(member.leaves()) as _);
        Self { inner, leaving }
    }
}

impl<B: Body<Data = Bytes, Error = Status> + Unpin> Body for UntilLeaving<B> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(leaving) = &mut this.leaving else {
            return Poll::Ready(None);
        };
        // First what there is to say: that meshd is not ready any more, for instance.
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        ready!(leaving.as_mut().poll(cx));
        this.leaving = None;
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(
            Status::unavailable("the connection is about to close")
                .add_header(&mut trailers)
                .map(|()| Frame::trailers(trailers)),
        ))
    }

    fn is_end_stream(&self) -> bool {
        self.leaving.is_none() || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
