//! Two supervisors that restart their meshd whenever it ends, with one region path.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use std::process::ExitStatus;
use std::time::Instant;

use support::{Meshd, PATIENCE, RULES, Site};

/// Hand-overs in a row before the owner stays.
const IN_A_ROW_MAX: usize = 8;

/// A supervisor: starts its meshd again whenever that has ended.
struct Supervisor<'a> {
    site: &'a Site,
    node: &'static str,
    meshd: Meshd,
    ends: Vec<ExitStatus>,
    logs: String,
}

impl<'a> Supervisor<'a> {
    fn start(site: &'a Site, node: &'static str) -> Self {
        Self {
            site,
            node,
            meshd: launch(site, node, 0),
            ends: Vec::new(),
            logs: String::new(),
        }
    }

    fn look(&mut self) {
        if self.meshd.has_ended() {
            let next = launch(self.site, self.node, self.ends.len() + 1);
            let ended = std::mem::replace(&mut self.meshd, next);
            self.logs.push_str(&ended.log());
            self.ends.push(ended.wait());
        }
    }

    fn ends_with(&self, code: i32) -> usize {
        let ends = self.ends.iter();
        ends.filter(|end| end.code() == Some(code)).count()
    }
}

fn launch(site: &Site, node: &str, run: usize) -> Meshd {
    let arguments = ["--node-name", node, "--region-takeover-timeout=2s"];
    site.launch(&format!("{node}-{run}"), &arguments)
}

#[test]
fn two_supervised_meshds_end_with_one_that_serves_and_both_are_named() {
    let site = Site::new(RULES);
    let mut supervisors = ["edge-a", "edge-b"].map(|node| Supervisor::start(&site, node));
    let deadline = Instant::now() + PATIENCE;
    // The one that is refused again and again is restarted again and again.
    let (owner, refused) = loop {
        for supervisor in &mut supervisors {
            supervisor.look();
        }
        let [a, b] = &supervisors;
        let handed_over = a.ends_with(0) + b.ends_with(0);
        assert!(handed_over <= IN_A_ROW_MAX, "{handed_over} hand-overs");
        if a.ends_with(69) >= 2 {
            break (b, a);
        }
        if b.ends_with(69) >= 2 {
            break (a, b);
        }
        assert!(Instant::now() < deadline, "{:?}, {:?}", a.ends, b.ends);
        std::thread::sleep(std::time::Duration::from_millis(10));
    };
    assert_eq!(owner.ends_with(69), 0, "it has been the owner since");

    // Each that was taken over soon says by whom, and from whom it had the region.
    let short_stays = [owner, refused].map(|it| {
        let lines = it.logs.lines();
        let told = lines.filter(|line| line.contains("was itself taken over by"));
        told.map(str::to_owned).collect::<Vec<_>>()
    });
    let short_stays = short_stays.concat();
    assert_eq!(short_stays.len(), IN_A_ROW_MAX - 1, "all but the first");
    for line in &short_stays {
        assert!(line.contains("WARN"), "{line}");
        for node in ["edge-a", "edge-b"] {
            assert!(line.contains(&format!("meshd {node} (process ")), "{line}");
        }
    }
    // Both sides of a refusal have both names, and the way out.
    for log in [&owner.meshd.log(), &refused.logs] {
        let said = log
            .lines()
            .find(|line| line.contains("8 hand-overs in a row"));
        let said = said.unwrap_or_else(|| panic!("no refusal in {log}"));
        for part in ["meshd edge-a", "meshd edge-b", "its own region.path"] {
            assert!(said.contains(part), "no {part} in {said}");
        }
    }
    let warnings = owner.meshd.log();
    let warnings = warnings.matches("does not hand over").count();
    assert_eq!(warnings, 1, "once a minute, not with every newcomer");
}
