//! What the broker says, without our password.

/// Hides a password in what a broker says: one that echoes it must not put it into our log.
#[derive(Clone, Default)]
pub(super) struct Mask(Option<String>);

impl Mask {
    /// The password of one broker. That of RabbitMQ's own user `guest` is no secret, and its word
    /// may be a part of anything.
    pub(super) fn new(password: &str) -> Self {
        let is_secret = !password.is_empty() && password != "guest";
        Self(is_secret.then(|| password.to_owned()))
    }

    /// How many bytes the password may take.
    pub(super) fn longest(&self) -> usize {
        self.0.as_ref().map_or(0, |password| 2 * password.len())
    }

    pub(super) fn hide(&self, text: &str) -> String {
        match &self.0 {
            // Escaped too: where a text came back as it was written.
            Some(password) => text
                .replace(&password.replace('\\', "\\\\"), "***")
                .replace(password, "***"),
            None => text.to_owned(),
        }
    }
}
