//! Decoding rules of any bytes, and asking what was decoded.
#![no_main]

use hivemind_shared::descriptor::Entry;
use hivemind_shared::rules::{decode, encode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(rules) = decode(input) else { return };
    let entries = [Entry::new("k", "v"), Entry::new("", "")];
    let domains: Vec<String> = rules.domains().map(str::to_owned).collect();
    for domain in domains {
        let _ = rules.find(domain.as_bytes(), &entries[..1]);
        let _ = rules.find(domain.as_bytes(), &entries);
    }
    for (id, _) in rules.rules() {
        let _ = rules.path(id).to_string();
        let _ = rules.shared_value(id, 0);
    }
    // What was decoded can be published again and reads back.
    assert!(decode(&encode(&rules)).is_ok());
});
