//! Payloads that no member in its right mind sends.

use std::net::SocketAddr;

use bytes::BufMut;
use foca::Codec as _;
use proptest::prelude::*;

use super::super::codec::Codec;
use super::super::identity::Identity;
use super::super::{Event, IDENTITIES_MAX, MalformedPayload, Member, Membership, Output};
use super::lab::{MS, S, address, at};
use crate::settings::Preset;
use crate::time::Now;

const ME: u64 = 1;

fn identity(actor: u64, renewal: u32) -> Identity {
    Identity {
        actor,
        incarnation: 1,
        renewal,
        address: address(actor),
    }
}

fn node() -> Membership {
    Membership::new(identity(ME, 0).member(), Preset::Lan, 7)
}

fn payload(
    message: foca::Message<Identity>,
    src: Identity,
    updates: &[foca::Member<Identity>],
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let header = foca::Header {
        src,
        src_incarnation: 0,
        dst: identity(ME, 0),
        message,
    };
    Codec.encode_header(&header, &mut bytes).unwrap();
    bytes.put_u16(updates.len().try_into().unwrap());
    for update in updates {
        Codec.encode_member(update, &mut bytes).unwrap();
    }
    bytes
}

#[test]
fn a_member_that_invents_others_without_end_fills_a_bounded_table() {
    let mut node = node();
    let mut out = Output::new();
    let mut actor = 100;
    for round in 0..1_000 {
        let updates: Vec<_> = (0..30)
            .map(|_| {
                actor += 1;
                let state = [foca::State::Alive, foca::State::Down][usize::from(round % 2 == 0)];
                foca::Member::new(identity(actor, 0), 0, state)
            })
            .collect();
        let payload = payload(foca::Message::Gossip, identity(2, 0), &updates);
        // Slowly enough to be taken in.
        node.receive(at(round * 10 * MS), &payload, &mut out)
            .unwrap();
        out.clear();
        assert!(node.foca.iter_membership_state().len() <= IDENTITIES_MAX);
    }
    assert!(node.members().len() > IDENTITIES_MAX / 2);
}

#[test]
fn a_flood_of_payloads_with_many_members_is_compared_with_a_bounded_number_of_them() {
    let mut node = node();
    let mut out = Output::new();
    let (mut taken, mut refused, mut compared) = (0, 0, 0);
    for round in 0..20_000 {
        let updates: Vec<_> = (0..30)
            .map(|step| foca::Member::alive(identity((round * 7 + step) % 4_000 + 100, 0)))
            .collect();
        let payload = payload(foca::Message::Gossip, identity(2, 0), &updates);
        let kept = node.foca.iter_membership_state().len();
        // Within a second.
        match node.receive(at(round * 50), &payload, &mut out) {
            Ok(()) => (taken, compared) = (taken + 1, compared + 32 * kept),
            Err(MalformedPayload::TooMuch) => refused += 1,
            Err(other) => panic!("{other}"),
        }
        out.clear();
    }
    assert!(taken > 300 && refused > 15_000, "{taken} {refused}");
    assert!(compared < 45_000_000, "{compared}");
    // And after it everything is heard again.
    let ping = payload(foca::Message::Ping(1), identity(2, 0), &[]);
    node.receive(at(3 * S), &ping, &mut out).unwrap();
    assert_eq!(out.messages().len(), 1);
}

#[test]
fn a_run_that_begins_more_than_a_day_after_now_is_refused_wherever_it_is_named() {
    let day_ms = 86_400_000;
    let unix_ms = 1_700_000_000_000;
    let now = Now {
        monotonic_us: 0,
        unix_us: unix_ms * 1_000,
    };
    let later = |actor, incarnation| Identity {
        incarnation,
        ..identity(actor, 0)
    };
    for (incarnation, expected) in [
        (unix_ms + day_ms, Ok(())),
        (unix_ms + day_ms + 1, Err(MalformedPayload::Ahead)),
        ((1 << 48) - 1, Err(MalformedPayload::Ahead)),
    ] {
        let updated = |state| {
            let update = foca::Member::new(later(3, incarnation), 0, state);
            payload(foca::Message::Gossip, identity(2, 0), &[update])
        };
        let third = foca::Message::PingReq {
            target: later(3, incarnation),
            probe_number: 1,
        };
        for payload in [
            updated(foca::State::Alive),
            updated(foca::State::Down),
            payload(foca::Message::Gossip, later(3, incarnation), &[]),
            payload(third, identity(2, 0), &[]),
        ] {
            let mut node = node();
            let mut out = Output::new();
            assert_eq!(node.receive(now, &payload, &mut out), expected);
            let kept = node.foca.iter_membership_state().len();
            assert_eq!(kept > 0, expected.is_ok());
            if expected.is_err() {
                let true_one = self::payload(foca::Message::Gossip, later(3, unix_ms), &[]);
                node.receive(now, &true_one, &mut out).unwrap();
                assert_eq!(node.member(3), Some(later(3, unix_ms).member()));
            }
        }
    }
}

