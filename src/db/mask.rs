//! Error texts of a database's client library, without the password.

use percent_encoding::percent_decode_str;

use crate::config::{Secret, conninfo};

/// Hides the passwords of an address in an error's text.
///
/// An error shows a part of an address in quotes, or together with what is next to it in the address. Nothing
/// else is hidden: a short password may also occur as a word, or within one.
#[derive(Clone, Default)]
pub(super) struct Mask {
    secrets: Vec<String>,
    /// Parts that are not secret, though a password may be equal to one.
    shown: Vec<String>,
}

impl Mask {
    pub(super) fn new(address: &Secret) -> Self {
        let mut mask = Self::default();
        let text = address.expose();
        let Some((_, rest)) = text.split_once("://") else {
            for (name, value) in conninfo::parameters(text).unwrap_or_default() {
                mask.add(name, &value);
            }
            return mask;
        };
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (user, place) = place.rsplit_once('@').unwrap_or(("", place));
        let (name, password) = user.split_once(':').unwrap_or((user, ""));
        mask.add("user", name);
        mask.add("password", password);
        for part in place.split(['/', ',', ':']) {
            mask.add("host", part);
        }
        for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
            mask.add(name, value);
        }
        mask
    }

    fn add(&mut self, name: &str, value: &str) {
        let decoded = percent_decode_str(value).decode_utf8_lossy().into_owned();
        let kind = match name.contains("password") {
            true => &mut self.secrets,
            false => &mut self.shown,
        };
        for text in [value.to_owned(), decoded] {
            if !text.is_empty() && !kind.contains(&text) {
                kind.push(text);
            }
        }
    }

    /// The text without the passwords.
    pub(super) fn hide(&self, text: &str) -> String {
        let mut shown = text.to_owned();
        for secret in &self.secrets {
            let is_shown = self.shown.contains(secret);
            let mut from = 0;
            while let Some(at) = shown[from..].find(secret).map(|at| from + at) {
                let end = at + secret.len();
                let before = shown[..at].chars().next_back();
                let behind = shown[end..].chars().next();
                let is_word = [before, behind]
                    .iter()
                    .all(|next| next.is_none_or(|letter| !letter.is_alphanumeric()));
                let is_quoted = before.is_some_and(is_quote) && behind.is_some_and(is_quote);
                let is_part =
                    before.is_some_and(|letter| matches!(letter, ':' | '=')) || behind == Some('@');
                if is_word && (is_part || (is_quoted && !is_shown)) {
                    shown.replace_range(at..end, "***");
                    from = at + 3;
                } else {
                    from = end;
                }
            }
        }
        shown
    }
}

fn is_quote(letter: char) -> bool {
    matches!(letter, '"' | '\'' | '`' | '«' | '»' | '„' | '“' | '”')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hidden(address: &str, text: &str) -> String {
        Mask::new(&Secret::new(address)).hide(text)
    }

    #[test]
    fn a_password_is_hidden_where_an_address_is_quoted() {
        let address = "postgres://app:hun%2Fter@h/d?sslpassword=key";
        for (text, expected) in [
            (r#"invalid "hun%2Fter" here"#, r#"invalid "***" here"#),
            ("invalid 'hun/ter'", "invalid '***'"),
            (
                "in postgres://app:hun%2Fter@h/d",
                "in postgres://app:***@h/d",
            ),
            ("password=hun/ter host=h", "password=*** host=h"),
            ("sslpassword=key", "sslpassword=***"),
        ] {
            assert_eq!(hidden(address, text), expected);
        }
        let keywords = r"host=h password='a b'";
        assert_eq!(hidden(keywords, r#"missing "a b""#), r#"missing "***""#);
    }

    #[test]
    fn words_are_left_alone() {
        let text = r#"FATAL:  role "nobody" does not exist"#;
        for password in ["x", "not", "FATAL", "nobody", "e"] {
            let address = format!("postgres://nobody:{password}@h/d");
            assert_eq!(hidden(&address, text), text, "{password}");
        }
    }
}
