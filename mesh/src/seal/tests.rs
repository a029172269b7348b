//! Sealer and opener together.

use proptest::prelude::*;

use super::*;
use crate::drops::DropCause;
use crate::time::Now;

const CLUSTER: &str = "prod";

const NOW: Now = Now {
    monotonic_us: 1_000_000,
    unix_us: 1_700_000_000_000_000,
};

const ANN: SenderId = SenderId {
    actor: 1,
    incarnation: 5,
    session: 0xA11CE,
};
const BOB: SenderId = SenderId {
    actor: 2,
    incarnation: 9,
    session: 0xB0B,
};

/// A ring whose seal keys are these bytes, 32 times.
fn ring(keys: &[u8]) -> KeyRing {
    let seals = keys
        .iter()
        .map(|key| format!("seal {}\n", format!("{key:02x}").repeat(32)));
    let text = format!("hash {}\n{}", "5a".repeat(16), seals.collect::<String>());
    KeyRing::parse(&text).unwrap()
}

fn seal(sealer: &mut Sealer, body: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    sealer
        .seal(&mut datagram, |buffer| buffer.extend_from_slice(body))
        .unwrap();
    datagram
}

/// What becomes of a datagram; its bytes stay as they are.
fn open(opener: &mut Opener, datagram: &[u8]) -> Result<(SenderId, u64, Vec<u8>), DropCause> {
    open_after(0, opener, datagram)
}

/// The same, so many seconds later.
fn open_after(
    seconds: u64,
    opener: &mut Opener,
    datagram: &[u8],
) -> Result<(SenderId, u64, Vec<u8>), DropCause> {
    let mut datagram = datagram.to_vec();
    let now = Now {
        monotonic_us: NOW.monotonic_us + seconds * 1_000_000,
        unix_us: NOW.unix_us + seconds * 1_000_000,
    };
    let opened = opener.open(now, &mut datagram)?;
    Ok((opened.sender, opened.sequence, opened.body.to_vec()))
}

/// Ann's sealer, and Bob's opener.
fn pair(keys: &KeyRing) -> (Sealer, Opener) {
    (
        Sealer::new(keys, CLUSTER, ANN),
        Opener::new(keys, CLUSTER, BOB),
    )
}

/// What becomes of a new datagram from one ring to another.
fn talk(from: &KeyRing, to: &KeyRing) -> Result<(), DropCause> {
    let datagram = seal(&mut Sealer::new(from, CLUSTER, ANN), b"body");
    open(&mut Opener::new(to, CLUSTER, BOB), &datagram).map(drop)
}

proptest! {
    #[test]
    fn any_body_comes_out_as_it_went_in(body: Vec<u8>, before: Vec<u8>, secret: bool) {
        let keys = if secret { ring(&[1]) } else { KeyRing::open(CLUSTER) };
        let (mut sealer, mut opener) = pair(&keys);
        let mut buffer = before.clone();
        let sequence = sealer.seal(&mut buffer, |buffer| buffer.extend_from_slice(&body)).unwrap();
        prop_assert_eq!(&buffer[..before.len()], &before[..]);
        let datagram = &mut buffer[before.len()..];
        prop_assert_eq!(datagram.len(), body.len() + OVERHEAD_BYTES);
        let expected = Opened { sender: ANN, sequence, body: &body };
        prop_assert_eq!(opener.open(NOW, datagram), Ok(expected));
    }

    #[test]
    fn no_changed_datagram_opens(
        body in prop::collection::vec(any::<u8>(), 0..200),
        changes in prop::collection::vec((any::<prop::sample::Index>(), 1..=255_u8), 1..4),
        known: bool,
    ) {
        let (mut sealer, mut opener) = pair(&ring(&[1, 2]));
        if known {
            open(&mut opener, &seal(&mut sealer, b"first")).unwrap();
        }
        let datagram = seal(&mut sealer, &body);
        let mut changed = datagram.clone();
        for (index, mask) in changes {
            changed[index.index(datagram.len())] ^= mask;
        }
        prop_assume!(changed != datagram);
        prop_assert!(open(&mut opener, &changed).is_err());
        // Nor does it keep the true one out.
        prop_assert!(open(&mut opener, &datagram).is_ok());
    }

    #[test]
    fn no_cut_or_lengthened_datagram_opens(body: Vec<u8>, cut: prop::sample::Index, more: u8) {
        let (mut sealer, mut opener) = pair(&ring(&[1]));
        let mut datagram = seal(&mut sealer, &body);
        let length = cut.index(datagram.len());
        prop_assert!(open(&mut opener, &datagram[..length]).is_err());
        datagram.push(more);
        prop_assert_eq!(open(&mut opener, &datagram), Err(DropCause::Unauthentic));
    }

    #[test]
    fn any_bytes_are_dropped(mut bytes: Vec<u8>) {
        prop_assert!(Opener::new(&ring(&[1]), CLUSTER, BOB).open(NOW, &mut bytes).is_err());
    }
}

