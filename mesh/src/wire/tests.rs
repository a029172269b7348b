//! What is written is read again, by this version and its neighbours.

use hivemind_shared::descriptor::Entry as Part;
use hivemind_shared::fingerprint::Fingerprint;
use hivemind_shared::region::Name;
use hivemind_shared::table::Key;
use hivemind_shared::window::{Period, Unit};
use proptest::collection::vec;
use proptest::prelude::*;

use super::counts::{Entry, Head, Pack};
use super::names::{NAMES, NamePack, WANTED, WANTED_MAX, read_names, read_wanted, write_wanted};
use super::sections::{
    ACK, Ack, DIGEST, Digest, DigestGroup, GOODBYE, GROUPS_MAX, HEARTBEAT, HELLO, Heartbeat, Hello,
    PARTS, RULES, SNAPSHOT_END, SNAPSHOT_REQUEST, SUMMARY, SnapshotEnd, Summary, WANT, Want,
    WantGroup, read_rules, read_snapshot_request, write_goodbye, write_rules,
    write_snapshot_request,
};
use super::*;
use crate::seal::OVERHEAD_BYTES;

/// The sections of a body, or the first error.
fn sections(body: &[u8]) -> Result<Vec<(u8, Vec<u8>)>, Malformed> {
    let sections = Body::parse(body)?.sections();
    sections
        .map(|section| section.map(|section| (section.code, section.content.to_vec())))
        .collect()
}

/// The content of the one section that is written, which is of this type.
fn written(code: u8, write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut body = Vec::new();
    writer::head(&mut body, Kind::Sync);
    write(&mut body);
    let mut all = sections(&body).unwrap();
    let (written, content) = all.pop().unwrap();
    assert_eq!((written, all.len()), (code, 0));
    content
}

fn read_counts(content: &[u8]) -> Result<(Head, Vec<Entry>), Malformed> {
    let mut entries = Vec::new();
    let head = counts::read(content, |_, entry| entries.push(entry))?;
    Ok((head, entries))
}

fn entry(period: impl Into<Period>, high: u64, low: u64, window: u32, count: u32) -> Entry {
    let period = period.into();
    let fingerprint = Fingerprint { high, low };
    let key = Key {
        fingerprint,
        period,
    };
    Entry { key, window, count }
}

fn read_all_names(content: &[u8]) -> Result<Vec<(Key, Name)>, Malformed> {
    let mut names = Vec::new();
    read_names(content, |key, name| {
        names.push((key, name.parse()?));
        Ok(())
    })?;
    Ok(names)
}

fn units() -> impl Strategy<Value = Period> {
    (prop::sample::select(Unit::ALL.to_vec()), 1..=10_u32)
        .prop_map(|(unit, multiplier)| Period::new(unit, multiplier).unwrap())
}

fn entries(most: usize) -> impl Strategy<Value = Vec<Entry>> {
    let entry = (units(), any::<[u64; 2]>(), any::<u32>(), any::<u32>())
        .prop_map(|(unit, [high, low], window, count)| entry(unit, high, low, window, count));
    vec(entry, 0..most)
}

