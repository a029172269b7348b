//! The decoded rules a thread decides by, and when to read them again.

use std::sync::Arc;

use crate::region::{LoadRulesError, Region};
use crate::rules::RuleSet;

/// Rules read from a region, or the failure to read them.
#[derive(Debug)]
pub(super) struct Loaded {
    region_id: u64,
    /// The generation that was looked at last. It is looked at once, whatever comes of it: rules that
    /// cannot be read are not read again on every request.
    generation: u64,
    rules: Option<InForce>,
    error: Option<LoadRulesError>,
}

#[derive(Debug)]
struct InForce {
    generation: u64,
    rules: Arc<RuleSet>,
    features: Features,
}

/// What of the rule language a set of rules makes use of; the decision does no work for what it does not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Features {
    /// Whether any rule replaces others.
    pub(super) replaces: bool,
    /// Whether a descriptor may have several limits, or a limit admits hits before they are counted.
    pub(super) several: bool,
}

impl Features {
    fn of(rules: &RuleSet) -> Self {
        Self {
            replaces: rules.rules().any(|(_, rule)| !rule.replaces.is_empty()),
            several: rules.modes().denied_uncounted
                || rules
                    .rules()
                    .any(|(_, rule)| rule.is_gated() || rule.position() > 0),
        }
    }

    #[inline]
    pub(super) fn any(self) -> bool {
        self.replaces | self.several
    }
}

impl Loaded {
    pub(super) fn rules(&self) -> Option<&RuleSet> {
        self.rules.as_ref().map(|rules| &*rules.rules)
    }

    pub(super) fn rules_generation(&self) -> Option<u64> {
        self.rules.as_ref().map(|rules| rules.generation)
    }

    /// What they make use of.
    #[inline]
    pub(super) fn features(&self) -> Features {
        self.rules
            .as_ref()
            .map_or_else(Features::default, |rules| rules.features)
    }
}

/// Brings `cached` up to date with the region: one load when nothing changed.
///
/// When newer rules cannot be read, the ones at hand stay in force.
#[inline]
pub(super) fn refresh<'c>(
    cached: &'c mut Option<Loaded>,
    region: &Region,
    region_id: u64,
) -> Result<(&'c RuleSet, &'c Loaded), LoadRulesError> {
    let generation = region.rules_generation();
    let current = cached
        .as_ref()
        .is_some_and(|loaded| loaded.generation == generation && loaded.region_id == region_id);
    if !current {
        reload(cached, region, region_id, generation);
    }
    match cached {
        Some(loaded) => match &loaded.rules {
            Some(rules) => Ok((&rules.rules, loaded)),
            None => Err(loaded
                .error
                .clone()
                .unwrap_or(LoadRulesError::NonePublished)),
        },
        None => Err(LoadRulesError::NonePublished),
    }
}

#[cold]
fn reload(cached: &mut Option<Loaded>, region: &Region, region_id: u64, generation: u64) {
    // Rules of another region are no substitute: its successor may not have any on purpose.
    let kept = cached
        .take()
        .filter(|loaded| loaded.region_id == region_id)
        .and_then(|loaded| loaded.rules);
    *cached = Some(match region.load_rules() {
        Ok((generation, rules)) => {
            let features = Features::of(&rules);
            let rules = Some(InForce {
                generation,
                rules: Arc::new(rules),
                features,
            });
            Loaded {
                region_id,
                generation,
                rules,
                error: None,
            }
        }
        Err(error) => Loaded {
            region_id,
            generation,
            rules: kept,
            error: Some(error),
        },
    });
}
