//! Randomness, all of it from one seed.
//!
//! Every purpose has a stream of its own, so that a draw more in one place changes nothing in another,
//! and runs of two versions of the code stay comparable.

use rand::rngs::SmallRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

use crate::time::whole;

/// Where streams come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(u64);

impl Seed {
    /// The seed with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Another seed for a purpose and a number, say of a node. The same ones give the same seed.
    #[must_use]
    pub fn split(self, purpose: &str, number: u64) -> Self {
        let mut mixed = mix(self.0);
        for byte in purpose.bytes() {
            mixed = mix(mixed ^ u64::from(byte));
        }
        Self(mix(mixed ^ mix(number)))
    }

    /// The seed as a number.
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The stream for a purpose.
    pub fn stream(self, purpose: &str) -> Stream {
        Stream(SmallRng::seed_from_u64(self.split(purpose, 0).0))
    }
}

/// One step of SplitMix64: near numbers become far ones.
const fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Random numbers for one purpose.
#[derive(Clone, Debug)]
pub struct Stream(SmallRng);

impl Stream {
    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number from 0 to below 1.
    pub fn fraction(&mut self) -> f64 {
        self.0.random()
    }

    /// True with this probability, 0 to 1. Always takes one draw.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.fraction() < probability
    }

    /// A number from `least` to `most`, both included; `least` when there is nothing between.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        self.0.random_range(least..=most.max(least))
    }

    /// A number from `least` to `most` whose logarithm is evenly spread: as often between 1 and 10 as
    /// between 10 and 100. Both are above 0.
    pub fn between_log(&mut self, least: f64, most: f64) -> f64 {
        least * (most / least).powf(self.fraction())
    }

    /// A place in a list of this many, 0 when there is none.
    pub fn place(&mut self, count: usize) -> usize {
        self.0.random_range(0..count.max(1))
    }

    /// Microseconds until the next of events that come by chance, this far apart on average.
    pub fn gap_us(&mut self, mean_us: f64) -> u64 {
        whole(-mean_us * (1.0 - self.fraction()).ln()).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(mut stream: Stream) -> [u64; 8] {
        std::array::from_fn(|_| stream.number())
    }

    #[test]
    fn the_same_seed_and_purpose_give_the_same_numbers() {
        let stream = || Seed::new(7).stream("loss");
        assert_eq!(numbers(stream()), numbers(stream()));
    }

    #[test]
    fn purposes_numbers_and_seeds_have_streams_of_their_own() {
        let streams = [
            Seed::new(7).stream("loss"),
            Seed::new(8).stream("loss"),
            Seed::new(7).stream("delay"),
            Seed::new(7).split("node", 0).stream("loss"),
            Seed::new(7).split("node", 1).stream("loss"),
        ];
        let different: std::collections::BTreeSet<_> = streams.into_iter().map(numbers).collect();
        assert_eq!(different.len(), 5);
    }

    #[test]
    fn a_chance_comes_as_often_as_it_says() {
        let mut stream = Seed::new(1).stream("chance");
        let hits = (0..100_000).filter(|_| stream.chance(0.3)).count();
        assert!((29_000..31_000).contains(&hits), "{hits}");
        assert!((0..1_000).all(|_| !stream.chance(0.0)));
        assert!((0..1_000).all(|_| stream.chance(1.0)));
    }

    #[test]
    fn gaps_are_on_average_as_long_as_they_should_be() {
        let mut stream = Seed::new(1).stream("gap");
        let sum: u64 = (0..100_000).map(|_| stream.gap_us(500.0)).sum();
        assert!((49_000_000..51_000_000).contains(&sum), "{sum}");
    }
}
