//! The list of settings: one line of truth for flags, variables, help texts and messages.

/// The heading of a setting in the help of the programs, and the flags' group it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    Connection,
    Run,
    Publish,
    Subscribe,
    Cleanup,
    Log,
}

impl Group {
    pub(super) fn heading(self) -> &'static str {
        match self {
            Self::Connection => "Connections",
            Self::Run => "Running",
            Self::Publish => "Publishing",
            Self::Subscribe => "Subscribing",
            Self::Cleanup => "Cleaning up",
            Self::Log => "Logging",
        }
    }
}

/// One setting.
#[derive(Debug)]
pub struct Key {
    /// Its name in the file and in [`Builder::set`](super::Builder::set).
    pub name: &'static str,
    /// Its flag, without the dashes.
    pub flag: &'static str,
    /// Its default, as it would be written; empty for the empty text.
    pub default: &'static str,
    /// What a value must be, as in "is not …".
    pub expected: &'static str,
    /// What it does.
    pub help: &'static str,
    /// Whether a value may hold a password, and is never shown.
    pub secret: bool,
    pub(super) value_name: &'static str,
    pub(super) group: Group,
}

impl Key {
    /// The environment variable: `OUTBOX_` and the name in capitals.
    #[must_use]
    pub fn env(&self) -> String {
        format!("OUTBOX_{}", self.name.to_ascii_uppercase())
    }

    /// The variable without the prefix, for the two keys that have one.
    #[must_use]
    pub fn bare_env(&self) -> Option<&'static str> {
        match self.name {
            "database_url" => Some("DATABASE_URL"),
            "stomp_url" => Some("STOMP_URL"),
            _ => None,
        }
    }
}

/// The setting of this name.
pub(super) fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

macro_rules! keys {
    ($($group:ident { $($name:ident $flag:literal $value_name:literal = $default:literal,
        $expected:literal, $help:literal $(, $secret:ident)?;)* })*) => {
        /// The settings, in the order of the documentation.
        pub(super) static KEYS: &[Key] = &[$($(Key {
            name: stringify!($name),
            flag: $flag,
            default: $default,
            expected: $expected,
            help: $help,
            secret: keys!(@secret $($secret)?),
            value_name: $value_name,
            group: Group::$group,
        },)*)*];
    };
    (@secret secret) => { true };
    (@secret) => { false };
}

