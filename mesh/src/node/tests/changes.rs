//! What is told of peers, and of those whose datagrams are of no use.

use std::net::SocketAddr;

use super::lab::{CLUSTER, Lab, address, local};
use crate::drops::DropCause;
use crate::node::{PeerChange, PeerEvent};
use crate::refusals::{Refusal, RefusalCause};
use crate::seal::{KeyRing, Sealer, SenderId};
use crate::settings::Settings;
use crate::wire::sections::{GOODBYE, RULES};
use crate::wire::{Kind, writer};

/// What node 1 tells of its peers within so many milliseconds, by their names.
fn told(lab: &mut Lab, ms: u64) -> Vec<(String, PeerChange)> {
    let mut all = Vec::new();
    for _ in 0..ms / 50 {
        lab.run_ms(50);
        let now = lab.now;
        all.extend(lab.node(1).mesh.changes(now));
    }
    all.into_iter()
        .map(
            |PeerEvent {
                 name,
                 address,
                 change,
             }| (format!("{name} {address}"), change),
        )
        .collect()
}

fn node(actor: u64) -> String {
    format!("node {actor} {}", address(actor))
}

#[test]
fn each_change_of_a_peer_is_told_once_with_its_name_and_address() {
    let mut lab = Lab::joined(&[1, 2]);
    assert_eq!(told(&mut lab, 100), [(node(2), PeerChange::Alive)]);
    assert_eq!(told(&mut lab, 3_000), []);

    let gone = lab.nodes.remove(&2).unwrap();
    let expected = [PeerChange::Suspected, PeerChange::Down].map(|change| (node(2), change));
    assert_eq!(told(&mut lab, 10_000), expected);
    let now = lab.now;
    let presence = lab.node(1).mesh.presence(now);
    let missing = vec![("node 2".to_owned(), address(2))];
    assert_eq!((presence.alive, presence.missing), (0, missing));

    lab.nodes.insert(2, gone);
    assert_eq!(told(&mut lab, 10_000), [(node(2), PeerChange::Back)]);
    let now = lab.now;
    assert_eq!(lab.node(1).mesh.presence(now).alive, 1);
}

#[test]
fn one_that_answers_after_all_is_told_of_and_one_that_leaves_is_not_missed() {
    let mut lab = Lab::joined(&[1, 2, 3]);
    assert_eq!(told(&mut lab, 100).len(), 2);
    let gone = lab.nodes.remove(&2).unwrap();
    let mut changes = Vec::new();
    while changes.is_empty() {
        changes = told(&mut lab, 50);
    }
    assert_eq!(changes, [(node(2), PeerChange::Suspected)]);
    lab.nodes.insert(2, gone);
    assert_eq!(told(&mut lab, 3_000), [(node(2), PeerChange::Answers)]);

    let now = lab.now;
    let leaver = lab.node(2);
    leaver
        .mesh
        .leave(now, &mut leaver.counters, &mut leaver.out);
    let said = lab.node(2).take_out();
    let goodbyes = said.iter().filter(|it| it.section(GOODBYE).is_some());
    let to: Vec<SocketAddr> = goodbyes.map(|it| it.to).collect();
    assert_eq!(
        to,
        [address(1), address(3)],
        "each peer hears it from the one that leaves"
    );
    lab.deliver(said, &mut |_| false);
    lab.nodes.remove(&2);
    assert_eq!(told(&mut lab, 3_000), [(node(2), PeerChange::Left)]);
    let now = lab.now;
    let presence = lab.node(1).mesh.presence(now);
    assert_eq!((presence.alive, presence.missing), (1, Vec::new()));

    lab.start(2, 2);
    lab.join(2, 1);
    assert_eq!(told(&mut lab, 3_000), [(node(2), PeerChange::Back)]);
    lab.nodes.remove(&2);
    let last = told(&mut lab, 10_000).pop();
    assert_eq!(
        last,
        Some((node(2), PeerChange::Down)),
        "an old goodbye is no excuse"
    );
}

#[test]
fn a_peer_that_is_reached_elsewhere_has_moved() {
    let mut lab = Lab::joined(&[1, 2]);
    assert_eq!(told(&mut lab, 100).len(), 1);
    // The same actor in another run, at another address.
    lab.nodes.remove(&2);
    let mut moved = local(2, 2);
    moved.address = address(9);
    lab.start_as(moved);
    lab.join(2, 1);
    let change = PeerChange::Moved { from: address(2) };
    assert_eq!(
        told(&mut lab, 3_000),
        [(format!("node 2 {}", address(9)), change)]
    );

    // Another actor of the same name, after the first was gone.
    lab.nodes.remove(&2);
    told(&mut lab, 10_000);
    let mut replaced = local(3, 1);
    replaced.name = "node 2".into();
    lab.start_as(replaced);
    lab.join(3, 1);
    let change = PeerChange::Moved { from: address(9) };
    assert_eq!(
        told(&mut lab, 3_000),
        [(format!("node 2 {}", address(3)), change)]
    );
    let now = lab.now;
    assert_eq!(lab.node(1).mesh.presence(now).missing, []);
}

