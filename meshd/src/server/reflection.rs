//! gRPC server reflection, `v1` and `v1alpha`: clients such as grpcurl ask it which services and messages
//! there are.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::codegen::Service;
use tonic_reflection::server::{Builder, Error};

use super::connections::body::RequestBody;

/// The largest question that is read: a name.
const QUESTION_SIZE_MAX: usize = 16 * 1_024;

type Request = http::Request<RequestBody>;
type Answer = Pin<Box<dyn Future<Output = http::Response<Body>> + Send>>;
type Server = Arc<dyn Fn(Request) -> Answer + Send + Sync>;

/// The reflection services of meshd; cloning shares them.
#[derive(Clone)]
pub struct Reflection {
    v1: Server,
    v1alpha: Server,
}

impl fmt::Debug for Reflection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Reflection")
    }
}

impl Reflection {
    /// Reflection on everything meshd serves on gRPC.
    ///
    /// # Errors
    ///
    /// When the descriptors that are compiled in are broken, which a test rules out.
    pub fn new() -> Result<Self, Error> {
        let services = || {
            Builder::configure()
                .register_encoded_file_descriptor_set(hivemind_proto::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let v1 = services().build_v1()?;
        let v1alpha = services().build_v1alpha()?;
        Ok(Self {
            v1: erased(
                v1.max_decoding_message_size(QUESTION_SIZE_MAX)
                    .accept_compressed(CompressionEncoding::Gzip),
            ),
            v1alpha: erased(
                v1alpha
                    .max_decoding_message_size(QUESTION_SIZE_MAX)
                    .accept_compressed(CompressionEncoding::Gzip),
            ),
        })
    }

    /// The server that answers calls of this path, if one does.
    pub(super) fn at(&self, path: &str) -> Option<&Server> {
        if path.starts_with("/grpc.reflection.v1.ServerReflection/") {
            Some(&self.v1)
        } else if path.starts_with("/grpc.reflection.v1alpha.ServerReflection/") {
            Some(&self.v1alpha)
        } else {
            None
        }
    }
}

/// A server whose type has no name.
fn erased<S>(server: S) -> Server
where
    S: Service<Request, Response = http::Response<Body>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send,
{
    Arc::new(move |request| {
        let mut server = server.clone();
        Box::pin(async move {
            let Ok(response) = server.call(request).await;
            response
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_descriptors_are_whole_and_both_versions_have_their_paths() {
        let reflection = Reflection::new().unwrap();
        for version in ["v1", "v1alpha"] {
            let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
            assert!(reflection.at(&path).is_some(), "{path}");
        }
        assert!(reflection.at("/grpc.health.v1.Health/Check").is_none());
    }
}