proptest! {
    #[test]
    fn any_section_comes_out_as_it_went_in(
        wants_answer: bool,
        ip: std::net::IpAddr,
        port: u16,
        name in ".{0,15}",
        number: u64,
        delay_us: u64,
        run: u32,
        mut sequences in prop::collection::btree_set(any::<u64>(), 1..=Ack::SEQUENCES_MAX),
        groups in vec((units(), any::<u32>(), any::<[u32; PARTS]>(), any::<u16>()), 0..21),
        flag: bool,
        counts in entries(80),
    ) {
        let hello = Hello { wants_answer, address: (ip, port).into(), name: name.clone() };
        let content = written(HELLO, |buffer| hello.write(buffer));
        prop_assert_eq!(Hello::read(&content), Ok(hello));

        let heartbeat = Heartbeat { probe: number, name };
        let content = written(HEARTBEAT, |buffer| heartbeat.write(buffer));
        prop_assert_eq!(Heartbeat::read(&content), Ok(heartbeat));

        let sequences = std::iter::from_fn(|| sequences.pop_last()).collect();
        let ack = Ack { run, unix_us: number, delay_us, sequences };
        let content = written(ACK, |buffer| ack.write(buffer));
        prop_assert_eq!(Ack::read(&content), Ok(ack));

        let sums = groups.iter().map(|&(period, window, sums, _)| DigestGroup { period, window, sums });
        let digest = Digest { both_ways: flag, actor: number, groups: sums.collect() };
        let content = written(DIGEST, |buffer| digest.write(buffer));
        prop_assert_eq!(Digest::read(&content), Ok(digest));

        let parts = groups.iter().map(|&(period, window, _, parts)| WantGroup { period, window, parts });
        let want = Want { actor: number, groups: parts.collect() };
        let content = written(WANT, |buffer| want.write(buffer));
        prop_assert_eq!(Want::read(&content), Ok(want));

        let content =
            written(SNAPSHOT_REQUEST, |buffer| write_snapshot_request(buffer, number));
        prop_assert_eq!(read_snapshot_request(&content), Ok(number));
        let end = SnapshotEnd { number, joining: flag };
        let content = written(SNAPSHOT_END, |buffer| end.write(buffer));
        prop_assert_eq!(SnapshotEnd::read(&content), Ok(end));
        let summary = Summary { actors: vec![(number, run), (delay_us, 0)] };
        let content = written(SUMMARY, |buffer| summary.write(buffer));
        prop_assert_eq!(Summary::read(&content), Ok(summary));
        let head = Head { actor: flag.then_some(number), copy: wants_answer, age_us: delay_us };
        let mut pack = Pack::new(usize::MAX);
        prop_assert!(counts.iter().all(|entry| pack.push(*entry)));
        let content = written(counts::CODE, |buffer| pack.write(buffer, head));
        let order = |entry: &Entry| {
            (entry.key.period, entry.window, entry.key.fingerprint, entry.count)
        };
        let (read_head, mut read) = read_counts(&content).unwrap();
        let mut counts = counts;
        counts.sort_by_key(order);
        read.sort_by_key(order);
        prop_assert_eq!((read_head, read), (head, counts));
    }

    #[test]
    fn a_pack_never_exceeds_its_bound_and_leaves_no_room_for_three_more(
        counts in entries(400),
        bytes_max in 400_usize..3_000,
        spread in 1_u32..5,
    ) {
        let mut pack = Pack::new(bytes_max);
        let few_windows = |entry: &Entry| Entry { window: entry.window % spread, ..*entry };
        let is_full = !counts.iter().map(few_windows).all(|entry| pack.push(entry));
        let head = Head { actor: Some(u64::MAX), copy: true, age_us: u64::MAX };
        let mut body = Vec::new();
        writer::head(&mut body, Kind::Bulk);
        pack.write(&mut body, head);
        prop_assert!(body.len() <= bytes_max);
        // An entry in a group of its own takes up to 32 bytes, a group's reserve is two for each.
        let groups: std::collections::HashSet<_> = counts
            .iter()
            .map(|entry| (entry.key.period, entry.window % spread))
            .collect();
        prop_assert!(!is_full || body.len() + 32 + 2 * groups.len() >= bytes_max);
    }

    #[test]
    fn names_never_exceed_their_bound_and_the_first_has_room(
        keys in entries(40),
        lengths in vec(0_usize..3_000, 40),
        bytes_max in 400_usize..3_000,
    ) {
        let mut pack = NamePack::new(bytes_max - HEAD_BYTES);
        let names: Vec<_> = keys.iter().zip(lengths).map(|(entry, length)| {
            let value = "v".repeat(length);
            let values: Vec<_> = value.as_bytes().chunks(200).collect();
            let parts: Vec<_> = values.iter().map(|value| Part::new("key", value)).collect();
            (entry.key, Name::of(b"edge", &parts))
        }).collect();
        let pushed = names.iter().take_while(|(key, name)| pack.push(*key, name.clone())).count();
        prop_assert!(pushed > 0 || names.is_empty());
        let mut body = Vec::new();
        writer::head(&mut body, Kind::Sync);
        pack.write(&mut body);
        prop_assert!(body.len() <= bytes_max);
        let read = read_all_names(&sections(&body).unwrap()[0].1).unwrap();
        prop_assert_eq!(read.len(), pushed);
        for (place, (read, there)) in read.iter().zip(&names).enumerate() {
            let is_cut = place == 0 && read.1.text().len() < there.1.text().len();
            prop_assert!(read == there || is_cut && read.1.is_truncated());
        }
        let mut question = Vec::new();
        let wanted: Vec<Key> = names.iter().map(|(key, _)| *key).collect();
        let keys_max = names::wanted_in(bytes_max - HEAD_BYTES);
        write_wanted(&mut question, &wanted[..keys_max.min(wanted.len())]);
        prop_assert!(HEAD_BYTES + question.len() <= bytes_max);
    }

    #[test]
    fn any_bytes_are_read_or_refused_and_make_nothing_large(body in vec(any::<u8>(), 0..2_000), code: u8) {
        let _ = sections(&body);
        let bytes = body.len();
        let _ = Hello::read(&body).map(|hello| assert!(hello.name.len() <= 3 * 255));
        let _ = Heartbeat::read(&body).map(|heartbeat| assert!(heartbeat.name.len() <= 3 * 255));
        let _ = Ack::read(&body).map(|ack| assert!(ack.sequences.len() <= Ack::SEQUENCES_MAX));
        let _ = Digest::read(&body).map(|digest| assert!(digest.groups.len() * 66 <= bytes));
        let _ = Want::read(&body).map(|want| assert!(want.groups.len() <= GROUPS_MAX));
        let _ = read_snapshot_request(&body);
        let _ = SnapshotEnd::read(&body);
        let _ = Summary::read(&body);
        // Entries are given out one by one; a number of entries that are not there makes none.
        let mut visited = 0;
        let _ = counts::read(&body, |_, _| visited += 1);
        prop_assert!(visited * 17 <= bytes);
        let _ = read_wanted(&body).map(|keys| assert!(keys.len() <= WANTED_MAX));
        let mut visited = 0;
        let _ = read_names(&body, |_, name| {
            visited += 1;
            name.parse().map(|name| assert!(name.text().len() <= Name::TEXT_BYTES_MAX))
        });
        prop_assert!(visited * 19 <= bytes);
        let _ = (Kind::from_code(code), Period::from_code(code.into()));
    }
}

