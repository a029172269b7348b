//! The stream to the management server: connects, follows what [`Session`] says, and tries again.

use std::error::Error;
use std::future::pending;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::iter::successors;
use std::pin::pin;
use std::time::Duration;

use hivemind_proto::envoy::config::core::v3::Node;
use hivemind_proto::envoy::config::core::v3::node::UserAgentVersionType;
use hivemind_proto::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use hivemind_proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use hivemind_proto::ratelimit::config::ratelimit::v3::RateLimitConfig;
use hivemind_shared::rules::source;
use hivemind_shared::yaml::{Problem, Problems, printable};
use prost_types::value::Kind;
use prost_types::{Any, Struct, Value};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue};
use tonic::{Code, Request, Status};
use tracing::{debug, info, warn};

use super::super::Kick;
use super::super::publish::Publisher;
use super::backoff::Backoff;
use super::connection::{self, EndpointError, chain};
use super::resources;
use super::session::{Received, Session};
use super::status::XdsStatus;
use crate::config::{HostPort, Xds};
use crate::server::health::{Health, State};

/// How long a stream stands before it is believed in, if the server says nothing: servers may hold back
/// even the head of their answer until they have something to send.
const STANDING_AFTER: Duration = Duration::from_secs(1);

/// Why there is no stream, or none any more.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error("cannot connect: {}", chain(.0))]
    Connect(#[source] tonic::transport::Error),
    #[error("cannot connect within xds.connect_timeout")]
    Timeout,
    #[error("{}", describe(.0))]
    Status(#[source] Box<Status>),
    #[error("the server has closed the stream")]
    Closed,
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Status(Box::new(status))
    }
}

impl Failure {
    /// Whether the server, or the way to it, is simply not there. While it is away, each attempt may fail in
    /// its own way, and none of them is news.
    fn is_away(&self) -> bool {
        match self {
            Self::Timeout | Self::Closed => true,
            Self::Connect(error) => is_unreachable(error),
            Self::Status(status) => {
                // One with a cause does not come from the server.
                status.code() == Code::Unavailable || status.source().is_some()
            }
            Self::Endpoint(_) => false,
        }
    }
}

/// Whether the operating system says that there is no connection. What TLS says of it is invalid data.
fn is_unreachable(error: &(dyn Error + 'static)) -> bool {
    causes(error)
        .filter_map(<dyn Error>::downcast_ref::<io::Error>)
        .any(|error| error.kind() != io::ErrorKind::InvalidData)
}

/// An error and everything that caused it.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |&error| error.source())
}

/// What a server, or the connection to it, says went wrong.
fn describe(status: &Status) -> String {
    if let Some(cause) = status.source().and_then(|cause| causes(cause).last()) {
        // The layers of the protocol have nothing to add.
        return format!("the connection was lost: {cause}");
    }
    let text = printable(status.message());
    let hint = match status.code() {
        Code::OutOfRange => "; xds.max_message_bytes bounds what is taken",
        Code::Unimplemented => "; this is no management server for rate limit rules",
        _ => "",
    };
    format!("{:?}: {text}{hint}", status.code())
}

/// Follows a management server.
#[derive(Debug)]
pub(super) struct Client {
    xds: Xds,
    server: HostPort,
    options: source::Options,
    session: Session,
    backoff: Backoff,
    publisher: Publisher,
    health: Health,
    status: XdsStatus,
    /// The set in force; none before the first.
    in_force: Option<Vec<RateLimitConfig>>,
    /// The set that was refused last, and why; none once another one is in force. Servers send it again as
    /// soon as they hear of the refusal, perhaps in another order and with another version.
    refused: Option<(Vec<RateLimitConfig>, Problems)>,
    /// The failure that was logged last since the last stream stood, and whether the server was away by it.
    logged: Option<(String, bool)>,
}

