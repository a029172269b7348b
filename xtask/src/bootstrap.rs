//! Envoy bootstraps: the ones users copy from `envoy/`, with what a run needs put in their place.
//!
//! A bootstrap is read from the repository and changed by structure, never by text. So the demo and
//! the tests run the very files the README shows.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::workspace;

/// Why there is no bootstrap.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The file cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not YAML.
    #[error("{path}: {source}")]
    Yaml {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it, and where.
        source: yaml_serde::Error,
    },
    /// The bootstrap does not have the part that was to be changed.
    #[error("the bootstrap has no {0}")]
    NoSuchPart(String),
}

/// An Envoy bootstrap, as a tree.
#[derive(Clone, Debug)]
pub struct Bootstrap(Value);

impl Bootstrap {
    /// Reads `envoy/<name>` of the repository.
    ///
    /// # Errors
    ///
    /// [`BootstrapError`] when the file is missing or is not YAML.
    pub fn shipped(name: &str) -> Result<Self, BootstrapError> {
        let path = workspace::root().join("envoy").join(name);
        let text = std::fs::read_to_string(&path).map_err(|source| BootstrapError::File {
            path: path.clone(),
            source,
        })?;
        let tree =
            yaml_serde::from_str(&text).map_err(|source| BootstrapError::Yaml { path, source })?;
        Ok(Self(tree))
    }

    /// A bootstrap from a tree of one's own.
    pub const fn from_tree(tree: Value) -> Self {
        Self(tree)
    }

    /// Moves the admin endpoint and every listener to free ports of the loopback address.
    ///
    /// # Errors
    ///
    /// [`BootstrapError::NoSuchPart`] when there is no admin endpoint.
    pub fn with_free_ports(mut self) -> Result<Self, BootstrapError> {
        let free = json!({"socket_address": {"address": "127.0.0.1", "port_value": 0}});
        part(&mut self.0, "/admin/address")?.clone_from(&free);
        for listener in list(&mut self.0, "/static_resources/listeners")? {
            part(listener, "/address")?.clone_from(&free);
        }
        Ok(self)
    }

    /// Points a cluster at one endpoint.
    ///
    /// # Errors
    ///
    /// [`BootstrapError::NoSuchPart`] when there is no such cluster.
    pub fn with_endpoint(
        mut self,
        cluster: &str,
        endpoint: SocketAddr,
    ) -> Result<Self, BootstrapError> {
        let cluster = named(&mut self.0, "/static_resources/clusters", cluster)?;
        let address = "/load_assignment/endpoints/0/lb_endpoints/0/endpoint/address";
        *part(cluster, address)? = json!({"socket_address": {
            "address": endpoint.ip().to_string(), "port_value": endpoint.port()
        }});
        Ok(self)
    }

    /// Whether there is a listener of this name.
    pub fn has_listener(&self, name: &str) -> bool {
        let listeners = self.0["static_resources"]["listeners"].as_array();
        listeners.is_some_and(|them| them.iter().any(|it| it["name"] == name))
    }

    /// Leaves a listener out.
    ///
    /// # Errors
    ///
    /// [`BootstrapError::NoSuchPart`] when there are no listeners at all.
    pub fn without_listener(mut self, name: &str) -> Result<Self, BootstrapError> {
        list(&mut self.0, "/static_resources/listeners")?.retain(|it| it["name"] != name);
        Ok(self)
    }

    /// The settings of an HTTP filter: what stands in its `typed_config`.
    ///
    /// # Errors
    ///
    /// [`BootstrapError::NoSuchPart`] when there is no such listener or filter.
    pub fn filter(&mut self, listener: &str, filter: &str) -> Result<&mut Value, BootstrapError> {
        let manager = self.connection_manager(listener)?;
        part(named(manager, "/http_filters", filter)?, "/typed_config")
    }

    /// The configuration of Hivemind's filter in the listener `module`, as the filter sees it.
    ///
    /// # Errors
    ///
    /// [`BootstrapError::NoSuchPart`] when there is none.
    pub fn module_config(&mut self) -> Result<&mut Value, BootstrapError> {
        part(self.filter("module", "hivemind")?, "/filter_config/value")
    }

    /// The one route of a listener: what stands under `route`.
    ///
    /// # Errors
    ///
    /// [`BootstrapError::NoSuchPart`] when there is no such listener.
    pub fn route(&mut self, listener: &str) -> Result<&mut Value, BootstrapError> {
        let manager = self.connection_manager(listener)?;
        part(manager, "/route_config/virtual_hosts/0/routes/0/route")
    }

