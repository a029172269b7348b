//! Which statistics counters belong to which rule.

use std::collections::{HashMap, HashSet};

use super::set::RuleSet;

/// Gives every rule of `new` its place among the region's `capacity` statistics counters.
///
/// A rule keeps the place it had in `previous`, recognised by its [path](RuleSet::path); a new one takes
/// the lowest that is free. Rules with the same path, which no reader could tell apart, share a place.
/// The last place is kept for overflow: rules for which there is no other share it, and get one of
/// their own at the first reload that has room.
///
/// A place that changes hands keeps its counts. The owner of the region zeroes those of places that are
/// new in a set before it publishes the set.
pub fn assign_stats(new: &mut RuleSet, previous: Option<&RuleSet>, capacity: u32) {
    let overflow = capacity.saturating_sub(1);
    let paths: Vec<String> = new
        .rules()
        .map(|(id, _)| new.path(id).to_string())
        .collect();
    let wanted: HashSet<&str> = paths.iter().map(String::as_str).collect();
    let mut places: HashMap<String, u32> = HashMap::new();
    let mut taken: HashSet<u32> = HashSet::new();
    for (id, rule) in previous.iter().flat_map(|previous| previous.rules()) {
        let path = previous
            .map(|previous| previous.path(id).to_string())
            .unwrap_or_default();
        let kept = rule.stats_index < overflow && wanted.contains(path.as_str());
        if kept && taken.insert(rule.stats_index) {
            places.insert(path, rule.stats_index);
        }
    }
    let mut free = (0..overflow).filter(|index| !taken.contains(index));
    for (rule, path) in new.rules.iter_mut().zip(paths) {
        rule.stats_index = *places
            .entry(path)
            .or_insert_with(|| free.next().unwrap_or(overflow));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::tests::{draft_of, indexes};

    #[test]
    fn rules_keep_their_place_over_a_reload_and_new_ones_take_the_lowest_free() {
        let mut first = draft_of(&["a", "b", "c"]);
        assign_stats(&mut first, None, 10);
        assert_eq!(
            indexes(&first),
            [("d.a".into(), 0), ("d.b".into(), 1), ("d.c".into(), 2)]
        );

        let mut second = draft_of(&["new", "c", "a", "newer"]);
        assign_stats(&mut second, Some(&first), 10);
        assert_eq!(
            indexes(&second),
            [
                ("d.new".into(), 1),
                ("d.c".into(), 2),
                ("d.a".into(), 0),
                ("d.newer".into(), 3)
            ]
        );
    }

    #[test]
    fn without_room_the_last_place_is_shared_until_there_is() {
        let mut full = draft_of(&["a", "b", "c", "d"]);
        assign_stats(&mut full, None, 3);
        let places: Vec<u32> = indexes(&full).into_iter().map(|(_, index)| index).collect();
        assert_eq!(places, [0, 1, 2, 2]);

        let mut fewer = draft_of(&["d", "b"]);
        assign_stats(&mut fewer, Some(&full), 3);
        assert_eq!(indexes(&fewer), [("d.d".into(), 0), ("d.b".into(), 1)]);
    }

    #[test]
    fn no_capacity_is_survived() {
        let mut rules = draft_of(&["a", "b"]);
        for capacity in [0, 1] {
            assign_stats(&mut rules, None, capacity);
            assert!(indexes(&rules).iter().all(|(_, index)| *index == 0));
        }
    }
}
