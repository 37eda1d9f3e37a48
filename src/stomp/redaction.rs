//! Removes the password from texts of the broker.

/// Hides a password in texts of the broker: a broker that echoes it must not put it into a log.
#[derive(Clone, Default)]
pub(super) struct Redaction(Option<String>);

impl Redaction {
    /// A redaction for this password. RabbitMQ's default `guest` is not hidden: it is no secret,
    /// and the word may occur anywhere.
    pub(super) fn new(password: &str) -> Self {
        let is_secret = !password.is_empty() && password != "guest";
        Self(is_secret.then(|| password.to_owned()))
    }

    /// The length of the password's longest form, in bytes.
    pub(super) fn longest(&self) -> usize {
        self.0.as_ref().map_or(0, |password| 2 * password.len())
    }

    pub(super) fn hide(&self, text: &str) -> String {
        match &self.0 {
            // Escaped too: where a text came back as it was written.
            Some(password) => {
                let escaped = password.replace('\\', "\\\\");
                without(&without(text, &escaped), password)
            }
            None => text.to_owned(),
        }
    }
}

/// A shorter password is a part of many words.
const SHORT: usize = 6;

/// The text with stars in the place of a password; of a short one where it is a word.
fn without(text: &str, password: &str) -> String {
    if password.len() >= SHORT {
        return text.replace(password, "***");
    }
    let mut shown = String::with_capacity(text.len());
    let mut from = 0;
    for (at, _) in text.match_indices(password) {
        let is_word = |character: Option<char>| {
            character.is_none_or(|character| !character.is_alphanumeric())
        };
        let end = at + password.len();
        if is_word(text[..at].chars().next_back()) && is_word(text[end..].chars().next()) {
            shown.push_str(&text[from..at]);
            shown.push_str("***");
            from = end;
        }
    }
    shown.push_str(&text[from..]);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_password_hides_no_other_text() {
        let text = "Access refused for user 'x' with x, or: x";
        assert_eq!(
            Redaction::new("x").hide(text),
            "Access refused for user '***' with ***, or: ***"
        );
        assert_eq!(Redaction::new("e").hide("refused"), "refused");
        assert_eq!(Redaction::new("hunter2").hide("ahunter2b"), "a***b");
        assert_eq!(Redaction::new("p\\w").hide("p\\\\w p\\w"), "*** ***");
    }
}
