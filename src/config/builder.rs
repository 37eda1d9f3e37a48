//! From the sources to a checked [`Config`].

use std::ffi::OsString;
use std::panic::Location;
use std::path::{Path, PathBuf};

use super::environment::{self, CONFIG_VARIABLE};
use super::error::ConfigError;
#[cfg(feature = "cli")]
use super::file;
#[cfg(feature = "cli")]
use super::flags::{FlagGroups, Flags};
use super::from_value::FromValue;
use super::key::{self, PREFIX};
use super::layer::Layer;
use super::origin::Origin;
use super::settings::KEYS;
use super::value::Value;
use super::{Config, Setting, secret_file, subscription, suggest, validation, value};

/// Builds a [`Config`] from its sources. They apply in a fixed order, whatever the order of the calls:
/// defaults, [`set`](Self::set), the file, the environment, the flags. A later one replaces an earlier
/// one.
#[derive(Default)]
#[must_use]
pub struct Builder {
    code: Option<Layer>,
    file: Option<(PathBuf, Origin)>,
    default_file: Option<PathBuf>,
    environment: Option<Vec<(OsString, OsString)>>,
    flags: Option<Layer>,
    flag_file: Option<PathBuf>,
    database_required: bool,
}

// The values may be passwords.
impl std::fmt::Debug for Builder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Builder")
            .field("file", &self.file)
            .finish_non_exhaustive()
    }
}

impl Builder {
    /// Sets a value in the program's own code. It replaces the default; the file, the environment and the
    /// flags replace it.
    #[track_caller]
    pub fn set(mut self, key: &str, value: impl Into<Setting>) -> Self {
        let layer = self.code.get_or_insert_default();
        layer.insert(key, value.into().0, Origin::Code(Location::caller()));
        self
    }

    /// Reads this TOML file, which must exist. `OUTBOX_CONFIG` and `--config` replace it.
    #[cfg(feature = "cli")]
    #[track_caller]
    pub fn file(mut self, path: impl AsRef<Path>) -> Self {
        self.file = Some((path.as_ref().to_owned(), Origin::Code(Location::caller())));
        self
    }

    /// Reads this TOML file if it exists and no other file is named.
    #[cfg(feature = "cli")]
    pub fn file_if_present(mut self, path: impl AsRef<Path>) -> Self {
        self.default_file = Some(path.as_ref().to_owned());
        self
    }

    /// Reads the environment of the process: `OUTBOX_<KEY>`, `DATABASE_URL`, `STOMP_URL`, and
    /// `OUTBOX_CONFIG` for the name of the file.
    pub fn env(self) -> Self {
        self.env_from(std::env::vars_os())
    }

    /// Reads these variables instead of the environment of the process.
    pub fn env_from<N, V>(mut self, variables: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<OsString>,
        V: Into<OsString>,
    {
        let variables = variables
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()));
        self.environment = Some(variables.collect());
        self
    }

    /// Reads the flags of a program.
    #[cfg(feature = "cli")]
    pub fn flags<G: FlagGroups>(mut self, flags: &Flags<G>) -> Self {
        let layer = self.flags.get_or_insert_default();
        for (key, text) in &flags.values {
            let origin = Origin::Flag(format!("--{}", key.flag()));
            layer.insert(key.name, text.as_str().into(), origin);
        }
        if let Some(path) = &flags.config {
            self.flag_file = Some(path.clone());
        }
        self
    }

    /// Makes a missing `database_url` an error.
    pub fn require_database_url(mut self) -> Self {
        self.database_required = true;
        self
    }

    /// Reads the sources, merges and checks them.
    ///
    /// # Errors
    ///
    /// One [`ConfigError`], or all of them as [`ConfigError::Several`]: a file that cannot be
    /// read, an unknown key, a value that has the wrong type or is not allowed, values that contradict
    /// each other. If more than one source sets a key, only the value that applies is checked.
    pub fn build(self) -> Result<Config, ConfigError> {
        let mut problems = Vec::new();
        let mut layers: Vec<Layer> = self.code.iter().cloned().collect();
        match self.file_layer() {
            Ok(layer) => layers.extend(layer),
            Err(problem) => problems.push(problem),
        }
        if let Some(variables) = &self.environment {
            let (layer, bad) = environment::read(variables);
            layers.push(layer);
            problems.extend(bad);
        }
        layers.extend(self.flags);

        for layer in &layers {
            problems.extend(
                layer
                    .unknown()
                    .map(|(name, origin)| unknown_key(name, origin)),
            );
        }
        problems.extend(read_secrets(&mut layers));
        let find = |name: &str| layers.iter().rev().find_map(|layer| layer.get(name));
        let origin = |name: &str| find(name).map_or(Origin::Default, |(_, origin)| origin.clone());

        let mut config = Config::default();
        for key in KEYS {
            let Some((value, origin)) = find(key.name) else {
                continue;
            };
            if (key.read)(&mut config, value).is_err() {
                problems.push(ConfigError::BadValue {
                    key: key.name,
                    value: (!key.secret).then(|| value::show(value)),
                    origin: origin.clone(),
                    expected: key.expected(),
                });
            }
        }
        // A key that could not be read has its default: there is nothing to check.
        let unread: Vec<&str> = problems.iter().flat_map(ConfigError::keys).collect();
        let checked = validation::problems(&config, &|name| origin(name)).into_iter();
        let checked: Vec<ConfigError> = checked
            .filter(|problem| !problem.keys().any(|key| unread.contains(&key)))
            .collect();
        problems.extend(checked);
        let unreadable = problems.iter().any(is_about_the_database_url);
        if self.database_required && config.database_url.is_none() && !unreadable {
            problems.push(missing_database_url());
        }
        let mut subscriptions = Vec::new();
        let tables = layers.iter().find_map(|layer| layer.subscriptions.as_ref());
        if let Some((path, tables)) = tables {
            for (number, table) in (1..).zip(tables) {
                match subscription::read(table, number, path, &config) {
                    Ok(subscription) => subscriptions.push(subscription),
                    Err(found) => problems.extend(found),
                }
            }
        }
        config.subscription = subscriptions;
        ConfigError::from_problems(problems).map(|()| config)
    }

    /// The file that applies: the one that a flag, the environment or the code names, or the usual one.
    fn file_layer(&self) -> Result<Option<Layer>, ConfigError> {
        let named_by_environment = || {
            let (name, value) = self
                .environment
                .as_ref()?
                .iter()
                .find(|(name, _)| name == CONFIG_VARIABLE)?;
            let origin = Origin::Environment(name.to_string_lossy().into_owned());
            Some((PathBuf::from(value), origin))
        };
        let named = self
            .flag_file
            .clone()
            .map(|path| (path, Origin::Flag("--config".to_owned())))
            .or_else(named_by_environment)
            .or_else(|| self.file.clone());
        if let Some((path, origin)) = named {
            return read_file(&path, origin).map(Some);
        }
        let Some(path) = &self.default_file else {
            return Ok(None);
        };
        match read_file(path, Origin::Default) {
            Err(ConfigError::File { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                Ok(None)
            }
            layer => layer.map(Some),
        }
    }
}

