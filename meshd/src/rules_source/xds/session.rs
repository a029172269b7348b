//! What is said on a stream to a management server, and when: the protocol without stream or clock.
//!
//! State of the world over ADS. The client subscribes to all resources of one type; each response is
//! the whole set, and is answered: with its version and nonce where it was taken (ACK), with the version
//! in force, its nonce and an error where it was not (NACK).

use std::time::Duration;

use hivemind_proto::envoy::config::core::v3::Node;
use hivemind_proto::envoy::service::discovery::v3::{DiscoveryRequest, DiscoveryResponse};
use hivemind_proto::google::rpc::Status;
use prost_types::Any;

use super::backoff::shortened;

/// The type of resource that is subscribed to.
pub(super) const TYPE_URL: &str =
    "type.googleapis.com/ratelimit.config.ratelimit.v3.RateLimitConfig";

/// gRPC's INVALID_ARGUMENT, the code of a set that cannot be used.
const INVALID_ARGUMENT: i32 = 3;

/// Bytes of problems a NACK tells; the log and the admin port have all.
const REASON_BYTES_MAX: usize = 4_096;

/// How long a refusal waits at most that follows another one. Until it has arrived, a server sends nothing,
/// whatever has changed there.
const REPEATED_NACK_WAIT: Duration = Duration::from_secs(1);

/// The state of the protocol; it outlives streams.
#[derive(Debug)]
pub(super) struct Session {
    node: Node,
    /// Version of the set in force, as far as this stream knows.
    accepted: String,
    /// The response that waits for its answer.
    pending: Option<Pending>,
    /// Whether a set was refused on this stream, and none was taken since.
    has_refused: bool,
}

#[derive(Debug)]
struct Pending {
    version: String,
    nonce: String,
}

/// What to do with a response.
#[derive(Debug, PartialEq)]
pub(super) enum Received {
    /// Try these resources, then [`Session::accept`] or [`Session::refuse`] them.
    Set {
        version: String,
        resources: Vec<Any>,
    },
    /// Nothing: nobody asked for this type.
    OtherType(String),
}

impl Session {
    pub(super) fn new(node: Node) -> Self {
        Self {
            node,
            accepted: String::new(),
            pending: None,
            has_refused: false,
        }
    }

    /// Begins a stream; this is its first request.
    ///
    /// It names no version, so that the server sends what it has. With the version in force it could
    /// stay silent, and some servers count theirs from 1 after a restart: the same version is then
    /// another set.
    pub(super) fn open(&mut self) -> DiscoveryRequest {
        self.accepted.clear();
        self.pending = None;
        self.has_refused = false;
        DiscoveryRequest {
            node: Some(self.node.clone()),
            type_url: TYPE_URL.to_owned(),
            ..DiscoveryRequest::default()
        }
    }

    /// Takes a response. One that came before and was not answered needs no answer any more.
    pub(super) fn receive(&mut self, response: DiscoveryResponse) -> Received {
        if response.type_url != TYPE_URL {
            return Received::OtherType(response.type_url);
        }
        self.pending = Some(Pending {
            version: response.version_info.clone(),
            nonce: response.nonce,
        });
        Received::Set {
            version: response.version_info,
            resources: response.resources,
        }
    }

    /// The set is in force: the answer, if one is due.
    pub(super) fn accept(&mut self) -> Option<DiscoveryRequest> {
        let pending = self.pending.take()?;
        self.accepted = pending.version;
        self.has_refused = false;
        Some(self.answer(pending.nonce, None))
    }

    /// The set cannot be used: the answer, if one is due, and how long to wait with it.
    ///
    /// Some servers send a refused set again as soon as they are told. So a refusal after another one waits,
    /// whatever it refuses, or both sides would do nothing else.
    pub(super) fn refuse(
        &mut self,
        problems: &str,
        random: u64,
    ) -> Option<(DiscoveryRequest, Duration)> {
        let pending = self.pending.take()?;
        let wait = if self.has_refused {
            shortened(REPEATED_NACK_WAIT, random)
        } else {
            Duration::ZERO
        };
        self.has_refused = true;
        let error = Status {
            code: INVALID_ARGUMENT,
            message: bounded(problems),
            details: Vec::new(),
        };
        Some((self.answer(pending.nonce, Some(error)), wait))
    }

    fn answer(&self, nonce: String, error_detail: Option<Status>) -> DiscoveryRequest {
        DiscoveryRequest {
            version_info: self.accepted.clone(),
            // Servers need it once a stream only, and some forget it.
            node: Some(self.node.clone()),
            resource_names: Vec::new(),
            type_url: TYPE_URL.to_owned(),
            response_nonce: nonce,
            error_detail,
        }
    }
}

