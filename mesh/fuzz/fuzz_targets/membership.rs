//! A member that is told any payloads, as it and a real peer go on talking.
//!
//! The input is records: a pause (1 byte, in steps of 4 ms), the length of a payload (2), the payload.
#![no_main]

use hivemind_mesh::membership::{Member, Membership, Output, PAYLOAD_BYTES_MAX};
use hivemind_mesh::settings::Preset;
use hivemind_mesh::time::Now;
use libfuzzer_sys::fuzz_target;

fn member(actor: u8) -> Member {
    Member {
        actor: actor.into(),
        incarnation: 1,
        address: ([10, 0, 0, actor], 7946).into(),
    }
}

fn at(monotonic_us: u64) -> Now {
    Now { monotonic_us, unix_us: 1_000_000_000 }
}

/// What is said to the one of these two is heard by it, until there is nothing more to say.
fn converse(now_us: u64, me: &mut Membership, peer: &mut Membership, out: &mut Output) {
    let mut said = std::mem::take(out);
    let mut replies = Output::new();
    for _ in 0..8 {
        if said.messages().len() == 0 {
            return;
        }
        for (to, payload) in said.messages() {
            assert!(payload.len() <= PAYLOAD_BYTES_MAX);
            let to = [member(1), member(2)].into_iter().find(|member| member.address == to);
            // A hostile payload can have the one ask the other for what that one refuses.
            let _ = match to.map(|member| member.actor) {
                Some(1) => me.receive(at(now_us), payload, &mut replies),
                Some(_) => peer.receive(at(now_us), payload, &mut replies),
                None => Ok(()),
            };
        }
        said.clear();
        std::mem::swap(&mut said, &mut replies);
    }
}

fuzz_target!(|input: &[u8]| {
    let (mut now_us, mut rest) = (0, input);
    let mut out = Output::new();
    let mut me = Membership::new(member(1), Preset::Lan, 1);
    let mut peer = Membership::new(member(2), Preset::Lan, 2);
    peer.announce(now_us, member(1), &mut out);
    converse(now_us, &mut me, &mut peer, &mut out);
    assert!(me.member(2).is_some() && peer.member(1).is_some());

    while let Some((&[pause, low, high], after)) = rest.split_first_chunk() {
        let length = usize::from(u16::from_le_bytes([low, high])).min(after.len());
        let (payload, after) = after.split_at(length);
        rest = after;
        now_us += u64::from(pause) * 4_000;
        let _ = me.receive(at(now_us), payload, &mut out);
        me.tick(now_us, &mut out);
        peer.tick(now_us, &mut out);
        converse(now_us, &mut me, &mut peer, &mut out);
    }

    me.leave(now_us, &mut out);
    converse(now_us, &mut me, &mut peer, &mut out);
    out.clear();
    me.tick(now_us + 1_000_000, &mut out);
    assert_eq!(out.messages().len(), 0);
});
