//! From the names of bootstrap peers to addresses.

use std::collections::{HashMap, HashSet};
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::proto::rr::RData;
use tokio::runtime::{Builder, Runtime};
use tracing::{info, warn};

use crate::config::Peer;

/// Addresses that are handed on at most: enough to find everybody else from.
pub(super) const ADDRESSES_MAX: usize = 256;

/// How long a name server has for an answer about SRV records.
const SRV_TIMEOUT: Duration = Duration::from_secs(3);

/// Looks names up, again and again, and says in the log when what is wrong with one changes.
#[derive(Debug)]
pub(super) struct Resolver {
    peers: Vec<Peer>,
    /// SRV records are looked up in here; made when there are any.
    runtime: Option<Runtime>,
    /// What was wrong with a peer's name the last time.
    failures: HashMap<Peer, String>,
}

impl Resolver {
    /// A resolver of these peers' names.
    pub(super) fn new(peers: Vec<Peer>) -> Self {
        Self {
            peers,
            runtime: None,
            failures: HashMap::new(),
        }
    }

    /// All addresses of all names, each once. It may wait for name servers.
    pub(super) fn resolve(&mut self) -> Vec<SocketAddr> {
        let mut addresses = Vec::new();
        let mut seen = HashSet::new();
        for peer in self.peers.clone() {
            let found = match &peer {
                Peer::Host { host, port } => look_up(host, *port),
                Peer::Service(name) => self.look_up_service(name),
            };
            match found {
                Ok(found) => {
                    if self.failures.remove(&peer).is_some() {
                        info!(%peer, addresses = found.len(), "the name of a bootstrap peer resolves again");
                    }
                    addresses.extend(found.into_iter().filter(|address| seen.insert(*address)));
                }
                Err(failure) => self.note(peer, failure),
            }
        }
        addresses.truncate(ADDRESSES_MAX);
        addresses
    }

    /// The names that did not resolve the last time, and why.
    pub(super) fn failures(&self) -> Vec<(String, String)> {
        let failures = self.failures.iter();
        failures
            .map(|(peer, failure)| (peer.to_string(), failure.clone()))
            .collect()
    }

    /// Logs a failure unless it is the one from before.
    fn note(&mut self, peer: Peer, failure: String) {
        if self.failures.get(&peer) != Some(&failure) {
            warn!(%peer, failure, "the name of a bootstrap peer does not resolve; trying again");
            self.failures.insert(peer, failure);
        }
    }

    /// The addresses of everything the SRV records of a name point to.
    fn look_up_service(&mut self, name: &str) -> Result<Vec<SocketAddr>, String> {
        if self.runtime.is_none() {
            let runtime = Builder::new_current_thread().enable_all().build();
            self.runtime = Some(runtime.map_err(|error| error.to_string())?);
        }
        let Some(runtime) = &self.runtime else {
            return Ok(Vec::new());
        };
        let targets = runtime.block_on(srv_targets(name))?;
        let mut addresses = Vec::new();
        let mut failure = None;
        for (host, port) in targets.into_iter().take(ADDRESSES_MAX) {
            match look_up(&host, port) {
                Ok(found) => addresses.extend(found),
                Err(error) => failure = Some(format!("{host}: {error}")),
            }
        }
        match failure {
            // One that does not resolve leaves the others in use.
            Some(failure) if addresses.is_empty() => Err(failure),
            _ => Ok(addresses),
        }
    }
}

/// The addresses of a host, IPv4 and IPv6, as the system's resolver has them.
fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let found = (host, port)
        .to_socket_addrs()
        .map_err(|error| error.to_string())?;
    Ok(found.take(ADDRESSES_MAX).collect())
}

/// Hosts and ports in the SRV records of a name.
async fn srv_targets(name: &str) -> Result<Vec<(String, u16)>, String> {
    // Made anew each time: the system's configuration may change, and nothing is kept longer than it
    // should be.
    let resolver = TokioResolver::builder_tokio().and_then(|builder| builder.build());
    match resolver {
        Ok(resolver) => srv_targets_by(&resolver, name).await,
        Err(error) => Err(format!("the system's resolver configuration: {error}")),
    }
}