/// The beginning of a text, and a mark where there was more.
fn bounded(text: &str) -> String {
    const MARK: &str = " …";
    if text.len() <= REASON_BYTES_MAX {
        return text.to_owned();
    }
    let mut end = REASON_BYTES_MAX - MARK.len();
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{MARK}", text.get(..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session() -> Session {
        let mut session = Session::new(Node {
            id: "edge-1".to_owned(),
            ..Node::default()
        });
        session.open();
        session
    }

    fn response(version: &str, nonce: &str) -> DiscoveryResponse {
        DiscoveryResponse {
            version_info: version.to_owned(),
            nonce: nonce.to_owned(),
            type_url: TYPE_URL.to_owned(),
            ..DiscoveryResponse::default()
        }
    }

    #[test]
    fn a_stream_begins_with_the_node_and_no_version() {
        let mut session = session();
        session.receive(response("7", "a"));
        session.accept();
        let first = session.open();
        assert_eq!(first.node.unwrap().id, "edge-1");
        assert_eq!(first.type_url, TYPE_URL);
        assert!(first.resource_names.is_empty(), "all resources");
        assert_eq!((&*first.version_info, &*first.response_nonce), ("", ""));
    }

    #[test]
    fn a_good_set_is_acknowledged_with_its_version_and_nonce() {
        let mut session = session();
        session.receive(response("7", "a"));
        let ack = session.accept().unwrap();
        assert_eq!((&*ack.version_info, &*ack.response_nonce), ("7", "a"));
        assert_eq!(ack.error_detail, None);
        assert_eq!(session.accept(), None, "once");
    }

    #[test]
    fn a_bad_set_is_refused_with_the_version_in_force_its_nonce_and_the_reason() {
        let mut session = session();
        session.receive(response("7", "a"));
        session.accept();
        session.receive(response("8", "b"));
        let (nack, wait) = session.refuse("no such unit", 0).unwrap();
        assert_eq!((&*nack.version_info, &*nack.response_nonce), ("7", "b"));
        let error = nack.error_detail.unwrap();
        assert_eq!((error.code, &*error.message), (3, "no such unit"));
        assert_eq!(wait, Duration::ZERO);

        session.receive(response("9", "c"));
        let ack = session.accept().unwrap();
        assert_eq!((&*ack.version_info, &*ack.response_nonce), ("9", "c"));
    }

    #[test]
    fn a_refusal_after_another_one_waits_for_up_to_a_second_whatever_it_refuses() {
        let mut session = session();
        let wait = |session: &mut Session, version: &str, random| {
            session.receive(response(version, "n"));
            session.refuse("bad", random).unwrap().1.as_millis()
        };
        let waits: Vec<_> = (0..9).map(|_| wait(&mut session, "8", u64::MAX)).collect();
        assert_eq!(waits[0], 0);
        assert!(waits[1..].iter().all(|wait| *wait == 1_000), "{waits:?}");
        assert_eq!(wait(&mut session, "9", 0), 500);
        session.receive(response("10", "n"));
        session.accept();
        assert_eq!(wait(&mut session, "9", u64::MAX), 0);
        assert_eq!(wait(&mut session, "9", u64::MAX), 1_000);
        session.open();
        assert_eq!(wait(&mut session, "9", u64::MAX), 0);
    }

    #[test]
    fn only_the_newest_response_is_answered() {
        let mut session = session();
        session.receive(response("7", "a"));
        session.receive(response("8", "b"));
        assert_eq!(session.accept().unwrap().response_nonce, "b");
    }

    #[test]
    fn a_type_nobody_asked_for_is_left_alone() {
        let mut session = session();
        let other = DiscoveryResponse {
            type_url: "type.googleapis.com/envoy.config.cluster.v3.Cluster".to_owned(),
            ..response("7", "a")
        };
        assert!(matches!(session.receive(other), Received::OtherType(_)));
        assert_eq!(session.accept(), None);
    }

    #[test]
    fn a_reason_is_cut_between_characters() {
        let mut session = session();
        session.receive(response("7", "a"));
        let (nack, _) = session.refuse(&"ü".repeat(5_000), 0).unwrap();
        let message = nack.error_detail.unwrap().message;
        assert!(message.len() <= REASON_BYTES_MAX && message.ends_with(" …"));
        assert!(message.starts_with('ü'));
    }
}
