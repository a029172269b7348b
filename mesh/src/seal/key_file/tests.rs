use proptest::prelude::*;

use super::*;
use crate::seal::KeyRing;

/// `hash 5a5a…`
fn hash() -> String {
    format!("hash {}", "5a".repeat(16))
}

/// `seal` and a key of this byte.
fn seal(key: u8) -> String {
    format!("seal {}", format!("{key:02x}").repeat(32))
}

fn ids(text: &str) -> Vec<u32> {
    KeyRing::parse(text).unwrap().key_ids().collect()
}

#[track_caller]
fn assert_wrong(lines: &[&str], expected: &KeyFileError) {
    let text = lines.join("\n");
    assert_eq!(KeyRing::parse(&text).unwrap_err(), *expected, "{text}");
}

#[test]
fn comments_blank_lines_and_letter_case_do_not_matter() {
    let plain = format!("{}\n{}\n{}\n", hash(), seal(0xAB), seal(2));
    let decorated = format!(
        "# keys\r\n\r\n  {} # of 2027\r\n#seal 00\r\n\t{}  \r\n{}#old",
        seal(0xAB).replace("ab", "AB"),
        hash(),
        seal(2)
    );
    assert_eq!(ids(&plain), ids(&decorated));
    let [plain, decorated] = [plain, decorated].map(|text| KeyRing::parse(&text).unwrap());
    assert_eq!(plain.hash_key(), [0x5A; 16]);
    assert_eq!(decorated.hash_key(), [0x5A; 16]);
    assert!(plain.is_secret());
}

#[test]
fn errors_name_the_line() {
    let (hash, one, two) = (&*hash(), &*seal(1), &*seal(2));
    let short = &one[..one.len() - 1];
    let odd = &one.replacen("01", "0g", 1);
    let umlaut = &one.replacen("01", "0ä", 1);
    let length = |found| KeyFileError::Length {
        line: 2,
        word: "seal",
        expected: 64,
        found,
    };
    assert_wrong(&["", "# nothing"], &KeyFileError::NoHash);
    assert_wrong(&[one], &KeyFileError::NoHash);
    assert_wrong(&[hash], &KeyFileError::NoSealKey);
    assert_wrong(&[hash, short], &length(63));
    assert_wrong(&[hash, "seal"], &length(0));
    assert_wrong(&[hash, "seal # later"], &length(0));
    assert_wrong(&[hash, &format!("{one}00")], &length(66));
    for wrong in [odd, umlaut] {
        let error = KeyFileError::NotHexadecimal { line: 3, place: 2 };
        assert_wrong(&[hash, one, wrong], &error);
    }
    let error = KeyFileError::SecondHash { line: 4, first: 1 };
    assert_wrong(&[hash, one, "", hash], &error);
    let error = KeyFileError::DuplicateKey { line: 4, first: 2 };
    assert_wrong(&[hash, one, two, one], &error);
    let error = KeyFileError::UnknownWord { line: 2 };
    assert_wrong(&[hash, &one.replace("seal", "sael")], &error);
    let error = KeyFileError::TooManyWords { line: 1 };
    assert_wrong(&[&format!("{hash} 00"), one], &error);
}

#[test]
fn bare_keys_lead_to_keygen() {
    let error = KeyRing::parse(&"0f".repeat(32)).unwrap_err();
    assert_eq!(error, KeyFileError::BareKey { line: 1 });
    assert!(error.to_string().contains("`hivectl keygen`"), "{error}");
}

#[test]
fn eight_keys_are_enough() {
    let mut lines = vec![hash()];
    lines.extend((1..=8).map(seal));
    assert_eq!(ids(&lines.join("\n")).len(), SEAL_KEYS_MAX);
    let full = lines.join("\n");
    let error = KeyFileError::TooManyKeys { line: 10 };
    assert_eq!(add_key(&full, &[9; 32]), Err(error.clone()));
    lines.push(seal(9));
    assert_eq!(KeyRing::parse(&lines.join("\n")).unwrap_err(), error);
}

#[test]
fn keys_that_share_a_name_are_refused() {
    // Found by trying some ten thousand.
    let [one, other] = [48_596, 70_440].map(|key: u32| format!("seal {key:064x}"));
    let error = KeyFileError::SameId { line: 3, first: 2 };
    assert_wrong(&[&hash(), &one, &other], &error);
}

#[test]
fn no_message_shows_a_key() {
    let key = "c0ffee".repeat(11);
    for text in [
        key.clone(),
        format!("seal {key}"),
        format!("hash {key}"),
        format!("key={key}"),
        format!("{}\n{} {key}", hash(), seal(1)),
    ] {
        let error = KeyRing::parse(&text).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains("c0ffee"), "{shown}");
    }
}

#[test]
fn a_new_file_holds_the_random_bytes_and_says_how_it_is_used() {
    let random = std::array::from_fn(|index| u8::try_from(index).unwrap());
    let file = generate_key_file(&random);
    let ring = KeyRing::parse(&file).unwrap();
    assert_eq!(ring.hash_key(), random[..16]);
    assert_eq!(ring.sealing().secret, random[16..]);
    for part in ["--add", "--promote", "--retire", "hash:", "seal:"] {
        assert!(file.contains(part), "{part}");
    }
}

#[test]
fn a_change_of_keys_goes_in_three_steps_and_keeps_everything_else() {
    let start = generate_key_file(&[1; 48]);
    let added = add_key(&start, &[2; 32]).unwrap();
    let promoted = promote_key(&added).unwrap();
    let retired = retire_keys(&promoted).unwrap();
    let ([old], [new]) = (&*ids(&start), &*ids(&retired)) else {
        panic!("one key each");
    };
    assert_ne!(old, new);
    assert_eq!(ids(&added), [*old, *new]);
    assert_eq!(ids(&promoted), [*new, *old]);
    let [old_key, new_key] = ["01", "02"].map(|byte| byte.repeat(32));
    assert_eq!(retired, start.replace(&old_key, &new_key));
}

#[test]
fn what_stands_between_keys_stays() {
    let text = format!("{}\n# one\n{}\n# two\n{}", seal(1), hash(), seal(2));
    let expected = format!("{}\n{}\n# one\n{}\n# two\n", seal(2), seal(1), hash());
    assert_eq!(promote_key(&text), Ok(expected));
    let expected = format!("{}\n# one\n{}\n# two\n", seal(1), hash());
    assert_eq!(retire_keys(&text), Ok(expected));
}

#[test]
fn there_is_nothing_to_change_about_a_single_key() {
    let text = format!("{}\n{}\n", hash(), seal(1));
    let error = KeyFileError::SingleKey { line: 2 };
    assert_eq!(promote_key(&text), Err(error.clone()));
    assert_eq!(retire_keys(&text), Err(error));
}

#[test]
fn a_key_that_is_there_already_is_not_added() {
    let text = format!("{}\n{}\n", hash(), seal(1));
    let error = KeyFileError::DuplicateKey { line: 3, first: 2 };
    assert_eq!(add_key(&text, &[1; 32]), Err(error));
}

proptest! {
    #[test]
    fn any_text_is_a_ring_or_an_error(text in "(seal|hash|#|[0-9a-f]{64}|[0-9a-f]{32}|[ \n]|\\PC){0,40}") {
        let _ = KeyRing::parse(&text);
        let _ = (add_key(&text, &[1; 32]), promote_key(&text), retire_keys(&text));
    }
}