async fn srv_targets_by(
    resolver: &TokioResolver,
    name: &str,
) -> Result<Vec<(String, u16)>, String> {
    let answer = tokio::time::timeout(SRV_TIMEOUT, resolver.srv_lookup(name)).await;
    let records = match answer {
        Ok(Ok(records)) => records,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("no name server answered within {SRV_TIMEOUT:?}")),
    };
    let targets = records.answers().iter().filter_map(|record| {
        let RData::SRV(srv) = &record.data else {
            return None;
        };
        // A target of "." says that there is no such service.
        let host = srv.target.to_utf8();
        let host = host.trim_end_matches('.');
        (!host.is_empty() && srv.port != 0).then(|| (host.to_owned(), srv.port))
    });
    Ok(targets.collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
    use hickory_resolver::net::runtime::TokioRuntimeProvider;
    use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
    use hickory_resolver::proto::rr::rdata::SRV;
    use hickory_resolver::proto::rr::{Name, Record};
    use std::net::UdpSocket;

    /// A name server that knows one service, on a thread that ends with the test.
    fn name_server() -> u16 {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let mut buffer = [0; 4_096];
            while let Ok((bytes, from)) = socket.recv_from(&mut buffer) {
                let mut message = Message::from_vec(&buffer[..bytes]).unwrap();
                let name = message.queries[0].name().clone();
                message.metadata.message_type = MessageType::Response;
                if name.to_utf8() == "_hivemind._udp.example." {
                    for (port, target) in [(7_946, "a.example."), (0, "b.example."), (1, ".")] {
                        let target = Name::from_ascii(target).unwrap();
                        let srv = RData::SRV(SRV::new(0, 0, port, target));
                        message.add_answer(Record::from_rdata(name.clone(), 60, srv));
                    }
                } else {
                    message.metadata.response_code = ResponseCode::NXDomain;
                }
                socket.send_to(&message.to_vec().unwrap(), from).unwrap();
            }
        });
        port
    }

    #[tokio::test]
    async fn srv_records_name_hosts_and_ports_and_those_without_either_are_passed_over() {
        let mut connection = ConnectionConfig::udp();
        connection.port = name_server();
        let ip = [127, 0, 0, 1].into();
        let server = NameServerConfig::new(ip, true, vec![connection]);
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let resolver = builder.build().unwrap();
        let targets = srv_targets_by(&resolver, "_hivemind._udp.example.").await;
        assert_eq!(targets, Ok(vec![("a.example".to_owned(), 7_946)]));
        assert!(
            srv_targets_by(&resolver, "_other._udp.example.")
                .await
                .is_err()
        );
    }

    fn host(host: &str, port: u16) -> Peer {
        Peer::Host {
            host: host.to_owned(),
            port,
        }
    }

    #[test]
    fn addresses_and_names_of_this_host_resolve_each_address_once() {
        let mut resolver = Resolver::new(vec![
            host("127.0.0.1", 5),
            host("localhost", 5),
            host("::1", 6),
        ]);
        let addresses = resolver.resolve();
        assert!(
            addresses.contains(&([127, 0, 0, 1], 5).into()),
            "{addresses:?}"
        );
        assert!(
            addresses.contains(&"[::1]:6".parse().unwrap()),
            "{addresses:?}"
        );
        let once: HashSet<_> = addresses.iter().collect();
        assert_eq!(once.len(), addresses.len(), "{addresses:?}");
        assert!(resolver.failures.is_empty());
    }

    #[test]
    fn a_name_that_does_not_resolve_leaves_the_others_in_use() {
        // RFC 6761: there is never anything below `invalid`.
        let mut resolver = Resolver::new(vec![host("peer.invalid", 5), host("127.0.0.1", 5)]);
        assert_eq!(resolver.resolve(), [([127, 0, 0, 1], 5).into()]);
        assert_eq!(resolver.failures.len(), 1);
    }
}
