//! Escapes texts from outside before they are printed: a message, a broker or a database may send
//! control sequences of a terminal, or line breaks that forge a log line.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Whether a character can control a terminal or move other characters: control characters, line
/// and paragraph separators, and those that change the direction of writing (Unicode Standard Annex 9).
pub(crate) fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '\u{feff}'
        )
}

/// The text on one line, with unsafe characters as `\n`, `\t` or `\u{1b}`.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    escaped_but(text, |_| false)
}

/// [`escaped`], with line breaks and tabs unchanged.
pub(crate) fn escaped_lines(text: &str) -> Cow<'_, str> {
    escaped_but(text, |character| matches!(character, '\n' | '\t'))
}

/// [`escaped`], with these characters unchanged.
pub(crate) fn escaped_but(text: &str, is_kept: impl Fn(char) -> bool) -> Cow<'_, str> {
    let is_safe = |character| !is_unsafe(character) || is_kept(character);
    if text.chars().all(is_safe) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_safe(character) {
            shown.push(character);
        } else {
            shown.extend(character.escape_default());
        }
    }
    Cow::Owned(shown)
}

/// A line of JSON with the unsafe characters in its strings as JSON escapes.
pub(crate) fn escaped_json(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_unsafe(character) {
            // All of them are below U+10000.
            let _ = write!(shown, "\\u{:04x}", u32::from(character));
        } else {
            shown.push(character);
        }
    }
    Cow::Owned(shown)
}

/// An error on one line, without repetitions: libpq writes a line for each address that it tried.
pub(crate) fn one_line(text: &str) -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    escaped(&lines.join("; ")).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_unsafe_is_left() {
        let text = "a\u{1b}[31m\n\r\t\0\u{7f}\u{9b}2J\u{2028}\u{202e}é";
        let shown = escaped(text);
        assert_eq!(
            shown,
            "a\\u{1b}[31m\\n\\r\\t\\u{0}\\u{7f}\\u{9b}2J\\u{2028}\\u{202e}é"
        );
        assert!(matches!(escaped("plain é"), Cow::Borrowed(_)));
        assert_eq!(escaped_lines("a\n\tb\r\n"), "a\n\tb\\r\n");
    }

    #[test]
    fn json_stays_json() {
        let line = serde_json::to_string("a\u{9b}\u{7f}\u{202e}\u{1b}\n").unwrap();
        let shown = escaped_json(&line);
        assert!(!shown.chars().any(is_unsafe), "{shown}");
        let read: String = serde_json::from_str(&shown).unwrap();
        assert_eq!(read, "a\u{9b}\u{7f}\u{202e}\u{1b}\n");
    }

    #[test]
    fn several_lines_become_one() {
        assert_eq!(one_line("refused: x\nrefused: x\n\ty\n"), "refused: x; y");
        assert_eq!(one_line("one\u{1b}"), "one\\u{1b}");
    }
}