#[test]
fn runs_that_were_believed_while_a_clock_was_ahead_are_forgotten_when_it_is_right_again() {
    let unix_ms = 1_700_000_000_000;
    let now = |ahead_ms: u64| Now {
        monotonic_us: 0,
        unix_us: (unix_ms + ahead_ms) * 1_000,
    };
    let year_ms = 365 * 86_400_000;
    let run = |incarnation| Identity {
        incarnation,
        ..identity(3, 0)
    };
    let mut node = node();
    let mut out = Output::new();
    for state in [foca::State::Alive, foca::State::Down] {
        let update = foca::Member::new(run(unix_ms + year_ms), 0, state);
        let payload = payload(foca::Message::Gossip, identity(2, 0), &[update]);
        node.receive(now(year_ms), &payload, &mut out).unwrap();
    }
    let right = payload(foca::Message::Gossip, run(unix_ms), &[]);
    node.receive(now(year_ms), &right, &mut out).unwrap();
    assert_eq!(node.member(3), None, "or this test says nothing");
    node.forget_ahead(now(0), &mut out);
    node.receive(now(0), &right, &mut out).unwrap();
    assert_eq!(node.member(3), Some(run(unix_ms).member()));
}

#[test]
fn being_told_again_and_again_to_be_down_takes_no_memory() {
    let mut node = node();
    let mut out = Output::new();
    let update = foca::Member::alive(identity(3, 0));
    let hello = payload(foca::Message::Gossip, identity(2, 0), &[update]);
    node.receive(at(0), &hello, &mut out).unwrap();
    for renewal in 0..10_000 {
        let down = foca::Member::down(identity(ME, renewal));
        let mut gossip = payload(foca::Message::Gossip, identity(2, 0), &[down]);
        // Addressed to the present identity.
        let mut to = Vec::new();
        Codec
            .encode_member(&foca::Member::alive(identity(ME, renewal)), &mut to)
            .unwrap();
        gossip[28..53].copy_from_slice(&to[..25]);
        out.clear();
        node.receive(at(u64::from(renewal)), &gossip, &mut out)
            .unwrap();
        assert!(
            out.events
                .contains(&Event::Rejoined(identity(ME, 0).member()))
        );
    }
    assert!(format!("{:?}", node.timers).matches("at_us").count() < 20);
}

#[test]
fn a_down_member_is_knocked_at_for_a_day_and_then_forgotten() {
    let mut node = node();
    let mut out = Output::new();
    let down = foca::Member::down(identity(3, 0));
    let gossip = payload(foca::Message::Gossip, identity(2, 0), &[down]);
    node.receive(at(0), &gossip, &mut out).unwrap();
    let mut last_knock_us = 0;
    let mut now_us = 0;
    while node.foca.iter_membership_state().len() > 0 {
        out.clear();
        now_us += 100 * MS;
        node.tick(now_us, &mut out);
        if out.messages().any(|(to, _)| to == address(3)) {
            last_knock_us = now_us;
        }
        assert!(now_us < 25 * 3_600 * S);
    }
    assert!(last_knock_us > 24 * 3_600 * S - 60 * S);
}

#[test]
fn a_detour_that_leads_back_is_refused() {
    let ask = foca::Message::PingReq {
        target: identity(ME, 0),
        probe_number: 1,
    };
    let bytes = payload(ask, identity(2, 0), &[]);
    assert_eq!(
        node().receive(at(0), &bytes, &mut Output::new()),
        Err(MalformedPayload::Detour)
    );
}

#[test]
fn a_late_payload_of_an_earlier_run_is_nobodys_fault_and_changes_nothing() {
    let mut node = node();
    let mut out = Output::new();
    let bytes = payload(foca::Message::Gossip, identity(ME, 0), &[]);
    node.receive(at(0), &bytes, &mut out).unwrap();
    assert_eq!(node.members().len(), 0);
    assert_eq!(out.messages().len(), 0);
}

#[test]
fn having_left_a_node_does_not_object_to_being_called_gone() {
    let mut node = node();
    let mut out = Output::new();
    let hello = payload(foca::Message::Gossip, identity(2, 0), &[]);
    node.receive(at(0), &hello, &mut out).unwrap();
    node.leave(0, &mut out);
    out.clear();
    let down = foca::Member::down(identity(ME, 0));
    let gossip = payload(foca::Message::Gossip, identity(2, 0), &[down]);
    node.receive(at(0), &gossip, &mut out).unwrap();
    assert_eq!(out.messages().len(), 0);
    assert_eq!(out.events, []);
}

#[test]
fn an_earlier_run_of_this_node_is_not_knocked_at() {
    let mut node = node();
    let mut out = Output::new();
    let mut earlier = identity(ME, 0);
    earlier.incarnation = 0;
    let gossip = |update| payload(foca::Message::Gossip, identity(2, 0), &[update]);
    let here = gossip(foca::Member::down(earlier));
    node.receive(at(0), &here, &mut out).unwrap();
    earlier.address = address(3);
    let elsewhere = gossip(foca::Member::down(earlier));
    node.receive(at(0), &elsewhere, &mut out).unwrap();
    for tick in 0..200 {
        node.tick(tick * 100 * MS, &mut out);
    }
    assert!(out.messages().any(|(to, _)| to == address(2)));
    assert!(out.messages().all(|(to, _)| to == address(2)));
}

