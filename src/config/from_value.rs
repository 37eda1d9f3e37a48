//! From a value as it is written to the value of a field.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::value::Value;
use super::{DeadLetter, LogFormat, Secret, VerifySignatures, WhenExhausted};
use crate::stomp::{Broker, Version};

/// The value has another type than the field, or is outside the range of the type. What the field
/// takes is in the declaration of the setting.
#[derive(Debug)]
pub(super) struct Mismatch;

/// How a setting is given as a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `--flag value`.
    One,
    /// `--flag` alone for true, or `--flag=value`.
    Switch,
    /// `--flag value`, any number of times.
    List,
}

/// A type of fields.
pub(super) trait FromValue: Sized {
    const SHAPE: Shape = Shape::One;
    /// Whether `none` is a value.
    const IS_OPTIONAL: bool = false;

    fn from_value(value: &Value) -> Result<Self, Mismatch>;
}

/// The default of a setting.
pub(super) fn declared<T: FromValue>(default: &str) -> T {
    T::from_value(&default.into())
        .unwrap_or_else(|_| unreachable!("the default `{default}` cannot be read: see settings.rs"))
}

macro_rules! whole_number {
    ($($type:ty),*) => {$(
        impl FromValue for $type {
            fn from_value(value: &Value) -> Result<Self, Mismatch> {
                match value {
                    Value::Whole(number) => (*number).try_into().map_err(|_| Mismatch),
                    Value::Text(text) => text.trim().parse().map_err(|_| Mismatch),
                    _ => Err(Mismatch),
                }
            }
        }
    )*};
}

whole_number!(u32, usize);

impl FromValue for bool {
    const SHAPE: Shape = Shape::Switch;

    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value {
            Value::Bool(value) => Ok(*value),
            Value::Text(text) => text.trim().parse().map_err(|_| Mismatch),
            _ => Err(Mismatch),
        }
    }
}

impl FromValue for String {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        value.as_text().map(str::to_owned).ok_or(Mismatch)
    }
}

impl FromValue for Secret {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        value.as_text().map(Self::from).ok_or(Mismatch)
    }
}

impl FromValue for f64 {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value {
            Value::Float(number) => Ok(*number),
            Value::Whole(number) => number.to_string().parse().map_err(|_| Mismatch),
            Value::Text(text) => text.trim().parse().map_err(|_| Mismatch),
            _ => Err(Mismatch),
        }
    }
}

macro_rules! choice {
    ($($type:ident { $($word:literal => $variant:ident),* })*) => {$(
        impl FromValue for $type {
            fn from_value(value: &Value) -> Result<Self, Mismatch> {
                match value.as_text() {
                    $(Some($word) => Ok(Self::$variant),)*
                    _ => Err(Mismatch),
                }
            }
        }
    )*};
}

choice! {
    Broker { "rabbitmq" => RabbitMq, "activemq" => ActiveMq }
    WhenExhausted { "block" => Block, "park" => Park }
    DeadLetter { "broker" => Broker, "outbox" => Outbox, "none" => None }
    VerifySignatures { "off" => Off, "warn" => Warn, "require" => Require }
    LogFormat { "text" => Text, "json" => Json }
}

/// A text with units, or a number of seconds.
impl FromValue for Duration {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let from_seconds = |seconds: f64| Self::try_from_secs_f64(seconds).map_err(|_| Mismatch);
        match value {
            Value::Float(seconds) => from_seconds(*seconds),
            Value::Whole(seconds) => {
                let seconds = u64::try_from(*seconds).map_err(|_| Mismatch);
                seconds.map(Self::from_secs)
            }
            Value::Text(text) => match text.trim().parse::<f64>() {
                Ok(seconds) => from_seconds(seconds),
                Err(_) => humantime::parse_duration(text.trim()).map_err(|_| Mismatch),
            },
            _ => Err(Mismatch),
        }
    }
}

/// A list, or one text with commas.
impl FromValue for Vec<String> {
    const SHAPE: Shape = Shape::List;

    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value {
            Value::List(items) => items.iter().map(String::from_value).collect(),
            Value::Text(text) if text.trim().is_empty() => Ok(Vec::new()),
            Value::Text(text) => Ok(text.split(',').map(|item| item.trim().to_owned()).collect()),
            _ => Err(Mismatch),
        }
    }
}

impl FromValue for Vec<Version> {
    const SHAPE: Shape = Shape::List;

    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let names = Vec::<String>::from_value(value)?;
        let versions = names.iter().map(|name| Version::parse(name));
        versions.collect::<Option<_>>().ok_or(Mismatch)
    }
}

impl FromValue for PathBuf {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value.as_text() {
            Some(text) if !text.trim().is_empty() => Ok(text.into()),
            _ => Err(Mismatch),
        }
    }
}

impl FromValue for SocketAddr {
    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        let text = value.as_text().ok_or(Mismatch)?;
        text.trim().parse().map_err(|_| Mismatch)
    }
}

/// The word `none` undoes what a weaker source has set.
impl<T: FromValue> FromValue for Option<T> {
    const SHAPE: Shape = T::SHAPE;
    const IS_OPTIONAL: bool = true;

    fn from_value(value: &Value) -> Result<Self, Mismatch> {
        match value.as_text() {
            Some(text) if text.trim() == "none" => Ok(None),
            _ => T::from_value(value).map(Some),
        }
    }
}
