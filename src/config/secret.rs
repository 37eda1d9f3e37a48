//! Texts that are never printed.

use std::fmt;

/// A setting that may contain a password: `Debug` and `Display` print `***`.
///
/// ```
/// use diesel_outbox::config::Secret;
///
/// let url = Secret::new("postgres://app:hunter2@db/shop");
/// assert_eq!(format!("{url} {url:?}"), "*** ***");
/// assert_eq!(url.redacted(), "postgres://app:***@db/shop");
/// assert_eq!(url.expose(), "postgres://app:hunter2@db/shop");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for connecting; not for logs.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The text as a URL with its password and the values of its query as `***`, for logs.
    /// A text that cannot be parsed with certainty becomes `***` as a whole.
    #[must_use]
    pub fn redacted(&self) -> String {
        let Some((scheme, rest)) = self.0.split_once("://") else {
            return "***".to_owned();
        };
        // A password may contain a raw `@`, so the user's part ends at the last one.
        let (user, rest) = match rest.rsplit_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, rest),
        };
        if user.is_some_and(|user| user.contains(['/', '?', '#'])) {
            // Either a raw character of a password, or an `@` in the path or the query: the secret
            // part is ambiguous.
            return format!("{scheme}://***");
        }
        let (place, query) = match rest.split_once(['?', '#']) {
            Some((place, query)) => (place, Some(query)),
            None => (rest, None),
        };
        if !has_ports(place) {
            // `user:password` without a host.
            return format!("{scheme}://***");
        }
        let mut shown = format!("{scheme}://");
        if let Some(user) = user {
            match user.split_once(':') {
                Some((name, _)) => shown.push_str(&format!("{name}:***@")),
                None => shown.push_str(&format!("{user}@")),
            }
        }
        shown.push_str(place);
        if let Some(query) = query {
            let names: Vec<String> = query
                .split('&')
                .map(|pair| {
                    // An unknown name may be a part of a value with a raw `&`.
                    let name = pair.split_once('=').map(|(name, _)| name);
                    let name = name.filter(|name| SHOWN.contains(name));
                    format!("{}=***", name.unwrap_or("***"))
                })
                .collect();
            shown.push('?');
            shown.push_str(&names.join("&"));
        }
        shown
    }
}

/// The names of parameters that are shown.
const SHOWN: [&str; 12] = [
    "host",
    "port",
    "user",
    "password",
    "dbname",
    "options",
    "sslmode",
    "sslrootcert",
    "connect_timeout",
    "application_name",
    "target_session_attrs",
    "unix_socket",
];

/// Whether the texts after the colons in a list of hosts are ports.
pub(crate) fn has_ports(place: &str) -> bool {
    let hosts = place.split('/').next().unwrap_or_default();
    hosts.split(',').all(|host| {
        let behind = match host.rsplit_once(']') {
            Some((_, behind)) => behind,
            None => host,
        };
        let port = behind.split_once(':').map_or("", |(_, port)| port);
        port.bytes().all(|byte| byte.is_ascii_digit())
    })
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_a_password_is_left_in_a_redacted_url() {
        for (url, shown) in [
            (
                "stomp://guest:guest@127.0.0.1:61613/",
                "stomp://guest:***@127.0.0.1:61613/",
            ),
            (
                "stomp://127.0.0.1:61613/shop",
                "stomp://127.0.0.1:61613/shop",
            ),
            ("stomp://u:p@ssword@host/v", "stomp://u:***@host/v"),
            ("stomp://u:p@ss/w?rd@host/v", "stomp://***"),
            ("stomp://u@host/v", "stomp://u@host/v"),
            (
                "postgres://host/db?user=u&password=pw",
                "postgres://host/db?user=***&password=***",
            ),
            ("postgres://host/db?pw", "postgres://host/db?***=***"),
            (
                "postgres://host/db?password=p&w=x",
                "postgres://host/db?password=***&***=***",
            ),
            ("postgres://app:pw", "postgres://***"),
            ("stomp://app:pw/vhost", "stomp://***"),
            ("stomp://u:pw@[::1]:61613/v", "stomp://u:***@[::1]:61613/v"),
            ("postgres://host/db?password=p@w", "postgres://***"),
            ("host=db password=pw", "***"),
            ("u:pw@host", "***"),
        ] {
            assert_eq!(Secret::new(url).redacted(), shown);
        }
    }
}
