//! Settings that contradict each other.

use std::path::PathBuf;

use super::error::ConfigError;
use super::limits::show_time;
use super::origin::{Origin, Written};
use super::{Config, VerifySignatures, conninfo, retry_rules, value};
use crate::stomp::Options;

/// The conflicts between values that are each within their limits. `origin` returns where the value of a
/// setting came from.
pub(super) fn of(config: &Config, origin: &dyn Fn(&'static str) -> Origin) -> Vec<ConfigError> {
    let mut conflicts = Conflicts {
        origin,
        found: Vec::new(),
    };
    conflicts.schema(config);
    conflicts.times(config);
    conflicts.connections(config);
    conflicts.retry_rules(config);
    conflicts.tls(config);
    conflicts.signing(config);
    conflicts.found
}

struct Conflicts<'a> {
    origin: &'a dyn Fn(&'static str) -> Origin,
    found: Vec<ConfigError>,
}

impl Conflicts<'_> {
    fn schema(&mut self, config: &Config) {
        let Some(name) = &config.database_schema else {
            return;
        };
        let is_postgres = config.database_url.as_ref().is_none_or(|url| {
            let text = url.expose().trim();
            let scheme = text.split(':').next().unwrap_or_default();
            ["postgres", "postgresql"].contains(&scheme.to_ascii_lowercase().as_str())
                || (!text.contains("://") && conninfo::is_keyword_form(text))
        });
        if !is_postgres {
            self.bad_value(
                "database_schema",
                Some(value::shorten(name)),
                "for this database_url: only PostgreSQL has schemas; MySQL, MariaDB and SQLite keep \
                 the outbox in the database that database_url names",
            );
        }
    }

    fn times(&mut self, config: &Config) {
        if config.lease <= config.receipt_timeout {
            self.pair(
                ("lease", show_time(config.lease)),
                "longer than",
                ("receipt_timeout", show_time(config.receipt_timeout)),
            );
        }
        if config.retry_maximum_delay < config.retry_first_delay {
            self.pair(
                ("retry_maximum_delay", show_time(config.retry_maximum_delay)),
                "no shorter than",
                ("retry_first_delay", show_time(config.retry_first_delay)),
            );
        }
    }

    /// A worker that does not get a connection would take that for an outage of the database.
    fn connections(&mut self, config: &Config) {
        let Some(size) = config.database_pool_size else {
            return;
        };
        if usize::try_from(size).unwrap_or(usize::MAX) < config.workers {
            self.pair(
                ("database_pool_size", size.to_string()),
                "at least",
                ("workers", config.workers.to_string()),
            );
        }
    }

    fn retry_rules(&mut self, config: &Config) {
        for rule in &config.retry_of {
            let is_contradiction = retry_rules::retry_of(rule).is_some_and(|(_, change)| {
                change.maximum_delay.unwrap_or(config.retry_maximum_delay)
                    < change.first_delay.unwrap_or(config.retry_first_delay)
            });
            if is_contradiction {
                let rule = value::shorten(rule);
                self.bad_value(
                    "retry_of",
                    Some(rule),
                    "a rule whose maximum_delay is no shorter than its first_delay",
                );
            }
        }
    }

    fn signing(&mut self, config: &Config) {
        if config.signing_keys.is_some() {
            return;
        }
        let without = |conflicts: &mut Self, key, value: &str| {
            conflicts.pair(
                (key, value.to_owned()),
                "set together with",
                ("signing_keys", "none".to_owned()),
            );
        };
        if config.sign {
            without(self, "sign", "true");
        }
        match config.verify_signatures {
            VerifySignatures::Off => {}
            VerifySignatures::Warn => without(self, "verify_signatures", "warn"),
            VerifySignatures::Require => without(self, "verify_signatures", "require"),
        }
    }

    fn tls(&mut self, config: &Config) {
        let Config {
            tls_ca_file: authorities,
            tls_cert_file: certificate,
            tls_key_file: key,
            tls_key_password: password,
            ..
        } = config;
        let path = |path: &Option<PathBuf>| match path {
            Some(path) => value::shorten(&path.display().to_string()),
            None => "none".to_owned(),
        };
        if certificate.is_some() != key.is_some() {
            self.pair(
                ("tls_cert_file", path(certificate)),
                "set together with",
                ("tls_key_file", path(key)),
            );
        }
        if password.is_some() && key.is_none() {
            self.pair(
                ("tls_key_password", "***".to_owned()),
                "set together with",
                ("tls_key_file", path(key)),
            );
        }
        if authorities.is_some() && !config.tls_verify {
            self.pair(
                ("tls_verify", config.tls_verify.to_string()),
                "true because of",
                ("tls_ca_file", path(authorities)),
            );
        }
        // Whoever sets one of them expects the connection to be encrypted.
        let has_tls =
            Options::from_url(config.stomp_url.expose()).map_or(true, |options| options.has_tls());
        for (name, file) in [("tls_ca_file", authorities), ("tls_cert_file", certificate)] {
            // `outbox doctor` verifies the management API by the same authorities.
            let has_management_tls = config.management_url.as_ref().is_some_and(|url| {
                let scheme = url.expose().trim().split(':').next().unwrap_or_default();
                scheme.eq_ignore_ascii_case("https")
            });
            if file.is_some() && !has_tls && !(name == "tls_ca_file" && has_management_tls) {
                let origin = (self.origin)(name);
                let expected =
                    format!("a stomp+ssl:// address, which {name} from {origin} requires");
                self.bad_value("stomp_url", None, &expected);
            }
        }
    }

    fn bad_value(&mut self, key: &'static str, value: Option<String>, expected: &str) {
        self.found.push(ConfigError::BadValue {
            key,
            value,
            origin: (self.origin)(key),
            expected: expected.to_owned(),
        });
    }

    fn pair(
        &mut self,
        one: (&'static str, String),
        relation: &'static str,
        other: (&'static str, String),
    ) {
        let written = |(key, value)| Written {
            key,
            value,
            origin: (self.origin)(key),
        };
        let pair = Box::new([written(one), written(other)]);
        self.found.push(ConfigError::Conflict { pair, relation });
    }
}
