use foca::Codec as _;
use proptest::prelude::*;

use super::*;

fn identity(address: SocketAddr) -> Identity {
    Identity {
        actor: 0x0102_0304_0506_0708,
        incarnation: 0x1112_1314_1516,
        renewal: 0x2122_2324,
        address,
    }
}

#[test]
fn the_bytes_are_as_documented() {
    let header = Header {
        src: identity(([10, 0, 0, 9], 0x1F0A).into()),
        src_incarnation: 0x3132,
        dst: identity(([0xFE; 16], 0x1F0B).into()),
        message: Message::PingReq {
            target: identity(([10, 0, 0, 8], 1).into()),
            probe_number: 0x41,
        },
    };
    let mut bytes = Vec::new();
    Codec.encode_header(&header, &mut bytes).unwrap();
    let names: &[u8] = &[
        1, 2, 3, 4, 5, 6, 7, 8, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x21, 0x22, 0x23, 0x24,
    ];
    let expected = [
        &[0x12, 0][..],
        names,
        &[10, 0, 0, 9, 0x1F, 0x0A, 0x31, 0x32, 1],
        names,
        &[0xFE; 16],
        &[0x1F, 0x0B, 0x41, 0],
        names,
        &[10, 0, 0, 8, 0, 1],
    ]
    .concat();
    assert_eq!(bytes, expected);

    let mut bytes = Vec::new();
    let down = Update::new(
        identity(([10, 0, 0, 9], 0x1F0A).into()),
        0x5152,
        State::Down,
    );
    Codec.encode_member(&down, &mut bytes).unwrap();
    let expected = [&[4][..], names, &[10, 0, 0, 9, 0x1F, 0x0A, 0x51, 0x52]].concat();
    assert_eq!(bytes, expected);
}

#[test]
fn nothing_is_written_where_there_is_no_room() {
    let member = Update::alive(identity(([10, 0, 0, 9], 1).into()));
    let mut bytes = Vec::new();
    let refused = Codec.encode_member(&member, (&mut bytes).limit(26));
    assert!(matches!(refused, Err(CodecError::NoRoom)));
    assert!(bytes.is_empty());
    Codec
        .encode_member(&member, (&mut bytes).limit(27))
        .unwrap();
}

#[test]
fn other_versions_kinds_and_flags_are_refused() {
    let refused = |bytes: &[u8]| outline(bytes).unwrap_err();
    assert_eq!(refused(&[0x22; 100]), MalformedPayload::Kind(0x22));
    assert_eq!(refused(&[0x1B; 100]), MalformedPayload::Kind(0x1B));
    // A sender with a state, and one with a bit that has no meaning.
    assert_eq!(refused(&[0x12; 100]), MalformedPayload::Flags(0x12));
    let mut bytes = [0x10; 100];
    bytes[1] = 2;
    assert_eq!(refused(&bytes), MalformedPayload::Flags(2));
    assert_eq!(refused(&[0; PAYLOAD_BYTES_MAX + 1]), MalformedPayload::Long);
}

proptest! {
    #[test]
    fn what_can_be_read_is_written_the_same(
        kind in 0..=11_u8,
        bytes in prop::collection::vec(prop_oneof![Just(0_u8), Just(1), any::<u8>()], 120..200),
    ) {
        let bytes = [&[VERSION << 4 | kind][..], &bytes].concat();
        let mut rest = bytes.as_slice();
        if let Ok(header) = Codec.decode_header(&mut rest) {
            let mut written = Vec::new();
            Codec.encode_header(&header, &mut written).unwrap();
            prop_assert_eq!(&written, &bytes[..bytes.len() - rest.len()]);
        }
        let mut rest = bytes.get(1..).unwrap_or_default();
        if let Ok(member) = Codec.decode_member(&mut rest) {
            let mut written = Vec::new();
            Codec.encode_member(&member, &mut written).unwrap();
            prop_assert_eq!(&written, &bytes[1..bytes.len() - rest.len()]);
        }
    }
}
