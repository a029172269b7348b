//! Showing text from a file on a terminal or in a log, where it must not do anything but be read.

/// Longest text a message repeats, in characters; the rest is cut off with an ellipsis.
const SHOWN_CHARS_MAX: usize = 80;

/// `text` for use within a message: control characters and marks that turn the writing direction are
/// escaped, and anything longer than 80 characters is cut.
pub fn printable(text: &str) -> String {
    let mut shown = String::new();
    for (count, character) in text.chars().enumerate() {
        if count == SHOWN_CHARS_MAX {
            shown.push('…');
            break;
        }
        if is_harmless(character) {
            shown.push(character);
        } else {
            shown.extend(character.escape_default());
        }
    }
    shown
}

/// Whether a character only shows itself: neither a control character (terminal escapes) nor one that
/// reorders the text around it.
pub(super) fn is_harmless(character: char) -> bool {
    let reorders = matches!(character, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}');
    !character.is_control() && !reorders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_escapes_are_shown_not_sent() {
        assert_eq!(printable("\u{1b}[31mred"), "\\u{1b}[31mred");
        assert_eq!(printable("a\u{202e}b"), "a\\u{202e}b");
    }

    #[test]
    fn long_text_is_cut() {
        let shown = printable(&"ä".repeat(1_000));
        assert_eq!(shown.chars().count(), SHOWN_CHARS_MAX + 1);
        assert!(shown.ends_with('…'));
    }
}
