//! A meshd that has the rules of all cases, for the backends that need a running one.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use hivemind_shared::window::Unit;
use xtask::meshd::{Meshd, Plan};
use xtask::scratch::Scratch;

use super::case::Case;
use crate::harness;

/// What all cases together may take, so that no hour ends while they run.
const ROOM: Duration = Duration::from_secs(180);

/// The running meshd, and its files.
#[derive(Debug)]
pub(super) struct Daemon {
    // Dropped in this order: the process before its files.
    pub(super) meshd: Meshd,
    pub(super) scratch: Scratch,
}

impl Daemon {
    /// Starts a meshd with these settings of `rate_limiting` and the rules of all cases that have steps; no
    /// two of them share a domain.
    ///
    /// # Errors
    ///
    /// With meshd's own words when it does not start.
    pub(super) async fn start(
        cases: &[Case],
        settings: &BTreeMap<String, bool>,
    ) -> anyhow::Result<Self> {
        let scratch = Scratch::new()?;
        let rules = scratch.file("rules");
        fs::create_dir(&rules)?;
        for case in cases.iter().filter(|case| !case.steps.is_empty()) {
            write_rules(&rules, &case.name, &case.config)?;
        }
        let mut plan = Plan::new(&harness::tools()?.binaries.meshd, scratch.region(), rules);
        // The other cases have domains of their own: to them it makes no difference.
        plan.merge_domains = true;
        plan.rate_limiting = settings
            .iter()
            .map(|(name, value)| (name.clone(), (*value).into()))
            .collect();
        xtask::window::wait_for_room(Unit::Hour, ROOM).await;
        let meshd = Meshd::start(&plan, scratch.dir()).await?;
        Ok(Self { meshd, scratch })
    }
}

/// Writes files of rules under names that begin with this one.
pub(super) fn write_rules(dir: &Path, name: &str, files: &[String]) -> anyhow::Result<()> {
    for (text, number) in files.iter().zip(1..) {
        fs::write(dir.join(format!("{name}-{number}.yaml")), text)?;
    }
    Ok(())
}
