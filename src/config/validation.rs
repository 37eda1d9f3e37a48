//! The check of all values, whatever source they come from.

use super::error::ConfigError;
use super::key::Key;
use super::limits::NotAllowed;
use super::origin::Origin;
use super::settings::KEYS;
use super::{Config, conflicts};

/// Everything that is wrong with the values. `origin` returns where the value of a setting came from.
pub(super) fn problems(
    config: &Config,
    origin: &dyn Fn(&'static str) -> Origin,
) -> Vec<ConfigError> {
    let single = KEYS.iter().filter_map(|key| {
        let refused = (key.check)(config).err()?;
        Some(bad_value(key, refused, origin(key.name)))
    });
    single.chain(conflicts::of(config, origin)).collect()
}

/// The error for a value that is not allowed.
pub(super) fn bad_value(key: &Key, refused: NotAllowed, origin: Origin) -> ConfigError {
    let NotAllowed { value, reason } = refused;
    let expected = key.expected();
    ConfigError::BadValue {
        key: key.name,
        value: (!key.secret).then_some(value),
        origin,
        expected: match reason {
            Some(reason) => format!("{expected}: {reason}"),
            None => expected,
        },
    }
}
