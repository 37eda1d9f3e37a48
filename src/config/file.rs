//! The TOML file as a source.

use std::path::Path;

use figment::providers::{Format, Toml};
use figment::value::{Dict, Value as Parsed};

use super::error::ConfigError;
use super::layer::Layer;
use super::origin::Origin;
use super::subscription;
use super::value::{Table, Value};

/// Reads the settings in a TOML file.
pub(super) fn read(path: &Path, named_by: Origin) -> Result<Layer, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::File {
        path: path.to_owned(),
        origin: named_by,
        source,
    })?;
    // Not `Toml::file_exact`: its message quotes the line, which may contain a password.
    let values = Toml::from_str::<Dict>(&text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        line: error
            .span()
            .and_then(|span| text.get(..span.start))
            .map(|before| before.matches('\n').count() + 1),
        reason: error.message().trim().replace('\n', ", "),
    })?;
    let mut layer = Layer::default();
    for (key, value) in table(values) {
        if key == subscription::TABLES
            && let Some(tables) = tables(&value)
        {
            layer.subscriptions = Some((path.to_owned(), tables));
            continue;
        }
        layer.insert(&key, value, Origin::File(path.to_owned()));
    }
    Ok(layer)
}

fn table(parsed: Dict) -> Table {
    let entries = parsed.into_iter();
    entries
        .map(|(name, parsed)| (name, value(parsed)))
        .collect()
}

fn value(parsed: Parsed) -> Value {
    match parsed {
        Parsed::String(_, text) => Value::Text(text),
        Parsed::Char(_, character) => Value::Text(character.to_string()),
        Parsed::Bool(_, value) => Value::Bool(value),
        Parsed::Num(_, number) => match (number.to_i128(), number.to_f64()) {
            (Some(number), _) => Value::Whole(number),
            (None, Some(number)) => Value::Float(number),
            // Too large for TOML, whose numbers have 64 bits.
            (None, None) => Value::Whole(i128::MAX),
        },
        Parsed::Empty(..) => Value::Table(Table::new()),
        Parsed::Dict(_, entries) => Value::Table(table(entries)),
        Parsed::Array(_, items) => Value::List(items.into_iter().map(value).collect()),
    }
}

/// The tables of an array of tables.
fn tables(value: &Value) -> Option<Vec<Table>> {
    let Value::List(items) = value else {
        return None;
    };
    let tables = items.iter().map(|item| match item {
        Value::Table(table) => Some(table.clone()),
        _ => None,
    });
    tables.collect()
}
