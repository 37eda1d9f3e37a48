//! The keys by which rows are signed.

use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit};
use sha2::Sha256;

/// The least number of bytes of a key's secret.
const SHORTEST_SECRET: usize = 16;
/// The maximum number of characters of a key's id.
const LONGEST_ID: usize = 40;

/// The keys by which rows are signed and verified: the first one signs, all of them verify.
///
/// Clones share the keys. `Debug` shows the ids only.
#[derive(Clone)]
pub struct Keys {
    keys: Arc<[Key]>,
}

/// A key whose secret cannot be read back.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) id: String,
    pub(super) mac: Hmac<Sha256>,
}

impl Keys {
    /// Parses keys as they are in the setting `signing_keys`: each one is `id:secret`, and commas, spaces or
    /// line breaks are between them.
    ///
    /// An id has 1 to 40 letters, digits, `-`, `_` and `.`, and is stored in each row. A secret has at least
    /// 16 bytes and no comma or white space; `openssl rand -hex 32` makes a good one. Its bytes are the key:
    /// a secret in hexadecimal is not decoded.
    ///
    /// # Errors
    ///
    /// [`KeysError`] if there is no key, or one of them is not allowed.
    pub fn parse(text: &str) -> Result<Self, KeysError> {
        let mut keys: Vec<Key> = Vec::new();
        let parts = text.split([',', ' ', '\t', '\r', '\n']);
        for (number, part) in (1..).zip(parts.filter(|part| !part.is_empty())) {
            let Some((id, secret)) = part.split_once(':') else {
                return Err(KeysError::Form { number });
            };
            let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            if !(1..=LONGEST_ID).contains(&id.len()) || !id.bytes().all(is_allowed) {
                return Err(KeysError::Id { number });
            }
            if secret.len() < SHORTEST_SECRET {
                return Err(KeysError::Short { id: id.to_owned() });
            }
            if keys.iter().any(|key| key.id == id) {
                return Err(KeysError::Twice { id: id.to_owned() });
            }
            let mac = Hmac::new_from_slice(secret.as_bytes());
            keys.push(Key {
                id: id.to_owned(),
                mac: mac.map_err(|_| KeysError::Short { id: id.to_owned() })?,
            });
        }
        if keys.is_empty() {
            return Err(KeysError::None);
        }
        Ok(Self { keys: keys.into() })
    }

    /// The key that signs.
    pub(super) fn first(&self) -> &Key {
        // There is always one.
        &self.keys[0]
    }

    /// The key with this id.
    pub(super) fn find(&self, id: &str) -> Option<&Key> {
        self.keys.iter().find(|key| key.id == id)
    }
}

// The secrets are never shown.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids = self.keys.iter().map(|key| &key.id);
        f.debug_list().entries(ids).finish()
    }
}

/// Why keys could not be parsed. It contains no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// There is no key.
    #[error("there is no key: write `id:secret`")]
    None,
    /// A key is not `id:secret`.
    #[error("key {number} has no `:` between its id and its secret")]
    Form {
        /// The key's place in the list, from 1.
        number: usize,
    },
    /// An id is empty, too long or has other characters than the allowed ones.
    #[error("the id of key {number} is not 1 to {LONGEST_ID} letters, digits, `-`, `_` and `.`")]
    Id {
        /// The key's place in the list, from 1.
        number: usize,
    },
    /// A secret is too short to be secure.
    #[error("the secret of the key `{id}` has fewer than {SHORTEST_SECRET} bytes")]
    Short {
        /// The key's id.
        id: String,
    },
    /// Two keys have the same id.
    #[error("two keys have the id `{id}`")]
    Twice {
        /// The id.
        id: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_parsed_and_only_their_ids_are_shown() {
        let text = "\n2026-11:0123456789abcdef, old.1:fedcba9876543210:x\n";
        let keys = Keys::parse(text).unwrap();
        assert_eq!(keys.first().id, "2026-11");
        assert!(keys.find("old.1").is_some() && keys.find("old").is_none());
        assert_eq!(format!("{keys:?}"), r#"["2026-11", "old.1"]"#);
    }

    #[test]
    fn a_mistake_names_itself_without_the_secret() {
        let id = "x".repeat(41);
        for (text, expected) in [
            ("", KeysError::None),
            (" , \n", KeysError::None),
            ("0123456789abcdef", KeysError::Form { number: 1 }),
            (":0123456789abcdef", KeysError::Id { number: 1 }),
            ("a b:0123456789abcdef", KeysError::Form { number: 1 }),
            ("é:0123456789abcdef", KeysError::Id { number: 1 }),
            (
                &format!("{id}:0123456789abcdef"),
                KeysError::Id { number: 1 },
            ),
            ("a:0123456789abcde", KeysError::Short { id: "a".to_owned() }),
            (
                "a:0123456789abcdef,a:0123456789abcdef",
                KeysError::Twice { id: "a".to_owned() },
            ),
        ] {
            let error = Keys::parse(text).unwrap_err();
            assert_eq!(error, expected);
            assert!(!error.to_string().contains("0123456"), "{error}");
        }
    }
}
