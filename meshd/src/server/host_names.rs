//! The names under which the HTTP ports may be asked.
//!
//! A web page can have the name of its own site lead to this host (DNS rebinding), and then talks to it as
//! to its own server. The requests still carry that name. Names that nobody outside can have are allowed
//! by themselves, so that what reaches a port by address or by a name of its network need not be listed.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_resolver::system_conf::read_system_conf;

use crate::config::{Config, HostPattern};

/// Domains below which nobody can register a name: mDNS and Kubernetes, private networks, Kubernetes in
/// short, and loopback.
const PRIVATE_DOMAINS: [&str; 4] = ["local", "internal", "svc", "localhost"];

/// The names. Addresses cannot be made to lead elsewhere, and are always allowed.
#[derive(Debug)]
pub struct HostNames {
    allowed: Vec<HostPattern>,
    /// This host's own names, in lower case.
    own: Vec<String>,
    /// The search domains of this host's resolver, in lower case.
    search: Vec<String>,
}

impl HostNames {
    /// The names of this host, and those of the configuration.
    pub fn of(config: &Config) -> Self {
        let host = rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned();
        let search = read_system_conf().map_or_else(
            |_| Vec::new(),
            |(resolver, _)| {
                let search = resolver.search().iter();
                search.map(ToString::to_string).collect()
            },
        );
        Self::new(
            config.server.allowed_hosts.clone(),
            [host, config.node.name.clone()],
            search,
        )
    }

    fn new(
        allowed: Vec<HostPattern>,
        own: impl IntoIterator<Item = String>,
        search: impl IntoIterator<Item = String>,
    ) -> Self {
        let names = |names: &mut dyn Iterator<Item = String>| {
            let names = names.map(|name| name.trim_end_matches('.').to_ascii_lowercase());
            names.filter(|name| !name.is_empty()).collect()
        };
        Self {
            allowed,
            own: names(&mut own.into_iter()),
            search: names(&mut search.into_iter()),
        }
    }

    /// Whether a request may have this `Host`, with or without a port.
    pub(super) fn allow(&self, host: &str) -> bool {
        if let Some(rest) = host.strip_prefix('[') {
            return rest.split_once(']').is_some_and(|(address, port)| {
                address.parse::<Ipv6Addr>().is_ok() && is_port_or_none(port)
            });
        }
        let (name, port) = host.split_at(host.find(':').unwrap_or(host.len()));
        if !is_port_or_none(port) {
            return false;
        }
        // HTTP allows it to be empty. No page of a site can have it so.
        if name.is_empty() || name.parse::<Ipv4Addr>().is_ok() {
            return true;
        }
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let is_name = name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte));
        is_name && (self.is_of_this_network(&name) || self.is_named(&name))
    }

    fn is_named(&self, name: &str) -> bool {
        self.own.iter().any(|own| own == name)
            || self.allowed.iter().any(|pattern| pattern.matches(name))
    }

    /// Whether the name is one that only resolvers of this network know.
    fn is_of_this_network(&self, name: &str) -> bool {
        let Some((first, rest)) = name.split_once('.') else {
            // No site has a name without a dot.
            return true;
        };
        PRIVATE_DOMAINS.iter().any(|domain| is_below(name, domain))
            || self.search.iter().any(|domain| is_below(name, domain))
            // A Service of Kubernetes in this pod's namespace, as `service.namespace`.
            || !first.is_empty() && self.namespaces().any(|namespace| namespace == rest)
    }

    /// The namespace that the search domains of a pod of Kubernetes begin with.
    fn namespaces(&self) -> impl Iterator<Item = &str> {
        let search = self.search.iter();
        search.filter_map(|domain| {
            let (namespace, rest) = domain.split_once('.')?;
            rest.starts_with("svc.").then_some(namespace)
        })
    }
}

/// Whether a name is below a domain.
fn is_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain)
        .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

/// Whether this is nothing, or a colon and a port.
fn is_port_or_none(text: &str) -> bool {
    match text.strip_prefix(':') {
        Some(port) => port.bytes().all(|byte| byte.is_ascii_digit()),
        None => text.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_pod_are_allowed_and_those_of_sites_are_not() {
        let search = ["limits.svc.k8s.example.com.", "corp.example.net", "dev"];
        let names = HostNames::new(Vec::new(), ["pod-7.".to_owned()], search.map(str::to_owned));
        for (host, is_allowed) in [
            ("meshd", true),
            ("meshd.limits", true),
            ("meshd.limits:8080", true),
            ("meshd.limits.svc", true),
            ("meshd.limits.svc.k8s.example.com", true),
            ("gateway.corp.example.net", true),
            ("meshd.other", false),
            ("x.meshd.limits", false),
            (".limits", false),
            ("limits.svc.k8s.example.com", false),
            ("k8s.example.com", false),
            ("corp.example.net", false),
            ("evilcorp.example.net", false),
            ("local.example", false),
            ("127.0.0.1", true),
            ("127.0.0.1.", false),
            ("2130706433.example", false),
            ("[::1]", true),
            ("[::1", false),
            ("[::1]x", false),
            ("[evil.example]", false),
            ("meshd:80x", false),
            ("meshd:80:80", false),
            ("me@meshd", false),
        ] {
            assert_eq!(names.allow(host), is_allowed, "{host}");
        }
    }
}