    /// Has a listener write a line for each request to Envoy's standard output, in this format.
    ///
    /// # Errors
    ///
    /// [`BootstrapError::NoSuchPart`] when there is no such listener.
    pub fn log_access(&mut self, listener: &str, format: &str) -> Result<(), BootstrapError> {
        let manager = self.connection_manager(listener)?;
        manager["access_log"] = json!([{
            "name": "envoy.access_loggers.stdout",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
                "log_format": {"text_format_source": {"inline_string": format!("{format}\n")}},
            },
        }]);
        Ok(())
    }

    /// Writes the bootstrap where Envoy can read it, as JSON.
    ///
    /// # Errors
    ///
    /// [`BootstrapError::File`] when the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), BootstrapError> {
        std::fs::write(path, format!("{:#}\n", self.0)).map_err(|source| BootstrapError::File {
            path: path.to_owned(),
            source,
        })
    }

    fn connection_manager(&mut self, listener: &str) -> Result<&mut Value, BootstrapError> {
        let listener = named(&mut self.0, "/static_resources/listeners", listener)?;
        part(listener, "/filter_chains/0/filters/0/typed_config")
    }
}

fn part<'a>(tree: &'a mut Value, pointer: &str) -> Result<&'a mut Value, BootstrapError> {
    tree.pointer_mut(pointer)
        .ok_or_else(|| BootstrapError::NoSuchPart(pointer.to_owned()))
}

fn list<'a>(tree: &'a mut Value, pointer: &str) -> Result<&'a mut Vec<Value>, BootstrapError> {
    let no_list = || BootstrapError::NoSuchPart(format!("list {pointer}"));
    part(tree, pointer)?.as_array_mut().ok_or_else(no_list)
}

fn named<'a>(
    tree: &'a mut Value,
    pointer: &str,
    name: &str,
) -> Result<&'a mut Value, BootstrapError> {
    list(tree, pointer)?
        .iter_mut()
        .find(|item| item["name"] == name)
        .ok_or_else(|| BootstrapError::NoSuchPart(format!("{name} in {pointer}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_bootstraps_have_every_part_we_change() {
        let upstream = SocketAddr::from(([127, 0, 0, 1], 4242));
        for (name, ways) in [("module.yaml", "m"), ("rls.yaml", "r"), ("both.yaml", "mr")] {
            let mut bootstrap = Bootstrap::shipped(name)
                .and_then(Bootstrap::with_free_ports)
                .and_then(|it| it.with_endpoint("upstream", upstream))
                .unwrap();
            assert!(
                !bootstrap.0.to_string().contains("8000"),
                "{name}: {bootstrap:?}"
            );
            if ways.contains('m') {
                assert_eq!(bootstrap.module_config().unwrap()["domain"], "edge");
            }
            if ways.contains('r') {
                let filter = bootstrap
                    .filter("rls", "envoy.filters.http.ratelimit")
                    .unwrap();
                assert_eq!(filter["domain"], "edge");
            }
        }
    }

    #[test]
    fn the_bootstrap_with_both_ways_is_the_other_two_together() {
        let part = |name: &str, list: &str, part: &str| {
            let mut bootstrap = Bootstrap::shipped(name).unwrap();
            named(&mut bootstrap.0, list, part).unwrap().clone()
        };
        let listeners = "/static_resources/listeners";
        let clusters = "/static_resources/clusters";
        for (name, list, it) in [
            ("module.yaml", listeners, "module"),
            ("rls.yaml", listeners, "rls"),
            ("module.yaml", clusters, "upstream"),
            ("rls.yaml", clusters, "upstream"),
            ("rls.yaml", clusters, "meshd"),
        ] {
            assert_eq!(
                part(name, list, it),
                part("both.yaml", list, it),
                "{it} of {name}"
            );
        }
    }

    #[test]
    fn both_ways_make_the_same_descriptors() {
        let mut both = Bootstrap::shipped("both.yaml").unwrap();
        let module = both.module_config().unwrap()["rate_limits"].clone();
        let route = both.route("rls").unwrap()["rate_limits"].clone();
        assert_eq!(module, route);
    }

    #[test]
    fn a_part_that_is_not_there_is_named() {
        let mut bootstrap = Bootstrap::from_tree(json!({"static_resources": {"listeners": []}}));
        let error = bootstrap.route("module").unwrap_err();
        assert!(error.to_string().contains("module"), "{error}");
    }
}
