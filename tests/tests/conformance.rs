//! Every way into Hivemind gives the answers of `conformance/ratelimit.yaml`.

use hivemind_tests::conformance::{Case, DecisionBackend, Report, ServiceBackend, cases, run};
use xtask::say;

/// Fails with the name of every case that did, or that was not asked without a reason known here.
fn check(report: &Report, cases: &[Case], inapplicable: &[&str]) {
    say!("{report}");
    assert!(report.failures.is_empty(), "{report}");
    let not_asked: Vec<&str> = report
        .inapplicable
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    assert_eq!(not_asked, inapplicable);
    assert_eq!(report.asked + inapplicable.len(), cases.len());
}

#[test]
fn every_case_of_the_file_is_read_under_a_name_of_its_own() -> anyhow::Result<()> {
    let text = include_str!("../conformance/ratelimit.yaml");
    let written = text
        .lines()
        .filter(|line| line.starts_with("- name: "))
        .count();
    let cases = cases()?;
    assert_eq!(cases.len(), written);
    let names: std::collections::BTreeSet<&str> =
        cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), written);
    Ok(())
}

#[tokio::test]
async fn the_decision_answers_every_case() -> anyhow::Result<()> {
    let cases = cases()?;
    let report = run(&mut DecisionBackend::default(), &cases).await;
    // Errors about the call itself are the service's.
    check(
        &report,
        &cases,
        &[
            "error_empty_descriptor_list",
            "error_empty_list_in_unknown_domain",
        ],
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_answers_every_case() -> anyhow::Result<()> {
    let cases = cases()?;
    let mut backend = ServiceBackend::start(&cases).await?;
    let report = run(&mut backend, &cases).await;
    // meshd has no setting yet for one domain in several files.
    check(
        &report,
        &cases,
        &[
            "merge_two_files_of_one_domain",
            "invalid_merge_with_the_same_key_twice",
        ],
    );
    Ok(())
}
