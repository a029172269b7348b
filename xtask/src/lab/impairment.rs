//! What a link does to packets, and the dice that decide it.

use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng as _, RngExt as _, SeedableRng as _};

/// How badly one direction of a link behaves. The default is a perfect one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Impairment {
    /// Share of packets that are lost, 0 to 1.
    pub loss: f64,
    /// Share of packets that arrive twice, 0 to 1. The copy has a delay of its own.
    pub duplicate: f64,
    /// Share of packets that are held back by up to [`Self::reorder_us`] more, 0 to 1.
    pub reorder: f64,
    /// The most that a packet is held back for reordering, microseconds.
    pub reorder_us: u64,
    /// How long every packet takes at least, microseconds.
    pub delay_us: u64,
    /// How much longer it may take, microseconds: evenly distributed from 0 to this.
    pub jitter_us: u64,
    /// Nothing gets through.
    pub cut: bool,
    /// All of this is for UDP alone; other packets pass at once.
    pub udp_only: bool,
}

impl Impairment {
    /// A wire on which nothing happens.
    pub const NONE: Self = Self {
        loss: 0.0,
        duplicate: 0.0,
        reorder: 0.0,
        reorder_us: 5_000,
        delay_us: 0,
        jitter_us: 0,
        cut: false,
        udp_only: false,
    };
}

impl Default for Impairment {
    fn default() -> Self {
        Self::NONE
    }
}

/// What becomes of one packet: how long each of its copies takes. None at all: it is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fate {
    /// The packet, unless it is lost.
    pub(super) first: Option<Duration>,
    /// Its copy, if there is one.
    pub(super) second: Option<Duration>,
}

/// The dice of one direction of a link.
///
/// A packet's throw depends on the seed, the direction and the packet's number alone: neither on the
/// time, nor on other links, nor on what the settings were for the packets before.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dice {
    seed: u64,
}

impl Dice {
    /// The dice for what `from` sends to `to`, in a lab with this seed.
    pub(super) fn new(seed: u64, from: usize, to: usize) -> Self {
        // Two rounds: with the numbers mixed in but once, neighbouring seeds would only swap packets.
        let link = ((from as u64) << 32) | to as u64;
        let lab = Xoshiro256PlusPlus::seed_from_u64(seed).next_u64();
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(lab.wrapping_add(link));
        Self {
            seed: rng.next_u64(),
        }
    }

    /// The fate of the packet with this number.
    pub(super) fn throw(self, number: u64, impairment: &Impairment) -> Fate {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(self.seed.wrapping_add(number));
        // Always as many draws in the same order, whatever the settings.
        let lost = rng.random::<f64>() < impairment.loss;
        let doubled = rng.random::<f64>() < impairment.duplicate;
        let mut takes = || {
            let held_back = rng.random::<f64>() < impairment.reorder;
            let jitter_us = rng.random_range(0..=impairment.jitter_us);
            let extra_us = rng.random_range(0..=impairment.reorder_us);
            let delay_us = impairment.delay_us.saturating_add(jitter_us);
            Duration::from_micros(delay_us.saturating_add(if held_back { extra_us } else { 0 }))
        };
        let (first, second) = (takes(), takes());
        Fate {
            first: (!lost).then_some(first),
            second: (!lost && doubled).then_some(second),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BAD: Impairment = Impairment {
        loss: 0.3,
        duplicate: 0.2,
        reorder: 0.1,
        jitter_us: 700,
        ..Impairment::NONE
    };

    fn throws(seed: u64, from: usize, to: usize) -> Vec<Fate> {
        let dice = Dice::new(seed, from, to);
        (0..1_000).map(|number| dice.throw(number, &BAD)).collect()
    }

    #[test]
    fn the_same_seed_throws_the_same_and_another_does_not() {
        assert_eq!(throws(1, 0, 1), throws(1, 0, 1));
        assert_ne!(throws(1, 0, 1), throws(2, 0, 1));
        assert_ne!(throws(1, 0, 1), throws(1, 1, 0));
    }

    #[test]
    fn shares_are_what_the_settings_say() {
        let dice = Dice::new(7, 0, 1);
        let fates: Vec<Fate> = (0..20_000).map(|number| dice.throw(number, &BAD)).collect();
        let lost = fates.iter().filter(|it| it.first.is_none()).count();
        let doubled = fates.iter().filter(|it| it.second.is_some()).count();
        assert!((5_700..6_300).contains(&lost), "{lost} of 6,000");
        assert!((2_500..3_100).contains(&doubled), "{doubled} of 2,800");
    }

    #[test]
    fn a_setting_does_not_change_what_the_others_decide() {
        let dice = Dice::new(7, 0, 1);
        let slower = Impairment {
            delay_us: 1_000,
            duplicate: 0.0,
            ..BAD
        };
        for number in 0..1_000 {
            let (one, other) = (dice.throw(number, &BAD), dice.throw(number, &slower));
            let later = one.first.map(|takes| takes + Duration::from_millis(1));
            assert_eq!((later, None), (other.first, other.second));
        }
    }

    #[test]
    fn a_perfect_link_does_nothing() {
        let fate = Dice::new(7, 0, 1).throw(3, &Impairment::NONE);
        assert_eq!((fate.first, fate.second), (Some(Duration::ZERO), None));
    }
}
