//! Python's values that JSON has no type for, as kombu writes them: `{"__type__": …, "__value__": …}`
//! (kombu 5.3 and later, `kombu/utils/json.py`).

use serde_json::{Map, Value};
use uuid::Uuid;

/// Replaces each of these values by its text. Recursion ends with serde_json's limit of 128 levels.
pub(super) fn plain(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(plain),
        Value::Object(members) => {
            if let Some(text) = text(members) {
                *value = Value::String(text);
            } else {
                members.values_mut().for_each(plain);
            }
        }
        _ => {}
    }
}

fn text(members: &Map<String, Value>) -> Option<String> {
    if members.len() != 2 {
        return None;
    }
    let value = members.get("__value__")?;
    match members.get("__type__")?.as_str()? {
        // `base64` is what kombu writes for bytes that are not UTF-8.
        "datetime" | "date" | "time" | "decimal" | "bytes" | "base64" => {
            value.as_str().map(str::to_owned)
        }
        "uuid" => {
            let hex = value.get("hex")?.as_str()?;
            Uuid::parse_str(hex).ok().map(|id| id.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_of_python_are_texts_and_all_others_stay() {
        let typed = |name: &str, value: Value| json!({"__type__": name, "__value__": value});
        let mut value = json!([
            typed("datetime", json!("2026-11-28T10:40:26+00:00")),
            {"price": typed("decimal", json!("1.10"))},
            typed("uuid", json!({"hex": "841b848953be4a729294eea95d52d622"})),
            typed("base64", json!("/w==")),
            typed("set", json!([1])),
            typed("date", json!(7)),
            typed("uuid", json!({"hex": "no"})),
            {"__type__": "date", "__value__": "x", "more": 1},
        ]);
        plain(&mut value);
        assert_eq!(
            value,
            json!([
                "2026-11-28T10:40:26+00:00",
                {"price": "1.10"},
                "841b8489-53be-4a72-9294-eea95d52d622",
                "/w==",
                typed("set", json!([1])),
                typed("date", json!(7)),
                typed("uuid", json!({"hex": "no"})),
                {"__type__": "date", "__value__": "x", "more": 1},
            ])
        );
    }
}
