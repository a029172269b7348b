//! Reading key files of any text, and changing those that are good.
#![no_main]

use hivemind_mesh::seal::{KeyRing, add_key, promote_key, retire_keys};
use libfuzzer_sys::fuzz_target;

fn ids(text: &str) -> Vec<u32> {
    KeyRing::parse(text).expect("a good file that was changed is good").key_ids().collect()
}

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let ring = match KeyRing::parse(text) {
        Ok(ring) => ring,
        Err(error) => {
            let _ = error.to_string();
            assert!(add_key(text, &[1; 32]).is_err());
            assert!(promote_key(text).is_err() && retire_keys(text).is_err());
            return;
        }
    };
    assert!(ring.is_secret());
    let before: Vec<u32> = ring.key_ids().collect();
    if let Ok(added) = add_key(text, b"a key no fuzzer puts in a file..") {
        assert_eq!(ids(&added)[..before.len()], before);
    }
    if let [first, .., last] = *before {
        let promoted = ids(&promote_key(text).unwrap());
        assert_eq!((promoted[0], promoted[1], promoted.len()), (last, first, before.len()));
        assert_eq!(ids(&retire_keys(text).unwrap()), [first]);
    }
    assert_eq!(KeyRing::parse(text).unwrap().hash_key(), ring.hash_key());
});
