//! The settings of the programs and of the library.
//!
//! A setting has one name everywhere: `chunk_size` in code and in the file, `OUTBOX_CHUNK_SIZE` in the
//! environment, `--chunk-size` as a flag. The sources apply in this order, and a later one replaces an
//! earlier one: the default, the program's code ([`Builder::set`]), a TOML file, the environment, a flag.
//! The file and the flags need the feature `cli`.
//!
//! Everything is checked before anything connects, and all problems are reported at once. Each names the
//! key, the value (never that of a secret) and the source. A secret can also be read from a file:
//! `stomp_url_file`.
//!
//! ```
//! use diesel_outbox::config::Config;
//!
//! let config = Config::builder().set("chunk_size", 10).set("lease", "2m").build()?;
//! assert_eq!(config.chunk_size, 10);
//! assert_eq!(config.lease.as_secs(), 120);
//!
//! let error = Config::builder().set("chunk_sise", 10).build().unwrap_err();
//! assert!(error.to_string().contains("did you mean `chunk_size`?"));
//! # Ok::<(), diesel_outbox::config::ConfigError>(())
//! ```

#[macro_use]
mod declare;

mod builder;
mod choices;
mod conflicts;
pub(crate) mod conninfo;
mod environment;
mod error;
#[cfg(feature = "cli")]
mod file;
#[cfg(feature = "cli")]
mod flags;
mod from_value;
mod key;
mod layer;
mod limits;
mod load;
#[cfg(feature = "cli")]
pub(crate) mod log_filter;
mod origin;
mod retry_rules;
mod secret;
mod secret_file;
mod settings;
mod stomp_options;
mod subscription;
mod suggest;
mod validation;
mod value;

pub use crate::retry_policy::WhenExhausted;
pub use builder::Builder;
pub use choices::{DeadLetter, LogFormat, VerifySignatures};
pub use error::ConfigError;
#[cfg(feature = "cli")]
pub use flags::{AllGroups, FlagGroups, Flags};
pub use key::Key;
pub use origin::{Origin, Written};
pub use secret::Secret;
pub(crate) use secret::has_ports;
pub use settings::{Config, Group};
pub use subscription::SubscriptionConfig;
pub use value::Setting;
