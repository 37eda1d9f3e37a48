//! The settings of the programs and of what they are made of.
//!
//! A value comes from the last of these that gives one: the default, the program's code
//! ([`Builder::set`]), a TOML file, the environment, a flag. A setting has one name everywhere:
//! `chunk_size` in code and file, `OUTBOX_CHUNK_SIZE` in the environment, `--chunk-size` as a flag.
//! Whatever is wrong with any of them is found before anything connects, all at once, and each
//! problem names the key, the value (never one that may hold a password) and the place.
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

mod args;
mod builder;
mod check;
mod error;
mod keys;
mod rules;
mod secret;
mod source;
mod subscription;
mod suggest;
mod value;

use std::path::PathBuf;
use std::time::Duration;

use value::FromValue;

use crate::stomp::{Broker, Limits, Options, Tls, UrlError, Version};

pub use args::{
    CleanupArgs, ConfigArgs, ConnectionArgs, Flags, LogArgs, PublishArgs, RunArgs, SubscribeArgs,
};
pub use builder::Builder;
pub use error::{ConfigError, Origin, Written};
pub use keys::Key;
pub(crate) use rules::RetryChange;
pub use secret::Secret;
pub use subscription::SubscriptionConfig;
pub use value::Setting;

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum LogFormat {
    /// One line of text for each event.
    #[default]
    Text,
    /// One JSON object on a line for each event.
    Json,
}

/// What becomes of a row with an ordering key whose attempts are spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WhenSpent {
    /// It is parked and holds up its key until an operator retries or skips it.
    #[default]
    Block,
    /// It is parked, and its key goes on without it.
    Park,
}

/// Who puts a message that is given up to the dead letters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum DeadLetter {
    /// The broker, told by NACK. The message is unchanged.
    #[default]
    Broker,
    /// We, with headers that tell why.
    Outbox,
    /// Nobody: the message is acknowledged and gone, but for a line in the log.
    None,
}

