//! The gRPC services of one worker, told apart by their path.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Instant;

use hivemind_proto::envoy::service::ratelimit::v3::rate_limit_response::DescriptorStatus;
use hivemind_proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use http::header::CONTENT_TYPE;
use hyper::body::Incoming;
use prost::Message;
use tonic::Status;
use tonic::body::Body;
use tonic::codec::{BufferSettings, Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBody};
use tonic::codegen::Service;
use tonic::metadata::{GRPC_CONTENT_TYPE, MetadataMap};
use tonic::server::{Grpc, UnaryService};
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::HealthService;
use tonic_prost::{ProstDecoder, ProstEncoder};

use super::calls::Outcome;
use super::connections::body::{AnswerBody, RequestBody, Span};
use super::connections::until_leaving::UntilLeaving;
use super::connections::{Held, Member};
use super::rate_limit::RateLimit;
use super::reflection::Reflection;

/// The largest request that is read: far more than Envoy's headers can fill, and little enough that
/// one call cannot hold a worker for long.
const REQUEST_SIZE_MAX: usize = 1024 * 1024;

/// The largest question about health that is read: a name.
const QUESTION_SIZE_MAX: usize = 1024;

/// Bytes of an answer from which on it is compressed for whoever takes that. Below, it fits into what TCP sends
/// without waiting for the other end (ten segments), and compressing costs more than it saves.
const COMPRESSED_ANSWER_SIZE_MIN: usize = 14 * 1024;

/// Statuses up to which an answer without metadata is taken to be smaller than that.
const SMALL_ANSWER_STATUSES_MAX: usize = 64;

/// The path of the one method of the Rate Limit Service.
const SHOULD_RATE_LIMIT: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";

/// The services; cloning shares them.
#[derive(Clone, Debug)]
pub struct Services {
    rate_limit: RateLimit,
    others: Arc<Others>,
}

/// What is called now and then: behind one pointer, because the services are cloned for every call.
#[derive(Debug)]
struct Others {
    health: HealthServer<HealthService>,
    /// None when it is not wanted.
    reflection: Option<Reflection>,
}

impl Services {
    /// The Rate Limit Service, `grpc.health.v1` and reflection side by side.
    pub fn new(
        rate_limit: RateLimit,
        health: HealthService,
        reflection: Option<Reflection>,
    ) -> Self {
        let health = HealthServer::new(health)
            .max_decoding_message_size(QUESTION_SIZE_MAX)
            .accept_compressed(CompressionEncoding::Gzip);
        let others = Arc::new(Others { health, reflection });
        Self { rate_limit, others }
    }

    /// The Rate Limit Service.
    pub(super) const fn rate_limit(&self) -> &RateLimit {
        &self.rate_limit
    }

    /// Answers one call that came over this connection.
    ///
    /// The generated server would do, but it puts three futures on the heap for every call; the one
    /// method that is called all the time needs none of them.
    pub(super) async fn call(
        self,
        request: http::Request<Incoming>,
        member: &Arc<Member>,
    ) -> http::Response<AnswerBody<Body>> {
        let mut held = match Held::call(member, request.headers()) {
            Ok(held) => held,
            Err(refusal) => {
                member.refused(refusal);
                let response = Status::from(refusal).into_http();
                return response.map(|body| AnswerBody::new(body, Held::nothing(member)));
            }
        };
        if request.uri().path() == SHOULD_RATE_LIMIT {
            let begun = Instant::now();
            let mut was_read = false;
            let mut to_compress = None;
            let service = ShouldRateLimit {
                rate_limit: &self.rate_limit,
                was_read: &mut was_read,
                to_compress: &mut to_compress,
                held: &mut held,
            };
            let request = request.map(|body| RequestBody::new(body, member, Span::Call));
            let mut response = Grpc::new(SmallMessages)
                .apply_max_message_size_config(Some(REQUEST_SIZE_MAX), None)
                .accept_compressed(CompressionEncoding::Gzip)
                .unary(service, request)
                .await;
            if let Some(answer) = to_compress {
                response = compressed(answer);
            }
            let counts = self.rate_limit.counts();
            if was_read {
                member.used();
            } else {
                counts.ended(Outcome::Malformed);
            }
            counts.took(begun.elapsed());
            held.become_answer();
            response.map(|body| AnswerBody::new(body, held))
        } else {
            // On the heap: the future of the call that is made all the time stays small.
            let response = Box::pin(self.others(request, member)).await;
            member.used();
            response.map(|body| AnswerBody::new(body, held))
        }
    }

    async fn others(
        &self,
        request: http::Request<Incoming>,
        member: &Arc<Member>,
    ) -> http::Response<Body> {
        let Others { health, reflection } = &*self.others;
        let path = request.uri().path();
        if let Some(server) = reflection.as_ref().and_then(|servers| servers.at(path)) {
            return server(request.map(|body| RequestBody::new(body, member, Span::EachPart)))
                .await;
        }
        let request = request.map(|body| RequestBody::new(body, member, Span::Call));
        // Answers UNIMPLEMENTED to any path that is not its own.
        let Ok(response) = health.clone().call(request).await;
        // A watch has no end of its own.
        response.map(|body| Body::new(UntilLeaving::new(body, member)))
    }
}

