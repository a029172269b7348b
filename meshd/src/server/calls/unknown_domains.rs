//! Domains that calls named and no rules are for: most often a slip in Envoy's configuration or in the
//! rules, so their names are worth telling.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Domains that each worker tells apart; whoever reaches the port can make up more.
const DOMAINS_MAX: usize = 32;

/// Longest name that is kept.
const NAME_BYTES_MAX: usize = 128;

/// Stands for all domains that are not told apart.
pub const OTHERS: &str = "(others)";

/// Counts by domain. Only calls that go wrong come here, and only the scrape beside the worker: the lock
/// is free.
#[derive(Debug, Default)]
pub(super) struct UnknownDomains(Mutex<Counts>);

type Counts = BTreeMap<String, u64>;

impl UnknownDomains {
    pub(super) fn add(&self, domain: &str, descriptors: u64) {
        add(&mut self.lock(), domain, descriptors);
    }

    /// The counts of all of these.
    pub(super) fn sum<'a>(all: impl Iterator<Item = &'a Self>) -> Vec<(String, u64)> {
        let mut sum = Counts::new();
        for counts in all {
            for (domain, &descriptors) in &*counts.lock() {
                let of_all = sum.entry(domain.clone()).or_default();
                *of_all = of_all.wrapping_add(descriptors);
            }
        }
        sum.into_iter().collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Counts> {
        // One addition: nobody leaves half of it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn add(counts: &mut Counts, domain: &str, descriptors: u64) {
    if let Some(count) = counts.get_mut(domain) {
        *count = count.wrapping_add(descriptors);
        return;
    }
    let has_room = domain.len() <= NAME_BYTES_MAX && counts.len() < DOMAINS_MAX;
    let name = if has_room { domain } else { OTHERS };
    *counts.entry(name.to_owned()).or_default() += descriptors;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_beyond_the_first_few_and_long_ones_are_told_together() {
        let domains = UnknownDomains::default();
        domains.add(&"x".repeat(NAME_BYTES_MAX + 1), 1);
        for number in 0..100 {
            domains.add(&format!("domain-{number:02}"), 2);
        }
        domains.add("domain-00", 3);
        let counts = UnknownDomains::sum([&domains, &domains].into_iter());
        // (others) is one of them.
        assert_eq!(counts.len(), DOMAINS_MAX);
        assert_eq!(counts[0], (OTHERS.to_owned(), 2 * (1 + 69 * 2)));
        assert_eq!(counts[1], ("domain-00".to_owned(), 2 * 5));
    }
}