impl Client {
    pub(super) fn new(
        xds: Xds,
        server: HostPort,
        options: source::Options,
        publisher: Publisher,
        health: Health,
    ) -> Self {
        let status = XdsStatus {
            server: server.to_string(),
            node_id: xds.node_id.clone(),
            ..XdsStatus::default()
        };
        let client = Self {
            session: Session::new(node(&xds)),
            backoff: Backoff::new(xds.backoff_initial, xds.backoff_max),
            options,
            xds,
            server,
            publisher,
            health,
            status,
            in_force: None,
            refused: None,
            logged: None,
        };
        client.tell();
        client
    }

    /// Follows the server until `kicks` disconnects. A kick begins a new stream, on which the server
    /// sends everything again.
    pub(super) async fn run(mut self, mut kicks: mpsc::Receiver<Kick>) {
        loop {
            let began = Instant::now();
            let failure = tokio::select! {
                failure = self.follow() => failure,
                kick = kicks.recv() => match kick {
                    None => return,
                    Some(Kick) => {
                        info!("rules are asked for again");
                        continue;
                    }
                },
            };
            self.lost(&failure);
            if began.elapsed() > self.xds.backoff_max {
                self.backoff.reset();
            }
            let wait = self.backoff.next(random());
            tokio::select! {
                () = sleep(wait) => {}
                kick = kicks.recv() => if kick.is_none() {
                    return;
                },
            }
        }
    }

    /// Opens a stream and follows it to its end.
    async fn follow(&mut self) -> Failure {
        match self.try_follow().await {
            Ok(()) => Failure::Closed,
            Err(failure) => failure,
        }
    }

    async fn try_follow(&mut self) -> Result<(), Failure> {
        let endpoint = connection::endpoint(&self.xds, &self.server)?;
        let channel = timeout(self.xds.connect_timeout, endpoint.connect())
            .await
            .map_err(|_| Failure::Timeout)?
            .map_err(Failure::Connect)?;
        let max_bytes = usize::try_from(self.xds.max_message_bytes).unwrap_or(usize::MAX);
        let mut client =
            AggregatedDiscoveryServiceClient::new(channel).max_decoding_message_size(max_bytes);

        // One in the making, one on its way: the server answers each, so there are never more.
        let (requests, sent) = mpsc::channel(2);
        let first = self.session.open();
        // There is room, and the other end is here.
        let _ = requests.send(first).await;
        let mut call = pin!(client.stream_aggregated_resources(self.request(sent)));
        let answer = match timeout(STANDING_AFTER, &mut call).await {
            Ok(answer) => answer?,
            Err(_) => {
                self.connected();
                call.await?
            }
        };
        self.connected();
        let mut responses = answer.into_inner();
        let mut due: Option<(DiscoveryRequest, Instant)> = None;
        loop {
            let at = due.as_ref().map(|(_, at)| *at);
            tokio::select! {
                message = responses.message() => match message? {
                    // It takes the place of one about the response before.
                    Some(response) => due = self.take(response).or(due),
                    None => return Ok(()),
                },
                () = until(at) => if let Some((answer, _)) = due.take() {
                    // A stream that cannot take it tells why above.
                    let _ = requests.send(answer).await;
                },
            }
        }
    }

    fn request(
        &self,
        sent: mpsc::Receiver<DiscoveryRequest>,
    ) -> Request<ReceiverStream<DiscoveryRequest>> {
        let mut request = Request::new(ReceiverStream::new(sent));
        for (name, value) in self.xds.headers.iter() {
            // Both were checked when they were read.
            if let (Ok(name), Ok(value)) = (
                AsciiMetadataKey::from_bytes(name.to_ascii_lowercase().as_bytes()),
                AsciiMetadataValue::try_from(value),
            ) {
                request.metadata_mut().append(name, value);
            }
        }
        request
    }

