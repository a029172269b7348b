//! Bodies of requests and answers, with what they take.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tonic::Status;

use super::cause::Refusal;
use super::held::SMALL_BYTES;
use super::{Held, Member};

/// How long a request that has come as a whole may be answered before its connection counts as idle.
const ANSWER_MS: u64 = 5_000;

/// Why the body of a request was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The peer left, or broke the protocol.
    #[error(transparent)]
    Lost(hyper::Error),
    /// meshd reads no more of it.
    #[error("{}", .0.message())]
    Refused(#[source] Status),
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::BodyTimeout => Self::deadline_exceeded("the request did not come in time"),
            Refusal::ConnectionBytes => Self::resource_exhausted(
                "too many bytes of requests and answers are in flight on this connection",
            ),
        }
    }
}

/// How long a body may take.
#[derive(Clone, Copy, Debug)]
pub enum Span {
    /// From its beginning to its end, when its answer may take a while.
    Request,
    /// From its beginning to its end, when it is answered at once.
    Call,
    /// From one part to the next: it is a stream of messages, which ends with its connection.
    EachPart,
}

/// What becomes of a body of which nothing more has come.
#[derive(Clone, Copy, Debug)]
enum Overdue {
    /// It took too long.
    Refused,
    /// It is a stream, and ends with its connection.
    Ends,
}

/// The body of a request.
pub struct RequestBody {
    inner: Incoming,
    span: Span,
    /// There once something had to be waited for.
    deadline: Option<Pin<Box<dyn Future<Output = Overdue> + Send>>>,
    /// Bytes that were read.
    length: usize,
    /// Those of them that are more than every call takes.
    held: Held,
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut body = f.debug_struct("RequestBody");
        body.field("span", &self.span).finish_non_exhaustive()
    }
}

impl RequestBody {
    /// A body that comes over this connection.
    pub fn new(inner: Incoming, member: &Arc<Member>, span: Span) -> Self {
        let body = Self {
            inner,
            span,
            deadline: None,
            length: 0,
            held: Held::nothing(member),
        };
        body.note_end();
        body
    }

    /// Its connection is in use once it has come as a whole.
    fn note_end(&self) {
        if matches!(self.span, Span::Request) && self.inner.is_end_stream() {
            self.held.member().in_use_for(ANSWER_MS);
        }
    }

    /// Holds so many more bytes.
    fn hold(&mut self, bytes: usize) -> Result<(), Refusal> {
        let before = self.length.max(SMALL_BYTES);
        self.length += bytes;
        match self.length.saturating_sub(before) {
            0 => Ok(()),
            more => self.held.grow(more),
        }
    }

    fn refuse(&self, refusal: Refusal) -> BodyError {
        self.held.member().refused(refusal);
        BodyError::Refused(refusal.into())
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let length = frame.data_ref().map_or(0, Bytes::len);
                if let Err(refusal) = this.hold(length) {
                    return Poll::Ready(Some(Err(this.refuse(refusal))));
                }
                if matches!(this.span, Span::EachPart) {
                    this.deadline = None;
                }
                this.note_end();
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(BodyError::Lost(error)))),
            Poll::Pending => {
                let (span, member) = (this.span, this.held.member());
                let deadline = this.deadline.get_or_insert_with(|| deadline(span, member));
                Poll::Ready(match ready!(deadline.as_mut().poll(cx)) {
                    Overdue::Refused => Some(Err(this.refuse(Refusal::BodyTimeout))),
                    Overdue::Ends => None,
                })
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// How long the next part of a body may take.
fn deadline(span: Span, member: &Member) -> Pin<Box<dyn Future<Output = Overdue> + Send>> {
    let time = tokio::time::sleep(member.all().limits().body_timeout);
    if !matches!(span, Span::EachPart) {
        return Box::pin(async move {
            time.await;
            Overdue::Refused
        });
    }
    let leaves = member.leaves();
    Box::pin(async move {
        tokio::select! {
            () = time => Overdue::Refused,
            () = leaves => Overdue::Ends,
        }
    })
}

/// The body of an answer.
#[derive(Debug)]
pub struct AnswerBody<B> {
    inner: B,
    /// What its call holds.
    held: Held,
}

impl<B> AnswerBody<B> {
    /// The answer of a call that holds so much.
    pub const fn new(inner: B, held: Held) -> Self {
        Self { inner, held }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for AnswerBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        let polled = Pin::new(&mut this.inner).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) if is_large(frame) => {}
            _ => return polled,
        }
        let member = this.held.member();
        polled.map(|frame| {
            frame.map(|frame| frame.map(|frame| frame.map_data(|data| Part::hold(data, member))))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Whether a part is more than what every call takes.
fn is_large(frame: &Frame<Bytes>) -> bool {
    frame
        .data_ref()
        .is_some_and(|data| data.len() > SMALL_BYTES)
}

/// A large part of an answer, held until it was sent.
struct Part {
    bytes: Bytes,
    _held: Held,
}

impl Part {
    fn hold(bytes: Bytes, member: &Arc<Member>) -> Bytes {
        let _held = Held::part(member, bytes.len());
        Bytes::from_owner(Self { bytes, _held })
    }
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
