//! A stand-in for Envoy in unit tests.

use std::any::Any;
use std::cell::RefCell;
use std::sync::Arc;

use envoy_proxy_dynamic_modules_rust_sdk::abi::*;
use envoy_proxy_dynamic_modules_rust_sdk::{
    EnvoyBuffer, EnvoyCounterId, EnvoyHttpFilter, EnvoyHttpFilterConfig,
};

/// A request, and what the filter did with it.
#[derive(Default)]
pub(crate) struct FakeEnvoy {
    /// Request headers, in order.
    pub(crate) headers: Vec<(String, String)>,
    /// The `source.address` attribute.
    pub(crate) source_address: Option<String>,
    /// What the route has for the filter.
    pub(crate) route_config: Option<Arc<dyn Any>>,
    /// Headers added to the response.
    pub(crate) response_headers: Vec<(String, String)>,
    /// The local reply.
    pub(crate) reply: Option<Reply>,
    /// Custom flags, in order.
    pub(crate) flags: Vec<String>,
    /// Dynamic metadata: namespace, key, value, in order.
    pub(crate) metadata: Vec<[String; 3]>,
    /// Names of the counters that were incremented, in order; with [`FakeEnvoyConfig`]'s names.
    pub(crate) counted: RefCell<Vec<String>>,
    /// The counters there are.
    pub(crate) counters: Vec<String>,
}

/// A local reply: status, headers, details.
pub(crate) type Reply = (u32, Vec<(String, String)>, String);

/// A configuration in the making: the names of the counters that were defined.
#[derive(Default)]
pub(crate) struct FakeEnvoyConfig {
    /// In the order of their ids.
    pub(crate) counters: Vec<String>,
    /// Whether counters can no longer be defined.
    pub(crate) frozen: bool,
}

impl EnvoyHttpFilterConfig for FakeEnvoyConfig {
    fn define_counter(
        &mut self,
        name: &str,
    ) -> Result<EnvoyCounterId, envoy_dynamic_module_type_metrics_result> {
        if self.frozen {
            return Err(envoy_dynamic_module_type_metrics_result::Frozen);
        }
        self.counters.push(name.to_owned());
        Ok(EnvoyCounterId::new(self.counters.len() - 1))
    }
}

impl FakeEnvoy {
    /// A request with these headers.
    pub(crate) fn with_headers<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        Self {
            headers: headers.into_iter().map(owned).collect(),
            ..Self::default()
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

impl EnvoyHttpFilter for FakeEnvoy {
    fn get_request_header_value<'a>(&'a self, key: &str) -> Option<EnvoyBuffer<'a>> {
        self.get_request_header_values(key).into_iter().next()
    }

    fn get_request_header_values<'a>(&'a self, key: &str) -> Vec<EnvoyBuffer<'a>> {
        let headers = self.headers.iter().filter(|(name, _)| name == key);
        headers.map(|(_, value)| EnvoyBuffer::new(value)).collect()
    }

    fn add_response_header(&mut self, key: &str, value: &[u8]) -> bool {
        self.response_headers.push((key.to_owned(), text(value)));
        true
    }

    fn send_response<'a>(
        &mut self,
        status_code: u32,
        headers: &'a [(&'a str, &'a [u8])],
        body: Option<&'a [u8]>,
        details: Option<&'a str>,
    ) {
        assert_eq!(body, None);
        assert!(self.reply.is_none(), "a second reply");
        let headers = headers
            .iter()
            .map(|(key, value)| ((*key).to_owned(), text(value)));
        self.reply = Some((status_code, headers.collect(), details.unwrap().to_owned()));
    }

    fn add_custom_flag(&mut self, flag: &str) {
        self.flags.push(flag.to_owned());
    }

    fn set_dynamic_metadata_string(&mut self, namespace: &str, key: &str, value: &str) {
        let entry = [namespace, key, value].map(str::to_owned);
        self.metadata.push(entry);
    }

    fn get_attribute_string<'a>(
        &'a self,
        attribute_id: envoy_dynamic_module_type_attribute_id,
    ) -> Option<EnvoyBuffer<'a>> {
        assert_eq!(
            attribute_id,
            envoy_dynamic_module_type_attribute_id::SourceAddress
        );
        self.source_address.as_deref().map(EnvoyBuffer::new)
    }

    fn get_most_specific_route_config(&self) -> Option<Arc<dyn Any>> {
        self.route_config.clone()
    }

    fn increment_counter(
        &self,
        id: EnvoyCounterId,
        value: u64,
    ) -> Result<(), envoy_dynamic_module_type_metrics_result> {
        assert_eq!(value, 1);
        let number = (0..self.counters.len()).find(|number| EnvoyCounterId::new(*number) == id);
        let number = number.ok_or(envoy_dynamic_module_type_metrics_result::MetricNotFound)?;
        self.counted
            .borrow_mut()
            .push(self.counters[number].clone());
        Ok(())
    }
}
