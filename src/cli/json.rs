//! JSON on standard output: `docs/json.md`.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use serde::de::IgnoredAny;

/// An object on one line, with its members in the order in which they were added.
#[derive(Debug, Clone, Default)]
pub(super) struct Object {
    members: String,
}

impl Object {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds a member.
    pub(super) fn with(self, name: &str, value: impl Serialize) -> Self {
        let value = json(&value);
        self.with_json(name, &value)
    }

    /// Adds a member with a time.
    pub(super) fn with_time(self, name: &str, time: Option<DateTime<Utc>>) -> Self {
        let time = time.map(|time| time.to_rfc3339_opts(SecondsFormat::Micros, true));
        self.with(name, time)
    }

    /// Adds a member whose value is stored as JSON, with each number as it is written. If it is no JSON, the member
    /// has `_text` after its name, and is a string.
    pub(super) fn with_document(self, name: &str, text: &str) -> Self {
        if serde_json::from_str::<IgnoredAny>(text).is_err() {
            return self.with(&format!("{name}_text"), text);
        }
        // They can only be between two values: in a string they are escaped.
        let line: String = text
            .chars()
            .map(|character| match character {
                '\n' | '\r' | '\t' => ' ',
                other => other,
            })
            .collect();
        self.with_json(name, line.trim())
    }

    /// Adds a member with a list of objects.
    pub(super) fn with_objects(self, name: &str, objects: impl Iterator<Item = Self>) -> Self {
        let objects: Vec<String> = objects.map(|object| object.to_string()).collect();
        self.with_json(name, &format!("[{}]", objects.join(",")))
    }

    fn with_json(mut self, name: &str, value: &str) -> Self {
        if !self.members.is_empty() {
            self.members.push(',');
        }
        self.members.push_str(&json(&name));
        self.members.push(':');
        self.members.push_str(value);
        self
    }
}

impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}}}", self.members)
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_document_is_a_part_of_the_object() {
        let object = Object::new()
            .with("n", 1)
            .with("t\n", "\u{1b}")
            .with_document("body", "{\n\t\"a\": [1.10, \"\\n\"]\r\n}\n")
            .with_document("headers", "{")
            .with_objects("rows", [Object::new(), Object::new()].into_iter());
        let text = object.to_string();
        assert!(text.contains("1.10") && !text.contains('\n'), "{text}");
        let read: Value = serde_json::from_str(&text).unwrap();
        let expected = json!({
            "n": 1, "t\n": "\u{1b}", "body": {"a": [1.1, "\n"]}, "headers_text": "{", "rows": [{}, {}]
        });
        assert_eq!(read, expected);
    }
}
