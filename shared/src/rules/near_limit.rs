//! When hits are near a limit.

/// The share of a limit above which hits count as near it, 0 to 1. They are told apart in statistics and
/// nowhere else.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NearLimitRatio(f32);

impl NearLimitRatio {
    /// A share; `None` when it is not from 0 to 1.
    pub fn new(ratio: f32) -> Option<Self> {
        (0.0..=1.0).contains(&ratio).then_some(Self(ratio))
    }

    /// The share.
    pub const fn get(self) -> f32 {
        self.0
    }

    /// The share from its bits, as [`Self::bits`] gave them.
    pub(super) fn from_bits(bits: u32) -> Option<Self> {
        Self::new(f32::from_bits(bits))
    }

    /// The share as the bits of a number in single precision.
    pub(super) fn bits(self) -> u32 {
        self.0.to_bits()
    }

    /// Hits up to which this limit is not near, rounded down in single precision as the reference rounds.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "neither negative nor, with the cast's saturation, beyond the limit"
    )]
    pub(super) fn threshold(self, limit: u32) -> u32 {
        // A limit beyond 2^24 may be rounded up on the way.
        ((limit as f32 * self.0).floor() as u32).min(limit)
    }
}

impl Default for NearLimitRatio {
    /// Four fifths.
    fn default() -> Self {
        Self(0.8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threshold(ratio: f32, limit: u32) -> u32 {
        NearLimitRatio::new(ratio).unwrap().threshold(limit)
    }

    #[test]
    fn thresholds_are_rounded_down_in_single_precision() {
        let default = NearLimitRatio::default();
        // 0.8 is a little more in single precision, and products with it are rounded once more.
        for (limit, expected) in [
            (0, 0),
            (1, 0),
            (5, 4),
            (9, 7),
            (10, 8),
            (4_294_967_295, 3_435_973_888),
        ] {
            assert_eq!(default.threshold(limit), expected, "{limit}");
        }
        // 9.9 in double precision; and 7/10 of ten is seven only after rounding.
        assert_eq!(threshold(0.99, 10), 9);
        assert_eq!(threshold(0.7, 10), 7);
        assert_eq!(threshold(0.29, 100), 29);
    }

    #[test]
    fn the_ends_of_the_range_are_all_hits_and_none() {
        assert_eq!(threshold(0.0, u32::MAX), 0);
        for limit in [0, 1, 16_777_217, 16_777_219, u32::MAX - 1, u32::MAX] {
            let threshold = threshold(1.0, limit);
            assert!(limit - threshold <= 1 && threshold <= limit, "{limit}");
        }
        for wrong in [-0.1, 1.000_1, f32::NAN, f32::INFINITY] {
            assert_eq!(NearLimitRatio::new(wrong), None, "{wrong}");
        }
    }
}
