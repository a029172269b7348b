//! The bytes a counter's fingerprint is made from.
//!
//! They say everything that makes two counters different and nothing else: domain, entries, period, each
//! text behind its length, so that no two different keys have the same bytes. The rule is not in them:
//! changing a limit keeps the count, and a configured rule and a request's own limit of the same unit
//! share one counter.

use crate::counting::Counting;
use crate::descriptor::Entry;

/// Bytes that begin every key; another version of this format begins otherwise.
const VERSION: u8 = 1;

/// Writes the key of a descriptor's counter into `key`, replacing what was there.
///
/// `shared_value` gives the text that takes the place of an entry's value when a rule lets all values
/// that match its pattern share one counter.
#[inline(always)]
pub fn write<'k, 'v>(
    key: &'k mut Vec<u8>,
    domain: &[u8],
    entries: &[Entry<'v>],
    counting: Counting,
    shared_value: impl Fn(usize) -> Option<&'v [u8]>,
) -> &'k [u8] {
    let value = |level: usize, entry: &Entry<'v>| shared_value(level).unwrap_or(entry.value);
    let texts: usize = entries
        .iter()
        .enumerate()
        .map(|(level, entry)| LENGTH_BYTES_MAX * 2 + entry.key.len() + value(level, entry).len())
        .sum();
    let most = COUNTING_BYTES_MAX + 1 + LENGTH_BYTES_MAX + domain.len() + texts;
    // Grows once to the longest key there is and stays: then there is nothing to check at each text.
    if key.len() < most {
        key.resize(most, 0);
    }
    let room = key.len();
    let mut rest = key.as_mut_slice();
    put_counting(&mut rest, counting);
    put_text(&mut rest, domain);
    for (level, entry) in entries.iter().enumerate() {
        put_text(&mut rest, entry.key);
        put_text(&mut rest, value(level, entry));
    }
    let used = room - rest.len();
    key.get(..used).unwrap_or_default()
}

/// Beside a unit's code: how many of it a window has follows.
const SEVERAL: u8 = 0x80;

/// Beside a unit's code: the tokens that flow into a bucket in a window follow.
const TOKENS: u8 = 0x40;

/// Most bytes a way of counting takes.
const COUNTING_BYTES_MAX: usize = 11;

/// Bytes the length of a short text takes.
const LENGTH_BYTES: usize = 2;

/// Most bytes a text's length takes.
const LENGTH_BYTES_MAX: usize = 10;

/// Writes bytes at the front of `rest`, which has room for them, and leaves what is behind.
#[inline]
fn put(rest: &mut &mut [u8], bytes: &[u8]) {
    if let Some((place, behind)) = std::mem::take(rest).split_at_mut_checked(bytes.len()) {
        place.copy_from_slice(bytes);
        *rest = behind;
    }
}

#[inline(always)]
fn put_counting(rest: &mut &mut [u8], counting: Counting) {
    let period = counting.period();
    let tokens = match counting {
        Counting::Windows(_) => 0,
        Counting::Tokens(_) => TOKENS,
    };
    let unit = period.unit().code() | tokens;
    match period.multiplier() {
        1 => put(rest, &[VERSION, unit]),
        several => {
            let [low, middle, ..] = several.to_le_bytes();
            put(rest, &[VERSION, unit | SEVERAL, low, middle]);
        }
    }
    if let Counting::Tokens(bucket) = counting {
        put(rest, &bucket.tokens_per_window().to_le_bytes());
    }
}

#[inline(always)]
fn put_text(rest: &mut &mut [u8], text: &[u8]) {
    // Short texts, which all are in practice, take two bytes for their length.
    match u16::try_from(text.len()) {
        Ok(length) if length < u16::MAX => {
            let both = std::mem::take(rest).split_at_mut_checked(LENGTH_BYTES + text.len());
            if let Some((place, behind)) = both {
                *rest = behind;
                if let Some((first, place)) = place.split_first_chunk_mut::<LENGTH_BYTES>() {
                    *first = length.to_le_bytes();
                    copy(place, text);
                }
            }
        }
        _ => {
            put(rest, &u16::MAX.to_le_bytes());
            put(rest, &(text.len() as u64).to_le_bytes());
            put(rest, text);
        }
    }
}

