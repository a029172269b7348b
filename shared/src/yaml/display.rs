//! Showing text from a file on a terminal or in a log, where it must not do anything but be read.

use super::invisible::is_invisible;

/// Longest text a message repeats, in characters; the rest is cut off with an ellipsis.
pub(crate) const SHOWN_CHARS_MAX: usize = 80;

/// `text` for use within a message: what a reader would not see is escaped, and anything longer than 80
/// characters is cut.
pub fn printable(text: &str) -> String {
    let mut shown = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == SHOWN_CHARS_MAX {
            shown.push('…');
            break;
        }
        push_escaped(character, &mut shown);
    }
    shown
}

/// The whole of `text`, with what a reader would not see escaped: control characters (terminal escapes), marks
/// that turn the writing direction, and characters without a shape of their own.
pub fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        push_escaped(character, &mut shown);
    }
    shown
}

fn push_escaped(character: char, shown: &mut String) {
    if is_harmless(character) {
        shown.push(character);
    } else {
        shown.extend(character.escape_default());
    }
}

/// Whether a character shows itself, and does nothing else.
pub(crate) fn is_harmless(character: char) -> bool {
    !character.is_control() && !is_invisible(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_not_be_seen_is_escaped() {
        for (text, shown) in [
            ("\u{1b}[31mred", "\\u{1b}[31mred"),
            ("a\u{202e}b", "a\\u{202e}b"),
            ("user\u{200b}", "user\\u{200b}"),
            ("a\u{a0}b\tc", "a\\u{a0}b\\tc"),
            ("größer 中文", "größer 中文"),
        ] {
            assert_eq!(printable(text), shown);
            assert_eq!(escaped(text), shown);
        }
    }

    #[test]
    fn long_text_is_cut() {
        let shown = printable(&"ä".repeat(1_000));
        assert_eq!(shown.chars().count(), SHOWN_CHARS_MAX + 1);
        assert!(shown.ends_with('…'));
        assert_eq!(escaped(&"ä".repeat(1_000)).chars().count(), 1_000);
    }
}