pub(super) fn missing_database_url() -> ConfigError {
    ConfigError::Missing {
        key: "database_url",
        advice: "set the address of the database with --database-url URL, the environment variable \
                 OUTBOX_DATABASE_URL or DATABASE_URL, database_url = \"…\" in outbox.toml, or a file \
                 that DATABASE_URL_FILE names"
            .to_owned(),
    }
}

#[cfg(feature = "cli")]
fn read_file(path: &Path, named_by: Origin) -> Result<Layer, ConfigError> {
    file::read(path, named_by)
}

/// Without the feature `cli` a file can only be named by the environment.
#[cfg(not(feature = "cli"))]
fn read_file(path: &Path, named_by: Origin) -> Result<Layer, ConfigError> {
    Err(ConfigError::File {
        path: path.to_owned(),
        origin: named_by,
        source: std::io::Error::other(
            "this program was built without diesel-outbox's feature `cli`, which reads files",
        ),
    })
}

/// Whether the source of a problem may contain the address of the database, which could not be read.
fn is_about_the_database_url(problem: &ConfigError) -> bool {
    match problem {
        ConfigError::File { .. } | ConfigError::Syntax { .. } => true,
        ConfigError::SecretFile { key, .. } => *key == "database_url_file",
        ConfigError::BadValue { key, .. } => ["database_url", "database_url_file"].contains(key),
        ConfigError::Twice { key, .. } => *key == "database_url",
        _ => false,
    }
}

/// Reads the secrets in files. Each is put into the layer that names its file, so that a stronger source
/// replaces both.
fn read_secrets(layers: &mut [Layer]) -> Vec<ConfigError> {
    let files = KEYS
        .iter()
        .filter_map(|file| Some((file.secret_in_file?, file.name)));
    files
        .filter_map(|(secret, file)| {
            // A value that a stronger source replaces is not used.
            let mut layers_by_priority = layers.iter_mut().rev();
            let layer = layers_by_priority
                .find(|layer| layer.get(secret).is_some() || layer.get(file).is_some())?;
            read_secret(layer, secret, file).err()
        })
        .collect()
}

fn read_secret(
    layer: &mut Layer,
    secret: &'static str,
    file: &'static str,
) -> Result<(), ConfigError> {
    let Some((named, origin)) = layer.get(file).cloned() else {
        return Ok(());
    };
    // `none`, or a value that is reported where the settings are read.
    let Ok(Some(path)) = Option::<PathBuf>::from_value(&named) else {
        return Ok(());
    };
    if let Some((_, other)) = layer.get(secret) {
        return Err(ConfigError::Twice {
            key: secret,
            file,
            places: Box::new([other.clone(), origin]),
        });
    }
    match secret_file::read(&path) {
        Ok(text) => layer.insert(secret, Value::Text(text), origin),
        Err(source) => {
            return Err(ConfigError::SecretFile {
                key: file,
                path,
                origin,
                source,
            });
        }
    }
    Ok(())
}

fn unknown_key(name: &str, origin: &Origin) -> ConfigError {
    let variable = match origin {
        Origin::Environment(variable) => variable.strip_prefix(PREFIX),
        _ => None,
    };
    let in_a_file = matches!(origin, Origin::File(_));
    let write = |key: &str| match (variable, key::find(key)) {
        (Some(_), Some(key)) => key.env(),
        _ if key == subscription::TABLES => format!("[[{key}]]"),
        _ => key.to_owned(),
    };
    let names = KEYS.iter().map(|key| key.name);
    let tables = in_a_file.then_some(subscription::TABLES);
    let known: Vec<&str> = names.chain(tables).collect();
    ConfigError::UnknownKey {
        key: name.to_owned(),
        origin: origin.clone(),
        advice: suggest::advice(variable.unwrap_or(name), &known, write),
    }
}
