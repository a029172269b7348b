//! The committed code is what the `.proto` files say.

#![forbid(unsafe_code)]
#![allow(clippy::expect_used, reason = "tests say what they expect")]

mod generate;

use std::collections::BTreeMap;
use std::path::Path;

#[test]
fn committed_code_matches_the_proto_files() {
    let fresh_dir = tempfile::tempdir().expect("a temporary directory");
    generate::generate(fresh_dir.path()).expect("the .proto files compile");

    let fresh = read_all(fresh_dir.path());
    let committed = read_all(&generate::committed_dir());
    assert!(
        fresh == committed,
        "generated code is stale: run `cargo run -p hivemind-proto --example regenerate`\n\
         fresh: {:?}\ncommitted: {:?}\ndiffering: {:?}",
        fresh.keys(),
        committed.keys(),
        fresh
            .keys()
            .filter(|name| fresh.get(*name) != committed.get(*name))
            .collect::<Vec<_>>(),
    );
}

/// Every file of a directory by name.
fn read_all(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    std::fs::read_dir(dir)
        .expect("the directory is there")
        .map(|entry| entry.expect("a directory entry"))
        .map(|entry| {
            let name = entry
                .file_name()
                .into_string()
                .expect("a file name in UTF-8");
            (name, std::fs::read(entry.path()).expect("a readable file"))
        })
        .collect()
}

#[test]
fn the_descriptor_set_names_the_service_for_reflection() {
    use prost::Message;

    let files = prost_types::FileDescriptorSet::decode(hivemind_proto::FILE_DESCRIPTOR_SET)
        .expect("the committed descriptor set decodes");
    let service = files
        .file
        .iter()
        .find(|file| file.package() == "envoy.service.ratelimit.v3")
        .and_then(|file| file.service.first())
        .expect("the service is in the set");
    assert_eq!(service.name(), "RateLimitService");
    assert_eq!(service.method[0].name(), "ShouldRateLimit");
}

#[test]
fn entries_that_are_not_utf_8_are_read_as_they_are() {
    use hivemind_proto::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
    use prost::Message;

    // entries[0] = { key: "k", value: FF FE }, as bytes on the wire.
    let wire = b"\x0a\x07\x0a\x01k\x12\x02\xff\xfe";
    let descriptor = RateLimitDescriptor::decode(&wire[..]).expect("decodes all the same");
    assert_eq!(&descriptor.entries[0].value[..], b"\xff\xfe");
}
