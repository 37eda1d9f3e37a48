//! The limits of the values, whoever has set them.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::error::{ConfigError, Origin, Written};
use super::{Config, Secret, keys, rules, value};
use crate::logging;
use crate::stomp::Options;

const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
/// Far beyond use, and far below what overflows when it is added to a time.
const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

/// Everything that is out of its limits. `origin` says where a key's value came from.
pub(super) fn problems(
    config: &Config,
    origin: &dyn Fn(&'static str) -> Origin,
) -> Vec<ConfigError> {
    let mut found = Found {
        origin,
        problems: Vec::new(),
    };
    found.secrets(config);
    found.schema(config);
    found.numbers(config);
    found.times(config);
    found.texts(config);
    found.pairs(config);
    found.tls(config);
    found.problems
}

/// What a subscription says of itself.
const OWN_HEADERS: [&str; 10] = [
    "id",
    "ack",
    "destination",
    "receipt",
    "prefetch-count",
    "exclusive",
    "x-queue-name",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "content-length",
];

struct Found<'a> {
    origin: &'a dyn Fn(&'static str) -> Origin,
    problems: Vec<ConfigError>,
}

impl Found<'_> {
    /// Notes a problem where the value is not good.
    fn demand(&mut self, good: bool, name: &'static str, shown: impl FnOnce() -> String) {
        if good {
            return;
        }
        let Some(key) = keys::find(name) else { return };
        self.problems.push(ConfigError::BadValue {
            key: key.name,
            value: (!key.secret).then(shown),
            origin: (self.origin)(name),
            expected: key.expected.to_owned(),
        });
    }

    fn secrets(&mut self, config: &Config) {
        let clean = |url: &Secret| !url.expose().chars().any(char::is_control);
        let database = config.database_url.as_ref();
        self.demand(
            database.is_none_or(|url| !url.expose().trim().is_empty() && clean(url)),
            "database_url",
            String::new,
        );
        if let (Err(reason), Some(key)) = (
            Options::from_url(config.stomp_url.expose()),
            keys::find("stomp_url"),
        ) {
            self.problems.push(ConfigError::BadValue {
                key: key.name,
                value: None,
                origin: (self.origin)(key.name),
                expected: format!("{}: {reason}", key.expected),
            });
        }
    }

    fn schema(&mut self, config: &Config) {
        let Some(name) = &config.database_schema else {
            return;
        };
        let fits = (1..=63).contains(&name.len()) && !name.contains('\0');
        self.demand(fits, "database_schema", || value::shorten(name));
        let is_postgres = config.database_url.as_ref().is_none_or(|url| {
            let scheme = url.expose().trim().split(':').next().unwrap_or_default();
            ["postgres", "postgresql"].contains(&scheme.to_ascii_lowercase().as_str())
        });
        if let (false, Some(key)) = (is_postgres, keys::find("database_schema")) {
            self.problems.push(ConfigError::BadValue {
                key: key.name,
                value: Some(value::shorten(name)),
                origin: (self.origin)(key.name),
                expected: "for this database_url: only PostgreSQL has schemas; MySQL, MariaDB and \
                           SQLite keep the outbox in the database that database_url names"
                    .to_owned(),
            });
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
            self.conflict(
                ("tls_cert_file", path(certificate)),
                "set together with",
                ("tls_key_file", path(key)),
            );
        }
        if password.is_some() && key.is_none() {
            self.conflict(
                ("tls_key_password", "***".to_owned()),
                "set together with",
                ("tls_key_file", path(key)),
            );
        }
        if authorities.is_some() && !config.tls_verify {
            self.conflict(
                ("tls_verify", config.tls_verify.to_string()),
                "true beside",
                ("tls_ca_file", path(authorities)),
            );
        }
        // Whoever set one of them believes that the connection is safe.
        let has_tls =
            Options::from_url(config.stomp_url.expose()).map_or(true, |options| options.has_tls());
        for (name, file) in [("tls_ca_file", authorities), ("tls_cert_file", certificate)] {
            if let (Some(_), false, Some(key)) = (file, has_tls, keys::find("stomp_url")) {
                self.problems.push(ConfigError::BadValue {
                    key: key.name,
                    value: None,
                    origin: (self.origin)(key.name),
                    expected: format!(
                        "a stomp+ssl:// address, which {name} from {} is for",
                        (self.origin)(name)
                    ),
                });
            }
        }
    }

    fn number(&mut self, name: &'static str, number: usize, limits: RangeInclusive<usize>) {
        self.demand(limits.contains(&number), name, || number.to_string());
    }

    fn numbers(&mut self, config: &Config) {
        self.number("chunk_size", config.chunk_size, 1..=10_000);
        self.number("window", config.window, 1..=10_000);
        self.number("memory_limit", config.memory_limit, 65_536..=2_147_483_647);
        self.number(
            "maximum_message_size",
            config.maximum_message_size,
            1..=2_147_483_647,
        );
        self.number("retry_attempts", wide(config.retry_attempts), 1..=1_000_000);
        self.number(
            "breaker_failures",
            wide(config.breaker_failures),
            0..=1_000_000,
        );
        for (name, number, limits) in [
            ("retry_factor", config.retry_factor, rules::FACTOR),
            ("retry_jitter", config.retry_jitter, rules::JITTER),
        ] {
            self.demand(limits.contains(&number), name, || number.to_string());
        }
        self.number(
            "callback_attempts",
            wide(config.callback_attempts),
            1..=1_000,
        );
        self.number("workers", config.workers, 1..=1_000);
        for (name, number, least, most) in [
            (
                "maximum_header_size",
                config.maximum_header_size,
                1024,
                2_147_483_647,
            ),
            ("maximum_headers", config.maximum_headers, 10, 1_000_000),
            (
                "maximum_body_size",
                config.maximum_body_size,
                1024,
                2_147_483_647,
            ),
            ("prefetch_bytes", config.prefetch_bytes, 1024, 2_147_483_647),
        ] {
            self.number(name, number, least..=most);
        }
        if let Some(limit) = config.delivery_limit {
            self.number("delivery_limit", wide(limit), 1..=1_000_000);
        }
        for (name, days) in [
            ("days_to_keep", config.days_to_keep),
            ("inbox_days_to_keep", config.inbox_days_to_keep),
        ] {
            self.number(name, wide(days), 0..=36_500);
        }
        if let Some(size) = config.database_pool_size {
            self.number("database_pool_size", wide(size), 1..=1_000);
        }
        if let Some(count) = config.prefetch_count {
            self.number("prefetch_count", wide(count), 1..=65_535);
        }
    }

    fn time(&mut self, name: &'static str, time: Duration, least: Duration) {
        self.demand((least..=YEAR).contains(&time), name, || show(time));
    }

    fn times(&mut self, config: &Config) {
        for (name, time, least) in [
            ("database_timeout", config.database_timeout, MILLISECOND),
            ("statement_timeout", config.statement_timeout, MILLISECOND),
            ("connect_timeout", config.connect_timeout, MILLISECOND),
            ("receipt_timeout", config.receipt_timeout, MILLISECOND),
            ("maximum_backoff", config.maximum_backoff, SECOND),
            ("lease", config.lease, MILLISECOND),
            ("poll_interval", config.poll_interval, MILLISECOND),
            ("retry_first_delay", config.retry_first_delay, MILLISECOND),
            (
                "retry_maximum_delay",
                config.retry_maximum_delay,
                MILLISECOND,
            ),
            (
                "callback_first_delay",
                config.callback_first_delay,
                Duration::ZERO,
            ),
            ("cleanup_interval", config.cleanup_interval, SECOND),
            ("breaker_pause", config.breaker_pause, MILLISECOND),
        ] {
            self.time(name, time, least);
        }
        for (name, time) in [
            ("heartbeat_send", config.heartbeat_send),
            ("heartbeat_receive", config.heartbeat_receive),
        ] {
            if !time.is_zero() {
                self.time(name, time, MILLISECOND);
            }
        }
        if let Some(time) = config.database_keepalive {
            self.time("database_keepalive", time, SECOND);
        }
        if let Some(time) = config.shutdown_timeout {
            self.time("shutdown_timeout", time, Duration::ZERO);
        }
        for (name, time) in [
            ("exec_timeout", config.exec_timeout),
            ("resolve_timeout", config.resolve_timeout),
            ("tls_timeout", config.tls_timeout),
            ("connected_timeout", config.connected_timeout),
        ] {
            if let Some(time) = time {
                self.time(name, time, MILLISECOND);
            }
        }
    }

    fn texts(&mut self, config: &Config) {
        self.demand(!config.stomp_versions.is_empty(), "stomp_versions", || {
            value::shorten("")
        });
        let names = &config.msg_id_headers;
        let good_name = |name: &String| {
            !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c.is_control())
        };
        self.demand(
            !names.is_empty() && names.iter().all(good_name),
            "msg_id_headers",
            || value::shorten(&names.join(",")),
        );
        self.demand(good_name(&config.key_header), "key_header", || {
            value::shorten(&config.key_header)
        });
        for (name, texts, limit) in [
            ("stream", &config.stream, 100),
            ("ordered_stream", &config.ordered_stream, 100),
            ("destination", &config.destination, 255),
            ("ordered_destination", &config.ordered_destination, 255),
        ] {
            let fits = |text: &String| {
                !text.is_empty() && text.chars().count() <= limit && !text.contains('\0')
            };
            self.demand(texts.iter().all(fits), name, || {
                value::shorten(&texts.join(","))
            });
        }
        for (name, rules, good) in [
            (
                "retry_of",
                &config.retry_of,
                (|rule| rules::retry_of(rule).is_some()) as fn(&str) -> bool,
            ),
            ("when_spent_of", &config.when_spent_of, |rule| {
                rules::when_spent_of(rule).is_some()
            }),
        ] {
            for rule in rules {
                self.demand(good(rule), name, || value::shorten(rule));
            }
        }
        let good_header = |header: &String| {
            header.split_once(':').is_some_and(|(name, value)| {
                let is_name = !name.is_empty() && !name.contains(char::is_whitespace);
                is_name
                    && !header.contains(char::is_control)
                    && !OWN_HEADERS.contains(&name)
                    && value == value.trim()
            })
        };
        for (name, headers) in [
            ("queue_headers", &config.queue_headers),
            ("dead_letter_headers", &config.dead_letter_headers),
        ] {
            self.demand(headers.iter().all(good_header), name, || {
                value::shorten(&headers.join(","))
            });
        }
        self.demand(
            config.consumer.chars().count() <= 100 && !config.consumer.contains('\0'),
            "consumer",
            || value::shorten(&config.consumer),
        );
        self.demand(
            logging::filter(&config.log_level).is_some(),
            "log_level",
            || value::shorten(&config.log_level),
        );
    }

    fn pairs(&mut self, config: &Config) {
        if config.lease <= config.receipt_timeout {
            self.conflict(
                ("lease", show(config.lease)),
                "longer than",
                ("receipt_timeout", show(config.receipt_timeout)),
            );
        }
        if config.retry_maximum_delay < config.retry_first_delay {
            self.conflict(
                ("retry_maximum_delay", show(config.retry_maximum_delay)),
                "no shorter than",
                ("retry_first_delay", show(config.retry_first_delay)),
            );
        }
        // A worker that waits in vain for a connection would take the database for away.
        if let Some(size) = config.database_pool_size
            && wide(size) < config.workers
        {
            self.conflict(
                ("database_pool_size", size.to_string()),
                "at least",
                ("workers", config.workers.to_string()),
            );
        }
        for rule in config.retry_of.iter().filter(|rule| {
            rules::retry_of(rule).is_some_and(|(_, change)| {
                change.maximum_delay.unwrap_or(config.retry_maximum_delay)
                    < change.first_delay.unwrap_or(config.retry_first_delay)
            })
        }) {
            self.demand(false, "retry_of", || {
                format!(
                    "{}, whose maximum_delay is shorter than its first_delay,",
                    value::shorten(rule)
                )
            });
        }
    }

    fn conflict(
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
        self.problems.push(ConfigError::Conflict { pair, relation });
    }
}

fn show(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}

fn wide(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