#[test]
fn every_bit_is_protected() {
    let (mut sealer, mut opener) = pair(&ring(&[1]));
    let datagram = seal(&mut sealer, b"ten bytes.");
    for bit in 0..datagram.len() * 8 {
        let mut changed = datagram.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&mut opener, &changed).is_err(), "bit {bit}");
    }
    assert!(open(&mut opener, &datagram).is_ok());
}

/// The datagrams were made by another implementation, in Python, from the documentation.
#[test]
fn the_layout_and_the_keys_are_as_documented() {
    let sender = SenderId {
        actor: 0x0102_0304_0506_0708,
        incarnation: 0x0A0B_0C0D_0E0F,
        session: 0x1112_1314_1516_1718,
    };
    let secret = KeyRing::parse(
        "hash 00000000000000000000000000000000\n\
         seal 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n",
    );
    for (keys, expected) in [
        (
            secret.unwrap(),
            "48026754af96b4c4142f08070605040302010f0e0d0c0b0a1817161514131211010000000000\
             970dc74e06175e9d702e0395198cc2f971042bd7f4",
        ),
        (
            KeyRing::open(CLUSTER),
            "48026754af960000000008070605040302010f0e0d0c0b0a1817161514131211010000000000\
             5346f5b5a1d7867a3efe3ee6a79706740e8f759381",
        ),
    ] {
        let datagram = seal(&mut Sealer::new(&keys, CLUSTER, sender), b"hello");
        let hex: String = datagram.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, expected);
    }
    let hash_key = 0xae3f_4c34_1648_8733_0e18_080e_602c_2c0c_u128.to_be_bytes();
    assert_eq!(KeyRing::open(CLUSTER).hash_key(), hash_key);
}

#[test]
fn the_body_is_not_readable_on_the_wire() {
    let body = b"a secret of many bytes";
    let datagram = seal(&mut pair(&ring(&[1])).0, body);
    assert!(!datagram.windows(8).any(|part| part == &body[..8]));
}

#[test]
fn a_datagram_opens_once_at_each_receiver() {
    let (mut sealer, mut opener) = pair(&ring(&[1]));
    let datagrams: Vec<_> = (0..3).map(|_| seal(&mut sealer, b"body")).collect();
    for number in [1, 0, 2] {
        assert!(open(&mut opener, &datagrams[number]).is_ok());
    }
    for datagram in &datagrams {
        assert_eq!(open(&mut opener, datagram), Err(DropCause::Replayed));
    }
    let carol = SenderId { actor: 3, ..BOB };
    let mut another = Opener::new(&ring(&[1]), CLUSTER, carol);
    assert!(open(&mut another, &datagrams[0]).is_ok());
}

#[test]
fn one_too_old_to_tell_is_a_replay() {
    let (mut sealer, mut opener) = pair(&ring(&[1]));
    let datagrams: Vec<_> = (0..=WINDOW_SEQUENCES)
        .map(|_| seal(&mut sealer, b""))
        .collect();
    let [too_old, oldest, .., newest] = datagrams.as_slice() else {
        panic!("there are more");
    };
    assert!(open(&mut opener, newest).is_ok());
    assert_eq!(open(&mut opener, too_old), Err(DropCause::Replayed));
    assert!(open(&mut opener, oldest).is_ok());
}

#[test]
fn a_later_run_takes_over_from_an_earlier_one_and_not_back() {
    let keys = ring(&[1]);
    let (mut first, mut opener) = pair(&keys);
    let second = SenderId {
        incarnation: ANN.incarnation + 1,
        session: 77,
        ..ANN
    };
    let mut second = Sealer::new(&keys, CLUSTER, second);
    assert!(open(&mut opener, &seal(&mut first, b"")).is_ok());
    let late = seal(&mut first, b"");
    let restarted = seal(&mut second, b"");
    assert!(open(&mut opener, &restarted).is_ok());
    assert_eq!(open(&mut opener, &late), Err(DropCause::Replayed));
    assert_eq!(open(&mut opener, &restarted), Err(DropCause::Replayed));
    assert!(open(&mut opener, &seal(&mut second, b"")).is_ok());
    assert_eq!(opener.senders(), 1);
}

