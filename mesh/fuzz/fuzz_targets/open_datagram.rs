//! Opening datagrams of any bytes, and true ones that were changed on the way.
//!
//! The first byte of the input chooses the ring and what comes next: raw bytes as the whole datagram, or
//! patches of a true one, three bytes each (offset, mask), which get past the header.
#![no_main]

use std::sync::LazyLock;

use hivemind_mesh::seal::{KeyRing, Opener, Sealer, SenderId};
use hivemind_mesh::time::Now;
use libfuzzer_sys::fuzz_target;

const CLUSTER: &str = "fuzz";
const NOW: Now = Now { monotonic_us: 0, unix_us: 1_000_000 };
const SENDER: SenderId = SenderId { actor: 1, incarnation: 2, session: 3 };
const RECEIVER: SenderId = SenderId { actor: 4, incarnation: 5, session: 6 };

static OPEN: LazyLock<KeyRing> = LazyLock::new(|| KeyRing::open(CLUSTER));
static SECRET: LazyLock<KeyRing> = LazyLock::new(|| {
    let (hash, one, other) = ("0f".repeat(16), "a5".repeat(32), "5a".repeat(32));
    KeyRing::parse(&format!("hash {hash}\nseal {one}\nseal {other}\n")).unwrap()
});

fuzz_target!(|input: &[u8]| {
    let Some((&mode, rest)) = input.split_first() else { return };
    let keys: &KeyRing = if mode & 1 == 0 { &OPEN } else { &SECRET };
    let mut opener = Opener::new(keys, CLUSTER, RECEIVER);
    let mut sealer = Sealer::new(keys, CLUSTER, SENDER);
    let mut seal = |body: &[u8]| {
        let mut datagram = Vec::new();
        sealer.seal(&mut datagram, |buffer| buffer.extend_from_slice(body)).unwrap();
        datagram
    };
    if mode & 2 != 0 {
        // A sender that is known, with its key.
        assert!(opener.open(NOW, &mut seal(b"first")).is_ok());
    }
    let known = opener.senders();
    let truth = seal(b"forty bytes of a body that is to be true");
    if mode & 4 == 0 {
        // A key that the fuzzer guesses is worth a report.
        let mut datagram = rest.to_vec();
        if *keys.key_ids().collect::<Vec<_>>() != [0] {
            assert!(opener.open(NOW, &mut datagram).is_err());
            assert_eq!(opener.senders(), known);
        } else {
            let _ = opener.open(NOW, &mut datagram);
        }
    } else {
        let mut datagram = truth.clone();
        for patch in rest.chunks_exact(3) {
            let at = usize::from(u16::from_le_bytes([patch[0], patch[1]])) % datagram.len();
            datagram[at] ^= patch[2];
        }
        let unchanged = datagram == truth;
        assert_eq!(opener.open(NOW, &mut datagram).is_ok(), unchanged);
        assert_eq!(opener.open(NOW, &mut truth.clone()).is_ok(), !unchanged);
    }
});
