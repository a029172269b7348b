//! Reading opened datagrams of any bytes. What is read is written back, and means the same.
#![no_main]

use hivemind_mesh::wire::counts::{self, Entry, Head, Pack};
use hivemind_mesh::wire::names::{self, NamePack};
use hivemind_mesh::wire::sections::{self, Ack, Digest, Heartbeat, Hello, SnapshotEnd, Summary, Want};
use hivemind_mesh::wire::{Body, Malformed};
use hivemind_shared::region::Name;
use hivemind_shared::table::Key;
use libfuzzer_sys::fuzz_target;

/// Writes a section, and gives what is in it to a reader.
fn again<T>(
    write: impl FnOnce(&mut Vec<u8>),
    read: impl FnOnce(&[u8]) -> Result<T, Malformed>,
) -> T {
    let mut bytes = vec![0, 0];
    write(&mut bytes);
    let body = Body::parse(&bytes).unwrap();
    let mut sections = body.sections();
    let section = sections.next().unwrap().unwrap();
    assert!(sections.next().is_none());
    read(section.content).unwrap()
}

fn read_counts(content: &[u8]) -> Result<(Head, Vec<Entry>), Malformed> {
    let mut entries = Vec::new();
    let head = counts::read(content, |_, entry| entries.push(entry))?;
    // The order is the writer's business.
    entries.sort_by_key(|entry| {
        let Entry { key, window, count } = *entry;
        (key.period, window, key.fingerprint.high, key.fingerprint.low, count)
    });
    Ok((head, entries))
}

fn read_names(content: &[u8]) -> Result<Vec<(Key, Name)>, Malformed> {
    let mut all = Vec::new();
    names::read_names(content, |key, name| {
        all.push((key, name.parse()?));
        Ok(())
    })?;
    Ok(all)
}

/// Each reader gets each section, whatever its type.
fn read_all(content: &[u8]) {
    if let Ok(hello) = Hello::read(content) {
        let back = again(|buffer| hello.write(buffer), Hello::read);
        assert!(hello.name.starts_with(&back.name));
        assert_eq!((back.wants_answer, back.address), (hello.wants_answer, hello.address));
    }
    if let Ok(heartbeat) = Heartbeat::read(content) {
        let back = again(|buffer| heartbeat.write(buffer), Heartbeat::read);
        assert!(heartbeat.name.starts_with(&back.name));
        assert_eq!(back.probe, heartbeat.probe);
    }
    if let Ok(ack) = Ack::read(content) {
        assert!(ack.sequences.len() <= Ack::SEQUENCES_MAX);
        assert_eq!(again(|buffer| ack.write(buffer), Ack::read), ack);
    }
    if let Ok(digest) = Digest::read(content) {
        assert_eq!(again(|buffer| digest.write(buffer), Digest::read), digest);
    }
    if let Ok(want) = Want::read(content) {
        assert_eq!(again(|buffer| want.write(buffer), Want::read), want);
    }
    if let Ok(number) = sections::read_snapshot_request(content) {
        let write = |buffer: &mut Vec<u8>| sections::write_snapshot_request(buffer, number);
        assert_eq!(again(write, sections::read_snapshot_request), number);
    }
    if let Ok(end) = SnapshotEnd::read(content) {
        assert_eq!(again(|buffer| end.write(buffer), SnapshotEnd::read), end);
    }
    if let Ok(summary) = Summary::read(content) {
        assert_eq!(again(|buffer| summary.write(buffer), Summary::read), summary);
    }
    if let Ok(wanted) = names::read_wanted(content) {
        assert!(wanted.len() <= names::WANTED_MAX);
        let write = |buffer: &mut Vec<u8>| names::write_wanted(buffer, &wanted);
        assert_eq!(again(write, names::read_wanted), wanted);
    }
    if let Ok(all) = read_names(content) {
        let mut pack = NamePack::new(usize::MAX);
        assert!(all.iter().all(|(key, name)| pack.push(*key, name.clone())));
        assert_eq!(again(|buffer| pack.write(buffer), read_names), all);
    }
    if let Ok((head, entries)) = read_counts(content) {
        let mut pack = Pack::new(usize::MAX);
        assert!(entries.iter().all(|entry| pack.push(*entry)));
        let back = again(|buffer| pack.write(buffer, head), read_counts);
        assert_eq!(back, (head, entries));
    }
}

fuzz_target!(|input: &[u8]| {
    let Ok(body) = Body::parse(input) else {
        assert!(input.len() < 2);
        return;
    };
    let mut bytes = 2;
    let mut is_whole = true;
    for section in body.sections() {
        assert!(is_whole, "nothing comes after an error");
        match section {
            Ok(section) => {
                bytes += 3 + section.content.len();
                read_all(section.content);
            }
            Err(Malformed) => is_whole = false,
        }
    }
    assert!(if is_whole { bytes == input.len() } else { bytes < input.len() });
});