#[test]
fn two_processes_on_copies_of_a_region_seal_differently_and_one_is_listened_to() {
    let keys = ring(&[1]);
    let (mut sealer, mut opener) = pair(&keys);
    let mut copy = Sealer::new(&keys, CLUSTER, SenderId { session: 8, ..ANN });
    let (one, other) = (seal(&mut sealer, b"body"), seal(&mut copy, b"body"));
    let body = header::HEADER_BYTES..header::HEADER_BYTES + 4;
    assert_ne!(one[body.clone()], other[body]);
    assert!(open(&mut opener, &one).is_ok());
    assert_eq!(open(&mut opener, &other), Err(DropCause::Replayed));
    assert!(open(&mut opener, &seal(&mut sealer, b"")).is_ok());
}

#[test]
fn one_datagram_in_the_name_of_another_silences_it_for_a_minute_at_most() {
    let keys = ring(&[1]);
    let forgers: [fn(&mut Sealer) -> Sealer; 3] = [
        |_| {
            Sealer::new(
                &ring(&[1]),
                CLUSTER,
                SenderId {
                    incarnation: 99,
                    ..ANN
                },
            )
        },
        |_| {
            let sender = SenderId {
                incarnation: 99,
                session: 7,
                ..ANN
            };
            Sealer::new(&ring(&[1]), CLUSTER, sender)
        },
        |_| Sealer::new(&ring(&[1]), CLUSTER, ANN).with_last_sequence(header::U48_MAX - 1),
    ];
    for forger in forgers {
        let (mut sealer, mut opener) = pair(&keys);
        assert!(open(&mut opener, &seal(&mut sealer, b"")).is_ok());
        let forged = seal(&mut forger(&mut sealer), b"");
        assert!(open(&mut opener, &forged).is_ok());
        let refused = open_after(59, &mut opener, &seal(&mut sealer, b""));
        assert_eq!(refused, Err(DropCause::Replayed));
        let first = seal(&mut sealer, b"");
        assert!(open_after(60, &mut opener, &first).is_ok());
        // From then on as ever.
        assert_eq!(
            open_after(61, &mut opener, &first),
            Err(DropCause::Replayed)
        );
        assert!(open_after(61, &mut opener, &seal(&mut sealer, b"")).is_ok());
    }
}

#[test]
fn a_run_beyond_a_clock_that_was_set_back_keeps_nobody_out() {
    let keys = ring(&[1]);
    let (mut sealer, mut opener) = pair(&keys);
    let ahead = SenderId {
        incarnation: NOW.incarnation_max() + 1,
        session: 7,
        ..ANN
    };
    let mut datagram = seal(&mut Sealer::new(&keys, CLUSTER, ahead), b"");
    let again = datagram.clone();
    let later = Now {
        unix_us: NOW.unix_us + 1_000,
        ..NOW
    };
    assert!(opener.open(later, &mut datagram).is_ok());
    assert!(open(&mut opener, &seal(&mut sealer, b"")).is_ok());
    assert_eq!(open(&mut opener, &again), Err(DropCause::IncarnationAhead));
}

