//! Every way into Hivemind gives the answers of the cases in `conformance/`.

use std::collections::{BTreeMap, BTreeSet};

use hivemind_tests::conformance::{
    Case, DecisionBackend, FILES, ModuleBackend, Report, ServiceBackend, cases, run,
};
use xtask::say;

/// Fails with the name of every case that did, or that was not asked without a reason known here.
fn check(report: &Report, cases: &[Case], not_asked: &[(&str, &[&str])]) {
    say!("{report}");
    assert!(report.failures.is_empty(), "{report}");
    let expected: BTreeMap<&str, BTreeSet<&str>> = not_asked
        .iter()
        .map(|(reason, names)| (*reason, names.iter().copied().collect()))
        .collect();
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, reason) in &report.inapplicable {
        found.entry(reason).or_default().insert(name);
    }
    assert_eq!(found, expected);
    let names: usize = not_asked.iter().map(|(_, names)| names.len()).sum();
    assert_eq!(report.asked, cases.len() - names);
}

#[test]
fn every_case_of_the_files_is_read_under_a_name_of_its_own() -> anyhow::Result<()> {
    let written = FILES
        .iter()
        .flat_map(|(_, text)| text.lines())
        .filter(|line| line.starts_with("- name: "))
        .count();
    let cases = cases()?;
    assert_eq!(cases.len(), written);
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), written);
    Ok(())
}

#[tokio::test]
async fn the_decision_answers_every_case() -> anyhow::Result<()> {
    let cases = cases()?;
    let report = run(&mut DecisionBackend::default(), &cases).await;
    check(
        &report,
        &cases,
        &[(
            "whoever calls the decision checks the call",
            &[
                "error_empty_descriptor_list",
                "error_empty_list_in_unknown_domain",
            ],
        )],
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_answers_every_case() -> anyhow::Result<()> {
    let cases = cases()?;
    let mut backend = ServiceBackend::start(&cases).await?;
    let report = run(&mut backend, &cases).await;
    check(&report, &cases, &[]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_module_answers_every_case_that_headers_can_carry() -> anyhow::Result<()> {
    let cases = cases()?;
    let mut backend = ModuleBackend::start(&cases).await?;
    let report = run(&mut backend, &cases).await;
    let refused: Vec<&str> = cases
        .iter()
        .filter(|case| case.expect_invalid.is_some())
        .map(|case| case.name.as_str())
        .collect();
    let settings: Vec<&str> = cases
        .iter()
        .filter(|case| !case.settings.is_empty())
        .map(|case| case.name.as_str())
        .collect();
    check(
        &report,
        &cases,
        &[
            (
                "a request through the module counts one hit",
                &[
                    "addend_five",
                    "addend_equal_to_the_limit_is_ok",
                    "addend_above_the_limit_in_one_call_is_over",
                    "addend_refused_hits_stay_counted",
                    "addend_per_descriptor_zero_ignores_request_level",
                    "addend_zero_on_a_zero_limit_is_ok",
                    "addend_per_descriptor_larger_than_uint32",
                    "unit_hour",
                    "unit_day",
                    "unit_week",
                    "unit_month",
                    "unit_year",
                    "unit_second",
                    "unit_second_window_resets",
                    "unit_seconds_count_apart_in_each_second",
                    "same_request_hits_exact_wildcard_default_and_nothing",
                    "denied_hits_are_not_counted",
                    "token_bucket_lets_several_hits_pass_together_or_not_at_all",
                    "cost_of_a_token_bucket_is_reported_after_an_ask",
                    "cost_in_a_sliding_window_is_reported_after_an_ask",
                    "cost_in_a_limit_that_does_not_count_denied_hits_is_reported_after_an_ask",
                    "whoever_asks_with_no_hits_where_none_is_left_is_over",
                    "debt_is_paid_before_anything_passes",
                    "debt_of_none_charges_nothing_that_is_refused",
                    "debt_that_is_written_is_for_the_hits_of_a_request_too",
                    "cost_is_charged_in_limits_that_do_not_refuse_it",
                    "full_counter_is_over_a_limit_that_no_count_is_above",
                ],
            ),
            (
                "a request through the module has no limit of its own",
                &[
                    "override_replaces_the_configured_limit",
                    "override_needs_no_matching_rule",
                    "override_is_ignored_for_an_unknown_domain",
                    "override_of_zero_blocks",
                    "override_number_may_change_between_calls",
                    "override_switches_off_the_rules_shadow_mode",
                    "override_limits_an_unlimited_rule",
                    "override_next_to_a_plain_descriptor",
                    "override_units_minute_to_year",
                    "override_on_a_descriptor_without_entries",
                    "override_with_unit_left_out_falls_back_to_the_rule",
                    "share_does_not_apply_to_an_override",
                    "period_that_a_request_brings",
                ],
            ),
            (
                "a request without descriptors is not decided, it passes",
                &[
                    "error_empty_descriptor_list",
                    "error_empty_list_in_unknown_domain",
                ],
            ),
            (
                "an action's descriptor_key cannot be empty",
                &["empty_entry_key_is_not_an_error"],
            ),
            (
                "the meshd beside the module has the default settings",
                &settings,
            ),
            (
                "meshd refuses files, before a module sees their rules",
                &refused,
            ),
        ],
    );
    // That an answer looks right is not enough: the module must have been asked, and must have let pass
    // what it says it did.
    let answered = backend.answered();
    say!("{answered:?}");
    assert_eq!(backend.decided().await?, answered);
    assert_eq!(u64::try_from(backend.passed())?, answered.ok);
    Ok(())
}
