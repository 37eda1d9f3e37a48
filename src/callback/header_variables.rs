//! A message's headers as environment variables of a program.
//!
//! Several headers may have the same variable: `user-id`, which RabbitMQ checks, and `user_id`, which anybody
//! may write. So the variable of a header that a broker, STOMP or the outbox sets comes from exactly that
//! header. Any other variable comes from its only header; if there are several, from the one in lower-case
//! letters, digits and hyphens; if there is none of these, the variable is not set.

use std::collections::{BTreeMap, BTreeSet};

use tokio::process::Command;

use crate::headers;

/// The prefix of the variables.
const PREFIX: &str = "OUTBOX_HEADER_";

/// The variable that lists the variables that were left out.
pub(crate) const LEFT_OUT: &str = "OUTBOX_HEADERS_LEFT_OUT";

/// Maximum bytes of one variable, its name included: MAX_ARG_STRLEN of Linux (execve(2)) without the NUL.
const LONGEST: usize = 128 * 1024 - 1;

/// Maximum bytes of [`LEFT_OUT`].
const LONGEST_LIST: usize = 4 * 1024;

/// Headers that a program may trust because a broker, STOMP or the outbox sets them, or checks them:
/// STOMP 1.2, <https://www.rabbitmq.com/docs/stomp#pear>, ActiveMQ's `Stomp.Headers`.
const TRUSTED: [&str; 37] = [
    "ack",
    "amqp-message-id",
    "app-id",
    "breadcrumbId",
    "cap-msg-id",
    "content-encoding",
    "content-length",
    "content-type",
    "correlation-id",
    "destination",
    "dlqDeliveryFailureCause",
    headers::CORRELATION_ID,
    headers::MSG_DESTINATION,
    headers::MSG_ID,
    headers::MSG_SENT_TIME,
    headers::MSG_TYPE,
    "expiration",
    "expires",
    "JMSXDeliveryCount",
    "JMSXGroupID",
    "JMSXGroupSeq",
    "JMSXUserID",
    headers::KEY,
    "message-id",
    "original-destination",
    "originalDestination",
    "persistent",
    "priority",
    "receipt",
    "redelivered",
    "reply-to",
    "subscription",
    "timestamp",
    "traceparent",
    "tracestate",
    "type",
    "user-id",
];

/// The variables of a message's headers.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct HeaderVariables {
    set: BTreeMap<String, String>,
    left_out: BTreeSet<String>,
}

impl HeaderVariables {
    pub(crate) fn of(headers: &BTreeMap<String, String>) -> Self {
        let mut named: BTreeMap<String, Vec<(&str, &str)>> = BTreeMap::new();
        for (name, value) in headers {
            let same = named.entry(variable(name)).or_default();
            same.push((name.as_str(), value.as_str()));
        }
        let mut variables = Self::default();
        for (name, headers) in named {
            let chosen = chosen(&name, &headers);
            // No variable can carry these.
            let fits = |value: &&str| {
                !value.contains('\0') && name.len() + "=".len() + value.len() <= LONGEST
            };
            let value = chosen.filter(fits);
            if value.is_none() || headers.len() > 1 {
                variables.left_out.insert(name.clone());
            }
            if let Some(value) = value {
                variables.set.insert(name, value.to_owned());
            }
        }
        variables
    }

    /// Leaves out the longest variables until half of the bytes are left. Returns false if there were none.
    pub(crate) fn shorten(&mut self) -> bool {
        let most = self.bytes() / 2;
        if self.set.is_empty() {
            return false;
        }
        let mut by_length: Vec<String> = self.set.keys().cloned().collect();
        by_length.sort_by_key(|name| name.len() + self.set[name].len());
        while self.bytes() > most
            && let Some(longest) = by_length.pop()
        {
            self.set.remove(&longest);
            self.left_out.insert(longest);
        }
        true
    }

    fn bytes(&self) -> usize {
        self.set
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum()
    }

    /// Gives a program these variables, and none that we have of the kind ourselves.
    pub(crate) fn give_to(&self, command: &mut Command) {
        for (name, _) in std::env::vars_os() {
            let is_ours = |name: &str| name == LEFT_OUT || name.starts_with(PREFIX);
            if name.to_str().is_some_and(is_ours) {
                command.env_remove(name);
            }
        }
        command.envs(&self.set);
        if !self.left_out.is_empty() {
            command.env(LEFT_OUT, self.list());
        }
    }

    /// The variables that were left out, separated by spaces; `...` means more.
    fn list(&self) -> String {
        let mut list = String::new();
        for name in &self.left_out {
            if list.len() + name.len() > LONGEST_LIST {
                list.push_str(" ...");
                break;
            }
            if !list.is_empty() {
                list.push(' ');
            }
            list.push_str(name);
        }
        list.trim_start().to_owned()
    }
}