#[test]
fn a_datagram_of_1200_bytes_has_room_for_65_small_counts() {
    let mut pack = Pack::new(1_200 - OVERHEAD_BYTES);
    let mut pushed = 0;
    while pack.push(entry(Unit::Minute, pushed << 56, pushed, 28_333_333, 127)) {
        pushed += 1;
    }
    let mut body = Vec::new();
    writer::head(&mut body, Kind::Counts);
    let head = Head {
        actor: None,
        copy: false,
        age_us: 5_000,
    };
    pack.write(&mut body, head);
    assert_eq!(pushed, 65);
    assert!(body.len() + OVERHEAD_BYTES <= 1_200);
}

#[test]
fn a_long_name_is_cut_between_characters() {
    let name = format!("{}é", "n".repeat(62));
    let mut buffer = Vec::new();
    writer::name(&mut buffer, &name);
    assert_eq!(buffer, [&[62][..], &name.as_bytes()[..62]].concat());
}

#[test]
fn a_varint_beyond_64_bits_is_malformed() {
    let read = |bytes: &[u8]| Reader::new(bytes).varint();
    let mut bytes = [0xFF; 10];
    bytes[9] = 1;
    assert_eq!(read(&bytes), Ok(u64::MAX));
    bytes[9] = 2;
    assert_eq!(read(&bytes), Err(Malformed));
    assert_eq!(read(&[0x80; 11]), Err(Malformed));
    assert_eq!(
        Reader::new(&[0x80, 0x80, 0x80, 0x80, 0x10]).varint_u32(),
        Err(Malformed)
    );
}

#[test]
fn nothing_is_read_behind_a_cut_section() {
    // Said to have three bytes, and has two.
    let body = [0, 1, 200, 1, 0, 9, 200, 3, 0, 9, 9];
    let sections: Vec<_> = Body::parse(&body).unwrap().sections().collect();
    let whole = Section {
        code: 200,
        content: &[9],
    };
    assert_eq!(sections, [Ok(whole), Err(Malformed)]);
    assert_eq!(Body::parse(&[0]).map(|_| ()), Err(Malformed));
}

/// Bodies as the first version writes them, by hand from the table. They never change: hosts of that
/// version are out there.
mod frozen {
    use super::*;