keys! {
    Connection {
        database_url "database-url" "URL" = "none",
            "the address of a database, such as postgres://user:password@host/name",
            "The database", secret;
        stomp_url "stomp-url" "URL" = "stomp://guest:guest@127.0.0.1:61613/",
            "the address of a broker, such as stomp://user:password@host:61613/",
            "The broker; stomp+ssl:// is TLS; several with commas between are tried in turn", secret;
        broker "broker" "BROKER" = "none",
            "rabbitmq, activemq, or none",
            "The broker's make; none: the one that it names when we connect";
        database_schema "database-schema" "NAME" = "none",
            "the name of a schema of 1 to 63 bytes, or none",
            "PostgreSQL schema of the outbox; none: the first of the search path that has an outbox or that we may create tables in";
        database_pool_size "database-pool-size" "COUNT" = "none",
            "a whole number from 1 to 1000, or none",
            "Most database connections at a time; none: as many as the program needs";
        database_timeout "database-timeout" "TIME" = "5s",
            "a time from 1ms to 365 days, such as 30s or 1m 30s",
            "Longest wait for a database connection";
        statement_timeout "statement-timeout" "TIME" = "30s",
            "a time from 1ms to 365 days, such as 30s or 1m 30s",
            "Longest wait for a statement of the outbox's own; callbacks have no limit";
        database_keepalive "database-keepalive" "TIME" = "15s",
            "a time from 1s to 365 days, such as 30s or 1m 30s, or none",
            "Silence after which TCP asks whether the database's server lives; none: as the address and the system have it";
        connect_timeout "connect-timeout" "TIME" = "10s",
            "a time from 1ms to 365 days, such as 30s or 1m 30s",
            "Longest wait for each part of connecting to a broker that has no limit of its own";
        resolve_timeout "resolve-timeout" "TIME" = "none",
            "a time from 1ms to 365 days, such as 30s or 1m 30s, or none",
            "Longest wait for the address of a broker's name; none: connect_timeout";
        tls_timeout "tls-timeout" "TIME" = "none",
            "a time from 1ms to 365 days, such as 30s or 1m 30s, or none",
            "Longest wait for TLS with a broker; none: connect_timeout";
        connected_timeout "connected-timeout" "TIME" = "none",
            "a time from 1ms to 365 days, such as 30s or 1m 30s, or none",
            "Longest wait for a broker's answer to CONNECT; none: connect_timeout";
        stomp_versions "stomp-versions" "VERSIONS" = "1.1,1.2",
            "a list of one or more of 1.0, 1.1, 1.2",
            "Versions of STOMP that the broker may choose from";
        tls_ca_file "tls-ca-file" "FILE" = "none",
            "the path of a file, or none",
            "Certificate authorities (PEM) that we trust to know the broker; none: the system's";
        tls_cert_file "tls-cert-file" "FILE" = "none",
            "the path of a file, or none",
            "Our certificate (PEM), for brokers that ask for one";
        tls_key_file "tls-key-file" "FILE" = "none",
            "the path of a file, or none",
            "The key (PEM) of our certificate";
        tls_key_password "tls-key-password" "TEXT" = "none",
            "a text, or none",
            "The password of an encrypted key", secret;
        tls_verify "tls-verify" "BOOL" = "true",
            "true or false",
            "Whether the broker's certificate must be right; false: whoever is between can read and change everything";
        maximum_header_size "maximum-header-size" "BYTES" = "1048576",
            "a whole number from 1024 to 2147483647",
            "Most bytes that the command and headers of a frame from the broker may have";
        maximum_headers "maximum-headers" "COUNT" = "1000",
            "a whole number from 10 to 1000000",
            "Most headers that a frame from the broker may have";
        maximum_body_size "maximum-body-size" "BYTES" = "134217728",
            "a whole number from 1024 to 2147483647",
            "Most bytes that the body of a frame from the broker may have";
        heartbeat_send "heartbeat-send" "TIME" = "10s",
            "0, or a time from 1ms to 365 days, such as 30s or 1m 30s",
            "How often to show the broker that we live; 0: never";
        heartbeat_receive "heartbeat-receive" "TIME" = "10s",
            "0, or a time from 1ms to 365 days, such as 30s or 1m 30s",
            "How often the broker is to show that it lives; 0: never";
        receipt_timeout "receipt-timeout" "TIME" = "30s",
            "a time from 1ms to 365 days, such as 30s or 1m 30s",
            "Longest wait for a receipt from the broker";
    }
    Run {
        maximum_backoff "maximum-backoff" "TIME" = "3600s",
            "a time from 1s to 365 days, such as 30s or 1m 30s",
            "Longest pause between attempts to reach a broker or database that is away";
        shutdown_timeout "shutdown-timeout" "TIME" = "90s",
            "a time up to 365 days, such as 30s or 1m 30s, or none",
            "How long to finish what is under way when asked to stop; none: for ever";
    }
    Publish {
        chunk_size "chunk-size" "ROWS" = "200",
            "a whole number from 1 to 10000",
            "Rows claimed at a time";
        stream "stream" "NAMES" = "",
            "a list of names of at most 100 characters",
            "Streams to send, and no other rows; may be given several times";
        destination "destination" "NAMES" = "",
            "a list of destinations of at most 255 characters",
            "Destinations to send to, version included, and no other rows; may be given several times";
        window "window" "ROWS" = "128",
            "a whole number from 1 to 10000",
            "Rows sent and waiting for their receipts at a time";
        memory_limit "memory-limit" "BYTES" = "16777216",
            "a whole number from 65536 to 2147483647",
            "Most bytes of messages in memory; a larger message goes alone";
        maximum_message_size "maximum-message-size" "BYTES" = "134217728",
            "a whole number from 1 to 2147483647",
            "Largest body that the broker takes; a larger one is parked at once";
        lease "lease" "TIME" = "60s",
            "a time from 1ms to 365 days, such as 30s or 1m 30s",
            "How long claimed rows stay with this program; longer than receipt_timeout";
        poll_interval "poll-interval" "TIME" = "1s",
            "a time from 1ms to 365 days, such as 30s or 1m 30s",
            "Pause between looks at an empty outbox";
        wake_up "wake-up" "BOOL" = "true",
            "true or false",
            "Whether to watch the database for new rows between two looks";
        retry_attempts "retry-attempts" "COUNT" = "50",
            "a whole number from 1 to 1000000",
            "Own failures after which a row is parked as FAILED";
        retry_first_delay "retry-first-delay" "TIME" = "1s",
            "a time from 1ms to 365 days, such as 30s or 1m 30s",
            "Pause after a row's first failure; it grows by retry_factor at each further one";
        retry_factor "retry-factor" "NUMBER" = "2",
            "a number from 1 to 100",
            "By how much the pause grows at each further failure of a row";
        retry_jitter "retry-jitter" "NUMBER" = "0.2",
            "a number from 0 to 1",
            "By how much of itself a pause is longer or shorter at random";
        retry_maximum_delay "retry-maximum-delay" "TIME" = "60s",
            "a time from 1ms to 365 days, such as 30s or 1m 30s",
            "Longest pause between two attempts of a row";
        retry_of "retry-of" "RULES" = "",
            "a list such as /queue/mail attempts=3 first_delay=5s maximum_delay=10m factor=3 jitter=0, with one or more of these",
            "Another retry policy for a destination, version included; may be given several times";
        when_spent "when-spent" "WHAT" = "block",
            "block or park",
            "What a row with a key does when its attempts are spent: block its key, or let it go on";
        when_spent_of "when-spent-of" "RULES" = "",
            "a list such as audit=park, of streams with block or park",
            "The same for a stream; may be given several times";
        ordered_stream "ordered-stream" "NAMES" = "",
            "a list of names of at most 100 characters",
            "Streams whose rows have one ordering key, where they have none of their own; may be given several times";
        ordered_destination "ordered-destination" "NAMES" = "",
            "a list of destinations of at most 255 characters",
            "Destinations, version included, whose rows have one ordering key, where they have none of their own; may be given several times";
        breaker_failures "breaker-failures" "COUNT" = "5",
            "a whole number from 0 to 1000000",
            "Rows that fail, with no success between them, after which a destination is set aside for a while; 0: never";
        breaker_pause "breaker-pause" "TIME" = "30s",
            "a time from 1ms to 365 days, such as 30s or 1m 30s",
            "How long a destination is set aside before some of its rows are tried again";
    }
    Subscribe {
        workers "workers" "COUNT" = "1",
            "a whole number from 1 to 1000",
            "Callbacks that run at a time; messages of one key are handled one after another";
        key_header "key-header" "NAME" = "key",
            "the name of a header",
            "Header by which messages are ordered where there are several workers";
        prefetch_count "prefetch-count" "COUNT" = "none",
            "a whole number from 1 to 65535, or none",
            "Messages the broker may hand over unacknowledged; none: twice the workers";
        prefetch_bytes "prefetch-bytes" "BYTES" = "67108864",
            "a whole number from 1024 to 2147483647",
            "Most bytes of messages that are received and not handled; with more, nothing is read until some are";
        queue_headers "queue-headers" "HEADERS" = "",
            "a list of headers such as x-queue-type:quorum, none of them one that the subscription has by itself",
            "Further headers of SUBSCRIBE, or other values for durable and auto-delete";
        dead_letter_headers "dead-letter-headers" "HEADERS" = "",
            "a list of headers such as x-queue-type:quorum, none of them one that the subscription has by itself",
            "Further headers of the queue of dead letters, or other values of those that it takes from queue_headers";
        exclusive "exclusive" "BOOL" = "false",
            "true or false",
            "Whether this subscription shuts out all others from its queue";
        callback_attempts "callback-attempts" "COUNT" = "3",
            "a whole number from 1 to 1000",
            "Attempts of a callback before its message goes to the dead letters";
        callback_first_delay "callback-first-delay" "TIME" = "1s",
            "a time up to 365 days, such as 30s or 1m 30s",
            "Pause after a callback's first failure; it doubles at each further one";
        dead_letter "dead-letter" "WAY" = "broker",
            "broker, outbox, or none",
            "Who puts a message that is given up to the dead letters: broker (NACK), outbox (with headers that tell why), or none: it is dropped";
        delivery_limit "delivery-limit" "COUNT" = "10",
            "a whole number from 1 to 1000000, or none",
            "How often a message that comes again may end its process before it goes to the dead letters; none: for ever";
        msg_id_headers "msg-id-headers" "NAMES" = "cap-msg-id,dop-msg-id,message-id",
            "a list of one or more header names",
            "Headers that may carry a message's id; the first that is there counts";
        consumer "consumer" "NAME" = "",
            "a text of at most 100 characters without U+0000",
            "Name under which messages are remembered; empty: one effect for the whole service";
        exec_timeout "exec-timeout" "TIME" = "none",
            "a time from 1ms to 365 days, such as 30s or 1m 30s, or none",
            "Longest run of a program started for a message; none: no limit";
    }
    Cleanup {
        days_to_keep "days-to-keep" "DAYS" = "30",
            "a whole number from 0 to 36500",
            "Age at which publish deletes rows that were sent";
        inbox_days_to_keep "inbox-days-to-keep" "DAYS" = "30",
            "a whole number from 0 to 36500",
            "Age at which subscribe deletes rows of the inbox; at least 1, and as long as any subscriber wants";
        cleanup_interval "cleanup-interval" "TIME" = "24h",
            "a time from 1s to 365 days, such as 30s or 1m 30s",
            "Pause between clean-ups";
    }
    Log {
        log_format "log-format" "FORMAT" = "text",
            "text or json",
            "How log lines are written";
        log_level "log-level" "FILTER" = "info",
            "a level (off, error, warn, info, debug, trace) or a list such as info,diesel_outbox=debug",
            "Which log lines are written";
    }
}
