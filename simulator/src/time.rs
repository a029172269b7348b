//! Virtual time: microseconds since the simulation began.

/// A millisecond in microseconds.
pub const MILLISECOND_US: u64 = 1_000;

/// A second in microseconds.
pub const SECOND_US: u64 = 1_000_000;

/// A non-negative number without its fraction; what is not a number is 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates at both ends, which is what is wanted"
)]
pub(crate) const fn whole(value: f64) -> u64 {
    value as u64
}
