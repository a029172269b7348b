//! Encoding and decoding, and what damaged or made-up bytes come to.

use std::num::NonZeroU32;
use std::sync::Arc;

use proptest::prelude::*;

use super::matching::{requests, trees};
use super::{Tree, compile_trees, rule};
use crate::descriptor::Entry;
use crate::rules::compile::{CompileError, DEPTH_MAX, DESCRIPTORS_MAX, Draft, DraftNode, compile};
use crate::rules::rule::{Algorithm, Modes, Origin, Rule, RuleLimit};
use crate::rules::set::{Parent, RuleSet};
use crate::rules::wire::{VERSION, put_number};
use crate::rules::{DecodeError, NearLimitRatio, decode, encode};
use crate::window::{Period, Unit};

/// Uses every part of what was decoded, as a reader of a region would.
fn exercise(rules: &RuleSet, request: &[(String, String)]) {
    let request: Vec<Entry<'_>> = request
        .iter()
        .map(|(key, value)| Entry::new(key, value))
        .collect();
    let domains: Vec<String> = rules.domains().map(str::to_owned).collect();
    for domain in domains {
        let _ = rules.find(domain.as_bytes(), &request);
    }
    for (id, rule) in rules.rules().take(50) {
        let _ = rules.path(id).to_string();
        let _ = rules.shared_value(id, 0);
        assert!(rule.replaces.iter().all(|name| name.len() < usize::MAX));
    }
}