/// The settings. [`Config::load`] reads them as the programs do, [`Config::builder`] as you say,
/// and `Config::default()` with fields set by hand needs no source at all
/// (then call [`validate`](Self::validate)).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// The address of the database. No default: the programs ask for it.
    pub database_url: Option<Secret>,
    /// The address of the broker. Default `stomp://guest:guest@127.0.0.1:61613/`.
    pub stomp_url: Secret,
    /// The broker's make. Default `None`: the one that its CONNECTED frame names.
    pub broker: Option<Broker>,
    /// The schema of the outbox on PostgreSQL, at most 63 bytes. Default `None`: the first of the
    /// search path that has an outbox or in which we may create tables.
    pub database_schema: Option<String>,
    /// Most database connections at a time, 1 to 1000. Default `None`: as many as are needed.
    pub database_pool_size: Option<u32>,
    /// Longest wait for a database connection, 1 ms to 365 days. Default 5 s.
    pub database_timeout: Duration,
    /// Longest wait for a statement of the outbox's own, 1 ms to 365 days; callbacks have no limit.
    /// Default 30 s.
    pub statement_timeout: Duration,
    /// How long a connection to the database may be silent before TCP asks whether the server lives,
    /// 1 s to 365 days. `None`: as the address and the system have it. Default 15 s.
    pub database_keepalive: Option<Duration>,
    /// Longest wait for each part of connecting to a broker that has no limit of its own, 1 ms to 365
    /// days. Default 10 s.
    pub connect_timeout: Duration,
    /// Longest wait for the address of a broker's name, 1 ms to 365 days. Default `None`:
    /// `connect_timeout`.
    pub resolve_timeout: Option<Duration>,
    /// Longest wait for TLS with a broker, 1 ms to 365 days. Default `None`: `connect_timeout`.
    pub tls_timeout: Option<Duration>,
    /// Longest wait for a broker's answer to CONNECT, 1 ms to 365 days. Default `None`:
    /// `connect_timeout`.
    pub connected_timeout: Option<Duration>,
    /// Versions of STOMP that the broker may choose from, at least one. Default 1.1 and 1.2.
    pub stomp_versions: Vec<Version>,
    /// A PEM file of the certificate authorities that we trust to know the broker. Default `None`:
    /// those of the system.
    pub tls_ca_file: Option<PathBuf>,
    /// A PEM file with our certificate, for brokers that ask for one. Default none.
    pub tls_cert_file: Option<PathBuf>,
    /// A PEM file with the key of our certificate. Default none.
    pub tls_key_file: Option<PathBuf>,
    /// The password of an encrypted key. Default none.
    pub tls_key_password: Option<Secret>,
    /// Whether the broker's certificate must be right. Without it whoever is between can read and
    /// change everything. Default true.
    pub tls_verify: bool,
    /// Most bytes that the command and headers of a frame from the broker may have, 1024 to
    /// 2147483647. Default 1048576.
    pub maximum_header_size: usize,
    /// Most headers that a frame from the broker may have, 10 to 1000000. Default 1000.
    pub maximum_headers: usize,
    /// Most bytes that the body of a frame from the broker may have, 1024 to 2147483647. Default
    /// 134217728.
    pub maximum_body_size: usize,
    /// How often we show the broker that we live; zero for never, or 1 ms to 365 days.
    /// RabbitMQ rounds to whole seconds. Default 10 s.
    pub heartbeat_send: Duration,
    /// How often the broker is to show that it lives; zero for never, or 1 ms to 365 days.
    /// Default 10 s.
    pub heartbeat_receive: Duration,
    /// Longest wait for a receipt, 1 ms to 365 days. Default 30 s.
    pub receipt_timeout: Duration,
    /// Longest pause between attempts to reach a broker or a database that is away, 1 s to
    /// 365 days. Default 3600 s.
    pub maximum_backoff: Duration,
    /// How long a program that is asked to stop may finish what is under way, up to 365 days;
    /// `None` for ever. Default 90 s.
    pub shutdown_timeout: Option<Duration>,
    /// Rows claimed at a time, 1 to 10000. Default 200.
    pub chunk_size: usize,
    /// The streams to send, and no other rows. Default none: everything is sent.
    pub stream: Vec<String>,
    /// The destinations to send to, version included, and no other rows. Default none: everything
    /// is sent.
    pub destination: Vec<String>,
    /// Rows sent and waiting for their receipts at a time, 1 to 10000. Default 128.
    pub window: usize,
    /// Most bytes of messages in memory, 65536 to 2147483647; a larger message goes alone. Default
    /// 16777216.
    pub memory_limit: usize,
    /// Largest body that the broker takes, 1 to 2147483647 bytes; a larger one is parked at once.
    /// Default 134217728, RabbitMQ's until 3.13; its 4 takes 16777216, ActiveMQ 104857600.
    pub maximum_message_size: usize,
    /// How long claimed rows stay with their holder, 1 ms to 365 days; longer than
    /// `receipt_timeout`. Default 60 s.
    pub lease: Duration,
    /// Pause between looks at an empty outbox, 1 ms to 365 days. Default 1 s.
    pub poll_interval: Duration,
    /// Whether a relay watches the database for new rows between two looks. Default true.
    pub wake_up: bool,
    /// Own failures after which a row is parked as FAILED, 1 to 1000000. Default 50.
    pub retry_attempts: u32,
    /// Pause after a row's first failure, 1 ms to 365 days; it grows by `retry_factor`.
    /// Default 1 s.
    pub retry_first_delay: Duration,
    /// By how much the pause grows at each further failure of a row, 1 to 100. Default 2.
    pub retry_factor: f64,
    /// By how much of itself a pause is longer or shorter at random, 0 to 1. Default 0.2.
    pub retry_jitter: f64,
    /// Longest pause between two attempts of a row, 1 ms to 365 days; no shorter than
    /// `retry_first_delay`. Default 60 s.
    pub retry_maximum_delay: Duration,
    /// Another retry policy for a destination, version included, each as
    /// `/queue/mail attempts=3 first_delay=5s maximum_delay=10m factor=3 jitter=0`, with one or more
    /// of these. Default none.
    pub retry_of: Vec<String>,
    /// What becomes of a row with an ordering key whose attempts are spent. Default block.
    pub when_spent: WhenSpent,
    /// The same for a stream, each as `audit=park`. Default none.
    pub when_spent_of: Vec<String>,
    /// Streams whose rows have one ordering key together, where they have none of their own. A
    /// stream's rule comes before a destination's. Default none.
    pub ordered_stream: Vec<String>,
    /// Destinations, version included, whose rows have one ordering key together, where they have
    /// none of their own. Default none.
    pub ordered_destination: Vec<String>,
    /// Rows of one destination that fail, with no success between them, after which it is set
    /// aside for a while, up to 1000000; 0 for never. Default 5.
    pub breaker_failures: u32,
    /// How long a destination is set aside before some of its rows are tried again, 1 ms to 365 days.
    /// Default 30 s.
    pub breaker_pause: Duration,
    /// Callbacks that run at a time, 1 to 1000. Messages of one key are handled one after another,
    /// with one worker all of them. Default 1.
    pub workers: usize,
    /// The header by which messages are ordered where there are several workers. Default `key`.
    pub key_header: String,
    /// Messages the broker may hand over unacknowledged, 1 to 65535. Default `None`: twice the
    /// workers.
    pub prefetch_count: Option<u32>,
    /// Most bytes of messages that a subscriber has received and not handled, 1024 to 2147483647: with
    /// more, nothing is read from the broker until some are. A longer message is taken alone. Default
    /// 67108864.
    pub prefetch_bytes: usize,
    /// Further headers of SUBSCRIBE, each as `name:value`, such as `x-queue-type:quorum`; `durable`
    /// and `auto-delete` may be given other values. Default none.
    pub queue_headers: Vec<String>,
    /// Further headers of the queue of dead letters, each as `name:value`, or other values of those that
    /// it takes from `queue_headers`: all but those that would delete the queue or its letters by
    /// themselves. Default none.
    pub dead_letter_headers: Vec<String>,
    /// Whether the subscription shuts out all others from its queue. Default false.
    pub exclusive: bool,
    /// Attempts of a callback before its message goes to the dead letters, 1 to 1000. Default 3.
    pub callback_attempts: u32,
    /// Pause after a callback's first failure, up to 365 days; it doubles. Default 1 s.
    pub callback_first_delay: Duration,
    /// Who puts a message that is given up to the dead letters. Default the broker.
    pub dead_letter: DeadLetter,
    /// How often a message that comes again may be begun without coming to its end, because its
    /// process died, before it goes to the dead letters without being run; 1 to 1000000. `None`:
    /// for ever, and nothing is counted. Default 10.
    pub delivery_limit: Option<u32>,
    /// Headers that may carry a message's id, at least one; the first that is there counts.
    /// Default `cap-msg-id`, `dop-msg-id`, `message-id`.
    pub msg_id_headers: Vec<String>,
    /// The name under which messages are remembered, at most 100 characters. Default empty:
    /// one effect for the whole service.
    pub consumer: String,
    /// Longest run of a program started for a message, 1 ms to 365 days. Default `None`: no limit.
    pub exec_timeout: Option<Duration>,
    /// What one process of `subscribe` subscribes to, where its arguments do not say: the tables
    /// `[[subscription]]` of the file. Default none.
    pub subscription: Vec<SubscriptionConfig>,
    /// Age in days at which a relay deletes rows that were sent, 0 to 36500. Default 30.
    pub days_to_keep: u32,
    /// Age in days at which a subscriber deletes rows of the inbox, 0 to 36500; less than 1 counts as 1,
    /// and of several subscribers of one database the longest counts. Default 30.
    pub inbox_days_to_keep: u32,
    /// Pause between clean-ups, 1 s to 365 days. Default 24 h.
    pub cleanup_interval: Duration,
    /// How log lines are written. Default text.
    pub log_format: LogFormat,
    /// Which log lines are written: a level, or directives as `tracing-subscriber`'s `EnvFilter`
    /// takes them. Default `info`.
    pub log_level: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            database_url: None,
            stomp_url: Secret::new("stomp://guest:guest@127.0.0.1:61613/"),
            broker: None,
            database_schema: None,
            database_pool_size: None,
            database_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
            database_keepalive: Some(Duration::from_secs(15)),
            connect_timeout: Duration::from_secs(10),
            resolve_timeout: None,
            tls_timeout: None,
            connected_timeout: None,
            stomp_versions: vec![Version::V1_1, Version::V1_2],
            tls_ca_file: None,
            tls_cert_file: None,
            tls_key_file: None,
            tls_key_password: None,
            tls_verify: true,
            maximum_header_size: 1 << 20,
            maximum_headers: 1000,
            maximum_body_size: 128 << 20,
            heartbeat_send: Duration::from_secs(10),
            heartbeat_receive: Duration::from_secs(10),
            receipt_timeout: Duration::from_secs(30),
            maximum_backoff: Duration::from_secs(3600),
            shutdown_timeout: Some(Duration::from_secs(90)),
            chunk_size: 200,
            stream: Vec::new(),
            destination: Vec::new(),
            window: 128,
            memory_limit: 16 << 20,
            maximum_message_size: 134_217_728,
            lease: Duration::from_secs(60),
            poll_interval: Duration::from_secs(1),
            wake_up: true,
            retry_attempts: 50,
            retry_first_delay: Duration::from_secs(1),
            retry_factor: 2.0,
            retry_jitter: 0.2,
            retry_maximum_delay: Duration::from_secs(60),
            retry_of: Vec::new(),
            when_spent: WhenSpent::Block,
            when_spent_of: Vec::new(),
            ordered_stream: Vec::new(),
            ordered_destination: Vec::new(),
            breaker_failures: 5,
            breaker_pause: Duration::from_secs(30),
            workers: 1,
            key_header: "key".to_owned(),
            prefetch_count: None,
            prefetch_bytes: 64 << 20,
            queue_headers: Vec::new(),
            dead_letter_headers: Vec::new(),
            exclusive: false,
            callback_attempts: 3,
            callback_first_delay: Duration::from_secs(1),
            dead_letter: DeadLetter::Broker,
            delivery_limit: Some(10),
            msg_id_headers: ["cap-msg-id", "dop-msg-id", "message-id"]
                .map(str::to_owned)
                .into(),
            consumer: String::new(),
            exec_timeout: None,
            subscription: Vec::new(),
            days_to_keep: 30,
            inbox_days_to_keep: 30,
            cleanup_interval: Duration::from_secs(24 * 3600),
            log_format: LogFormat::Text,
            log_level: "info".to_owned(),
        }
    }
}

