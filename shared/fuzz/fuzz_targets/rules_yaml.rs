//! Reading rule files of any text, and rendering what is wrong with them.
#![no_main]

use hivemind_shared::rules::source::{Options, parse};
use hivemind_shared::rules::{decode, encode};
use hivemind_shared::yaml::Source;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(source) = Source::from_bytes("fuzz.yaml", input.to_vec()) else { return };
    match parse(&[source], &Options { merge_domains: input.len() % 2 == 0, ..Options::default() }) {
        Ok(loaded) => assert!(decode(&encode(&loaded.rules)).is_ok()),
        Err(problems) => {
            let _ = problems.to_string();
        }
    }
});
