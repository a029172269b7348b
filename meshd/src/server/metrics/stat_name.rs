//! Text in the names of envoyproxy/ratelimit's statistics, whose separators some characters would be.

/// `text` as it stands there: an underscore in place of every colon and bar, and of the dots of IPv4
/// addresses.
pub(super) fn sanitized(text: &str) -> String {
    let text = text.replace([':', '|'], "_");
    let pieces: Vec<&str> = text.split('.').collect();
    let mut is_in_address = vec![false; pieces.len()];
    let mut at = 0;
    // What is left of the piece at `at`, whose beginning may be the end of an address.
    let mut rest = pieces.first().copied().unwrap_or_default();
    while let Some(&[_, second, third, fourth]) = pieces.get(at..at + 4) {
        let last_digits = fourth.bytes().take(3).take_while(u8::is_ascii_digit);
        let last_digits = last_digits.count();
        let is_address = rest.ends_with(|last: char| last.is_ascii_digit())
            && [second, third].into_iter().all(is_number)
            && last_digits > 0;
        if is_address {
            is_in_address[at..at + 3].fill(true);
            at += 3;
            rest = &fourth[last_digits..];
        } else {
            at += 1;
            rest = second;
        }
    }
    let mut out = String::with_capacity(text.len());
    for (index, piece) in pieces.iter().enumerate() {
        if index > 0 {
            out.push(if is_in_address[index - 1] { '_' } else { '.' });
        }
        out.push_str(piece);
    }
    out
}

/// Whether it is a number of an address in the middle.
fn is_number(piece: &str) -> bool {
    (1..=3).contains(&piece.len()) && piece.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colons_bars_and_the_dots_of_addresses_become_underscores() {
        for (text, expected) in [
            ("", ""),
            ("remote_address_10.0.0.1", "remote_address_10_0_0_1"),
            ("10.0.0.0/8", "10_0_0_0/8"),
            ("a:b|c", "a_b_c"),
            ("example.com", "example.com"),
            ("1.2.3", "1.2.3"),
            ("1.2.3.4.5", "1_2_3_4.5"),
            ("1.2.3.4.5.6.7.8", "1_2_3_4.5_6_7_8"),
            ("1.2.3.45678.9.1.2", "1_2_3_45678_9_1_2"),
            ("1234.5.6.7", "1234_5_6_7"),
            ("1.2345.6.7", "1.2345.6.7"),
            ("v1.10.0.0.1.x", "v1_10_0_0.1.x"),
            ("\u{fc}.1.2.3.\u{fc}", "\u{fc}.1.2.3.\u{fc}"),
        ] {
            assert_eq!(sanitized(text), expected, "{text:?}");
        }
    }
}
