//! How calls of the Rate Limit Service ended, since meshd was started.

use std::fmt;

use super::families::{Families, UNLABELLED};
use crate::server::calls::Calls;

pub(super) fn encode(calls: &Calls, families: &mut Families<'_>) -> fmt::Result {
    let ways = [
        ("grpc", calls.grpc_outcomes()),
        ("json", calls.json_outcomes()),
    ];
    families.counter(
        "hivemind_calls",
        "Calls of the Rate Limit Service, by how they ended.",
        ways.iter().flat_map(|(protocol, outcomes)| {
            outcomes.iter().map(|(outcome, count)| {
                let labels = [("protocol", *protocol), ("outcome", outcome.name())];
                (labels, *count)
            })
        }),
    )?;
    families.histogram(
        "hivemind_call_duration_seconds",
        "Time from the headers of a call by gRPC until its answer was there.",
        [(UNLABELLED, calls.grpc_times())],
    )?;
    families.counter(
        "hivemind_grpc_calls_reset",
        "Calls by gRPC that their client reset, most often because its time-out had passed.",
        [(UNLABELLED, calls.resets())],
    )?;
    families.counter(
        "hivemind_grpc_connections_failed",
        "Connections of gRPC that meshd ended with an error, by cause.",
        calls
            .connection_errors()
            .map(|(cause, count)| ([("cause", cause.name())], count)),
    )?;
    families.counter(
        "hivemind_global_shadow_mode",
        "Calls over their limits that passed because all do (rate_limiting.shadow_mode).",
        [(UNLABELLED, calls.shadowed())],
    )?;
    let domains = calls.unknown_domains();
    families.counter(
        "hivemind_domain_not_found",
        "Descriptors of calls with a domain that no rules are for.",
        domains
            .iter()
            .map(|(domain, descriptors)| ([("domain", domain.as_str())], *descriptors)),
    )
}
