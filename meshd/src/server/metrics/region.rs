//! Metrics of the region and the rules.

use std::fmt;

use hivemind_shared::region::Region;

use super::families::{Families, UNLABELLED};

/// `live_keys` is none before they were counted.
pub(super) fn encode(
    region: &Region,
    live_keys: Option<u64>,
    families: &mut Families<'_>,
) -> fmt::Result {
    families.info(
        "hivemind_build",
        "The version of meshd.",
        &[("version", env!("CARGO_PKG_VERSION"))],
    )?;
    families.gauge(
        "hivemind_region_max_keys",
        "Keys the region was made for.",
        [(UNLABELLED, region.max_keys())],
    )?;
    families.gauge(
        "hivemind_region_slots",
        "Slots of the counter table.",
        [(UNLABELLED, region.slot_count())],
    )?;
    families.gauge(
        "hivemind_region_live_keys",
        "Keys that count in the present window of their limit, as of the last seconds.",
        live_keys.map(|live_keys| (UNLABELLED, live_keys)),
    )?;
    let evictions = region.evictions();
    families.counter(
        "hivemind_region_evicted_keys",
        "Keys that gave their slot up to another one while they still counted, by who had asked for them.",
        [
            ([("source", "rule")], evictions.of_rules),
            ([("source", "request_limit")], evictions.of_requests),
            ([("source", "peers")], evictions.of_peers),
        ],
    )?;
    families.counter(
        "hivemind_region_keys_claimed",
        "Keys that were given a slot since the region was created.",
        [(UNLABELLED, region.keys_claimed())],
    )?;
    families.counter(
        "hivemind_region_table_full",
        "Hits of peers that got no slot, because all were of keys that are worth more.",
        [(UNLABELLED, region.table_full())],
    )?;
    families.counter(
        "hivemind_region_contended",
        "Hits given up because others changed the slot too often.",
        [(UNLABELLED, region.contended())],
    )?;
    let room = region.rules_room();
    families.gauge(
        "hivemind_region_rules_used_bytes",
        "Bytes of region.rules_bytes that the rules in force take.",
        [(UNLABELLED, room.used_bytes)],
    )?;
    families.gauge(
        "hivemind_region_rules_available_bytes",
        "Bytes of region.rules_bytes that are left.",
        [(UNLABELLED, room.available_bytes())],
    )?;
    families.gauge(
        "hivemind_rules_generation",
        "How often rules were published in the region.",
        [(UNLABELLED, region.rules_generation())],
    )
}
