//! Talking to a live meshd by its admin port.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hivemind_shared::yaml::escaped;
use serde::Deserialize;
use serde_json::Value;
use ureq::http::Response;
use ureq::{Agent, Body};

use crate::failure::Failure;
use crate::region::RegionPlace;

/// How long meshd has for an answer, which takes it no time.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Largest answer that is read.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// The option of every command that asks a live meshd.
#[derive(Debug, clap::Args)]
pub(crate) struct AdminOption {
    /// meshd's admin port [default: the one the region names]
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port)]
    admin: Option<String>,
}

/// Why meshd did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    /// The region has no live owner.
    #[error(
        "the region {path} names no admin port: no meshd runs with it now, or an older one; start \
         meshd, or name the port of one with --admin HOST:PORT"
    )]
    NoPort { path: String },
    /// Nobody listens, or nobody answers.
    #[error(
        "meshd cannot be reached at {address}: {source}; is it running, and is its admin port \
         reachable from here? --admin HOST:PORT names another"
    )]
    Unreachable {
        address: String,
        source: Box<ureq::Error>,
    },
    /// Somebody else listens there, or a meshd of another version.
    #[error(
        "what answers at {address} is no admin port of this version of meshd ({what}); --admin \
         HOST:PORT names another"
    )]
    Foreign { address: String, what: String },
}

impl AdminOption {
    /// GETs a path of the admin port, which answers in JSON.
    ///
    /// # Errors
    /// [`AdminError`]; or the region cannot be opened, which says where the port is.
    pub(crate) fn get(&self, path: &str, place: &RegionPlace) -> Result<Answer, Failure> {
        let address = self.address(place)?;
        let answered = agent().get(format!("http://{address}{path}")).call();
        let answer = Answer::of(address, path, answered)?;
        if answer.status != 200 {
            return Err(answer.of_a_foreigner(path).into());
        }
        Ok(answer)
    }

    /// POSTs a document to a path of the admin port, which answers in JSON whatever the status.
    ///
    /// # Errors
    /// [`AdminError`]; or the region cannot be opened, which says where the port is.
    pub(crate) fn post(
        &self,
        path: &str,
        document: &Value,
        place: &RegionPlace,
    ) -> Result<Answer, Failure> {
        let address = self.address(place)?;
        let answered = agent()
            .post(format!("http://{address}{path}"))
            .header("content-type", "application/json")
            .send(document.to_string());
        Ok(Answer::of(address, path, answered)?)
    }

    fn address(&self, place: &RegionPlace) -> Result<String, Failure> {
        match &self.admin {
            Some(address) => Ok(address.clone()),
            None => named_by_region(place),
        }
    }
}

/// A document, and who it is from.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) address: String,
    pub(crate) status: u16,
    pub(crate) document: Value,
}

impl Answer {
    /// Reads what came.
    fn of(
        address: String,
        path: &str,
        answered: Result<Response<Body>, ureq::Error>,
    ) -> Result<Self, AdminError> {
        let unreachable = |source| AdminError::Unreachable {
            address: address.clone(),
            source: Box::new(source),
        };
        let mut response = answered.map_err(unreachable)?;
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX);
        let bytes = body.read_to_vec().map_err(unreachable)?;
        let status = response.status();
        match serde_json::from_slice(&bytes) {
            Ok(document) => Ok(Self {
                address,
                status: status.as_u16(),
                document,
            }),
            Err(error) => {
                let what = if status == 200 {
                    error.to_string()
                } else {
                    format!("{path} has status {status}")
                };
                Err(AdminError::Foreign { address, what })
            }
        }
    }

    /// What to say of an answer that no meshd of this version gives.
    pub(crate) fn of_a_foreigner(&self, path: &str) -> AdminError {
        AdminError::Foreign {
            address: self.address.clone(),
            what: format!("{path} has status {}", self.status),
        }
    }

    /// The document as a type.
    pub(crate) fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, AdminError> {
        T::deserialize(&self.document).map_err(|error| AdminError::Foreign {
            address: self.address.clone(),
            what: error.to_string(),
        })
    }
}

/// Why meshd did not do what it was asked to, in its own words.
#[derive(Debug, Deserialize)]
pub(crate) struct Refusal {
    /// The reason in a word.
    pub(crate) error: String,
    pub(crate) message: String,
}

impl Answer {
    /// What an answer says that is no success.
    ///
    /// # Errors
    /// [`AdminError::Foreign`]: no meshd of this version answers so.
    pub(crate) fn refusal(&self, path: &str) -> Result<Refusal, AdminError> {
        let refusal: Refusal = self.read().map_err(|_| self.of_a_foreigner(path))?;
        Ok(Refusal {
            message: escaped(&refusal.message),
            ..refusal
        })
    }
}

fn named_by_region(place: &RegionPlace) -> Result<String, Failure> {
    let address = place
        .open()?
        .admin_address()
        .ok_or_else(|| AdminError::NoPort {
            path: place.path().display().to_string(),
        })?;
    Ok(reachable(address).to_string())
}

/// Where a port is reached that listens on every address.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    address
}

fn agent() -> Agent {
    Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        .max_redirects(0)
        // meshd is asked itself; a proxy for the internet has no business in between.
        .proxy(None)
        .build()
        .into()
}

/// Checks what `--admin` was given.
fn host_and_port(text: &str) -> Result<String, String> {
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port != 0);
    let is_host = |host: &str| {
        let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        !host.is_empty() && host.bytes().all(known)
    };
    match text.rsplit_once(':') {
        Some((host, port)) if is_host(host) && is_port(port) => Ok(text.to_owned()),
        _ => Err("write a host and a port, such as 127.0.0.1:6070 or [::1]:6070".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_needs_a_port() {
        for right in ["127.0.0.1:6070", "[::1]:1", "edge-1.example:65535"] {
            assert_eq!(host_and_port(right).as_deref(), Ok(right));
        }
        for wrong in [
            "", "edge-1", ":1", "edge-1:0", "edge-1:x", "a/b:1", "a b:1", "u@h:1",
        ] {
            assert!(host_and_port(wrong).is_err(), "{wrong:?} was taken");
        }
    }

    #[test]
    fn a_port_on_every_address_is_reached_on_loopback() {
        for (listens, reached) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:2", "[::1]:2"),
            ("192.0.2.1:3", "192.0.2.1:3"),
        ] {
            assert_eq!(reachable(listens.parse().unwrap()).to_string(), reached);
        }
    }
}
