//! From a request to its descriptors, without allocating once the buffers have grown.

use std::ops::Range;

use envoy_proxy_dynamic_modules_rust_sdk::abi::envoy_dynamic_module_type_attribute_id::SourceAddress;
use envoy_proxy_dynamic_modules_rust_sdk::{EnvoyBuffer, EnvoyHttpFilter};
use hivemind_shared::descriptor::{Descriptor, Entry};

use crate::actions::{Action, RateLimit};
use crate::address::ip_part;

/// The key of the entry that [`Action::RemoteAddress`] makes.
const REMOTE_ADDRESS: &[u8] = b"remote_address";

/// Memory that is used for one request after the other.
///
/// What is put in borrows from one request; between requests the vectors are empty, and an empty vector
/// can be made one of another lifetime without touching its memory.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    found: Vec<Found<'static>>,
    ends: Vec<usize>,
    entries: Vec<Entry<'static>>,
    descriptors: Vec<Descriptor<'static>>,
}

/// An entry, still in Envoy's hands.
#[derive(Clone, Debug)]
struct Found<'r> {
    key: &'r [u8],
    value: Value<'r>,
}

#[derive(Clone, Debug)]
enum Value<'r> {
    Constant(&'r [u8]),
    Part(EnvoyBuffer<'r>, Range<usize>),
}

impl Value<'_> {
    #[inline]
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Constant(bytes) => bytes,
            Self::Part(buffer, part) => buffer.as_slice().get(part.clone()).unwrap_or_default(),
        }
    }
}

/// What an action came to.
enum Outcome<'r> {
    Entry(Found<'r>),
    Skipped,
    /// There is no value, so there is no descriptor.
    Dropped,
}

