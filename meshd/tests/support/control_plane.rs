//! A management server that speaks xDS for real, and behaves as go-control-plane does: whoever names
//! another version than the newest is sent the newest at once, also right after having refused it. Between
//! a response and the answer to it, nothing is sent, whatever changes.

#![allow(dead_code, reason = "every test file uses its own part")]

use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use hivemind_proto::envoy::service::discovery::v3::aggregated_discovery_service_server::{
    AggregatedDiscoveryService, AggregatedDiscoveryServiceServer,
};
use hivemind_proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use hivemind_proto::ratelimit::config::ratelimit::v3::{
    RateLimitConfig, RateLimitDescriptor, RateLimitPolicy, RateLimitUnit,
};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tonic::metadata::MetadataMap;
use tonic::transport::{Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};
use tonic_prost::prost::Message;

use super::support::eventually;

pub(crate) const TYPE_URL: &str =
    "type.googleapis.com/ratelimit.config.ratelimit.v3.RateLimitConfig";

/// A set of resources with its version.
#[derive(Clone, Debug, Default)]
struct Snapshot {
    version: String,
    resources: Vec<prost_types::Any>,
}

/// What a client said.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    /// Which stream it said it on, from 1.
    pub(crate) stream: usize,
    pub(crate) headers: MetadataMap,
    pub(crate) request: DiscoveryRequest,
}

#[derive(Clone, Debug)]
struct Service {
    snapshot: watch::Sender<Option<Snapshot>>,
    said: Arc<Mutex<Vec<Said>>>,
    streams: Arc<Mutex<usize>>,
    /// Whether each response has a version of its own, and its resources in the other order.
    varies: Arc<AtomicBool>,
    /// Whether each response is followed by one of a type that nobody asked for.
    digresses: Arc<AtomicBool>,
}

/// A running management server; dropping it closes all its connections.
#[derive(Debug)]
pub(crate) struct ControlPlane {
    pub(crate) address: SocketAddr,
    service: Service,
    runtime: Option<Runtime>,
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl ControlPlane {
    /// A server on a port of its own.
    pub(crate) fn start() -> Self {
        Self::start_at(0, None)
    }

    /// A server on this port, perhaps with TLS.
    pub(crate) fn start_at(port: u16, tls: Option<ServerTlsConfig>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        // The port of a server that is gone may be in use a little longer.
        let listener = eventually("the port is free", || {
            std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()
        });
        let address = listener.local_addr().expect("an address");
        let service = Service {
            snapshot: watch::Sender::new(None),
            said: Arc::default(),
            streams: Arc::default(),
            varies: Arc::default(),
            digresses: Arc::default(),
        };
        let mut server = Server::builder();
        if let Some(tls) = tls {
            server = server.tls_config(tls).expect("a usable certificate");
        }
        let router = server.add_service(AggregatedDiscoveryServiceServer::new(service.clone()));
        let entered = runtime.enter();
        listener.set_nonblocking(true).expect("a socket");
        let listener = TcpListener::from_std(listener).expect("a socket");
        drop(entered);
        runtime.spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
        Self {
            address,
            service,
            runtime: Some(runtime),
        }
    }

    /// Serves these rules from now on.
    pub(crate) fn set(&self, version: &str, configs: &[RateLimitConfig]) {
        let resources = configs.iter().map(|config| prost_types::Any {
            type_url: TYPE_URL.to_owned(),
            value: config.encode_to_vec(),
        });
        self.service.snapshot.send_replace(Some(Snapshot {
            version: version.to_owned(),
            resources: resources.collect(),
        }));
    }

    /// Sends the same set in another form each time from now on: with a version of its own, and its
    /// resources in the other order.
    pub(crate) fn vary(&self) {
        self.service.varies.store(true, Ordering::Relaxed);
    }

    /// Sends a resource of a type that nobody asked for after each response from now on.
    pub(crate) fn digress(&self) {
        self.service.digresses.store(true, Ordering::Relaxed);
    }

    /// Everything that clients have said so far.
    pub(crate) fn said(&self) -> Vec<Said> {
        self.service.said.lock().expect("no panic").clone()
    }

    /// Waits until a client has said something of this kind.
    pub(crate) fn heard(&self, what: &str, is_it: impl Fn(&Said) -> bool) -> Said {
        eventually(what, || self.said().into_iter().find(&is_it))
    }

    /// Waits for the acknowledgement of a version.
    pub(crate) fn acknowledged(&self, version: &str) -> Said {
        self.heard(&format!("the acknowledgement of {version}"), |said| {
            let request = &said.request;
            request.version_info == version
                && !request.response_nonce.is_empty()
                && request.error_detail.is_none()
        })
    }

    /// How often sets were refused.
    pub(crate) fn refusals(&self) -> usize {
        let said = self.said();
        said.iter()
            .filter(|said| said.request.error_detail.is_some())
            .count()
    }
}

#[tonic::async_trait]
impl AggregatedDiscoveryService for Service {
    type StreamAggregatedResourcesStream =
        Pin<Box<dyn Stream<Item = Result<DiscoveryResponse, Status>> + Send>>;

