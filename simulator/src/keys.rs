//! The keys of a simulation and the rules for them.

use std::collections::BTreeMap;

use hivemind_shared::decision::key;
use hivemind_shared::descriptor::Entry;
use hivemind_shared::fingerprint::{Fingerprint, KeyHasher};
use hivemind_shared::table::Key;
use hivemind_shared::window::Period;

use crate::workload::Demand;

/// The domain of every rule.
pub const DOMAIN: &str = "simulator";

/// One key.
#[derive(Clone, Debug)]
pub struct SimulatedKey {
    /// The place of its demand.
    pub demand: usize,
    /// The key of its entry.
    pub entry_key: String,
    /// The value of its entry.
    pub entry_value: String,
    /// Hits that pass in a window.
    pub limit: u32,
    /// The length of its windows.
    pub period: Period,
    /// What identifies its counter.
    pub fingerprint: Fingerprint,
}

impl SimulatedKey {
    /// Its counter.
    pub const fn counter(&self) -> Key {
        Key {
            fingerprint: self.fingerprint,
            period: self.period,
        }
    }

    /// Its one entry.
    pub fn entry(&self) -> Entry<'_> {
        Entry::new(&self.entry_key, &self.entry_value)
    }
}

/// All keys, each at its place.
#[derive(Clone, Debug)]
pub struct Keys {
    keys: Vec<SimulatedKey>,
    places: BTreeMap<Fingerprint, usize>,
    rules: String,
}

impl Keys {
    /// The keys of these demands, as hosts with this hash key see them.
    pub fn new(demands: &[Demand], hash_key: &[u8; 16]) -> Self {
        let hasher = KeyHasher::new(hash_key);
        let mut rules = format!("domain: {DOMAIN}\ndescriptors:\n");
        let mut keys = Vec::new();
        let mut places = BTreeMap::new();
        let mut bytes = Vec::new();
        for (number, demand) in demands.iter().enumerate() {
            let name = format!("demand_{number}");
            rules += &format!(
                "  - key: {name}\n    rate_limit: {{unit: {}, requests_per_unit: {}}}\n",
                demand.unit, demand.limit
            );
            for place in 0..demand.keys {
                let value = place.to_string();
                let entries = [Entry::new(&name, &value)];
                let written = key::write(
                    &mut bytes,
                    DOMAIN.as_bytes(),
                    &entries,
                    demand.unit.into(),
                    |_| None,
                );
                let fingerprint = hasher.fingerprint(written);
                places.insert(fingerprint, keys.len());
                keys.push(SimulatedKey {
                    demand: number,
                    entry_key: name.clone(),
                    entry_value: value,
                    limit: demand.limit,
                    period: demand.unit.into(),
                    fingerprint,
                });
            }
        }
        Self {
            keys,
            places,
            rules,
        }
    }

    /// The rules as YAML.
    pub fn rules(&self) -> &str {
        &self.rules
    }

    /// The key at a place.
    pub fn get(&self, place: usize) -> &SimulatedKey {
        &self.keys[place]
    }

    /// Where the key with this fingerprint is; `None` for keys that are not of this simulation.
    pub fn find(&self, fingerprint: Fingerprint) -> Option<usize> {
        self.places.get(&fingerprint).copied()
    }

    /// Every key, by place.
    pub fn iter(&self) -> impl Iterator<Item = &SimulatedKey> {
        self.keys.iter()
    }
}
