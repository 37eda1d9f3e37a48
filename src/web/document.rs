//! JSON for a reader: indented, with the values of some names hidden, and each number as it is written.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::redaction::{HIDDEN, Redaction};

/// Levels that are shown.
const DEEPEST: usize = 64;
const INDENT: &str = "  ";

/// The text as indented JSON; `None` if it is no JSON.
pub(super) fn indented(text: &str, redaction: &Redaction) -> Option<String> {
    let value: &RawValue = serde_json::from_str(text).ok()?;
    let mut shown = String::with_capacity(text.len() * 2);
    write(&mut shown, value, redaction, 0);
    Some(shown)
}

/// The members of a JSON object in their order; `None` if the text is no object. The value of a text is the text
/// itself.
pub(super) fn members(text: &str) -> Option<Vec<(String, String)>> {
    let Members(members) = serde_json::from_str(text).ok()?;
    let members = members.into_iter().map(|(name, value)| {
        let text = serde_json::from_str::<String>(value.get());
        (name, text.unwrap_or_else(|_| value.get().to_owned()))
    });
    Some(members.collect())
}

/// The members of an object, in their order; a name may be there twice.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfObject;

        impl<'de> Visitor<'de> for OfObject {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(OfObject)
    }
}

fn write(shown: &mut String, value: &RawValue, redaction: &Redaction, depth: usize) {
    let raw = value.get();
    let is_nested = raw.starts_with(['{', '[']);
    if is_nested && depth >= DEEPEST {
        shown.push('…');
        return;
    }
    if let Ok(Members(members)) = serde_json::from_str(raw) {
        let write_member = |shown: &mut String, (name, value): &(String, Box<RawValue>)| {
            let quoted = serde_json::to_string(name).unwrap_or_default();
            shown.push_str(&quoted);
            shown.push_str(": ");
            if redaction.hides(name) {
                shown.push_str(&format!("\"{HIDDEN}\""));
            } else {
                write(shown, value, redaction, depth + 1);
            }
        };
        write_all(shown, ('{', '}'), &members, depth, write_member);
    } else if let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(raw) {
        let write_item = |shown: &mut String, item: &&RawValue| {
            write(shown, item, redaction, depth + 1);
        };
        write_all(shown, ('[', ']'), &items, depth, write_item);
    } else {
        shown.push_str(raw);
    }
}

fn write_all<T>(
    shown: &mut String,
    (open, close): (char, char),
    parts: &[T],
    depth: usize,
    mut write_part: impl FnMut(&mut String, &T),
) {
    shown.push(open);
    for (number, part) in parts.iter().enumerate() {
        shown.push_str(if number == 0 { "\n" } else { ",\n" });
        shown.push_str(&INDENT.repeat(depth + 1));
        write_part(shown, part);
    }
    if !parts.is_empty() {
        shown.push('\n');
        shown.push_str(&INDENT.repeat(depth));
    }
    shown.push(close);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_hidden_at_any_depth_and_numbers_stay() {
        let redaction = Redaction::new(&["Api-Key".to_owned()]);
        let text = r#"{"b":[{"API_KEY":{"x":1}},1.10,12345678901234567890123],"a":{},"a":[],"api_key":null}"#;
        let expected = r#"{
  "b": [
    {
      "API_KEY": "***"
    },
    1.10,
    12345678901234567890123
  ],
  "a": {},
  "a": [],
  "api_key": "***"
}"#;
        assert_eq!(indented(text, &redaction).unwrap(), expected);
        assert_eq!(indented("<xml/>", &redaction), None);
        assert_eq!(indented("", &redaction), None);
    }

    #[test]
    fn what_is_too_deep_is_cut_off() {
        let redaction = Redaction::new(&["secret".to_owned()]);
        let (open, close) = ("[".repeat(100), "]".repeat(100));
        let text = format!(r#"{open}{{"secret": 1}}{close}"#);
        let shown = indented(&text, &redaction).unwrap();
        assert!(shown.contains('…') && !shown.contains("secret"), "{shown}");
        // Deeper than serde_json reads.
        let (open, close) = ("[".repeat(100_000), "]".repeat(100_000));
        let shown = indented(&format!("{open}{close}"), &redaction);
        assert!(shown.is_none_or(|shown| shown.contains('…')));
    }

    #[test]
    fn members_are_texts() {
        let read = members(r#"{"a": "x\n", "n": 1.0, "o": {"b": []}}"#).unwrap();
        let expected = [("a", "x\n"), ("n", "1.0"), ("o", r#"{"b": []}"#)];
        assert_eq!(read, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert_eq!(members("[]"), None);
    }
}
