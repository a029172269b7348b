//! Metrics of the region and the rules.

use std::fmt;

use hivemind_shared::region::Region;

use super::families::{Families, UNLABELLED};

pub(super) fn encode(region: &Region, families: &mut Families<'_>) -> fmt::Result {
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
    families.counter(
        "hivemind_region_keys_claimed",
        "Keys that were given a slot since the region was created.",
        [(UNLABELLED, region.keys_claimed())],
    )?;
    families.counter(
        "hivemind_region_table_full",
        "Hits that found no free slot, so that the failure mode decided.",
        [(UNLABELLED, region.table_full())],
    )?;
    families.counter(
        "hivemind_region_contended",
        "Hits given up because others changed the slot too often.",
        [(UNLABELLED, region.contended())],
    )?;
    families.gauge(
        "hivemind_rules_generation",
        "How often rules were published in the region.",
        [(UNLABELLED, region.rules_generation())],
    )
}
