//! Where values are read: each source is one layer for figment to merge.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Tag, Value};
use figment::{Metadata, Profile, Provider};

use super::error::{ConfigError, Origin};
use super::keys::{self, KEYS};
use super::subscription;

pub(super) const PREFIX: &str = "OUTBOX_";
pub(super) const CONFIG_VARIABLE: &str = "OUTBOX_CONFIG";

/// The values of one source, and the place of each.
#[derive(Clone, Default)]
pub(super) struct Layer {
    /// Unique among the layers of one build: it leads from a merged value back here.
    name: &'static str,
    values: Dict,
    origins: BTreeMap<String, Origin>,
    /// Its tables `[[subscription]]`, and the file that they are in.
    pub(super) subscriptions: Option<(PathBuf, Vec<Dict>)>,
}

impl Layer {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            ..Self::default()
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn insert(&mut self, key: &str, value: Value, origin: Origin) {
        self.values.insert(key.to_owned(), value);
        self.origins.insert(key.to_owned(), origin);
    }

    pub(super) fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// The names that are no settings, with their places.
    pub(super) fn unknown(&self) -> impl Iterator<Item = (&str, &Origin)> {
        self.origins
            .iter()
            .filter(|(name, _)| keys::find(name).is_none())
            .map(|(name, origin)| (name.as_str(), origin))
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// The keys of a TOML file.
pub(super) fn file(path: &Path, named_by: Origin) -> Result<Layer, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::File {
        path: path.to_owned(),
        origin: named_by,
        source,
    })?;
    // Not by `Toml::file_exact`: its message quotes the line, and that may hold a password.
    let values = Toml::from_str::<Dict>(&text).map_err(|error| ConfigError::Syntax {
        path: path.to_owned(),
        line: error
            .span()
            .and_then(|span| text.get(..span.start))
            .map(|before| before.matches('\n').count() + 1),
        reason: error.message().trim().replace('\n', ", "),
    })?;
    let mut layer = Layer::new("file");
    for (key, value) in values {
        if key == subscription::TABLES
            && let Some(tables) = subscription::tables(value.clone())
        {
            layer.subscriptions = Some((path.to_owned(), tables));
            continue;
        }
        layer.insert(&key, value, Origin::File(path.to_owned()));
    }
    Ok(layer)
}

/// The variables that are meant for us.
///
/// # Errors
///
/// The value of a setting that is not UTF-8.
pub(super) fn environment(variables: &[(OsString, OsString)]) -> (Layer, Vec<ConfigError>) {
    let mut layer = Layer::new("environment");
    let mut problems = Vec::new();
    let mut take = |key: &str, variable: &str, text: &OsStr| match text.to_str() {
        Some(text) => {
            let value = Value::String(Tag::Default, text.to_owned());
            layer.insert(key, value, Origin::Environment(variable.to_owned()));
        }
        None => problems.extend(keys::find(key).map(|key| ConfigError::BadValue {
            key: key.name,
            value: (!key.secret).then(|| format!("{text:?}")),
            origin: Origin::Environment(variable.to_owned()),
            expected: "text in UTF-8".to_owned(),
        })),
    };
    let find = |name: &str| {
        variables
            .iter()
            .find(|(variable, _)| variable.as_os_str() == name)
    };
    for key in KEYS {
        let name = key.env();
        let bare = || key.bare_env().and_then(|bare| Some((bare, find(bare)?)));
        if let Some((_, text)) = find(&name) {
            take(key.name, &name, text);
        } else if let Some((bare, (_, text))) = bare() {
            take(key.name, bare, text);
        }
    }
    for (variable, _) in variables {
        let variable = variable.to_string_lossy();
        let Some(rest) = variable.strip_prefix(PREFIX) else {
            continue;
        };
        if !KEYS.iter().any(|key| key.env() == variable) && !is_for_others(rest) {
            let origin = Origin::Environment(variable.clone().into_owned());
            // Never a key's own name, and nobody reads the value.
            layer.insert(&variable, Value::from(""), origin);
        }
    }
    (layer, problems)
}

/// Whether `OUTBOX_` and this is a variable that is no setting and no mistake either.
fn is_for_others(rest: &str) -> bool {
    // The file's name; the servers of the tests; the headers we give to a program that is run for
    // a message, which may well use this crate itself.
    if rest == "CONFIG" || rest.starts_with("TEST_") || rest.starts_with("HEADER_") {
        return true;
    }
    // Kubernetes describes a service named `outbox` or `outbox-…` so, in every container.
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    format!("_{rest}")
        .split_once("_SERVICE_HOST")
        .is_some_and(|(_, end)| end.is_empty())
        || format!("_{rest}").contains("_SERVICE_PORT")
        || format!("_{rest}")
            .split_once("_PORT")
            .is_some_and(|(_, end)| {
                end.is_empty()
                    || end
                        .strip_prefix('_')
                        .is_some_and(|end| is_number(end.split('_').next().unwrap_or_default()))
            })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_of_others_are_known_by_their_names() {
        for name in [
            "CONFIG",
            "TEST_POSTGRES",
            "HEADER_DOP_MSG_ID",
            "SERVICE_HOST",
            "RELAY_SERVICE_HOST",
            "SERVICE_PORT",
            "SERVICE_PORT_HTTP",
            "PORT",
            "PORT_80_TCP",
            "RELAY_PORT_80_TCP_ADDR",
        ] {
            assert!(is_for_others(name), "{name}");
        }
        for name in ["LOG", "CHUNK_SISE", "PORTS", "PORT_NAME", "CONFIGS", "TEST"] {
            assert!(!is_for_others(name), "{name}");
        }
    }
}
