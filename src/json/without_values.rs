//! The messages of serde's errors, without values of the document.

use serde_json::Error;

/// Removes the values of the document that serde's message quotes: "invalid type: string, expected i32 at
/// line 1 column 9".
pub(crate) fn without_values(error: &Error) -> String {
    if !error.is_data() {
        // Messages of serde_json itself quote nothing.
        return error.to_string();
    }
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = text.strip_suffix(&place).unwrap_or(&text);
    let what = what(text);
    if error.line() == 0 {
        return what;
    }
    format!("{what}{place}")
}

/// The kinds of values, as serde names them.
const KINDS: [&str; 17] = [
    "boolean",
    "integer",
    "floating point",
    "character",
    "string",
    "byte array",
    "unit value",
    "Option value",
    "newtype struct",
    "sequence",
    "map",
    "enum",
    "unit variant",
    "newtype variant",
    "tuple variant",
    "struct variant",
    "null",
];

/// The parts of a message that come from the type, not from the document.
fn what(text: &str) -> String {
    // Names of the type's fields.
    for start in ["missing field `", "duplicate field `"] {
        if text.starts_with(start) {
            return text.to_owned();
        }
    }
    // The last one: a value may contain the same text.
    let expected = text
        .rsplit_once(", expected ")
        .map(|(_, expected)| expected);
    let expected = expected.map(|expected| format!(", expected {expected}"));
    let expected = expected.unwrap_or_default();
    for start in ["invalid type", "invalid value"] {
        let Some(value) = text
            .strip_prefix(start)
            .and_then(|it| it.strip_prefix(": "))
        else {
            continue;
        };
        let kind = KINDS.iter().find(|kind| value.starts_with(**kind));
        return format!("{start}: {}{expected}", kind.unwrap_or(&"a value"));
    }
    for start in ["invalid length", "unknown field", "unknown variant"] {
        if text.starts_with(start) {
            return format!("{start}{expected}");
        }
    }
    "the value does not fit".to_owned()
}