/// A virtual machine that is copied while it runs, or set back, uses a run and its sequences again.
#[test]
fn a_sequence_that_is_used_again_gives_nothing_away_and_the_first_datagram_of_it_is_taken() {
    let keys = ring(&[1]);
    let (mut sealer, mut opener) = pair(&keys);
    let (mut copy, _) = pair(&keys);
    let bodies: [&[u8]; 2] = [b"what one says of 2", b"and 90 of the copy"];
    let [one, other] = [seal(&mut sealer, bodies[0]), seal(&mut copy, bodies[1])];
    let sealed = |datagram: &[u8]| {
        datagram[header::HEADER_BYTES..datagram.len() - header::TAG_BYTES].to_vec()
    };
    let xor = |a: &[u8], b: &[u8]| -> Vec<u8> { a.iter().zip(b).map(|(a, b)| a ^ b).collect() };
    // Of a stream that is used twice, the difference is that of what was said.
    let streams = xor(
        &xor(&sealed(&one), bodies[0]),
        &xor(&sealed(&other), bodies[1]),
    );
    let same = streams.iter().filter(|byte| **byte == 0).count();
    assert!(same < streams.len() / 2, "{same} of {}", streams.len());
    assert_eq!(open(&mut opener, &one).unwrap().2, bodies[0]);
    assert_eq!(open(&mut opener, &other), Err(DropCause::Replayed));
    // The same once more is the same on the wire: that is all there is to see.
    let (mut again, _) = pair(&keys);
    assert_eq!(seal(&mut again, bodies[0]), one);
    let mut late = Opener::new(&keys, CLUSTER, BOB);
    assert_eq!(open(&mut late, &other).unwrap().2, bodies[1]);
}

#[test]
fn a_datagram_of_this_very_run_is_known_as_such() {
    let keys = ring(&[1]);
    let mut opener = Opener::new(&keys, CLUSTER, ANN);
    let datagram = seal(&mut Sealer::new(&keys, CLUSTER, ANN), b"");
    assert_eq!(open(&mut opener, &datagram), Err(DropCause::FromSelf));
}

#[test]
fn another_cluster_with_the_same_key_is_another_cluster() {
    let keys = ring(&[1]);
    let datagram = seal(&mut Sealer::new(&keys, "staging", ANN), b"");
    let (_, mut opener) = pair(&keys);
    assert_eq!(open(&mut opener, &datagram), Err(DropCause::OtherCluster));
    // The tag has but 32 bits; the key knows the whole name.
    let mut disguised = datagram;
    let tag = 2..6;
    disguised[tag.clone()].copy_from_slice(&seal(&mut pair(&keys).0, b"")[tag]);
    assert_eq!(open(&mut opener, &disguised), Err(DropCause::Unauthentic));
}

#[test]
fn hosts_with_and_without_a_secret_do_not_talk() {
    let (secret, open) = (ring(&[1]), KeyRing::open(CLUSTER));
    assert!(secret.is_secret() && !open.is_secret());
    assert_eq!(talk(&secret, &open), Err(DropCause::UnknownKey));
    assert_eq!(talk(&open, &secret), Err(DropCause::UnknownKey));
    assert_eq!(talk(&open, &open), Ok(()));
}

#[test]
fn everybody_talks_through_every_step_of_a_change_of_keys() {
    let (old, new) = (1, 2);
    let steps = [
        ring(&[old]),
        ring(&[old, new]),
        ring(&[new, old]),
        ring(&[new]),
    ];
    for step in steps.windows(2) {
        for (from, to) in [(0, 1), (1, 0), (0, 0), (1, 1)] {
            assert_eq!(talk(&step[from], &step[to]), Ok(()), "{step:?}");
        }
    }
    // Who missed the change is heard until the last step, and hears until the second.
    assert_eq!(talk(&steps[0], &steps[2]), Ok(()));
    assert_eq!(talk(&steps[2], &steps[0]), Err(DropCause::UnknownKey));
    assert_eq!(talk(&steps[0], &steps[3]), Err(DropCause::UnknownKey));
}

#[test]
fn a_change_of_keys_interrupts_neither_sequences_nor_the_memory_of_replays() {
    let (mut sealer, mut opener) = pair(&ring(&[1]));
    let first = seal(&mut sealer, b"");
    assert_eq!(open(&mut opener, &first).unwrap().1, 1);
    opener.replace_keys(&ring(&[1, 2]));
    sealer.replace_keys(&ring(&[2, 1]));
    let second = seal(&mut sealer, b"");
    assert_eq!(open(&mut opener, &second).unwrap().1, 2);
    sealer.replace_keys(&ring(&[1, 2]));
    assert_eq!(open(&mut opener, &seal(&mut sealer, b"")).unwrap().1, 3);
    for datagram in [first, second] {
        assert_eq!(open(&mut opener, &datagram), Err(DropCause::Replayed));
    }
}

#[test]
fn a_key_that_left_the_ring_opens_nothing_even_for_a_known_sender() {
    let (mut sealer, mut opener) = pair(&ring(&[1]));
    open(&mut opener, &seal(&mut sealer, b"")).unwrap();
    opener.replace_keys(&ring(&[2]));
    let datagram = seal(&mut sealer, b"");
    assert_eq!(open(&mut opener, &datagram), Err(DropCause::UnknownKey));
    opener.replace_keys(&ring(&[1]));
    assert!(open(&mut opener, &datagram).is_ok());
}

