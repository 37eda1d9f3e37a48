//! The limits of single values, whatever source they come from.

use std::ops::RangeInclusive;
use std::time::Duration;

use url::Url;

use super::Secret;
#[cfg(feature = "cli")]
use super::log_filter;
use super::value::shorten;
use crate::column_widths as width;
use crate::signing::{Keys, KeysError};
use crate::stomp::{OF_SUBSCRIBE, Options, Version};

/// A value that is not allowed.
#[derive(Debug)]
pub(super) struct NotAllowed {
    /// The value, or the part of it that is not allowed, as a message shows it.
    pub(super) value: String,
    /// The reason, if what is expected does not say it.
    pub(super) reason: Option<String>,
}

/// A limit on values of a type.
pub(super) trait Limit<T> {
    fn check(&self, value: &T) -> Result<(), NotAllowed>;
}

/// Headers that the subscriber sets in SUBSCRIBE, besides those of the client.
const OF_SUBSCRIPTION: [&str; 5] = [
    "prefetch-count",
    "exclusive",
    "x-queue-name",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
];

fn allow(is_allowed: bool, value: impl FnOnce() -> String) -> Result<(), NotAllowed> {
    match is_allowed {
        true => Ok(()),
        false => Err(NotAllowed {
            value: value(),
            reason: None,
        }),
    }
}

/// `None` is always allowed.
impl<T, L: Limit<T>> Limit<Option<T>> for L {
    fn check(&self, value: &Option<T>) -> Result<(), NotAllowed> {
        value.as_ref().map_or(Ok(()), |value| self.check(value))
    }
}

/// A whole number.
pub(super) struct Whole(pub(super) RangeInclusive<usize>);

impl Limit<usize> for Whole {
    fn check(&self, value: &usize) -> Result<(), NotAllowed> {
        allow(self.0.contains(value), || value.to_string())
    }
}

impl Limit<u32> for Whole {
    fn check(&self, value: &u32) -> Result<(), NotAllowed> {
        self.check(&usize::try_from(*value).unwrap_or(usize::MAX))
    }
}

/// A number.
pub(super) struct Number(pub(super) RangeInclusive<f64>);

impl Limit<f64> for Number {
    fn check(&self, value: &f64) -> Result<(), NotAllowed> {
        allow(self.0.contains(value), || value.to_string())
    }
}

/// A time.
pub(super) struct Time {
    least: Duration,
    may_be_zero: bool,
}

pub(super) const FROM_1MS: Time = Time::from(Duration::from_millis(1));
pub(super) const FROM_1S: Time = Time::from(Duration::from_secs(1));
pub(super) const FROM_15S: Time = Time::from(Duration::from_secs(15));
pub(super) const FROM_0: Time = Time::from(Duration::ZERO);
pub(super) const FROM_1MS_OR_0: Time = Time {
    may_be_zero: true,
    ..FROM_1MS
};

impl Time {
    /// Far beyond use, and far below what overflows if it is added to a time.
    const MOST: Duration = Duration::from_secs(365 * 24 * 3600);

    const fn from(least: Duration) -> Self {
        Self {
            least,
            may_be_zero: false,
        }
    }
}

impl Limit<Duration> for Time {
    fn check(&self, value: &Duration) -> Result<(), NotAllowed> {
        let fits = (self.least..=Self::MOST).contains(value);
        let is_allowed = fits || (self.may_be_zero && value.is_zero());
        allow(is_allowed, || show_time(*value))
    }
}