/// Copies text into a place of its length. Most are short: two copies of a fixed size, which overlap, take less than
/// a call.
#[inline(always)]
fn copy(place: &mut [u8], text: &[u8]) {
    const HALF: usize = 8;
    if text.len() > 2 * HALF || place.len() != text.len() {
        place.copy_from_slice(text);
    } else if let (Some(first), Some(last)) = (text.first_chunk::<HALF>(), text.last_chunk()) {
        if let Some(place) = place.first_chunk_mut() {
            *place = *first;
        }
        if let Some(place) = place.last_chunk_mut::<HALF>() {
            *place = *last;
        }
    } else if let (Some(first), Some(last)) = (text.first_chunk::<4>(), text.last_chunk()) {
        if let Some(place) = place.first_chunk_mut() {
            *place = *first;
        }
        if let Some(place) = place.last_chunk_mut::<4>() {
            *place = *last;
        }
    } else {
        for (place, byte) in place.iter_mut().zip(text) {
            *place = *byte;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::num::NonZeroU32;

    use super::*;
    use crate::token_bucket::TokenBucket;
    use crate::window::{Period, Unit};

    fn key(domain: &str, entries: &[(&str, &str)], counting: impl Into<Counting>) -> Vec<u8> {
        let entries: Vec<_> = entries
            .iter()
            .map(|(key, value)| Entry::new(*key, *value))
            .collect();
        let mut bytes = Vec::new();
        write(
            &mut bytes,
            domain.as_bytes(),
            &entries,
            counting.into(),
            |_| None,
        )
        .to_vec()
    }

    #[test]
    fn keys_that_only_read_alike_when_joined_differ() {
        let keys = [
            key("d", &[("a", "b_c")], Unit::Hour),
            key("d", &[("a_b", "c")], Unit::Hour),
            key("d", &[("a", "b"), ("c", "")], Unit::Hour),
            key("d", &[("a", "b")], Unit::Hour),
            key("d", &[("a", "b")], Unit::Day),
            key("d", &[("a", "b")], Period::new(Unit::Hour, 2).unwrap()),
            key("d", &[("a", "b")], Period::new(Unit::Hour, 512).unwrap()),
            key("d", &[("a", "b")], Counting::Tokens(bucket(1, 1))),
            key("d", &[("a", "b")], Counting::Tokens(bucket(2, 1))),
            key("d", &[("a", "b")], Counting::Tokens(bucket(1, 2))),
            key("da", &[("", "b")], Unit::Hour),
            key("d", &[], Unit::Hour),
        ];
        let different: HashSet<_> = keys.iter().collect();
        assert_eq!(different.len(), keys.len());
    }

    #[test]
    fn texts_of_every_length_are_copied_whole() {
        let text: Vec<u8> = (0..100).collect();
        for length in 0..=text.len() {
            let value = &text[..length];
            let mut buffer = vec![0xFF; 512];
            let entries = [Entry::new(value, value)];
            let bytes = write(&mut buffer, b"d", &entries, Unit::Hour.into(), |_| None);
            let counted = [&[u8::try_from(length).unwrap(), 0], value].concat();
            let expected = [
                &[VERSION, Unit::Hour.code(), 1, 0, b'd'][..],
                &counted,
                &counted,
            ]
            .concat();
            assert_eq!(bytes, expected);
        }
    }

    fn bucket(tokens: u32, burst: u32) -> TokenBucket {
        let burst = NonZeroU32::new(burst).unwrap();
        TokenBucket::new(tokens, Unit::Hour.into(), burst).unwrap()
    }

    #[test]
    fn a_larger_bucket_that_fills_as_fast_within_the_same_windows_is_the_same_one() {
        let key = |burst| key("d", &[("a", "b")], Counting::Tokens(bucket(10, burst)));
        assert_eq!(key(5), key(10));
        assert_ne!(key(10), key(11));
    }

    #[test]
    fn a_shared_value_takes_the_place_of_the_requested_one() {
        let entries = [Entry::new("path", "files/a"), Entry::new("user", "x")];
        let mut buffer = Vec::new();
        let shared = write(&mut buffer, b"d", &entries, Unit::Hour.into(), |level| {
            (level == 0).then_some(b"files/*".as_slice())
        });
        assert_eq!(
            shared,
            key("d", &[("path", "files/*"), ("user", "x")], Unit::Hour)
        );
    }
}
