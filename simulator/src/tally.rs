//! What a way of deciding lets pass.

/// Hits of one key in one window as one way of deciding has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Hits that pass.
    pub passed: u64,
    /// Hits that are refused too early: of requests with which all nodes together are still within the
    /// limit.
    pub early: u64,
}

impl Tally {
    /// Notes a request. `is_within` says whether all nodes together, this request included, are within
    /// the limit.
    pub fn note(&mut self, hits: u32, passes: bool, is_within: bool) {
        if passes {
            self.passed += u64::from(hits);
        } else if is_within {
            self.early += u64::from(hits);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_refusal_within_the_limit_is_too_early() {
        let mut tally = Tally::default();
        for (passes, is_within) in [(true, true), (true, false), (false, true), (false, false)] {
            tally.note(3, passes, is_within);
        }
        let expected = Tally {
            passed: 6,
            early: 3,
        };
        assert_eq!(tally, expected);
    }
}