impl Config {
    /// A builder without any source: it builds the defaults.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The settings as the programs read them: the file (`--config`, else `OUTBOX_CONFIG`, else
    /// `outbox.toml` in the working directory where it exists), the environment, the flags.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with them; `database_url` must be set.
    pub fn load(flags: &dyn Flags) -> Result<Self, ConfigError> {
        Self::builder()
            .file_if_present("outbox.toml")
            .env()
            .flags(flags)
            .require_database_url()
            .build()
    }

    /// As [`load`](Self::load), for a program that needs no database.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the settings.
    pub fn load_without_database(flags: &dyn Flags) -> Result<Self, ConfigError> {
        Self::builder()
            .file_if_present("outbox.toml")
            .env()
            .flags(flags)
            .build()
    }

    /// Checks every limit, for settings made in code.
    ///
    /// # Errors
    ///
    /// Every value that is out of its limits, and the pairs that do not go together.
    pub fn validate(&self) -> Result<(), ConfigError> {
        ConfigError::from_problems(check::problems(self, &|_| Origin::Field))
    }

    /// The address of the database.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Missing`] where it is not set; the message says how to set it.
    pub fn require_database_url(&self) -> Result<&Secret, ConfigError> {
        self.database_url
            .as_ref()
            .ok_or_else(builder::missing_database_url)
    }