    async fn stream_aggregated_resources(
        &self,
        request: Request<Streaming<DiscoveryRequest>>,
    ) -> Result<Response<Self::StreamAggregatedResourcesStream>, Status> {
        let headers = request.metadata().clone();
        let stream = {
            let mut streams = self.streams.lock().expect("no panic");
            *streams += 1;
            *streams
        };
        let (responses, answers) = mpsc::channel(1);
        let service = self.clone();
        tokio::spawn(async move {
            service
                .serve(stream, headers, request.into_inner(), responses)
                .await;
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }
}

impl Service {
    async fn serve(
        self,
        stream: usize,
        headers: MetadataMap,
        mut requests: Streaming<DiscoveryRequest>,
        responses: mpsc::Sender<Result<DiscoveryResponse, Status>>,
    ) {
        let mut snapshots = self.snapshot.subscribe();
        let mut nonce = 0_u64;
        // The version the client wants to hear something newer than, while it waits.
        let mut waiting: Option<String> = None;
        loop {
            let newest = snapshots.borrow_and_update().clone();
            if let (Some(version), Some(mut snapshot)) = (&waiting, newest)
                && version.split('~').next() != Some(&snapshot.version)
            {
                nonce += 1;
                waiting = None;
                if self.varies.load(Ordering::Relaxed) {
                    snapshot.version = format!("{}~{nonce}", snapshot.version);
                    if nonce.is_multiple_of(2) {
                        snapshot.resources.reverse();
                    }
                }
                let response = DiscoveryResponse {
                    version_info: snapshot.version,
                    resources: snapshot.resources,
                    type_url: TYPE_URL.to_owned(),
                    nonce: nonce.to_string(),
                };
                let digression = DiscoveryResponse {
                    type_url: "type.googleapis.com/nobody.asked.For".to_owned(),
                    ..DiscoveryResponse::default()
                };
                let digresses = self.digresses.load(Ordering::Relaxed);
                for response in [response]
                    .into_iter()
                    .chain(digresses.then_some(digression))
                {
                    if responses.send(Ok(response)).await.is_err() {
                        return;
                    }
                }
            }
            tokio::select! {
                request = requests.next() => {
                    let Some(Ok(request)) = request else { return };
                    self.said.lock().expect("no panic").push(Said {
                        stream,
                        headers: headers.clone(),
                        request: request.clone(),
                    });
                    if nonce == 0 || request.response_nonce == nonce.to_string() {
                        waiting = Some(request.version_info);
                    }
                }
                changed = snapshots.changed() => if changed.is_err() { return },
            }
        }
    }
}

/// Rules of the domain `test`: so many requests a year for each user.
pub(crate) fn per_user(requests_per_unit: u32) -> RateLimitConfig {
    with_unit(requests_per_unit, RateLimitUnit::Year)
}

/// The same with another unit; `UNKNOWN` is wrong.
pub(crate) fn with_unit(requests_per_unit: u32, unit: RateLimitUnit) -> RateLimitConfig {
    let user = RateLimitDescriptor {
        key: "user".to_owned(),
        rate_limit: Some(RateLimitPolicy {
            unit: unit.into(),
            requests_per_unit,
            name: "per_user".to_owned(),
            ..RateLimitPolicy::default()
        }),
        ..RateLimitDescriptor::default()
    };
    RateLimitConfig {
        name: "edge".to_owned(),
        domain: "test".to_owned(),
        descriptors: vec![user],
    }
}
