//! Text from elsewhere, for a log or a terminal.

use std::borrow::Cow;

/// Whether a terminal or an editor may obey this character instead of showing it: control characters, the separators
/// of lines and paragraphs, and those that change the direction of text (Unicode Standard Annex 9, table of
/// directional formatting characters).
#[must_use]
pub fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text without what would be obeyed, at most `max_chars` characters.
#[must_use]
pub fn printable(text: &str, max_chars: usize) -> String {
    text.chars().map(|c| if is_obeyed(c) { ' ' } else { c }).take(max_chars).collect()
}

/// A text with what would be obeyed written as literals of Rust have it, so that it is a part of one line.
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return text.into();
    }
    let mut line = String::new();
    for c in text.chars() {
        if is_obeyed(c) { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line.into()
}

/// A text of at most `max_chars` characters, where an ellipsis stands for the middle of a longer one: names differ at
/// their ends, and sentences have their reasons there.
#[must_use]
pub fn shortened(text: &str, max_chars: usize) -> Cow<'_, str> {
    // No character takes more than its bytes.
    if text.len() <= max_chars || text.chars().nth(max_chars).is_none() {
        return text.into();
    }
    let kept = max_chars.saturating_sub(1);
    let (start, end) = (kept.div_ceil(2), kept / 2);
    let start = text.char_indices().nth(start).map_or(text, |(at, _)| &text[..at]);
    let end = text.char_indices().rev().take(end).last().map_or("", |(at, _)| &text[at..]);
    format!("{start}…{end}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_obeyed_is_escaped() {
        assert_eq!(escaped("add:1.0 ü"), "add:1.0 ü");
        assert_eq!(
            escaped("a\n\u{1b}\u{85}\u{2028}\u{2029}\u{202e}\u{2066}\u{200f}"),
            r"a\n\u{1b}\u{85}\u{2028}\u{2029}\u{202e}\u{2066}\u{200f}"
        );
        assert_eq!(printable("a\u{2029}b\u{202e}", 3), "a b");
    }

    #[test]
    fn the_middle_of_a_long_text_is_left_out() {
        for (text, max, short) in [
            ("", 0, ""),
            ("abc", 3, "abc"),
            ("äöü", 3, "äöü"),
            ("abcd", 3, "a…d"),
            ("äöüß€", 4, "äö…€"),
            ("abcd", 1, "…"),
        ] {
            assert_eq!(shortened(text, max), short);
        }
        assert_eq!(shortened(&"ä".repeat(4096), 256).chars().count(), 256);
    }
}
