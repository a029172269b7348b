use std::collections::BTreeMap;
use std::sync::Arc;

use hivemind_shared::clock::ManualClock;
use hivemind_shared::decision::{Decision, Limiter};
use hivemind_shared::descriptor::{Descriptor, Entry};
use hivemind_shared::region::{OwnedRegion, Region, RegionOptions, RuleStats};
use hivemind_shared::rules::RuleSet;
use hivemind_shared::rules::source::{Options, parse};
use hivemind_shared::table::Key;
use hivemind_shared::window::{Period, Unit};
use hivemind_shared::yaml::Source;
use proptest::prelude::*;

use super::observer::{Dropped, Observer};
use super::{Health, State, death_notice};

/// A full hundred minutes.
const START_S: u64 = 1_800_000_000;

const PER_USER: &str = "
domain: d
descriptors:
  - key: user
    value_to_metric: true
    rate_limit: {unit: second, requests_per_unit: 5}
";

/// A region, somebody who asks, and an observer.
struct Lab {
    owned: OwnedRegion,
    rules: Arc<RuleSet>,
    clock: ManualClock,
    limiter: Limiter<ManualClock>,
    decision: Decision,
    observer: Observer,
}

impl Lab {
    fn new(yaml: &str, series_max: usize) -> Self {
        let options = RegionOptions {
            max_keys: 1_000,
            ..RegionOptions::default()
        };
        let owned = Region::anonymous(&options).unwrap();
        let clock = ManualClock::at(START_S);
        let mut lab = Self {
            limiter: Limiter::new(owned.region().clone(), clock.clone()),
            owned,
            rules: Arc::default(),
            clock,
            decision: Decision::new(),
            observer: Observer::new(series_max),
        };
        lab.publish(yaml);
        lab.look();
        lab
    }

    fn publish(&mut self, yaml: &str) {
        let loaded = parse(&[Source::new("rules.yaml", yaml)], &Options::default()).unwrap();
        let published = self.owned.publish_rules(&loaded.rules).unwrap();
        self.rules = Arc::new(published.rules);
    }

    fn ask(&mut self, entries: &[(&str, &str)], hits: u32) {
        let entries: Vec<_> = entries
            .iter()
            .map(|(key, value)| Entry::new(key, value))
            .collect();
        self.limiter
            .decide(b"d", &[Descriptor::new(&entries)], hits, &mut self.decision)
            .unwrap();
    }

    fn look(&mut self) {
        use hivemind_shared::clock::Clock;
        let now_s = self.clock.now_s();
        self.observer.look(self.owned.region(), &self.rules, now_s);
    }

    /// Looks, and gives the sums of each series by its levels.
    fn shown(&mut self) -> BTreeMap<String, RuleStats> {
        self.look();
        let series = self.observer.series().into_iter();
        series
            .map(|series| (series.name.levels.join("."), series.stats))
            .collect()
    }

    fn hits(&mut self) -> Vec<(String, u64)> {
        let shown = self.shown().into_iter();
        shown
            .map(|(name, stats)| (name, stats.total_hits))
            .collect()
    }
}

fn named(name: &str, hits: u64) -> (String, u64) {
    (name.to_owned(), hits)
}

/// Mostly short enough for several hits above the limit in one window.
fn pauses_ms() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0..50_u64, 1 => 0..1_000_u64]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Against the sums that the decision itself keeps by rule: a rule for each value.
    #[test]
    fn series_by_value_say_what_a_rule_for_each_value_would_say(
        steps in prop::collection::vec((0..3_usize, pauses_ms(), any::<bool>()), 1..200),
    ) {
        const USERS: [&str; 3] = ["ada", "lin", "kim"];
        let rule = "rate_limit: {unit: second, requests_per_unit: 5}";
        let rules = USERS.map(|user| format!("  - {{key: user, value: {user}, {rule}}}\n"));
        let mut by_rule = Lab::new(&format!("domain: d\ndescriptors:\n{}", rules.concat()), 10);
        let mut by_value = Lab::new(PER_USER, 10);
        let mut since_look_ms = 0;
        for (user, pause_ms, looks) in steps {
            // Less than a window goes by between two looks.
            if since_look_ms + pause_ms >= 1_000 {
                by_value.look();
                since_look_ms = 0;
            }
            for lab in [&mut by_rule, &mut by_value] {
                lab.clock.advance_ms(pause_ms);
                lab.ask(&[("user", USERS[user])], 1);
            }
            since_look_ms += pause_ms;
            if looks {
                by_value.look();
                since_look_ms = 0;
            }
        }
        let expected: BTreeMap<String, RuleStats> = by_rule
            .rules
            .rules()
            .map(|(id, rule)| {
                let name = by_rule.rules.path(id).to_string().replacen("d.", "", 1);
                (name, by_rule.owned.region().rule_stats(rule.stats_index))
            })
            .filter(|(_, stats)| stats.total_hits > 0)
            .collect();
        prop_assert_eq!(by_value.shown(), expected);
    }
}