    /// Takes what the server sent; returns the answer and when to give it.
    fn take(&mut self, response: DiscoveryResponse) -> Option<(DiscoveryRequest, Instant)> {
        self.backoff.reset();
        let (version, resources) = match self.session.receive(response) {
            Received::Set { version, resources } => (version, resources),
            Received::OtherType(type_url) => {
                let type_url = printable(&type_url);
                warn!(
                    type_url,
                    "the management server sends what nobody asked for"
                );
                return None;
            }
        };
        let answer = match self.bring_into_force(&resources) {
            Ok(()) => {
                self.status.accepted(&version);
                self.session.accept().map(|ack| (ack, Duration::ZERO))
            }
            Err(problems) => {
                self.publisher.reject(&problems);
                self.status.rejected();
                self.session.refuse(&problems.to_string(), random())
            }
        };
        self.tell();
        answer.map(|(answer, wait)| (answer, Instant::now() + wait))
    }

    fn bring_into_force(&mut self, resources: &[Any]) -> Result<(), Problems> {
        let configs = resources::decode(resources)?;
        if self.in_force.as_ref() == Some(&configs) {
            self.refused = None;
            self.publisher.unchanged();
            return Ok(());
        }
        if let Some((refused, problems)) = &self.refused
            && *refused == configs
        {
            debug!("the set that was refused has come again");
            return Err(problems.clone());
        }
        if let Err(problems) = self.publish(&configs) {
            self.refused = Some((configs, problems.clone()));
            return Err(problems);
        }
        self.refused = None;
        self.in_force = Some(configs);
        Ok(())
    }

    fn publish(&mut self, configs: &[RateLimitConfig]) -> Result<(), Problems> {
        let loaded = resources::compile(configs, &self.options)?;
        let names = configs.iter().map(resources::name).collect();
        self.publisher
            .publish(&loaded.rules, names, &loaded.warnings)
            .map_err(|error| Problem::with_file("xds", error.to_string()))?;
        Ok(())
    }

    /// A stream stands.
    fn connected(&mut self) {
        if self.status.connected {
            return;
        }
        self.status.connected();
        self.logged = None;
        self.tell();
        info!(server = %self.server, "connected to the management server");
        self.health
            .update(|components| components.xds = Some(State::Up));
    }

    /// There is no stream.
    fn lost(&mut self, failure: &Failure) {
        let is_away = failure.is_away();
        let failure = failure.to_string();
        let is_news = self
            .logged
            .as_ref()
            .is_none_or(|(logged, was_away)| *logged != failure && !(*was_away && is_away));
        if is_news {
            self.logged = Some((failure.clone(), is_away));
            let message = if self.publisher.rules_in_force().is_some() {
                "no connection to the management server, the last rules stay in force"
            } else {
                "no connection to the management server, and no rules are in force: calls are \
                 answered with an error"
            };
            warn!(server = %self.server, failure, "{message}");
        } else {
            debug!(server = %self.server, failure, "still no connection to the management server");
        }
        let detail = format!("not connected to {}: {failure}", self.server);
        self.health
            .update(|components| components.xds = Some(State::Degraded(detail)));
        self.status.lost(failure);
        self.tell();
    }

    fn tell(&self) {
        let xds = self.status.clone();
        self.publisher
            .state()
            .update(|status| status.xds = Some(xds));
    }
}

/// What the server is told of this host.
fn node(xds: &Xds) -> Node {
    let text = |text: &str| Value {
        kind: Some(Kind::StringValue(text.to_owned())),
    };
    let fields = xds.node_metadata.iter();
    let fields = fields.map(|(name, value)| (name.to_owned(), text(value)));
    Node {
        id: xds.node_id.clone(),
        cluster: String::new(),
        metadata: Some(Struct {
            fields: fields.collect(),
        }),
        user_agent_name: "hivemind-meshd".to_owned(),
        user_agent_version_type: Some(UserAgentVersionType::UserAgentVersion(
            env!("CARGO_PKG_VERSION").to_owned(),
        )),
    }
}

/// Waits until `at`, or for ever.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}

/// A random number, good enough to spread hosts over time: the keys of a new hash map.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}
