//! How a [`Config`] is loaded and checked.

#[cfg(feature = "cli")]
use super::flags::{FlagGroups, Flags};
use super::origin::Origin;
use super::settings::KEYS;
use super::{Builder, Config, ConfigError, Key, Secret, builder, validation};
use crate::signing::Keys;

impl Config {
    /// A builder without sources, which builds the defaults.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Reads the settings as the programs do: the file (`--config`, otherwise `OUTBOX_CONFIG`, otherwise
    /// `outbox.toml` in the working directory, if it exists), the environment, the flags.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them. `database_url` must be set.
    #[cfg(feature = "cli")]
    pub fn load<G: FlagGroups>(flags: &Flags<G>) -> Result<Self, ConfigError> {
        Self::builder()
            .file_if_present("outbox.toml")
            .env()
            .flags(flags)
            .require_database_url()
            .build()
    }

    /// [`load`](Self::load) for a program that needs no database.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings.
    #[cfg(feature = "cli")]
    pub fn load_without_database<G: FlagGroups>(flags: &Flags<G>) -> Result<Self, ConfigError> {
        Self::builder()
            .file_if_present("outbox.toml")
            .env()
            .flags(flags)
            .build()
    }

    /// Checks settings made in code.
    ///
    /// # Errors
    ///
    /// Every value that is not allowed, and the pairs of values that contradict each other.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::from_problems(validation::problems(self, &|_| Origin::Field))
    }

    /// The address of the database.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Missing`] if it is not set; the message says how to set it.
    pub fn require_database_url(&self) -> Result<&Secret, ConfigError> {
        self.database_url
            .as_ref()
            .ok_or_else(builder::missing_database_url)
    }

    /// The keys of `signing_keys`; `None` if they are not set or not valid.
    pub(crate) fn keys_of_signatures(&self) -> Option<Keys> {
        let keys = self.signing_keys.as_ref()?;
        Keys::parse(keys.expose()).ok()
    }

    /// The keys with which rows are signed; `None` if they are not.
    pub(crate) fn keys_to_sign(&self) -> Option<Keys> {
        self.keys_of_signatures().filter(|_| self.sign)
    }

    /// All settings, in the order of the documentation.
    pub fn keys() -> impl ExactSizeIterator<Item = &'static Key> {
        KEYS.iter()
    }
}