#[test]
fn a_call_across_the_limit_is_split_and_a_rule_in_shadow_mode_says_so() {
    let shadow = PER_USER.replace("value_to_metric", "shadow_mode: true\n    value_to_metric");
    let mut lab = Lab::new(&shadow, 10);
    lab.ask(&[("user", "ada")], 7);
    let expected = RuleStats {
        total_hits: 7,
        over_limit: 2,
        near_limit: 1,
        within_limit: 5,
        shadow_mode: 2,
        evicted_keys: 0,
    };
    assert_eq!(lab.shown()["user_ada"], expected);
}

#[test]
fn values_have_series_where_rules_ask_for_them_and_shared_counters_keep_their_pattern() {
    const RULES: &str = "
domain: d
descriptors:
  - key: plain
    rate_limit: {unit: hour, requests_per_unit: 5}
  - key: tenant
    value_to_metric: true
    descriptors:
      - key: path
        rate_limit: {unit: hour, requests_per_unit: 5}
      - key: file
        value: img/*
        share_threshold: true
        rate_limit: {unit: hour, requests_per_unit: 5}
      - key: method
        value: GET
        detailed_metric: true
        rate_limits:
          - {unit: hour, requests_per_unit: 5}
          - {unit: day, requests_per_unit: 50}
";
    let mut lab = Lab::new(RULES, 10);
    lab.ask(&[("plain", "x")], 1);
    lab.ask(&[("tenant", "a"), ("path", "/x")], 1);
    lab.ask(&[("tenant", "a"), ("path", "/y")], 1);
    lab.ask(&[("tenant", "b"), ("file", "img/1")], 1);
    lab.ask(&[("tenant", "b"), ("file", "img/2")], 2);
    lab.ask(&[("tenant", "b"), ("method", "GET")], 4);
    lab.look();
    let found: Vec<(String, String, u64)> = lab
        .observer
        .series()
        .into_iter()
        .map(|it| {
            (
                it.name.rule.clone(),
                it.name.levels.join("."),
                it.stats.total_hits,
            )
        })
        .collect();
    let expected = [
        ("d.tenant.file_img/*", "tenant_b.file_img/*", 3),
        ("d.tenant.method_GET", "tenant_b.method_GET", 4),
        ("d.tenant.method_GET#2", "tenant_b.method_GET", 4),
        ("d.tenant.path", "tenant_a.path", 2),
    ];
    let expected = expected.map(|(rule, levels, hits)| (rule.to_owned(), levels.to_owned(), hits));
    assert_eq!(found, expected);
}

#[test]
fn of_a_rule_that_does_not_count_what_it_refuses_only_hits_within_the_limit_are_known() {
    let gated = PER_USER.replace("unit: 5}", "unit: 5, hivemind: {count_denied: false}}");
    let mut lab = Lab::new(&gated, 10);
    for _ in 0..7 {
        lab.ask(&[("user", "ada")], 1);
    }
    lab.look();
    let series = lab.observer.series();
    assert!(!series[0].has_refused);
    let expected = RuleStats {
        within_limit: 5,
        ..RuleStats::default()
    };
    assert_eq!(series[0].stats, expected);
}

#[test]
fn hits_without_room_or_a_readable_key_are_counted_as_dropped() {
    let mut lab = Lab::new(PER_USER, 2);
    for user in ["ada", "lin"] {
        lab.ask(&[("user", user)], 1);
    }
    lab.look();
    lab.ask(&[("user", "kim")], 3);
    lab.ask(&[("user", &"x".repeat(60))], 4);
    lab.ask(&[("user", "ada")], 1);
    assert_eq!(lab.hits(), [named("user_ada", 2), named("user_lin", 1)]);
    let dropped = lab.observer.dropped();
    assert_eq!(dropped[Dropped::NoRoom as usize], 3);
    assert_eq!(dropped[Dropped::UnreadableKey as usize], 4);
    // An hour later those that nobody used give way.
    lab.clock.advance_s(3_599);
    lab.ask(&[("user", "ada")], 1);
    lab.look();
    lab.clock.advance_s(1);
    lab.ask(&[("user", "kim")], 1);
    assert_eq!(lab.hits(), [named("user_ada", 3), named("user_kim", 1)]);
}

#[test]
fn what_was_counted_before_anybody_looked_is_nobodys_growth() {
    let mut lab = Lab::new(&PER_USER.replace("value_to_metric: true", ""), 10);
    lab.ask(&[("user", "ada")], 2);
    assert_eq!(lab.hits(), []);
    lab.publish(PER_USER);
    assert_eq!(lab.hits(), []);
    lab.ask(&[("user", "ada")], 3);
    lab.ask(&[("user", "lin")], 1);
    assert_eq!(lab.hits(), [named("user_ada", 3), named("user_lin", 1)]);
    // Over a reload they stay, as long as the rule does.
    lab.publish(&PER_USER.replace("unit: 5", "unit: 500"));
    assert_eq!(lab.hits(), [named("user_ada", 3), named("user_lin", 1)]);
    lab.ask(&[("user", "ada")], 1);
    assert_eq!(lab.hits(), [named("user_ada", 4), named("user_lin", 1)]);
    lab.publish(&PER_USER.replace("user", "other"));
    assert_eq!(lab.hits(), []);
    // While the rule wants no series and another one does, nothing is put by for it.
    let other = PER_USER.replace("user", "other");
    let plain = PER_USER.replace("value_to_metric: true", "");
    let rule = |yaml: &str| yaml.split_once("descriptors:\n").unwrap().1.to_owned();
    lab.publish(&format!("{PER_USER}{}", rule(&other)));
    lab.ask(&[("user", "ada")], 1);
    assert_eq!(lab.hits(), [named("user_ada", 1)]);
    lab.publish(&format!("{plain}{}", rule(&other)));
    lab.ask(&[("user", "ada")], 7);
    assert_eq!(lab.hits(), []);
    lab.publish(&format!("{PER_USER}{}", rule(&other)));
    lab.ask(&[("user", "ada")], 1);
    assert_eq!(lab.hits(), [named("user_ada", 1)]);
}

#[test]
fn hits_of_peers_count_towards_the_limit_and_are_in_no_series() {
    let mut lab = Lab::new(PER_USER, 10);
    lab.ask(&[("user", "ada")], 1);
    lab.look();
    let counter = lab.owned.region().counters(START_S).next().unwrap();
    let key = Key {
        fingerprint: counter.fingerprint,
        period: counter.period,
    };
    let window = Period::from(Unit::Second).window_at(START_S);
    let region = lab.owned.region();
    region.put_remote(&key, window, 3, &lab.clock).unwrap();
    lab.ask(&[("user", "ada")], 2);
    let expected = RuleStats {
        total_hits: 3,
        over_limit: 1,
        near_limit: 1,
        within_limit: 2,
        shadow_mode: 0,
        evicted_keys: 0,
    };
    assert_eq!(lab.shown()["user_ada"], expected);
}

#[test]
fn a_request_with_its_own_limit_does_not_make_hits_of_the_rule_count_twice() {
    use hivemind_shared::descriptor::LimitOverride;
    let mut lab = Lab::new(PER_USER, 10);
    lab.ask(&[("user", "ada")], 2);
    lab.look();
    lab.publish(&PER_USER.replace("unit: 5", "unit: 500"));
    let entries = [Entry::new("user", "ada")];
    let own = Descriptor {
        limit: Some(LimitOverride {
            requests_per_unit: 9,
            period: Unit::Second.into(),
        }),
        ..Descriptor::new(&entries)
    };
    lab.limiter
        .decide(b"d", &[own], 1, &mut lab.decision)
        .unwrap();
    for _ in 0..100 {
        lab.look();
    }
    lab.ask(&[("user", "ada")], 1);
    // The counter is one, and so is what it grew by.
    assert_eq!(lab.hits(), [named("user_ada", 4)]);
}

#[test]
fn a_clock_that_is_set_back_makes_nothing_count_twice() {
    let mut lab = Lab::new(PER_USER, 10);
    lab.clock.advance_s(10);
    lab.ask(&[("user", "ada")], 2);
    assert_eq!(lab.hits(), [named("user_ada", 2)]);
    lab.clock.set(START_S);
    for _ in 0..3 {
        lab.ask(&[("user", "ada")], 1);
        lab.look();
    }
    lab.clock.advance_s(11);
    lab.ask(&[("user", "ada")], 1);
    // Of the first hit by the other clock nobody knows whether it is new.
    assert_eq!(lab.hits(), [named("user_ada", 5)]);
}

#[test]
fn a_thread_that_dies_degrades_metrics() {
    let health = Health::starting();
    crate::panics::die_with(death_notice(health.clone()));
    assert!(matches!(health.now().metrics, State::Degraded(_)));
}
