//! "Did you mean …?"

/// The candidate closest to `word`, when one is close enough to be what was meant: at most a third of
/// the letters differ, upper and lower case counting as the same.
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word: Vec<char> = word.chars().flat_map(char::to_lowercase).collect();
    let tolerance = (word.len() / 3).max(1);
    candidates
        .into_iter()
        // Longer differences in length cannot be within the tolerance, and need no table.
        .filter(|candidate| candidate.chars().count().abs_diff(word.len()) <= tolerance)
        .map(|candidate| {
            let letters: Vec<char> = candidate.chars().flat_map(char::to_lowercase).collect();
            (distance(&word, &letters), candidate)
        })
        .filter(|(distance, _)| *distance <= tolerance)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edit distance: letters inserted, left out, replaced, or two neighbours swapped.
fn distance(from: &[char], to: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (row, from_letter) in from.iter().enumerate() {
        let mut current = Vec::with_capacity(to.len() + 1);
        current.push(row + 1);
        for (column, to_letter) in to.iter().enumerate() {
            let replaced = last[column] + usize::from(from_letter != to_letter);
            let mut best = replaced.min(last[column + 1] + 1).min(current[column] + 1);
            let swapped = row > 0
                && column > 0
                && from[row - 1] == *to_letter
                && *from_letter == to[column - 1];
            if swapped {
                best = best.min(before_last[column - 1] + 1);
            }
            current.push(best);
        }
        before_last = last;
        last = current;
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 5] = [
        "domain",
        "descriptors",
        "requests_per_unit",
        "unit",
        "unlimited",
    ];

    #[test]
    fn the_closest_key_is_suggested() {
        for (written, meant) in [
            ("requestsperunit", "requests_per_unit"),
            ("descriptor", "descriptors"),
            ("Domain", "domain"),
            ("dmoain", "domain"),
            ("units", "unit"),
            ("unlimted", "unlimited"),
        ] {
            assert_eq!(closest(written, KEYS), Some(meant), "{written}");
        }
    }

    #[test]
    fn nothing_is_suggested_for_something_else_entirely() {
        assert_eq!(closest("", KEYS), None);
        assert_eq!(closest("color", KEYS), None);
        assert_eq!(closest(&"x".repeat(10_000), KEYS), None);
    }

    #[test]
    fn distance_counts_edits() {
        let letters = |text: &str| text.chars().collect::<Vec<_>>();
        assert_eq!(distance(&letters("kitten"), &letters("sitting")), 3);
        assert_eq!(distance(&letters("ab"), &letters("ba")), 1);
        assert_eq!(distance(&letters(""), &letters("abc")), 3);
    }
}