    const HELLO_V4: &[u8] = b"\x00\x01\x01\x0C\x00\x01\x04\x0A\x00\x00\x03\x0A\x1F\x03ann";
    const HELLO_V6: &[u8] = b"\x00\x01\x01\x15\x00\x00\x06\
        \x20\x01\x0D\xB8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07\x0A\x1F\x00";
    const MEMBERSHIP: &[u8] = b"\x00\x02\x02\x03\x00\x10\x20\x30";
    const ACKNOWLEDGEMENT: &[u8] = b"\x00\x03\x03\x13\x00\
        \x04\x03\x02\x01\x08\x07\x06\x05\x04\x03\x02\x01\xF4\x03\xAC\x02\x01\x80\x01";
    const HEARTBEAT_BODY: &[u8] = b"\x01\x04\x04\x06\x00\xAC\x02\x03bob";
    const COUNTS: &[u8] = b"\x01\x05\x05\x44\x00\x00\x88\x27\
        \x02\xD5\xAA\xC1\x0D\x02\
        \x08\x07\x06\x05\x04\x03\x02\x01\x18\x17\x16\x15\x14\x13\x12\x11\x05\
        \x00\x00\x00\x00\x00\x00\x00\xF0\x01\x00\x00\x00\x00\x00\x00\x00\xAC\x02\
        \x03\x07\x01\
        \x02\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\xFF\xFF\xFF\xFF\x0F";
    const COPY_OF_ANOTHER: &[u8] = b"\x01\x07\x05\x1E\x00\x03\
        \xEF\xCD\xAB\x89\x67\x45\x23\x01\x00\x01\x2A\x01\
        \x02\x00\x00\x00\x00\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\x01";
    const DIGEST_BODY: &[u8] = b"\x01\x08\x06\x4B\x00\x01\xEF\xCD\xAB\x89\x67\x45\x23\x01\
        \x07\x37\
        \x00\x00\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00\x03\x00\x00\x00\
        \x04\x00\x00\x00\x05\x00\x00\x00\x06\x00\x00\x00\x07\x00\x00\x00\
        \x08\x00\x00\x00\x09\x00\x00\x00\x0A\x00\x00\x00\x0B\x00\x00\x00\
        \x0C\x00\x00\x00\x0D\x00\x00\x00\x0E\x00\x00\x00\x44\x33\x22\x11";
    const WANT_BODY: &[u8] = b"\x01\x08\x07\x10\x00\xEF\xCD\xAB\x89\x67\x45\x23\x01\
        \x01\x2A\x01\x80\x04\x37\xFF\xFF";
    const REQUEST: &[u8] = b"\x01\x08\x08\x08\x00\x02\x01\x00\x00\x00\x00\x00\x00";
    const END: &[u8] = b"\x01\x08\x09\x09\x00\x02\x01\x00\x00\x00\x00\x00\x00\x01";
    const SUMMARY_BODY: &[u8] = b"\x01\x08\x0A\x18\x00\
        \xEF\xCD\xAB\x89\x67\x45\x23\x01\x04\x03\x02\x01\
        \x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    const RULES_BODY: &[u8] = b"\x01\x04\x0B\x08\x00\xEF\xCD\xAB\x89\x67\x45\x23\x01";
    const GOODBYE_BODY: &[u8] = b"\x00\x02\x0C\x00\x00";
    const WANTED_BODY: &[u8] = b"\x01\x08\x0D\x22\x00\
        \x02\x08\x07\x06\x05\x04\x03\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\
        \x03\x08\x07\x06\x05\x04\x03\x02\x01\x02\x00\x00\x00\x00\x00\x00\x00";
    const NAMES_BODY: &[u8] = b"\x01\x08\x0E\x6C\x00\
        \x02\x08\x07\x06\x05\x04\x03\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\
        \x00\x0E\x04edge\x04user\x03ann\
        \x03\x08\x07\x06\x05\x04\x03\x02\x01\x02\x00\x00\x00\x00\x00\x00\x00\
        \x01\x38\x04edge\x04path\x2D/////////////////////////////////////////////";
    const ACTOR: u64 = 0x0123_4567_89AB_CDEF;

    /// Head and the one section of a frozen body.
    fn open(body: &[u8]) -> (bool, Option<Kind>, u8, Vec<u8>) {
        let Body {
            acknowledge, kind, ..
        } = Body::parse(body).unwrap();
        let mut all = sections(body).unwrap();
        assert_eq!(all.len(), 1);
        let (code, content) = all.remove(0);
        (acknowledge, kind, code, content)
    }