impl Buffers {
    /// Makes the request's descriptors and hands them to `decide`.
    #[inline]
    pub(crate) fn with_descriptors<R>(
        &mut self,
        rate_limits: &[RateLimit],
        request: &impl EnvoyHttpFilter,
        decide: impl FnOnce(&[Descriptor<'_>]) -> R,
    ) -> R {
        let ends = &mut self.ends;
        let mut found: Vec<Found<'_>> = std::mem::take(&mut self.found);
        ends.clear();
        for rate_limit in rate_limits {
            find(rate_limit, request, &mut found, ends);
        }
        let mut entries: Vec<Entry<'_>> = std::mem::take(&mut self.entries);
        entries.extend(found.iter().map(|found| Entry {
            key: found.key,
            value: found.value.bytes(),
        }));
        let mut descriptors: Vec<Descriptor<'_>> = std::mem::take(&mut self.descriptors);
        let mut start = 0;
        for end in ends {
            let entries = entries.get(start..*end).unwrap_or_default();
            descriptors.push(Descriptor::new(entries));
            start = *end;
        }
        let result = decide(&descriptors);
        self.descriptors = emptied(descriptors, |_| Descriptor::new(&[]));
        self.entries = emptied(entries, |_| Entry {
            key: b"",
            value: b"",
        });
        self.found = emptied(found, |_| Found {
            key: b"",
            value: Value::Constant(b""),
        });
        result
    }
}

/// The memory of a vector, for elements of another lifetime: mapping an owned vector to elements of the
/// same size is done in place, and of no elements it is nothing at all.
fn emptied<T, U>(mut vector: Vec<T>, relabel: impl FnMut(T) -> U) -> Vec<U> {
    vector.clear();
    vector.into_iter().map(relabel).collect()
}

/// Adds the entries of one descriptor and its end, or nothing.
#[inline]
fn find<'r>(
    rate_limit: &'r RateLimit,
    request: &'r impl EnvoyHttpFilter,
    found: &mut Vec<Found<'r>>,
    ends: &mut Vec<usize>,
) {
    let start = found.len();
    for action in &rate_limit.actions {
        match evaluate(action, request) {
            Outcome::Entry(entry) => found.push(entry),
            Outcome::Skipped => {}
            Outcome::Dropped => {
                found.truncate(start);
                return;
            }
        }
    }
    ends.push(found.len());
}

#[inline]
fn evaluate<'r>(action: &'r Action, request: &'r impl EnvoyHttpFilter) -> Outcome<'r> {
    match action {
        Action::RequestHeaders {
            header,
            key,
            skip_if_absent,
        } => match request.get_request_header_value(header) {
            Some(value) => {
                let whole = 0..value.as_slice().len();
                Outcome::Entry(Found {
                    key,
                    value: Value::Part(value, whole),
                })
            }
            None if *skip_if_absent => Outcome::Skipped,
            None => Outcome::Dropped,
        },
        Action::RemoteAddress => {
            let address = request.get_attribute_string(SourceAddress);
            let ip = address.and_then(|address| Some((address, ip_part(address.as_slice())?)));
            ip.map_or(Outcome::Dropped, |(address, part)| {
                Outcome::Entry(Found {
                    key: REMOTE_ADDRESS,
                    value: Value::Part(address, part),
                })
            })
        }
        Action::GenericKey { key, value } => Outcome::Entry(Found {
            key,
            value: Value::Constant(value),
        }),
        Action::HeaderValueMatch {
            key,
            value,
            expect_match,
            matchers,
        } => {
            let matches = matchers.iter().all(|matcher| matcher.matches(request));
            if matches == *expect_match {
                Outcome::Entry(Found {
                    key,
                    value: Value::Constant(value),
                })
            } else {
                Outcome::Dropped
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::rate_limits;
    use crate::fake_envoy::FakeEnvoy;

    /// The descriptors a request has, as `key=value` lists.
    fn descriptors(limits: &str, request: &FakeEnvoy) -> Vec<String> {
        let rate_limits = rate_limits(limits);
        Buffers::default().with_descriptors(&rate_limits, request, |descriptors| {
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            let entry = |entry: &Entry<'_>| format!("{}={}", text(entry.key), text(entry.value));
            let descriptor = |descriptor: &Descriptor<'_>| {
                assert!(descriptor.hits_addend.is_none() && descriptor.limit.is_none());
                descriptor
                    .entries
                    .iter()
                    .map(entry)
                    .collect::<Vec<_>>()
                    .join(",")
            };
            descriptors.iter().map(descriptor).collect()
        })
    }

    const USER: &str =
        r#"{"request_headers": {"header_name": "x-user", "descriptor_key": "user"}}"#;
    const PLAN: &str = r#"{"request_headers": {"header_name": "x-plan", "descriptor_key": "plan",
                           "skip_if_absent": true}}"#;
    const ALL: &str = r#"{"generic_key": {"descriptor_value": "all"}}"#;

    fn of_actions(lists: &[&[&str]]) -> String {
        let actions = |list: &&[&str]| format!(r#"{{"actions": [{}]}}"#, list.join(","));
        format!(
            "[{}]",
            lists.iter().map(actions).collect::<Vec<_>>().join(",")
        )
    }

    #[test]
    fn entries_keep_the_order_of_the_actions() {
        let request = FakeEnvoy::with_headers([("x-plan", "free"), ("x-user", "ann")]);
        assert_eq!(
            descriptors(&of_actions(&[&[USER, ALL, PLAN], &[PLAN]]), &request),
            ["user=ann,generic_key=all,plan=free", "plan=free"]
        );
    }

    #[test]
    fn an_action_without_a_value_drops_its_descriptor_only() {
        let request = FakeEnvoy::default();
        assert_eq!(
            descriptors(
                &of_actions(&[&[ALL], &[ALL, USER], &[USER, ALL], &[ALL, ALL]]),
                &request
            ),
            ["generic_key=all", "generic_key=all,generic_key=all"]
        );
    }

    #[test]
    fn an_action_that_may_be_absent_costs_its_entry_only() {
        let request = FakeEnvoy::default();
        assert_eq!(
            descriptors(&of_actions(&[&[PLAN, ALL], &[PLAN]]), &request),
            ["generic_key=all", ""]
        );
    }

    #[test]
    fn the_first_of_several_values_counts_and_an_empty_one_is_a_value() {
        let request = FakeEnvoy::with_headers([("x-user", "ann"), ("x-user", "bob")]);
        assert_eq!(descriptors(&of_actions(&[&[USER]]), &request), ["user=ann"]);
        let request = FakeEnvoy::with_headers([("x-user", "")]);
        assert_eq!(descriptors(&of_actions(&[&[USER]]), &request), ["user="]);
    }

    #[test]
    fn the_remote_address_has_no_port_and_must_be_an_ip_address() {
        let from = |address: Option<&str>| {
            let source_address = address.map(str::to_owned);
            let request = FakeEnvoy {
                source_address,
                ..FakeEnvoy::default()
            };
            descriptors(&of_actions(&[&[r#"{"remote_address": {}}"#]]), &request)
        };
        assert_eq!(from(Some("192.0.2.7:1234")), ["remote_address=192.0.2.7"]);
        assert_eq!(
            from(Some("[2001:db8::7]:1234")),
            ["remote_address=2001:db8::7"]
        );
        assert_eq!(from(Some("/run/client.sock")), [""; 0]);
        assert_eq!(from(None), [""; 0]);
    }

    #[test]
    fn a_header_match_makes_an_entry_when_all_matchers_agree() {
        let matching = |expect: &str| {
            of_actions(&[&[&format!(
                r#"{{"header_value_match": {{"descriptor_value": "write", {expect} "headers": [
                    {{"name": ":method", "string_match": {{"exact": "POST"}}}},
                    {{"name": "x-user"}}
                ]}}}}"#
            )]])
        };
        let both = FakeEnvoy::with_headers([(":method", "POST"), ("x-user", "ann")]);
        let one = FakeEnvoy::with_headers([(":method", "POST")]);
        assert_eq!(descriptors(&matching(""), &both), ["header_match=write"]);
        assert_eq!(descriptors(&matching(""), &one), [""; 0]);
        let unexpected = r#""expect_match": false, "descriptor_key": "kind","#;
        assert_eq!(descriptors(&matching(unexpected), &both), [""; 0]);
        assert_eq!(descriptors(&matching(unexpected), &one), ["kind=write"]);
    }

    #[test]
    fn buffers_that_have_grown_are_used_again() {
        let rate_limits = rate_limits(&of_actions(&[&[USER, ALL], &[PLAN]]));
        let mut buffers = Buffers::default();
        let memory = |buffers: &Buffers| {
            (
                buffers.found.as_ptr().addr(),
                buffers.ends.as_ptr().addr(),
                buffers.entries.as_ptr().addr(),
                buffers.descriptors.as_ptr().addr(),
            )
        };
        let request = FakeEnvoy::with_headers([("x-user", "ann")]);
        buffers.with_descriptors(&rate_limits, &request, |_| ());
        let grown = memory(&buffers);
        for _ in 0..3 {
            let request = FakeEnvoy::with_headers([("x-user", "bob")]);
            buffers.with_descriptors(&rate_limits, &request, |_| ());
            assert_eq!(memory(&buffers), grown);
        }
    }
}