/// `ShouldRateLimit` as tonic calls it.
struct ShouldRateLimit<'a> {
    rate_limit: &'a RateLimit,
    /// Set once the message of the call was read.
    was_read: &'a mut bool,
    /// The answer, where it is to be compressed; what is returned then is no answer.
    to_compress: &'a mut Option<RateLimitResponse>,
    /// What the call holds.
    held: &'a mut Held,
}

/// Statuses of an answer that are among what every call is taken to hold.
const STATUSES_INCLUDED: usize = 8;

impl ShouldRateLimit<'_> {
    /// Holds the answer until it was sent, where it is large.
    fn hold(&mut self, answer: &RateLimitResponse) -> Result<(), Status> {
        if answer.statuses.len() <= STATUSES_INCLUDED {
            return Ok(());
        }
        let bytes = size_of::<DescriptorStatus>() * answer.statuses.len() + answer.encoded_len();
        self.held.grow(bytes).map_err(|refusal| {
            self.held.member().refused(refusal);
            refusal.into()
        })
    }
}

impl UnaryService<RateLimitRequest> for ShouldRateLimit<'_> {
    type Response = RateLimitResponse;
    type Future = Ready<Result<tonic::Response<RateLimitResponse>, Status>>;

    fn call(&mut self, request: tonic::Request<RateLimitRequest>) -> Self::Future {
        *self.was_read = true;
        let answer = self.rate_limit.answer(request.get_ref());
        let answer = answer.map_err(Status::from).and_then(|answer| {
            self.hold(&answer)?;
            Ok(answer)
        });
        ready(match answer {
            Ok(answer) if is_large(&answer) && takes_gzip(request.metadata()) => {
                *self.to_compress = Some(answer);
                Err(Status::ok(String::new()))
            }
            Ok(answer) => Ok(tonic::Response::new(answer)),
            Err(error) => Err(error),
        })
    }
}

/// Whether it pays to compress an answer.
fn is_large(answer: &RateLimitResponse) -> bool {
    (answer.statuses.len() > SMALL_ANSWER_STATUSES_MAX || answer.dynamic_metadata.is_some())
        && answer.encoded_len() >= COMPRESSED_ANSWER_SIZE_MIN
}

/// Whether a client can read compressed answers.
fn takes_gzip(metadata: &MetadataMap) -> bool {
    let accepted = metadata.get_all("grpc-accept-encoding").iter();
    accepted
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|encoding| encoding.trim() == "gzip")
}

/// The response with an answer that is compressed.
fn compressed(answer: RateLimitResponse) -> http::Response<Body> {
    let body = EncodeBody::new_server(
        ProstEncoder::new(BufferSettings::default()),
        tokio_stream::once(Ok(answer)),
        Some(CompressionEncoding::Gzip),
        Default::default(),
        None,
    );
    let mut response = http::Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, GRPC_CONTENT_TYPE);
    headers.insert("grpc-encoding", http::HeaderValue::from_static("gzip"));
    response
}

/// Reads the one message of a call. Another one is an error, before it costs more than unpacking it.
struct OneMessage {
    inner: ProstDecoder<RateLimitRequest>,
    was_read: bool,
}

impl Decoder for OneMessage {
    type Item = RateLimitRequest;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<RateLimitRequest>, Status> {
        if std::mem::replace(&mut self.was_read, true) {
            return Err(Status::internal("the call has more than one message"));
        }
        self.inner.decode(bytes)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.inner.buffer_settings()
    }
}

/// Reads and writes the messages of `ShouldRateLimit` in small buffers.
struct SmallMessages;

impl SmallMessages {
    /// Room for a call of a few descriptors each way; tonic would take 8 KiB for each, which costs
    /// the allocator more than filling it. A buffer grows when it has to.
    fn buffers() -> BufferSettings {
        BufferSettings::new(512, 32 * 1024)
    }
}

impl Codec for SmallMessages {
    type Encode = RateLimitResponse;
    type Decode = RateLimitRequest;
    type Encoder = ProstEncoder<RateLimitResponse>;
    type Decoder = OneMessage;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(Self::buffers())
    }

    fn decoder(&mut self) -> Self::Decoder {
        OneMessage {
            inner: ProstDecoder::new(Self::buffers()),
            was_read: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hivemind_proto::envoy::service::ratelimit::v3::rate_limit_service_server::SERVICE_NAME;

    #[test]
    fn the_path_is_that_of_the_generated_service() {
        assert_eq!(
            SHOULD_RATE_LIMIT,
            format!("/{SERVICE_NAME}/ShouldRateLimit")
        );
    }
}
