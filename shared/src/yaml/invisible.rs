//! Characters that nobody sees: they come with text that is copied from a document or a chat, and then keys and
//! values that look the same are not.

use std::fmt;

/// An invisible character, as a message names it: `U+200B (zero width space)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invisible(char);

impl Invisible {
    /// The first one in a text, line breaks and tabs included.
    ///
    /// Joiners and variation selectors behind a letter or sign outside ASCII are none: some scripts, and emoji, are
    /// written with them.
    pub fn first_in(text: &str) -> Option<Self> {
        let mut before = '\0';
        text.chars()
            .find(|&character| {
                let is_writing =
                    matches!(character, '\u{200C}' | '\u{200D}' | '\u{FE00}'..='\u{FE0F}')
                        && !before.is_ascii();
                before = character;
                !is_writing && (character.is_control() || is_invisible(character))
            })
            .map(Self)
    }

    /// The character.
    pub fn character(self) -> char {
        self.0
    }

    /// What to do about it in a place where it is not meant.
    pub fn advice(self) -> String {
        format!(
            "there is {self} in it, which cannot be seen: take it out, or put a plain space in its place"
        )
    }

    /// What Unicode calls it, of those that are met in practice.
    fn name(self) -> &'static str {
        match self.0 {
            '\t' => "tab",
            '\n' => "line feed",
            '\r' => "carriage return",
            '\u{A0}' => "no-break space",
            '\u{AD}' => "soft hyphen",
            '\u{200B}' => "zero width space",
            '\u{200C}' => "zero width non-joiner",
            '\u{200D}' => "zero width joiner",
            '\u{200E}' => "left-to-right mark",
            '\u{200F}' => "right-to-left mark",
            '\u{2028}' => "line separator",
            '\u{2029}' => "paragraph separator",
            '\u{202F}' => "narrow no-break space",
            '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' => "turns the writing direction",
            '\u{2060}' => "word joiner",
            '\u{3000}' => "ideographic space",
            '\u{FEFF}' => "byte order mark",
            character if character.is_control() => "control character",
            character if character.is_whitespace() => "a space of another kind",
            _ => "without a shape of its own",
        }
    }
}

impl fmt::Display for Invisible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "U+{:04X} ({})", u32::from(self.0), self.name())
    }
}

/// Whether a character has no shape of its own, or looks like a plain space and is none. Control characters are
/// not among them.
pub(super) fn is_invisible(character: char) -> bool {
    // Most text.
    if character.is_ascii() {
        return false;
    }
    // `Default_Ignorable_Code_Point` of Unicode, and interlinear annotation.
    character.is_whitespace()
        || matches!(
            character,
            '\u{AD}'
                | '\u{34F}'
                | '\u{61C}'
                | '\u{115F}'..='\u{1160}'
                | '\u{17B4}'..='\u{17B5}'
                | '\u{180B}'..='\u{180F}'
                | '\u{200B}'..='\u{200F}'
                | '\u{202A}'..='\u{202E}'
                | '\u{2060}'..='\u{206F}'
                | '\u{3164}'
                | '\u{FE00}'..='\u{FE0F}'
                | '\u{FEFF}'
                | '\u{FFA0}'
                | '\u{FFF0}'..='\u{FFFB}'
                | '\u{1BCA0}'..='\u{1BCA3}'
                | '\u{1D173}'..='\u{1D17A}'
                | '\u{E0000}'..='\u{E0FFF}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Option<String> {
        Invisible::first_in(text).map(|found| found.to_string())
    }

    #[test]
    fn what_is_not_seen_is_named() {
        for (text, name) in [
            ("user\u{200b}", "U+200B (zero width space)"),
            ("\u{a0}user", "U+00A0 (no-break space)"),
            ("\u{feff}domain", "U+FEFF (byte order mark)"),
            ("us\u{ad}er", "U+00AD (soft hyphen)"),
            ("a\u{2003}b", "U+2003 (a space of another kind)"),
            ("user\n", "U+000A (line feed)"),
            ("a\u{e0041}", "U+E0041 (without a shape of its own)"),
            ("user\u{200d}", "U+200D (zero width joiner)"),
        ] {
            assert_eq!(named(text).as_deref(), Some(name), "{text:?}");
        }
    }

    #[test]
    fn what_is_seen_and_what_scripts_are_written_with_is_not() {
        for text in [
            "",
            "two words",
            "größer",
            "中文",
            "نمی\u{200c}خواهم",
            "❤\u{fe0f}",
            "👩\u{200d}🚀",
        ] {
            assert_eq!(named(text), None, "{text:?}");
        }
    }
}