/// The value of the header that sets a variable.
fn chosen<'a>(variable_name: &str, headers: &[(&str, &'a str)]) -> Option<&'a str> {
    let spelled = |spelling: &str| {
        let mut found = headers.iter().filter(|(name, _)| *name == spelling);
        found.next().map(|(_, value)| *value)
    };
    let mut trusted = TRUSTED
        .iter()
        .filter(|name| variable(name) == variable_name);
    if let Some(spelling) = trusted.next() {
        return spelled(spelling);
    }
    match headers {
        [(_, value)] => Some(value),
        _ => {
            let name = variable_name.strip_prefix(PREFIX).unwrap_or_default();
            spelled(&name.to_ascii_lowercase().replace('_', "-"))
        }
    }
}

/// `dop-msg-id` is `OUTBOX_HEADER_DOP_MSG_ID`.
fn variable(header: &str) -> String {
    let name: String = header
        .chars()
        .map(|character| match character {
            'a'..='z' => character.to_ascii_uppercase(),
            'A'..='Z' | '0'..='9' => character,
            _ => '_',
        })
        .collect();
    format!("{PREFIX}{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[(&str, &str)]) -> HeaderVariables {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        HeaderVariables::of(&headers.iter().map(owned).collect())
    }

    fn set<'a>(variables: &'a HeaderVariables, name: &str) -> Option<&'a str> {
        let name = format!("{PREFIX}{name}");
        variables.set.get(&name).map(String::as_str)
    }

    #[test]
    fn headers_become_variables() {
        assert_eq!(variable("dop-msg-id"), "OUTBOX_HEADER_DOP_MSG_ID");
        assert_eq!(variable("x=y;$(z)"), "OUTBOX_HEADER_X_Y___Z_");
        let variables = of(&[("dop-msg-id", "1"), ("X_own", "2")]);
        assert_eq!(set(&variables, "DOP_MSG_ID"), Some("1"));
        assert_eq!(set(&variables, "X_OWN"), Some("2"));
        assert!(variables.left_out.is_empty());
    }

    /// With and without the header itself.
    #[test]
    fn a_header_of_the_brokers_cannot_be_forged() {
        for name in TRUSTED {
            let forged = match name.contains('-') {
                true => name.replace('-', "_"),
                false if name.to_uppercase() != name => name.to_uppercase(),
                false => continue,
            };
            let short = &variable(name)[PREFIX.len()..];
            let both = of(&[(name, "true"), (&forged, "forged")]);
            assert_eq!(set(&both, short), Some("true"), "{name}");
            assert_eq!(both.list(), variable(name));
            let alone = of(&[(&forged, "forged")]);
            assert_eq!(set(&alone, short), None, "{name}");
            assert_eq!(alone.list(), variable(name));
        }
    }

    #[test]
    fn of_several_headers_the_usual_spelling_counts_or_none() {
        let variables = of(&[("x-y", "usual"), ("x_y", "a"), ("X.Y", "b")]);
        assert_eq!(set(&variables, "X_Y"), Some("usual"));
        let variables = of(&[("x_y", "a"), ("X.Y", "b")]);
        assert_eq!(set(&variables, "X_Y"), None);
        assert_eq!(variables.list(), "OUTBOX_HEADER_X_Y");
    }

    #[test]
    fn what_no_variable_can_carry_is_left_out_and_named() {
        let (fits, long) = ("v".repeat(LONGEST - 16), "v".repeat(LONGEST - 15));
        let variables = of(&[("a", &fits), ("b", &long), ("c", "\0"), ("d", "well")]);
        assert_eq!(set(&variables, "A"), Some(fits.as_str()));
        assert_eq!(set(&variables, "D"), Some("well"));
        assert_eq!(variables.list(), "OUTBOX_HEADER_B OUTBOX_HEADER_C");
    }

    #[test]
    fn the_longest_go_first() {
        let (long, longer) = ("v".repeat(1000), "v".repeat(2000));
        let mut variables = of(&[("a", &longer), ("b", &long), ("c", "short")]);
        assert!(variables.shorten());
        assert_eq!(variables.list(), "OUTBOX_HEADER_A");
        assert!(variables.shorten());
        assert_eq!(variables.list(), "OUTBOX_HEADER_A OUTBOX_HEADER_B");
        assert!(variables.shorten());
        assert!(!variables.shorten(), "none is left");
    }

    #[test]
    fn the_list_has_an_end() {
        let name = "n".repeat(100);
        let headers: BTreeMap<_, _> = (0..1000)
            .map(|n| (format!("{name}{n}"), "\0".to_owned()))
            .collect();
        let list = HeaderVariables::of(&headers).list();
        assert!(list.len() <= LONGEST_LIST + 4 && list.ends_with(" ..."));
    }
}
