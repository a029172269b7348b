//! Rules that are edited much faster than meshd looks at them, a third of the edits broken, with calls
//! coming in all the while.

#![forbid(unsafe_code)]
#![allow(
    clippy::expect_used,
    clippy::panic,
    reason = "tests say what they expect"
)]

mod support;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use hivemind_proto::envoy::service::ratelimit::v3::rate_limit_response::Code;
use support::{Client, Meshd, Site, ask, descriptor, eventually, request};

const EDITS: u32 = 100;
const EDIT_INTERVAL: Duration = Duration::from_millis(100);
const CLIENTS: usize = 4;
/// What a client waits between two calls, so that four of them do not take the whole machine.
const CALL_INTERVAL: Duration = Duration::from_millis(1);

/// The limit of edit 0; each edit has one more. Broken edits have limits as well, for somebody who would
/// take what can be read of them.
const FIRST_LIMIT: u32 = 1_000_000;

/// A third of the edits, at irregular intervals: meshd looks regularly, and would meet every third edit
/// always or never.
fn is_broken(edit: u32) -> bool {
    edit > 0 && edit.wrapping_mul(2_654_435_761) >> 16 & 0xff < 0x55
}

fn rules_of(edit: u32) -> String {
    let limit = FIRST_LIMIT + edit;
    let good = format!(
        "domain: test\ndescriptors:\n  - key: user\n    rate_limit: {{unit: year, requests_per_unit: {limit}}}\n"
    );
    // Each is broken in words of its own, so that each rejection is news.
    match (is_broken(edit), edit % 4) {
        (false, _) => good,
        (true, 0) => format!("{good}    broken_{edit}: true\n"),
        (true, 1) => format!("{good}  - key: [edit, {edit}\n"),
        (true, 2) => format!("{good}  - key: user # {edit}\n"),
        (true, _) => format!("{good}  - key: b\n    rate_limit: {{unit: eon_{edit}}}\n"),
    }
}

/// Edits as people and tools do: in place, or with a file of another name that takes the old one's.
fn write(site: &Site, edit: u32) {
    let text = rules_of(edit);
    if edit.is_multiple_of(2) {
        site.write("ratelimit.yaml", &text);
    } else {
        site.write("ratelimit.yaml.new", &text);
        fs::rename(site.path("ratelimit.yaml.new"), site.path("ratelimit.yaml")).expect("renamed");
    }
}

/// What a client saw.
struct Seen {
    calls: u64,
    /// Different limits, one after the other.
    limits: Vec<u32>,
}

/// Calls until told to stop. Every call has to be answered, by good rules, never by older ones than the
/// call before, and with a count above that of the call before.
async fn call(mut client: Client, stop: Arc<AtomicBool>, calls: Arc<AtomicUsize>) -> Seen {
    let mut seen = Seen {
        calls: 0,
        limits: Vec::new(),
    };
    let mut last_count = 0;
    while !stop.load(Ordering::Relaxed) {
        let response = ask(&mut client, request(vec![descriptor(&[("user", "ada")])])).await;
        assert_eq!(response.overall_code(), Code::Ok, "{response:?}");
        let status = response.statuses.first().expect("a status");
        let limit = status.current_limit.as_ref().expect("a limit applies");
        let count = limit.requests_per_unit - status.limit_remaining;
        assert!(count > last_count, "from {last_count} to {count}");
        last_count = count;
        let edit = limit.requests_per_unit - FIRST_LIMIT;
        assert!(!is_broken(edit), "edit {edit} was never good");
        if seen.limits.last() != Some(&limit.requests_per_unit) {
            assert!(
                seen.limits
                    .iter()
                    .all(|seen| *seen < limit.requests_per_unit),
                "{:?}, then {}",
                seen.limits,
                limit.requests_per_unit
            );
            seen.limits.push(limit.requests_per_unit);
        }
        seen.calls += 1;
        calls.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(CALL_INTERVAL).await;
    }
    seen
}

fn in_the_log(meshd: &Meshd, what: &str) -> usize {
    meshd.log().matches(what).count()
}

fn await_limit(meshd: &Meshd, edit: u32) {
    let wanted = format!(": {} per year", FIRST_LIMIT + edit);
    eventually(&wanted, || {
        meshd.admin("/rules").1.contains(&wanted).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_edits_fails_no_call_and_loses_no_count() {
    let site = Site::new(&rules_of(0));
    let meshd = site.start();
    let (stop, calls) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        let client = meshd.client().await;
        clients.push(tokio::spawn(call(
            client,
            Arc::clone(&stop),
            Arc::clone(&calls),
        )));
    }

    let broken_edits = (1..=EDITS).filter(|edit| is_broken(*edit)).count();
    assert!((30..=37).contains(&broken_edits), "{broken_edits}");
    let mut pace = tokio::time::interval(EDIT_INTERVAL);
    for edit in 1..=EDITS {
        pace.tick().await;
        write(&site, edit);
    }
    // What stands there in the end comes into force.
    let next = |broken| (EDITS + 1..).find(|edit| is_broken(*edit) == broken);
    let (last, broken) = (
        next(false).expect("a good edit"),
        next(true).expect("a broken edit"),
    );
    write(&site, last);
    await_limit(&meshd, last);
    // And a broken edit at rest is rejected for sure, with calls still coming in.
    let rejected = in_the_log(&meshd, "rules rejected");
    write(&site, broken);
    eventually("the last edit is rejected", || {
        (in_the_log(&meshd, "rules rejected") > rejected).then_some(())
    });
    let so_far = calls.load(Ordering::Relaxed);
    eventually("calls after the rejection", || {
        (calls.load(Ordering::Relaxed) > so_far + 100).then_some(())
    });
    stop.store(true, Ordering::Relaxed);

    let mut made = 0;
    for client in clients {
        let seen = client.await.expect("no call failed");
        assert_eq!(
            seen.limits.last(),
            Some(&(FIRST_LIMIT + last)),
            "the last good rules are in force"
        );
        assert!(
            seen.limits.len() > 3,
            "rules changed under load: {:?}",
            seen.limits
        );
        made += seen.calls;
    }
    // Each call counted once, through all of it.
    let response = ask(
        &mut meshd.client().await,
        request(vec![descriptor(&[("user", "ada")])]),
    )
    .await;
    let remaining = response.statuses.first().expect("a status").limit_remaining;
    assert_eq!(u64::from(FIRST_LIMIT + last - remaining), made + 1);

    // meshd does not look often enough to meet each edit, but it met many, good and broken.
    let reloaded = in_the_log(&meshd, "rules reloaded");
    assert!(
        rejected >= 3 && reloaded >= 4,
        "{rejected} rejected, {reloaded} reloaded"
    );
}