#[test]
fn which_rules_a_node_decides_by_is_told_with_each_heartbeat() {
    let mut lab = Lab::joined(&[1, 2]);
    let rules = |lab: &mut Lab| {
        lab.run_ms(1_500);
        lab.nodes[&2].mesh.status(lab.now).peers[0].rules.clone()
    };
    assert_eq!(rules(&mut lab), None, "an older version says nothing");
    lab.node(1).mesh.set_rules(0xAB);
    assert_eq!(rules(&mut lab).as_deref(), Some("00000000000000ab"));
    lab.node(1).mesh.set_rules(0xCD);
    assert_eq!(rules(&mut lab).as_deref(), Some("00000000000000cd"));
    // What is no hash changes nothing.
    let mut sealer = lab.sealer(1);
    let datagram = super::lab::seal(&mut sealer, Kind::Heartbeat, |body| {
        writer::section(body, RULES, |content| content.extend_from_slice(b"short"));
    });
    lab.say(2, address(1), &datagram);
    assert_eq!(lab.nodes[&2].drops(DropCause::BadContent), 1);
}

#[test]
fn it_is_told_why_datagrams_from_where_peers_are_expected_do_not_open() {
    let mut lab = Lab::apart(&[1], Settings::new(CLUSTER));
    let now = lab.now;
    let stranger = address(200);
    let node = lab.node(1);
    node.mesh
        .join(now, &[address(2), address(3), address(1)], &mut node.out);
    let secret = format!("hash {}\nseal {}\n", "1".repeat(32), "a".repeat(64));
    let secret = KeyRing::parse(&secret).unwrap();
    let said = |cluster: &str, keys: &KeyRing, actor| {
        let session = 77;
        let sender = SenderId {
            actor,
            incarnation: 1,
            session,
        };
        super::lab::seal(&mut Sealer::new(keys, cluster, sender), Kind::Hello, |_| {})
    };
    let open = KeyRing::open(CLUSTER);
    let mut forged = said(CLUSTER, &open, 2);
    *forged.last_mut().unwrap() ^= 1;
    let ahead = SenderId {
        actor: 2,
        incarnation: (1 << 48) - 1,
        session: 77,
    };
    let ahead = super::lab::seal(&mut Sealer::new(&open, CLUSTER, ahead), Kind::Hello, |_| {});
    let mut newer = said(CLUSTER, &open, 2);
    newer[1] = 99;
    for (datagram, cause) in [
        (said(CLUSTER, &secret, 2), RefusalCause::UnknownKey),
        (
            said("other", &KeyRing::open("other"), 2),
            RefusalCause::OtherCluster,
        ),
        (forged, RefusalCause::Unauthentic),
        (newer, RefusalCause::OtherVersion),
        (ahead, RefusalCause::ClockAhead),
    ] {
        lab.say(1, address(2), &datagram);
        lab.say(1, stranger, &datagram);
        let refusal = |from, is_expected| Refusal {
            from,
            cause,
            is_expected,
        };
        let expected = [refusal(address(2), true), refusal(stranger, false)];
        assert_eq!(lab.node(1).mesh.refusals(now), expected);
    }
    lab.say(1, address(2), &said(CLUSTER, &open, 1));
    let refusal = Refusal {
        from: address(2),
        cause: RefusalCause::SameActor,
        is_expected: true,
    };
    assert_eq!(lab.node(1).mesh.refusals(now), [refusal]);
    lab.say(1, stranger, b"junk");
    lab.say(1, address(2), &said(CLUSTER, &open, 2));
    assert_eq!(lab.node(1).mesh.refusals(now), [], "it opens by now");

    let own = local(1, 1);
    let sender = SenderId {
        actor: own.actor,
        incarnation: own.incarnation,
        session: own.session,
    };
    let itself = super::lab::seal(
        &mut Sealer::new(&open, CLUSTER, sender),
        Kind::Hello,
        |_| {},
    );
    lab.say(1, address(3), &itself);
    let refusal = Refusal {
        from: address(3),
        cause: RefusalCause::Itself,
        is_expected: true,
    };
    assert_eq!(lab.node(1).mesh.refusals(now), [refusal]);
}

#[test]
fn members_are_expected_where_they_are_reached() {
    let mut lab = Lab::joined(&[1, 2]);
    let secret = format!("hash {}\nseal {}\n", "1".repeat(32), "a".repeat(64));
    let secret = KeyRing::parse(&secret).unwrap();
    // As after a change of keys that went wrong.
    lab.node(2).mesh.replace_keys(&secret);
    lab.run_ms(2_000);
    let now = lab.now;
    let refusal = Refusal {
        from: address(2),
        cause: RefusalCause::UnknownKey,
        is_expected: true,
    };
    // Node 1 was never told to join anybody.
    assert_eq!(lab.node(1).mesh.refusals(now), [refusal]);
}
