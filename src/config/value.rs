//! From what was written to what a field holds.

use std::path::PathBuf;
use std::time::Duration;

use figment::value::{Num, Value};

use super::{DeadLetter, LogFormat, Secret, WhenSpent};
use crate::stomp::{Broker, Version};

/// A value for [`Builder::set`](super::Builder::set): a number, a truth value, a text as it would
/// be written in the environment, a list of texts, or a [`Duration`].
#[derive(Clone)]
pub struct Setting(pub(super) Value);

// A value may be a password.
impl std::fmt::Debug for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Setting(***)")
    }
}

macro_rules! setting_from {
    ($($type:ty),*) => {$(
        impl From<$type> for Setting {
            fn from(value: $type) -> Self {
                Self(value.into())
            }
        }
    )*};
}

setting_from!(
    &str,
    String,
    bool,
    i32,
    i64,
    u16,
    u32,
    u64,
    usize,
    f64,
    Vec<&str>,
    Vec<String>
);

impl From<Duration> for Setting {
    fn from(value: Duration) -> Self {
        Self(humantime::format_duration(value).to_string().into())
    }
}

/// The value is of another type than the field, or out of the range that the type has.
/// What the field takes instead is in the list of keys.
#[derive(Debug)]
pub(super) struct Mismatch;

/// What a field can be read from.
pub(super) trait FromValue: Sized {
    fn from_value(value: &Value) -> Result<Self, Mismatch>;
}

macro_rules! whole_number {
    ($($type:ty),*) => {$(
        impl FromValue for $type {
            fn from_value(value: &Value) -> Result<Self, Mismatch> {
                match value {
                    Value::Num(_, number) => {
                        let number = number.to_i128().or_else(|| number.to_u128()?.try_into().ok());
                        number.and_then(|number| number.try_into().ok()).ok_or(Mismatch)
                    }
                    Value::String(_, text) => text.trim().parse().map_err(|_| Mismatch),
                    _ => Err(Mismatch),
                }
            }
        }
    )*};
}

whole_number!(u16, u32, usize);

impl FromValue for bool {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value {
            Value::Bool(_, value) => Ok(*value),
            Value::String(_, text) => text.trim().parse().map_err(|_| Mismatch),
            _ => Err(Mismatch),
        }
    }
}

impl FromValue for String {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        value.as_str().map(str::to_owned).ok_or(Mismatch)
    }
}

impl FromValue for Secret {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        value.as_str().map(Self::from).ok_or(Mismatch)
    }
}

impl FromValue for Broker {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value.as_str() {
            Some("rabbitmq") => Ok(Self::RabbitMq),
            Some("activemq") => Ok(Self::ActiveMq),
            _ => Err(Mismatch),
        }
    }
}

impl FromValue for f64 {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value {
            Value::Num(_, number) => number
                .to_f64()
                .or_else(|| number.to_i128()?.to_string().parse().ok())
                .or_else(|| number.to_u128()?.to_string().parse().ok())
                .ok_or(Mismatch),
            Value::String(_, text) => text.trim().parse().map_err(|_| Mismatch),
            _ => Err(Mismatch),
        }
    }
}

impl FromValue for WhenSpent {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        value.as_str().and_then(Self::parse).ok_or(Mismatch)
    }
}

impl FromValue for DeadLetter {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value.as_str() {
            Some("broker") => Ok(Self::Broker),
            Some("outbox") => Ok(Self::Outbox),
            Some("none") => Ok(Self::None),
            _ => Err(Mismatch),
        }
    }
}

impl FromValue for LogFormat {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value.as_str() {
            Some("text") => Ok(Self::Text),
            Some("json") => Ok(Self::Json),
            _ => Err(Mismatch),
        }
    }
}

/// A text with units, or a number of seconds.
impl FromValue for Duration {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let from_seconds = |seconds: f64| Self::try_from_secs_f64(seconds).map_err(|_| Mismatch);
        match value {
            Value::Num(_, Num::F32(seconds)) => from_seconds(f64::from(*seconds)),
            Value::Num(_, Num::F64(seconds)) => from_seconds(*seconds),
            Value::Num(_, whole) => {
                let seconds = whole
                    .to_u128_lossy()
                    .and_then(|seconds| u64::try_from(seconds).ok());
                seconds.map(Self::from_secs).ok_or(Mismatch)
            }
            Value::String(_, text) => match text.trim().parse::<f64>() {
                Ok(seconds) => from_seconds(seconds),
                Err(_) => humantime::parse_duration(text.trim()).map_err(|_| Mismatch),
            },
            _ => Err(Mismatch),
        }
    }
}

/// A list, or one text with commas.
impl FromValue for Vec<String> {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value {
            Value::Array(_, items) => items.iter().map(String::from_value).collect(),
            Value::String(_, text) if text.trim().is_empty() => Ok(Vec::new()),
            Value::String(_, text) => {
                Ok(text.split(',').map(|item| item.trim().to_owned()).collect())
            }
            _ => Err(Mismatch),
        }
    }
}

impl FromValue for Vec<Version> {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let names = Vec::<String>::from_value(value)?;
        let versions = names.iter().map(|name| Version::parse(name));
        versions.collect::<Option<_>>().ok_or(Mismatch)
    }
}

impl FromValue for PathBuf {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value.as_str() {
            Some(text) if !text.trim().is_empty() => Ok(text.into()),
            _ => Err(Mismatch),
        }
    }
}

/// The word `none` takes back what a weaker source has set.
impl<T: FromValue> FromValue for Option<T> {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value.as_str() {
            Some(text) if text.trim() == "none" => Ok(None),
            _ => T::from_value(value).map(Some),
        }
    }
}

/// A value as a message shows it: in one short line.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::String(_, text) => shorten(text),
        Value::Char(_, letter) => shorten(&letter.to_string()),
        Value::Bool(_, value) => value.to_string(),
        Value::Num(_, number) => show_number(*number),
        Value::Empty(..) => "(nothing)".to_owned(),
        Value::Dict(..) => "(a table)".to_owned(),
        Value::Array(_, items) => {
            let items: Vec<String> = items.iter().take(8).map(show).collect();
            format!("[{}]", items.join(", "))
        }
    }
}

/// A text in quotes, its control characters escaped, cut where it is long.
pub(super) fn shorten(text: &str) -> String {
    const LIMIT: usize = 80;
    match text.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

fn show_number(number: Num) -> String {
    match (number.to_i128(), number.to_u128(), number.to_f64()) {
        (Some(number), _, _) => number.to_string(),
        (_, Some(number), _) => number.to_string(),
        (_, _, Some(number)) => number.to_string(),
        _ => format!("{number:?}"),
    }
}