    /// How to reach the broker.
    ///
    /// # Errors
    ///
    /// When `stomp_url` is no such URL; [`validate`](Self::validate) finds that too.
    pub fn stomp_options(&self) -> Result<Options, UrlError> {
        let connect_timeout = self.connect_timeout;
        Ok(Options::from_url(self.stomp_url.expose())?
            .connect_timeout(connect_timeout)
            .resolve_timeout(self.resolve_timeout.unwrap_or(connect_timeout))
            .tls_timeout(self.tls_timeout.unwrap_or(connect_timeout))
            .connected_timeout(self.connected_timeout.unwrap_or(connect_timeout))
            .receipt_timeout(self.receipt_timeout)
            .heartbeat(self.heartbeat_send, self.heartbeat_receive)
            .broker(self.broker)
            .versions(&self.stomp_versions)
            .untaken_limit(self.prefetch_bytes)
            .limits(Limits {
                head: self.maximum_header_size,
                headers: self.maximum_headers,
                body: self.maximum_body_size,
            })
            .tls(self.tls()))
    }

    fn tls(&self) -> Tls {
        let mut tls = Tls::new();
        if let Some(path) = &self.tls_ca_file {
            tls = tls.ca_file(path);
        }
        if let (Some(certificate), Some(key)) = (&self.tls_cert_file, &self.tls_key_file) {
            tls = tls.client_certificate(certificate, key);
        }
        if let Some(password) = &self.tls_key_password {
            tls = tls.key_password(password.expose());
        }
        if !self.tls_verify {
            tls = tls.accept_any_certificate();
        }
        tls
    }

    /// All settings there are, in the order of the documentation.
    pub fn keys() -> impl ExactSizeIterator<Item = &'static Key> {
        keys::KEYS.iter()
    }

    /// Reads `value` into the field that `key` names.
    fn assign(&mut self, key: &str, value: &figment::value::Value) -> Result<(), value::Mismatch> {
        macro_rules! fields {
            ($($field:ident)*) => {
                match key {
                    $(stringify!($field) => self.$field = FromValue::from_value(value)?,)*
                    _ => return Err(value::Mismatch),
                }
            };
        }
        fields! {
            database_url stomp_url broker database_schema database_pool_size database_timeout statement_timeout
            database_keepalive connect_timeout
            resolve_timeout tls_timeout connected_timeout stomp_versions
            tls_ca_file tls_cert_file tls_key_file tls_key_password tls_verify
            maximum_header_size maximum_headers maximum_body_size
            heartbeat_send heartbeat_receive receipt_timeout maximum_backoff shutdown_timeout
            chunk_size stream destination window memory_limit maximum_message_size lease poll_interval wake_up retry_attempts retry_first_delay
            retry_factor retry_jitter retry_maximum_delay retry_of when_spent when_spent_of
            ordered_stream ordered_destination breaker_failures breaker_pause workers key_header prefetch_count prefetch_bytes queue_headers dead_letter_headers exclusive callback_attempts callback_first_delay
            dead_letter delivery_limit msg_id_headers consumer exec_timeout days_to_keep inbox_days_to_keep cleanup_interval log_format log_level
        }
        Ok(())
    }
}