#[test]
fn where_an_actor_is_no_longer_nobody_knocks() {
    let mut node = node();
    let mut out = Output::new();
    let elsewhere = Identity {
        incarnation: 2,
        address: address(4),
        ..identity(3, 0)
    };
    let updates = [
        foca::Member::down(identity(3, 0)),
        foca::Member::alive(elsewhere),
    ];
    let gossip = payload(foca::Message::Gossip, identity(2, 0), &updates);
    node.receive(at(0), &gossip, &mut out).unwrap();
    out.clear();
    node.knock(&mut out);
    assert_eq!(out.messages().len(), 0);
}

#[test]
fn an_announcement_to_oneself_is_not_sent() {
    let mut out = Output::new();
    let me = identity(ME, 0).member();
    node().announce(0, me, &mut out);
    assert_eq!(out.messages().len(), 0);
}

fn some_identity() -> impl Strategy<Value = Identity> {
    let v4 = any::<([u8; 4], u16)>().prop_map(SocketAddr::from);
    let v6 = any::<([u8; 16], u16)>().prop_map(SocketAddr::from);
    let any = (any::<(u64, u64, u32)>(), prop_oneof![v4, v6]).prop_map(
        |((actor, incarnation, renewal), address)| Identity {
            renewal,
            ..Identity::first(Member {
                actor,
                incarnation,
                address,
            })
        },
    );
    let known = (0..4_u64, 0..3_u32).prop_map(|(actor, renewal)| identity(actor, renewal));
    prop_oneof![3 => known, 1 => any]
}

fn some_update() -> impl Strategy<Value = foca::Member<Identity>> {
    use foca::State::{Alive, Down, Suspect};
    let state = prop::sample::select(vec![Alive, Suspect, Down]);
    let refutation = prop_oneof![0..3_u16, Just(u16::MAX), any::<u16>()];
    (some_identity(), refutation, state)
        .prop_map(|(identity, refutation, state)| foca::Member::new(identity, refutation, state))
}

fn some_message() -> impl Strategy<Value = foca::Message<Identity>> {
    use foca::Message::*;
    (0..9, some_identity(), any::<u8>()).prop_map(|(kind, third, probe_number)| match kind {
        0 => Ping(probe_number),
        1 => Ack(probe_number),
        2 => PingReq {
            target: third,
            probe_number,
        },
        3 => IndirectPing {
            origin: third,
            probe_number,
        },
        4 => IndirectAck {
            target: third,
            probe_number,
        },
        5 => ForwardedAck {
            origin: third,
            probe_number,
        },
        6 => Feed,
        _ => Gossip,
    })
}

fn some_payload() -> impl Strategy<Value = Vec<u8>> {
    let updates = prop::collection::vec(some_update(), 0..8);
    (some_message(), some_identity(), updates)
        .prop_map(|(message, src, updates)| payload(message, src, &updates))
}

proptest! {
    #[test]
    fn any_bytes_are_taken_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..1_300)) {
        let mut out = Output::new();
        let _ = node().receive(at(0), &bytes, &mut out);
    }

    #[test]
    fn any_sequence_of_payloads_is_survived(
        payloads in prop::collection::vec((some_payload(), 0..1_000_u64, any::<prop::sample::Index>(), any::<u8>()), 1..60),
    ) {
        let mut node = node();
        let mut out = Output::new();
        let mut now_us = 0;
        for (mut payload, pause_ms, place, noise) in payloads {
            if noise < 64 {
                let place = place.index(payload.len());
                payload[place] ^= noise;
            }
            now_us += pause_ms * MS;
            let _ = node.receive(at(now_us), &payload, &mut out);
            node.tick(now_us, &mut out);
        }
        // Whoever was invented does not answer, and is gone in the end.
        for _ in 0..30 * S / MS {
            now_us += 100 * MS;
            node.tick(now_us, &mut out);
            if node.members().len() == 0 {
                break;
            }
        }
        prop_assert_eq!(node.members().len(), 0);
        node.leave(now_us, &mut out);
    }

    #[test]
    fn what_is_cut_short_is_refused(payload in some_payload(), cut in any::<prop::sample::Index>()) {
        let length = cut.index(payload.len());
        let refused = node().receive(at(0), &payload[..length], &mut Output::new());
        prop_assert_eq!(refused, Err(MalformedPayload::Short));
    }

    #[test]
    fn what_is_too_long_is_refused(mut payload in some_payload(), noise in any::<u8>()) {
        payload.push(noise);
        let refused = node().receive(at(0), &payload, &mut Output::new());
        prop_assert_eq!(refused, Err(MalformedPayload::Trailing));
    }
}
