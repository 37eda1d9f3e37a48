//! Arguments as Python shows them, for the logs of workers and for monitors.

use serde_json::{Map, Value};

/// Maximum number of characters: the `argsrepr_maxsize` of Celery.
const LONGEST: usize = 1_024;

/// The tuple of positional arguments, such as `(7, 'eur')`.
pub(super) fn args(args: &[Value]) -> String {
    let mut text = Text::default();
    text.push("(");
    text.items(args);
    text.push(if args.len() == 1 { ",)" } else { ")" });
    text.finished()
}

/// The keyword arguments, such as `{'currency': 'eur'}`.
pub(super) fn kwargs(kwargs: &Map<String, Value>) -> String {
    let mut text = Text::default();
    text.members(kwargs);
    text.finished()
}

/// A text that stops growing at its limit.
#[derive(Default)]
struct Text {
    text: String,
    length: usize,
}

impl Text {
    fn is_full(&self) -> bool {
        self.length > LONGEST
    }

    fn push(&mut self, part: &str) {
        for character in part.chars() {
            if self.is_full() {
                return;
            }
            self.length += 1;
            self.text.push(character);
        }
    }

    fn finished(mut self) -> String {
        if self.is_full() {
            self.text.pop();
            self.text.push_str("...");
        }
        self.text
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Null => self.push("None"),
            Value::Bool(true) => self.push("True"),
            Value::Bool(false) => self.push("False"),
            Value::Number(number) => self.push(&number.to_string()),
            Value::String(text) => self.string(text),
            Value::Array(items) => {
                self.push("[");
                self.items(items);
                self.push("]");
            }
            Value::Object(members) => self.members(members),
        }
    }

    fn items(&mut self, items: &[Value]) {
        for (number, item) in items.iter().enumerate() {
            if self.is_full() {
                return;
            }
            if number > 0 {
                self.push(", ");
            }
            self.value(item);
        }
    }

    fn members(&mut self, members: &Map<String, Value>) {
        self.push("{");
        for (number, (name, value)) in members.iter().enumerate() {
            if self.is_full() {
                return;
            }
            if number > 0 {
                self.push(", ");
            }
            self.string(name);
            self.push(": ");
            self.value(value);
        }
        self.push("}");
    }

    fn string(&mut self, text: &str) {
        self.push("'");
        for character in text.chars() {
            if self.is_full() {
                return;
            }
            match character {
                '\'' => self.push("\\'"),
                '\\' => self.push("\\\\"),
                '\n' => self.push("\\n"),
                '\r' => self.push("\\r"),
                '\t' => self.push("\\t"),
                _ if character.is_control() => {
                    self.push(&format!("\\x{:02x}", u32::from(character)));
                }
                _ => self.push(character.encode_utf8(&mut [0; 4])),
            }
        }
        self.push("'");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(value: Value) -> String {
        match value {
            Value::Array(items) => args(&items),
            Value::Object(members) => kwargs(&members),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn arguments_are_shown_as_in_python() {
        assert_eq!(shown(json!([])), "()");
        assert_eq!(shown(json!([7])), "(7,)");
        assert_eq!(
            shown(json!([1.5, true, false, null, "é", [1], {"a": []}])),
            "(1.5, True, False, None, 'é', [1], {'a': []})"
        );
        assert_eq!(
            shown(json!({"it's": "a\\b\n\u{0}\u{85}"})),
            r"{'it\'s': 'a\\b\n\x00\x85'}"
        );
    }

    #[test]
    fn a_long_one_is_cut() {
        let exact = shown(json!(["x".repeat(LONGEST - 5)]));
        assert_eq!(exact.chars().count(), LONGEST);
        assert!(exact.ends_with("',)"), "{exact}");
        for long in [
            json!(["x".repeat(LONGEST - 4)]),
            json!(["é".repeat(1_000_000)]),
            json!(vec![json!([]); 100_000]),
            json!({"a": vec![1; 10_000]}),
        ] {
            let text = shown(long);
            assert_eq!(text.chars().count(), LONGEST + 3);
            assert!(text.ends_with("..."), "{text}");
        }
    }
}