proptest! {
    #[test]
    fn decoding_what_was_encoded_gives_the_same_rules(trees in trees(), requests in prop::collection::vec(requests(), 1..20)) {
        let rules = compile_trees(&trees);
        let bytes = encode(&rules);
        let decoded = decode(&bytes).unwrap();
        prop_assert_eq!(encode(&decoded), bytes);
        for request in requests {
            let request: Vec<Entry<'_>> = request.iter().map(|(key, value)| Entry::new(key, value)).collect();
            prop_assert_eq!(decoded.find(b"d", &request), rules.find(b"d", &request));
        }
    }

    #[test]
    fn damaged_bytes_end_in_an_error_or_in_other_rules(
        trees in trees(),
        request in requests(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = encode(&compile_trees(&trees));
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(rules) = decode(&bytes) {
            exercise(&rules, &request);
        }
    }

    #[test]
    fn random_bytes_end_in_an_error_or_in_rules(
        bytes in prop::collection::vec(prop_oneof![3 => 0..8_u8, 1 => any::<u8>()], 0..200),
        request in requests(),
    ) {
        let mut bytes = bytes;
        if let Some(version) = bytes.first_mut() {
            *version = VERSION;
        }
        if let Ok(rules) = decode(&bytes) {
            exercise(&rules, &request);
        }
    }
}

#[test]
fn every_part_of_a_rule_survives() {
    let full = Rule {
        name: Arc::from("own"),
        replaces: [Arc::from("one"), Arc::from("two")].into(),
        shadow_mode: true,
        quota_mode: true,
        detailed_metric: true,
        metadata: Some(Arc::from(r#"{"a":1}"#)),
        stats_index: 300,
        origin: Origin {
            file: Arc::from("file.yaml"),
            line: 70_000,
        },
        ..rule(u32::MAX)
    };
    let rules = [
        full,
        Rule {
            algorithm: Algorithm::SlidingWindow,
            count_denied: false,
            debt: Some(u32::MAX),
            shadow_mode: true,
            ..rule(0)
        },
        Rule {
            algorithm: Algorithm::TokenBucket {
                burst: NonZeroU32::new(70_000).unwrap(),
            },
            count_denied: false,
            ..rule(7)
        },
        Rule {
            limit: RuleLimit::Unlimited,
            quota_mode: true,
            ..rule(0)
        },
        Rule {
            limit: RuleLimit::Limited {
                requests_per_unit: 1,
                period: Period::new(Unit::Year, 3).unwrap(),
            },
            detailed_metric: true,
            ..rule(0)
        },
        Rule {
            metadata: Some(Arc::from("{}")),
            ..rule(0)
        },
    ];
    let nodes = rules
        .into_iter()
        .enumerate()
        .map(|(position, rule)| DraftNode {
            parent: Parent::Domain(0),
            key: Arc::from("k"),
            value: (position > 0).then(|| Arc::from(format!("v{position}*"))),
            share: position % 2 == 1,
            metric_value: position % 3 == 1,
            rules: match position {
                0 => vec![rule.clone(), rule],
                _ => vec![rule],
            },
        });
    let before = compile(Draft {
        modes: Modes {
            shadow: true,
            quota: true,
            denied_uncounted: true,
        },
        near_limit_ratio: NearLimitRatio::new(0.25).unwrap(),
        domains: vec![Arc::from("d")],
        nodes: nodes.collect(),
    })
    .unwrap();
    let after = decode(&encode(&before)).unwrap();
    assert_eq!(after.modes(), before.modes());
    assert_eq!(after.rules().len(), 7);
    for ((_, before), (_, after)) in before.rules().zip(after.rules()) {
        assert_eq!(before, after);
    }
}

#[test]
fn another_version_is_named() {
    assert_eq!(decode(&[9]).unwrap_err(), DecodeError::Version { found: 9 });
    assert_eq!(
        decode(&[]).unwrap_err(),
        DecodeError::Truncated { offset: 0 }
    );
}

#[test]
fn bytes_after_the_last_rule_are_an_error() {
    let mut bytes = encode(&compile_trees(&[]));
    let end = bytes.len();
    bytes.push(0);
    assert_eq!(
        decode(&bytes).unwrap_err(),
        DecodeError::Trailing { offset: end }
    );
}

#[test]
fn an_encoding_cut_short_anywhere_is_an_error() {
    let leaf = Tree {
        key: "key".to_owned(),
        value: Some("value*".to_owned()),
        rule: Some(1),
        ..Tree::default()
    };
    let bytes = encode(&compile_trees(&[Tree {
        key: "outer".to_owned(),
        children: vec![leaf],
        ..Tree::default()
    }]));
    assert!(decode(&bytes).is_ok());
    for end in 0..bytes.len() {
        assert!(decode(&bytes[..end]).is_err(), "{end}");
    }
}

/// The start of an encoding with a ratio of 0, the texts "" and "k" and one domain.
fn header() -> Vec<u8> {
    vec![VERSION, 0, 0, 2, 0, 1, b'k', 1, 1]
}

#[test]
fn counts_beyond_the_bytes_are_refused_before_anything_is_allocated() {
    let mut bytes = header();
    put_number(&mut bytes, u32::MAX);
    assert!(matches!(decode(&bytes), Err(DecodeError::Truncated { .. })));
    let mut bytes = vec![VERSION, 0, 0];
    put_number(&mut bytes, u32::MAX);
    assert!(matches!(decode(&bytes), Err(DecodeError::Truncated { .. })));
}

#[test]
fn a_ratio_that_is_no_share_is_refused() {
    for wrong in [-0.5, 1.5, f32::NAN, f32::INFINITY] {
        let mut bytes = vec![VERSION, 0];
        put_number(&mut bytes, wrong.to_bits());
        assert!(
            matches!(decode(&bytes), Err(DecodeError::Unknown { .. })),
            "{wrong}"
        );
    }
}

#[test]
fn more_descriptors_than_allowed_are_refused() {
    let count = DESCRIPTORS_MAX + 1;
    let mut bytes = header();
    put_number(&mut bytes, u32::try_from(count).unwrap());
    bytes.resize(bytes.len() + count * 3, 0);
    assert_eq!(
        decode(&bytes).unwrap_err(),
        CompileError::TooMany(count).into()
    );
}

#[test]
fn descriptors_that_are_no_tree_are_refused() {
    let error = |nodes: &[[u8; 3]]| {
        let mut bytes = header();
        put_number(&mut bytes, u32::try_from(nodes.len()).unwrap());
        bytes.extend(nodes.iter().flatten());
        decode(&bytes).unwrap_err()
    };
    // Parent, key, flags: descriptor 0 below itself, below a later one, without a key, and twice.
    assert_eq!(error(&[[1, 1, 0]]), CompileError::Orphan(0).into());
    assert_eq!(
        error(&[[0, 1, 0], [3, 1, 0]]),
        CompileError::Orphan(1).into()
    );
    assert_eq!(error(&[[0, 0, 0]]), CompileError::Empty(0).into());
    assert_eq!(
        error(&[[0, 1, 0], [0, 1, 0]]),
        CompileError::DuplicateDescriptor(1).into()
    );
    // A flag and a text that do not exist.
    assert!(matches!(
        error(&[[0, 1, 0x80]]),
        DecodeError::Unknown { .. }
    ));
    assert!(matches!(error(&[[0, 7, 0]]), DecodeError::Unknown { .. }));
}

#[test]
fn depth_is_bounded_where_the_bits_of_a_level_end() {
    let chain = |depth: usize| {
        let nodes = (0..depth).map(|position| DraftNode {
            parent: match position.checked_sub(1) {
                None => Parent::Domain(0),
                Some(above) => Parent::Node(u32::try_from(above).unwrap()),
            },
            key: Arc::from("k"),
            value: Some(Arc::from("*")),
            share: true,
            metric_value: false,
            rules: vec![rule(0)],
        });
        compile(Draft {
            domains: vec![Arc::from("d")],
            nodes: nodes.collect(),
            ..Draft::default()
        })
    };
    assert_eq!(
        chain(DEPTH_MAX + 1).unwrap_err(),
        CompileError::TooDeep(DEPTH_MAX)
    );
    let rules = chain(DEPTH_MAX).unwrap();
    let entries = vec![Entry::new("k", "v"); DEPTH_MAX];
    let crate::rules::Lookup::Rule(id) = rules.find(b"d", &entries) else {
        panic!("no rule")
    };
    assert_eq!(rules.rule(id).unwrap().shared_levels(), u64::MAX);
    for level in 0..DEPTH_MAX {
        assert_eq!(rules.shared_value(id, level), Some(&b"*"[..]));
    }
    assert_eq!(rules.shared_value(id, DEPTH_MAX), None);
}
