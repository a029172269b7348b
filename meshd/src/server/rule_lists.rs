//! The rules in force as text, one line each.

use std::fmt::Write;

use hivemind_shared::rules::{Algorithm, RuleLimit, RuleSet};

/// For people: its place, its limit, its settings, and where it is written.
pub(super) fn readable(rules: &RuleSet) -> String {
    let mut out = String::new();
    for (id, rule) in rules.rules() {
        // Writing to a string cannot fail.
        let _ = write!(out, "{}: {}", rules.path(id), rule.limit);
        if !rule.name.is_empty() {
            let _ = write!(out, ", name {}", rule.name);
        }
        if !rule.replaces.is_empty() {
            let _ = write!(out, ", replaces {}", rule.replaces.join(" "));
        }
        let _ = match rule.algorithm {
            Algorithm::FixedWindow => Ok(()),
            Algorithm::SlidingWindow => write!(out, ", {}", rule.algorithm.name()),
            Algorithm::TokenBucket { burst } => {
                write!(out, ", {}, burst {burst}", rule.algorithm.name())
            }
        };
        // The others never count what they refuse.
        let may_count_denied = rule.algorithm == Algorithm::FixedWindow;
        if let Some(debt) = rule.debt {
            let _ = write!(out, ", debt {debt}");
        }
        for (is_set, word) in [
            (may_count_denied && !rule.count_denied, "count_denied false"),
            (rule.shadow_mode, "shadow_mode"),
            (rule.quota_mode, "quota_mode"),
            (rule.detailed_metric, "detailed_metric"),
        ] {
            if is_set {
                let _ = write!(out, ", {word}");
            }
        }
        let _ = writeln!(out, " ({})", rule.origin);
    }
    out
}

/// As the debug port of envoyproxy/ratelimit has it, for scripts that read it there: there is no more in it
/// than that has. Its order is by chance there, and that of the files here.
pub(super) fn of_the_reference(rules: &RuleSet) -> String {
    let mut out = String::new();
    for (id, rule) in rules.rules() {
        let (unit, requests_per_unit) = match rule.limit {
            RuleLimit::Limited {
                requests_per_unit,
                period,
            } => (period.unit().name().to_ascii_uppercase(), requests_per_unit),
            RuleLimit::Unlimited => ("UNKNOWN".to_owned(), 0),
        };
        let _ = writeln!(
            out,
            "{}: unit={unit} requests_per_unit={requests_per_unit}, shadow_mode: {}, quota_mode: {}",
            rules.path(id),
            rule.shadow_mode,
            rule.quota_mode
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use hivemind_shared::rules::source::{Options, parse};
    use hivemind_shared::yaml::Source;

    use super::*;

    fn rules() -> RuleSet {
        let text = "
domain: d
descriptors:
  - key: a
    value: x*
    shadow_mode: true
    rate_limit: {unit: hour, requests_per_unit: 5, name: five}
    descriptors:
      - {key: b, rate_limit: {unlimited: true}}
  - key: c
    rate_limits:
      - {unit: minute, unit_multiplier: 5, requests_per_unit: 3, hivemind: {count_denied: false}}
      - {unit: day, requests_per_unit: 9, hivemind: {algorithm: token_bucket, burst: 4, debt: 9}}
";
        let files = [Source::new("r.yaml", text)];
        parse(&files, &Options::default()).unwrap().rules
    }

    #[test]
    fn people_see_all_that_a_rule_says_and_where() {
        assert_eq!(
            readable(&rules()),
            "d.a_x*: 5 per hour, name five, shadow_mode (r.yaml:4)\n\
             d.a_x*.b: unlimited (r.yaml:9)\n\
             d.c: 3 per 5 minutes, count_denied false (r.yaml:12)\n\
             d.c#2: 9 per day, token_bucket, burst 4, debt 9 (r.yaml:13)\n"
        );
    }

    #[test]
    fn scripts_for_the_reference_find_its_lines() {
        assert_eq!(
            of_the_reference(&rules()),
            "d.a_x*: unit=HOUR requests_per_unit=5, shadow_mode: true, quota_mode: false\n\
             d.a_x*.b: unit=UNKNOWN requests_per_unit=0, shadow_mode: false, quota_mode: false\n\
             d.c: unit=MINUTE requests_per_unit=3, shadow_mode: false, quota_mode: false\n\
             d.c#2: unit=DAY requests_per_unit=9, shadow_mode: false, quota_mode: false\n"
        );
    }
}
