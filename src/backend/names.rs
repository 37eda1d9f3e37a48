//! Spellings of ids.
//!
//! PostgreSQL compares UUIDs. Elsewhere an id is text, and another writer may spell it
//! differently: Django writes 32 digits without hyphens.

use uuid::Uuid;

/// Parses a UUID: with hyphens or without, in braces, as a URN, in any case.
pub(crate) fn uuid(text: &str) -> Option<Uuid> {
    let text = text.trim();
    let text = text
        .get(..9)
        .filter(|start| start.eq_ignore_ascii_case("urn:uuid:"))
        .map_or(text, |start| &text[start.len()..]);
    let text = text
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'))
        .unwrap_or(text);
    Uuid::try_parse(text).ok()
}

/// Whether a text is a UUID in any spelling.
#[cfg(feature = "cli")]
pub(crate) fn is_uuid(text: &str) -> bool {
    uuid(text).is_some()
}

/// The usual spellings of an id, and the given one.
pub(super) fn spellings(id: &str) -> Vec<String> {
    let mut all = vec![id.to_owned()];
    if let Some(uuid) = uuid(id) {
        let (with, without) = (uuid.hyphenated().to_string(), uuid.simple().to_string());
        all.extend([with.to_ascii_uppercase(), without.to_ascii_uppercase()]);
        all.extend([with, without]);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_is_read_in_any_spelling() {
        let expected = Uuid::from_u128(0xa1a2_a3a4_b1b2_c1c2_d1d2_d3d4_d5d6_d7d8);
        for text in [
            "a1a2a3a4-b1b2-c1c2-d1d2-d3d4d5d6d7d8",
            "A1A2A3A4-B1B2-C1C2-D1D2-D3D4D5D6D7D8",
            "a1a2a3a4b1b2c1c2d1d2d3d4d5d6d7d8",
            "{A1A2A3A4B1B2C1C2D1D2D3D4D5D6D7D8}",
            "{a1a2a3a4-b1b2-c1c2-d1d2-d3d4d5d6d7d8}",
            "URN:UUID:a1a2a3a4-b1b2-c1c2-d1d2-d3d4d5d6d7d8",
            " a1a2a3a4b1b2c1c2d1d2d3d4d5d6d7d8 ",
        ] {
            assert_eq!(uuid(text), Some(expected), "{text}");
            assert!(spellings(text).contains(&expected.simple().to_string()));
        }
        for text in ["", "order-7", "ééééé", "{}", "urn:uuid:", "1"] {
            assert_eq!(uuid(text), None, "{text}");
        }
    }
}
