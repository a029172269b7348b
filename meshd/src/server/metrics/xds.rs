//! Metrics of the management server rules come from. There are no samples where they come from files.

use std::fmt;

use super::families::{Families, UNLABELLED};
use crate::rules_source::xds::XdsStatus;

pub(super) fn encode(status: Option<&XdsStatus>, families: &mut Families<'_>) -> fmt::Result {
    let number = |number: fn(&XdsStatus) -> u64| status.map(|status| (UNLABELLED, number(status)));
    families.gauge(
        "hivemind_xds_connected",
        "1 while there is a stream to the management server.",
        number(|status| status.connected.into()),
    )?;
    families.gauge(
        "hivemind_xds_version",
        "1, with the version of the set of rules in force.",
        status
            .and_then(|status| status.version.as_deref())
            .map(|version| ([("version", version)], 1_u64)),
    )?;
    families.counter(
        "hivemind_xds_responses",
        "Sets of rules that came, by whether they were taken.",
        status.into_iter().flat_map(|status| {
            [("accepted", status.accepted), ("rejected", status.rejected)]
                .map(|(result, count)| ([("result", result)], count))
        }),
    )?;
    families.gauge(
        "hivemind_xds_last_response_timestamp_seconds",
        "When the last set of rules came, by whether it was taken.",
        status.into_iter().flat_map(|status| {
            let times = [
                ("accepted", status.last_accepted_unix_ms),
                ("rejected", status.last_rejected_unix_ms),
            ];
            times
                .into_iter()
                .filter_map(|(result, unix_ms)| Some(([("result", result)], seconds(unix_ms?))))
        }),
    )?;
    families.counter(
        "hivemind_xds_streams",
        "Streams to the management server that came about.",
        number(|status| status.streams),
    )?;
    families.counter(
        "hivemind_xds_failures",
        "Streams to the management server that ended or did not come about.",
        number(|status| status.failures),
    )
}

fn seconds(unix_ms: u64) -> f64 {
    unix_ms as f64 / 1e3
}
