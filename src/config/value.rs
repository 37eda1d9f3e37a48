//! Values as they are written, before they are read into fields.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What is written in a source.
#[derive(Clone, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    Whole(i128),
    Float(f64),
    Text(String),
    List(Vec<Value>),
    Table(Table),
}

/// A table of a file.
pub(super) type Table = BTreeMap<String, Value>;

impl Value {
    pub(super) fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// A value for [`Builder::set`](super::Builder::set): a number, a truth value, a text as it would
/// be written in the environment, a list of texts, or a [`Duration`].
#[derive(Clone)]
pub struct Setting(pub(super) Value);

// A value may be a password.
impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Setting(***)")
    }
}

macro_rules! setting_from {
    ($($type:ty: $value:ident => $into:expr;)*) => {$(
        impl From<$type> for Setting {
            fn from($value: $type) -> Self {
                Self($into)
            }
        }
    )*};
}

setting_from! {
    &str: value => value.into();
    String: value => value.into();
    bool: value => Value::Bool(value);
    i32: value => Value::Whole(value.into());
    i64: value => Value::Whole(value.into());
    u16: value => Value::Whole(value.into());
    u32: value => Value::Whole(value.into());
    u64: value => Value::Whole(value.into());
    usize: value => Value::Whole(i128::try_from(value).unwrap_or(i128::MAX));
    f64: value => Value::Float(value);
    Vec<&str>: value => Value::List(value.into_iter().map(Value::from).collect());
    Vec<String>: value => Value::List(value.into_iter().map(Value::from).collect());
    Duration: value => humantime::format_duration(value).to_string().into();
}

/// A value as a message shows it: on one short line.
pub(super) fn show(value: &Value) -> String {
    match value {
        Value::Text(text) => shorten(text),
        Value::Bool(value) => value.to_string(),
        Value::Whole(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Table(_) => "(a table)".to_owned(),
        Value::List(items) => {
            let items: Vec<String> = items.iter().take(8).map(show).collect();
            format!("[{}]", items.join(", "))
        }
    }
}

/// A text in quotes with its control characters escaped, cut after 80 characters.
pub(super) fn shorten(text: &str) -> String {
    const LIMIT: usize = 80;
    match text.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}