/// A time as a message shows it.
pub(super) fn show_time(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

/// A text.
pub(super) struct Text(pub(super) fn(&str) -> bool);

impl Limit<String> for Text {
    fn check(&self, value: &String) -> Result<(), NotAllowed> {
        allow((self.0)(value), || shorten(value))
    }
}

impl Limit<Secret> for Text {
    fn check(&self, value: &Secret) -> Result<(), NotAllowed> {
        allow((self.0)(value.expose()), String::new)
    }
}

/// A secret, with the reason if it is not allowed.
pub(super) struct Explained(pub(super) fn(&str) -> Result<(), String>);

impl Limit<Secret> for Explained {
    fn check(&self, value: &Secret) -> Result<(), NotAllowed> {
        (self.0)(value.expose()).map_err(|reason| NotAllowed {
            value: String::new(),
            reason: Some(reason),
        })
    }
}

/// A list of texts.
pub(super) struct List(pub(super) fn(&str) -> bool);

impl Limit<Vec<String>> for List {
    fn check(&self, value: &Vec<String>) -> Result<(), NotAllowed> {
        let bad = value.iter().find(|text| !(self.0)(text));
        bad.map_or(Ok(()), |text| allow(false, || shorten(text)))
    }
}

/// A list of one or more texts.
pub(super) struct AtLeastOne(pub(super) fn(&str) -> bool);

impl Limit<Vec<String>> for AtLeastOne {
    fn check(&self, value: &Vec<String>) -> Result<(), NotAllowed> {
        allow(!value.is_empty(), || shorten(""))?;
        List(self.0).check(value)
    }
}

/// A list of one or more versions.
pub(super) struct Versions;

impl Limit<Vec<Version>> for Versions {
    fn check(&self, value: &Vec<Version>) -> Result<(), NotAllowed> {
        allow(!value.is_empty(), || shorten(""))
    }
}

pub(super) fn is_address(url: &str) -> bool {
    !url.trim().is_empty() && !url.chars().any(char::is_control)
}

pub(super) fn broker_address(url: &str) -> Result<(), String> {
    let options = Options::from_url(url);
    options.map(drop).map_err(|reason| reason.to_string())
}

pub(super) fn management_address(url: &str) -> Result<(), String> {
    // Its errors contain no part of the address.
    let url = Url::parse(url.trim()).map_err(|error| error.to_string())?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("its scheme is neither http nor https".to_owned());
    }
    match (url.host_str(), url.query(), url.fragment()) {
        (Some(_), None, None) => Ok(()),
        (None, ..) => Err("it has no host".to_owned()),
        _ => Err(
            "it has a query or a fragment; write ? as %3F and # as %23 in a password".to_owned(),
        ),
    }
}

pub(super) fn signing_keys(keys: &str) -> Result<(), String> {
    let keys = Keys::parse(keys);
    keys.map(drop).map_err(|reason| reason.to_string())
}

/// The users of the pages. Only programs with the feature `web` have them.
#[cfg(feature = "web")]
pub(super) fn web_users(users: &str) -> Result<(), String> {
    let users = crate::web::access::Users::parse(users);
    users.map(drop).map_err(|reason| reason.to_string())
}

#[cfg(not(feature = "web"))]
pub(super) fn web_users(_: &str) -> Result<(), String> {
    Ok(())
}

/// The rules for tokens are those for signing keys.
pub(super) fn web_tokens(tokens: &str) -> Result<(), String> {
    let reason = match Keys::parse(tokens) {
        Ok(_) => return Ok(()),
        Err(KeysError::None) => "there is no token".to_owned(),
        Err(KeysError::Form { number }) => {
            format!("token {number} has no `:` between the name and the token")
        }
        Err(KeysError::Id { number }) => {
            format!("the name of token {number} is not 1 to 40 letters, digits, `-`, `_` and `.`")
        }
        Err(KeysError::Short { id }) => format!("the token of `{id}` has fewer than 16 bytes"),
        Err(KeysError::Twice { id }) => format!("two tokens have the name `{id}`"),
    };
    Err(reason)
}

pub(super) fn is_path(path: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
    path.starts_with('/') && path.len() <= 255 && !path.contains("//") && path.bytes().all(is_plain)
}

pub(super) fn is_process_address(url: &str) -> bool {
    let url = Url::parse(url.trim());
    url.is_ok_and(|url| url.scheme() == "http" && url.host_str().is_some() && url.query().is_none())
}

pub(super) fn is_schema(name: &str) -> bool {
    (1..=63).contains(&name.len()) && !name.contains('\0')
}

pub(super) fn is_stream(name: &str) -> bool {
    !name.is_empty() && fits(name, width::STREAM)
}

pub(super) fn is_destination(name: &str) -> bool {
    !name.is_empty() && fits(name, width::DESTINATION)
}

pub(super) fn is_consumer(name: &str) -> bool {
    fits(name, width::CONSUMER)
}

fn fits(text: &str, limit: usize) -> bool {
    text.chars().count() <= limit && !text.contains('\0')
}

pub(super) fn is_header_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control())
}

/// A header of SUBSCRIBE that the subscription does not set itself.
pub(super) fn is_queue_header(header: &str) -> bool {
    header.split_once(':').is_some_and(|(name, value)| {
        is_header_name(name)
            && !header.contains(char::is_control)
            && !OF_SUBSCRIBE.contains(&name)
            && !OF_SUBSCRIPTION.contains(&name)
            && value == value.trim()
    })
}

#[cfg(feature = "cli")]
pub(super) fn is_log_level(level: &str) -> bool {
    log_filter::parse(level).is_some()
}

/// Only the programs write a log.
#[cfg(not(feature = "cli"))]
pub(super) fn is_log_level(_: &str) -> bool {
    true
}
