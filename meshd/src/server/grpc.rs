//! The gRPC services of one worker, told apart by their path.

use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::Instant;

use hivemind_proto::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use hyper::body::Incoming;
use tonic::Status;
use tonic::body::Body;
use tonic::codec::{BufferSettings, Codec};
use tonic::codegen::Service;
use tonic::server::{Grpc, UnaryService};
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::HealthService;
use tonic_prost::{ProstDecoder, ProstEncoder};

use super::calls::Outcome;
use super::rate_limit::RateLimit;
use super::reflection::Reflection;

/// The largest request that is read: far more than Envoy's headers can fill, and little enough that
/// one call cannot hold a worker for long.
const REQUEST_SIZE_MAX: usize = 1024 * 1024;

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
        let health = HealthServer::new(health).max_decoding_message_size(REQUEST_SIZE_MAX);
        let others = Arc::new(Others { health, reflection });
        Self { rate_limit, others }
    }

    /// Answers one call.
    ///
    /// The generated server would do, but it puts three futures on the heap for every call; the one
    /// method that is called all the time needs none of them.
    pub(super) async fn call(self, request: http::Request<Incoming>) -> http::Response<Body> {
        if request.uri().path() == SHOULD_RATE_LIMIT {
            let begun = Instant::now();
            let mut was_read = false;
            let service = ShouldRateLimit {
                rate_limit: &self.rate_limit,
                was_read: &mut was_read,
            };
            let response = Grpc::new(SmallMessages)
                .apply_max_message_size_config(Some(REQUEST_SIZE_MAX), None)
                .unary(service, request)
                .await;
            let counts = self.rate_limit.counts();
            if !was_read {
                counts.ended(Outcome::Malformed);
            }
            counts.took(begun.elapsed());
            response
        } else {
            // On the heap: the future of the call that is made all the time stays small.
            Box::pin(self.others(request)).await
        }
    }

    async fn others(&self, request: http::Request<Incoming>) -> http::Response<Body> {
        let Others { health, reflection } = &*self.others;
        let path = request.uri().path();
        if let Some(server) = reflection.as_ref().and_then(|servers| servers.at(path)) {
            return server(request).await;
        }
        // Answers UNIMPLEMENTED to any path that is not its own.
        let Ok(response) = health.clone().call(request).await;
        response
    }
}

/// `ShouldRateLimit` as tonic calls it.
struct ShouldRateLimit<'a> {
    rate_limit: &'a RateLimit,
    /// Set once the message of the call was read.
    was_read: &'a mut bool,
}

impl UnaryService<RateLimitRequest> for ShouldRateLimit<'_> {
    type Response = RateLimitResponse;
    type Future = Ready<Result<tonic::Response<RateLimitResponse>, Status>>;

    fn call(&mut self, request: tonic::Request<RateLimitRequest>) -> Self::Future {
        *self.was_read = true;
        ready(
            self.rate_limit
                .answer(request.get_ref())
                .map(tonic::Response::new)
                .map_err(Status::from),
        )
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
    type Decoder = ProstDecoder<RateLimitRequest>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstEncoder::new(Self::buffers())
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(Self::buffers())
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