    /// Whether a frozen body reads as this, and this is written as that body.
    fn assert_same<T: std::fmt::Debug + PartialEq>(
        body: &[u8],
        (kind, code): (Kind, u8),
        value: &T,
        read: impl FnOnce(&[u8]) -> Result<T, Malformed>,
        write: impl FnOnce(&T, &mut Vec<u8>),
    ) {
        let (acknowledge, read_kind, read_code, content) = open(body);
        assert_eq!(acknowledge, kind.is_reliable());
        assert_eq!((read_kind, read_code), (Some(kind), code));
        assert_eq!(read(&content).as_ref(), Ok(value));
        let mut again = Vec::new();
        writer::head(&mut again, kind);
        write(value, &mut again);
        assert_eq!(again, body);
    }

    fn ann() -> Hello {
        Hello {
            wants_answer: true,
            address: ([10, 0, 0, 3], 7_946).into(),
            name: "ann".into(),
        }
    }

    fn bob() -> Heartbeat {
        Heartbeat {
            probe: 300,
            name: "bob".into(),
        }
    }

    fn sums() -> Digest {
        let mut sums = std::array::from_fn(|part| u32::try_from(part).unwrap());
        sums[15] = 0x1122_3344;
        let group = DigestGroup {
            period: Unit::Year.into(),
            window: 55,
            sums,
        };
        Digest {
            both_ways: true,
            actor: ACTOR,
            groups: vec![group],
        }
    }

    fn counted() -> (Head, Vec<Entry>) {
        let head = Head {
            actor: None,
            copy: false,
            age_us: 5_000,
        };
        let (high, low) = (0x0102_0304_0506_0708, 0x1112_1314_1516_1718);
        let entries = vec![
            entry(Unit::Minute, high, low, 28_333_397, 5),
            entry(Unit::Minute, 0xF << 60, 1, 28_333_397, 300),
            entry(Unit::Hour, 2, 3, 7, u32::MAX),
        ];
        (head, entries)
    }

    fn pack((head, entries): &(Head, Vec<Entry>), buffer: &mut Vec<u8>) {
        let mut pack = Pack::new(1_146);
        assert!(entries.iter().all(|entry| pack.push(*entry)));
        pack.write(buffer, *head);
    }

    #[test]
    fn what_the_first_version_says_about_nodes_is_understood() {
        let hello = (Kind::Hello, HELLO);
        assert_same(HELLO_V4, hello, &ann(), Hello::read, Hello::write);
        let v6 = Hello {
            wants_answer: false,
            address: "[2001:db8::7]:7946".parse().unwrap(),
            name: String::new(),
        };
        assert_same(HELLO_V6, hello, &v6, Hello::read, Hello::write);
        let (_, kind, code, payload) = open(MEMBERSHIP);
        assert_eq!(
            (kind, code, payload),
            (
                Some(Kind::Membership),
                sections::MEMBERSHIP,
                vec![16, 32, 48]
            )
        );
        let heartbeat = (Kind::Heartbeat, HEARTBEAT);
        assert_same(
            HEARTBEAT_BODY,
            heartbeat,
            &bob(),
            Heartbeat::read,
            Heartbeat::write,
        );
        let ack = Ack {
            run: 0x0102_0304,
            unix_us: 0x0102_0304_0506_0708,
            delay_us: 500,
            sequences: vec![300, 299, 171],
        };
        assert_same(
            ACKNOWLEDGEMENT,
            (Kind::Ack, ACK),
            &ack,
            Ack::read,
            Ack::write,
        );
    }

