//! From the sources to a checked [`Config`].

use std::ffi::OsString;
use std::panic::Location;
use std::path::{Path, PathBuf};

use figment::Figment;

use super::error::{ConfigError, Origin};
use super::keys::{self, KEYS};
use super::source::{self, CONFIG_VARIABLE, Layer};
use super::{Config, Flags, Setting, check, subscription, suggest, value};

/// Gathers the sources of a [`Config`]. Their order is fixed, whatever the order of the calls:
/// defaults, [`set`](Self::set), the file, the environment, the flags; the later wins.
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
    /// Sets a key from the program's own code: stronger than the default, weaker than the user's
    /// file, environment and flags.
    #[track_caller]
    pub fn set(mut self, key: &str, value: impl Into<Setting>) -> Self {
        let layer = self.code.get_or_insert_with(|| Layer::new("code"));
        layer.insert(key, value.into().0, Origin::Code(Location::caller()));
        self
    }

    /// Reads this TOML file, which must exist. `OUTBOX_CONFIG` and `--config` replace it.
    #[track_caller]
    pub fn file(mut self, path: impl AsRef<Path>) -> Self {
        self.file = Some((path.as_ref().to_owned(), Origin::Code(Location::caller())));
        self
    }

    /// Reads this TOML file where it exists and nothing names another.
    pub fn file_if_present(mut self, path: impl AsRef<Path>) -> Self {
        self.default_file = Some(path.as_ref().to_owned());
        self
    }

    /// Reads the environment of the process: `OUTBOX_<KEY>`, `DATABASE_URL`, `STOMP_URL`, and
    /// `OUTBOX_CONFIG` for the file's name.
    pub fn env(self) -> Self {
        self.env_from(std::env::vars_os())
    }

    /// Reads these variables in place of the environment of the process.
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
    pub fn flags(mut self, flags: &dyn Flags) -> Self {
        let layer = self.flags.get_or_insert_with(|| Layer::new("flags"));
        flags.visit(&mut |key, text| {
            layer.insert(
                key.name,
                text.into(),
                Origin::Flag(format!("--{}", key.flag)),
            );
        });
        if let Some(path) = flags.config_file() {
            self.flag_file = Some(path.to_owned());
        }
        self
    }

    /// Makes the absence of `database_url` an error.
    pub fn require_database_url(mut self) -> Self {
        self.database_required = true;
        self
    }

    /// Reads, merges and checks.
    ///
    /// # Errors
    ///
    /// One [`ConfigError`], or all of them as [`ConfigError::Several`]: a file that cannot be
    /// read, an unknown key, a value of a wrong type or out of its limits, values that do not go
    /// together. Of a key that is set more than once only the value that wins is looked at.
    pub fn build(self) -> Result<Config, ConfigError> {
        let mut problems = Vec::new();
        let mut layers: Vec<Layer> = self.code.iter().cloned().collect();
        match self.file_layer() {
            Ok(layer) => layers.extend(layer),
            Err(problem) => problems.push(problem),
        }
        if let Some(variables) = &self.environment {
            let (layer, bad) = source::environment(variables);
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
        let merged = layers
            .iter()
            .fold(Figment::new(), |merged, layer| merged.merge(layer.clone()));
        let origin = |name: &str| {
            let metadata = merged.find_metadata(name);
            let layer = layers
                .iter()
                .find(|l| metadata.is_some_and(|m| m.name == l.name()));
            layer.map_or(Origin::Default, |layer| layer.origin(name))
        };

        let mut config = Config::default();
        for key in KEYS {
            // The only error is that no source has it.
            let Ok(found) = merged.find_value(key.name) else {
                continue;
            };
            if config.assign(key.name, &found).is_err() {
                problems.push(ConfigError::BadValue {
                    key: key.name,
                    value: (!key.secret).then(|| value::show(&found)),
                    origin: origin(key.name),
                    expected: key.expected.to_owned(),
                });
            }
        }
        // A key that could not be read holds its default: nothing to check, nor to compare.
        let unread: Vec<&str> = problems.iter().flat_map(ConfigError::keys).collect();
        let checked = check::problems(&config, &origin).into_iter();
        let checked: Vec<ConfigError> = checked
            .filter(|problem| !problem.keys().any(|key| unread.contains(&key)))
            .collect();
        problems.extend(checked);
        let unreadable = problems.iter().any(|problem| match problem {
            // What could not be read may well hold the address.
            ConfigError::File { .. } | ConfigError::Syntax { .. } => true,
            ConfigError::BadValue { key, .. } => *key == "database_url",
            _ => false,
        });
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

    /// The one file that counts: named by the flag, the environment or the code, or the usual one.
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
            return source::file(&path, origin).map(Some);
        }
        let Some(path) = &self.default_file else {
            return Ok(None);
        };
        match source::file(path, Origin::Default) {
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
        advice: "give the database's address by --database-url URL, by the environment variable \
                 OUTBOX_DATABASE_URL or DATABASE_URL, or as database_url = \"…\" in outbox.toml"
            .to_owned(),
    }
}

fn unknown_key(name: &str, origin: &Origin) -> ConfigError {
    let variable = match origin {
        Origin::Environment(variable) => variable.strip_prefix(source::PREFIX),
        _ => None,
    };
    let write = |key: &str| match (variable, keys::find(key)) {
        (Some(_), Some(key)) => key.env(),
        _ => key.to_owned(),
    };
    let advice = match suggest::nearest(variable.unwrap_or(name)) {
        Some(key) => format!("did you mean `{}`?", write(key)),
        None => {
            let all: Vec<String> = KEYS.iter().map(|key| write(key.name)).collect();
            format!("there are {}", all.join(", "))
        }
    };
    ConfigError::UnknownKey {
        key: name.to_owned(),
        origin: origin.clone(),
        advice,
    }
}