#[test]
fn a_flood_of_forged_senders_leaves_no_trace() {
    let (mut sealer, mut opener) = pair(&ring(&[1]));
    let first = seal(&mut sealer, b"body");
    assert!(open(&mut opener, &first).is_ok());
    let mut outsider = Sealer::new(&ring(&[2]), CLUSTER, ANN);
    let forged = seal(&mut outsider, b"body");
    let key_id = first[6..10].to_vec();
    for actor in 0..3 * SENDERS_MAX as u64 {
        let mut forged = forged.clone();
        forged[6..10].copy_from_slice(&key_id);
        forged[10..18].copy_from_slice(&actor.to_le_bytes());
        // A later run for whom is known, so that it is not dropped as a replay.
        forged[18] = 200;
        assert_eq!(open(&mut opener, &forged), Err(DropCause::Unauthentic));
    }
    assert_eq!(opener.senders(), 1);
    assert_eq!(open(&mut opener, &first), Err(DropCause::Replayed));
    assert!(open(&mut opener, &seal(&mut sealer, b"")).is_ok());
}

#[test]
fn members_beyond_the_capacity_push_out_those_not_heard_for_longest() {
    let keys = ring(&[1]);
    let mut opener = Opener::new(&keys, CLUSTER, BOB);
    let sealed_by = |actor: u64| {
        let sender = SenderId {
            actor: actor + 1_000,
            ..ANN
        };
        seal(&mut Sealer::new(&keys, CLUSTER, sender), b"")
    };
    let mut busy = Sealer::new(&keys, CLUSTER, ANN);
    let senders = 3 * SENDERS_MAX as u64;
    for actor in 0..senders {
        open(&mut opener, &sealed_by(actor)).unwrap();
        open(&mut opener, &seal(&mut busy, b"")).unwrap();
        assert!(opener.senders() <= SENDERS_MAX);
    }
    assert!(opener.senders() > SENDERS_MAX / 2);
    let newest = sealed_by(senders - 1);
    assert_eq!(open(&mut opener, &newest), Err(DropCause::Replayed));
    // Forgotten, so its replay cannot be told from a first datagram.
    assert!(open(&mut opener, &sealed_by(0)).is_ok());
}

#[test]
fn debug_output_shows_no_key() {
    let keys = ring(&[0xAB]);
    let (sealer, opener) = pair(&keys);
    for shown in [
        format!("{keys:?}"),
        format!("{keys:#?}"),
        format!("{sealer:?}"),
        format!("{opener:#?}"),
    ] {
        for part in ["171", "abab", "ABAB", "0xab", "90, 90", "5a5a"] {
            assert!(!shown.contains(part), "{part} in {shown}");
        }
    }
}

#[test]
fn names_of_keys_come_in_the_order_of_the_file_and_zero_is_no_secret_key() {
    let one = |key| ring(&[key]).key_ids().next().unwrap();
    let several: Vec<_> = ring(&[3, 1, 2]).key_ids().collect();
    assert_eq!(several, [one(3), one(1), one(2)]);
    assert!((0..=255).all(|key| one(key) != 0));
    assert_eq!(KeyRing::open(CLUSTER).key_ids().collect::<Vec<_>>(), [0]);
}

#[test]
fn clusters_without_a_secret_have_keys_of_their_own() {
    let [one, other] = ["a", "b"].map(KeyRing::open);
    assert_ne!(one.hash_key(), other.hash_key());
    assert_eq!(one.hash_key(), KeyRing::open("a").hash_key());
}

#[test]
fn hosts_that_name_counters_by_other_keys_do_not_open_each_others_datagrams() {
    let seal_line = "seal 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    let keys = |hash: char| {
        let hash: String = std::iter::repeat_n(hash, 32).collect();
        KeyRing::parse(&format!("hash {hash}\n{seal_line}\n")).unwrap()
    };
    let datagram = seal(&mut Sealer::new(&keys('1'), CLUSTER, ANN), b"body");
    let mut opener = Opener::new(&keys('2'), CLUSTER, BOB);
    assert_eq!(open(&mut opener, &datagram), Err(DropCause::Unauthentic));
}