    #[test]
    fn what_was_added_since_is_understood() {
        let rules = |hash: &u64, buffer: &mut Vec<u8>| write_rules(buffer, *hash);
        let code = (Kind::Heartbeat, RULES);
        assert_same(RULES_BODY, code, &ACTOR, read_rules, rules);
        let goodbye = |_: &(), buffer: &mut Vec<u8>| write_goodbye(buffer);
        let code = (Kind::Membership, GOODBYE);
        assert_same(GOODBYE_BODY, code, &(), |_| Ok(()), goodbye);
        let [ours, long] = [(Unit::Minute, 1), (Unit::Hour, 2)]
            .map(|(unit, low)| entry(unit, 0x0102_0304_0506_0708, low, 0, 0).key);
        let wanted = |keys: &Vec<Key>, buffer: &mut Vec<u8>| write_wanted(buffer, keys);
        let code = (Kind::Sync, WANTED);
        assert_same(WANTED_BODY, code, &vec![ours, long], read_wanted, wanted);
        let names = |names: &Vec<(Key, Name)>, buffer: &mut Vec<u8>| {
            let mut pack = NamePack::new(1_146);
            let mut names = names.iter().cloned();
            assert!(names.all(|(key, name)| pack.push(key, name)));
            pack.write(buffer);
        };
        let name = Name::of(b"edge", &[Part::new("user", "ann")]);
        let cut = Name::of(b"edge", &[Part::new("path", &"/".repeat(99))]).cut(56);
        let code = (Kind::Sync, NAMES);
        let both = vec![(ours, name), (long, cut)];
        assert_same(NAMES_BODY, code, &both, read_all_names, names);
    }

    #[test]
    fn what_the_first_version_says_about_counts_is_understood() {
        let news = (Kind::Counts, counts::CODE);
        assert_same(COUNTS, news, &counted(), read_counts, pack);
        let head = Head {
            actor: Some(ACTOR),
            copy: true,
            age_us: 0,
        };
        let copy = (head, vec![entry(Unit::Second, 2, 3, 42, 1)]);
        assert_same(
            COPY_OF_ANOTHER,
            (Kind::Bulk, counts::CODE),
            &copy,
            read_counts,
            pack,
        );
        let sync = |code| (Kind::Sync, code);
        assert_same(
            DIGEST_BODY,
            sync(DIGEST),
            &sums(),
            Digest::read,
            Digest::write,
        );
        let want = Want {
            actor: ACTOR,
            groups: vec![
                WantGroup {
                    period: Unit::Second.into(),
                    window: 42,
                    parts: 0x8001,
                },
                WantGroup {
                    period: Unit::Day.into(),
                    window: 55,
                    parts: u16::MAX,
                },
            ],
        };
        assert_same(WANT_BODY, sync(WANT), &want, Want::read, Want::write);
        let request = |number: &u64, buffer: &mut Vec<u8>| write_snapshot_request(buffer, *number);
        let code = sync(SNAPSHOT_REQUEST);
        assert_same(REQUEST, code, &0x102, read_snapshot_request, request);
        let end = SnapshotEnd {
            number: 0x102,
            joining: true,
        };
        let code = sync(SNAPSHOT_END);
        assert_same(END, code, &end, SnapshotEnd::read, SnapshotEnd::write);
        let summary = Summary {
            actors: vec![(ACTOR, 0x0102_0304), (1, 0)],
        };
        let code = sync(SUMMARY);
        assert_same(SUMMARY_BODY, code, &summary, Summary::read, Summary::write);
    }

    #[test]
    fn what_a_later_version_adds_is_skipped() {
        // Fields behind those that are known.
        let longer = |body| [&open(body).3[..], b"new"].concat();
        assert_eq!(Hello::read(&longer(HELLO_V4)), Ok(ann()));
        assert_eq!(Heartbeat::read(&longer(HEARTBEAT_BODY)), Ok(bob()));
        assert_eq!(read_snapshot_request(&longer(REQUEST)), Ok(0x102));
        assert_eq!(read_rules(&longer(RULES_BODY)), Ok(ACTOR));

        // Flags.
        let flagged = |body| {
            let mut content = open(body).3;
            content[0] |= 0xF8;
            content
        };
        assert_eq!(read_counts(&flagged(COUNTS)), Ok(counted()));
        assert_eq!(Digest::read(&flagged(DIGEST_BODY)), Ok(sums()));
        assert_eq!(Hello::read(&flagged(HELLO_V4)), Ok(ann()));

        // A kind, flags of the body, and sections before and behind a known one.
        let section = &COUNTS[2..];
        let body = [b"\xFF\x63\xC8\x03\x00new", section, b"\xC9\x00\x00"].concat();
        let parsed = Body::parse(&body).unwrap();
        assert_eq!((parsed.acknowledge, parsed.kind), (true, None));
        let all = sections(&body).unwrap();
        let codes: Vec<u8> = all.iter().map(|(code, _)| *code).collect();
        assert_eq!(codes, [200, counts::CODE, 201]);
        assert_eq!(read_counts(&all[1].1), Ok(counted()));
    }
}
