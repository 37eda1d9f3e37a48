//! The settings. This is the one place to declare one: its field in [`Config`], its default, its
//! limit, its flag, its environment variable, its line in `--help` and its row in
//! `docs/configuration.md` all come from here. The other place to touch is the code that uses it.
//!
//! ```text
//! /// First paragraph: the description in `--help`.
//! ///
//! /// Further paragraphs: only in rustdoc and in `docs/configuration.md`. A page is written as
//! /// docs/brokers.md#rabbitmq, which becomes a link.
//! name: Type = "default, as a user writes it", VALUE_NAME, limit(…), secret("VARIABLE");
//! ```
//!
//! The macro is in `declare.rs`, the limits are in `limits.rs`. A `secret` is never shown and has a
//! twin `name_file`, the path of a file that contains it; `VARIABLE` is a second environment variable
//! without the prefix. Conditions on two settings are in `conflicts.rs`.
//!
//! The table in the documentation is written by
//! `UPDATE=1 cargo test --test config documentation::the_documentation_lists`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::{
    DeadLetter, LogFormat, Secret, SubscriptionConfig, VerifySignatures, WhenExhausted, limits,
    retry_rules,
};
use crate::stomp::{Broker, Version};

settings! {
    /// The connections to the database and to the broker.
    Connection "Connections" {
        /// Address of the database.
        ///
        /// The programs require it.
        database_url: Option<Secret> = "none", URL,
            text("the address of a database, such as postgres://user:password@host/name", limits::is_address),
            secret("DATABASE_URL");

        /// Address of the broker, with TLS if it starts with `stomp+ssl://`; several, separated by commas, are tried in order.
        ///
        /// The default port is 61613, with TLS 61614. Two brokers: `stomp://a,stomp+ssl://b`.
        stomp_url: Secret = "stomp://guest:guest@127.0.0.1:61613/", URL,
            explained("the address of a broker, such as stomp://user:password@host:61613/", limits::broker_address),
            secret("STOMP_URL");

        /// The broker's software; none: detected from its CONNECTED frame.
        broker: Option<Broker> = "none", BROKER, choice("rabbitmq or activemq");

        /// PostgreSQL schema of the outbox; none: the first one in the search path that contains an outbox or in which the user may create tables.
        ///
        /// Whatever the search path is, the outbox then uses this schema. Name it if a database has more
        /// than one outbox: docs/databases.md.
        database_schema: Option<String> = "none", NAME,
            text("the name of a schema of 1 to 63 bytes", limits::is_schema);

        /// Maximum number of database connections; none: as many as the program needs.
        database_pool_size: Option<u32> = "none", COUNT, whole(1..=1_000);

        /// Maximum wait for a database connection.
        database_timeout: Duration = "5s", TIME, time(from_1ms);

        /// Time limit of the outbox's own statements; the statements of callbacks have none.
        ///
        /// `database_timeout` for the connection is added. After the limit all connections of the program
        /// are replaced. Relays also set the limit in the server (PostgreSQL, MariaDB), unless the server
        /// has one already, and let the server end sessions that stay idle for as long (PostgreSQL: in a
        /// transaction; MySQL and MariaDB: always).
        statement_timeout: Duration = "30s", TIME, time(from_1ms);

        /// Silence on a database connection after which TCP probes the server; none: the value of the address or of the system.
        ///
        /// PostgreSQL only. The connection is closed after twice this time. Parameters in `database_url`
        /// take precedence.
        database_keepalive: Option<Duration> = "15s", TIME, time(from_1s);

        /// Maximum wait for each step of connecting to the broker that has no setting of its own.
        ///
        /// The steps are the name, TCP, TLS, and the answer to CONNECT.
        connect_timeout: Duration = "10s", TIME, time(from_1ms);

        /// Maximum wait for the IP address of the broker's host name; none: `connect_timeout`.
        resolve_timeout: Option<Duration> = "none", TIME, time(from_1ms);

        /// Maximum wait for the TLS handshake with the broker; none: `connect_timeout`.
        tls_timeout: Option<Duration> = "none", TIME, time(from_1ms);

        /// Maximum wait for the broker's answer to CONNECT; none: `connect_timeout`.
        connected_timeout: Option<Duration> = "none", TIME, time(from_1ms);

        /// STOMP versions that the broker may choose from.
        ///
        /// The differences are in docs/stomp.md.
        stomp_versions: Vec<Version> = "1.1,1.2", VERSIONS, versions("a list of one or more of 1.0, 1.1, 1.2");

        /// Certificate authorities (PEM) that are trusted to sign the broker's certificate; none: the system's.
        ///
        /// Requires an address with `stomp+ssl://`, or `management_url` with `https://`.
        tls_ca_file: Option<PathBuf> = "none", FILE, choice("the path of a file");

        /// Client certificate (PEM), for brokers that require one.
        ///
        /// Set it together with `tls_key_file`.
        tls_cert_file: Option<PathBuf> = "none", FILE, choice("the path of a file");

        /// Private key (PEM) of the client certificate.
        ///
        /// PKCS#8, PKCS#1 or SEC1.
        tls_key_file: Option<PathBuf> = "none", FILE, choice("the path of a file");

        /// Password of an encrypted private key.
        ///
        /// For PKCS#8 with PBES2.
        tls_key_password: Option<Secret> = "none", TEXT, choice("a text"), secret();

        /// Verify the broker's certificate; false: anyone in between can read and change everything.
        ///
        /// The name in the certificate is verified too. If it is false, each connect logs a warning.
        tls_verify: bool = "true", BOOL, choice("true or false");

        /// Maximum number of bytes in the command and headers of a frame from the broker.
        ///
        /// A message with more goes to the dead letters.
        maximum_header_size: usize = "1048576", BYTES, whole(1_024..=2_147_483_647);

        /// Maximum number of headers in a frame from the broker.
        ///
        /// A message with more goes to the dead letters.
        maximum_headers: usize = "1000", COUNT, whole(10..=1_000_000);

        /// Maximum number of bytes in the body of a frame from the broker.
        ///
        /// A longer message goes to the dead letters.
        maximum_body_size: usize = "134217728", BYTES, whole(1_024..=2_147_483_647);

        /// Interval of the heart-beats that we send; 0: none.
        ///
        /// RabbitMQ rounds to whole seconds.
        heartbeat_send: Duration = "10s", TIME, time(from_1ms_or_0);

        /// Interval of the heart-beats that we expect from the broker; 0: none.
        heartbeat_receive: Duration = "10s", TIME, time(from_1ms_or_0);

        /// Maximum wait for a receipt from the broker.
        receipt_timeout: Duration = "30s", TIME, time(from_1ms);
    }

    /// The broker's own view, for `outbox doctor`.
    Management "Management" {
        /// Address of RabbitMQ's management API, which `outbox doctor` reads; none: the broker's host at port 15672, with TLS at 15671.
        ///
        /// Without a user it is used as the user of `stomp_url`, who needs the tag `management`.
        management_url: Option<Secret> = "none", URL,
            explained("the address of RabbitMQ's management API, such as http://user:password@host:15672/", limits::management_address),
            secret();
    }

    /// The pages for operators: `outbox web`.
    Web "Pages" {
        /// IP address and port at which `outbox web` serves its pages.
        ///
        /// Other machines can connect to another address than a loopback one, so that it requires `web_users` or
        /// `web_tokens`. Port 0 takes a free port, which is logged.
        web_listen: SocketAddr = "127.0.0.1:8080", ADDR, choice("an IP address and a port, such as 127.0.0.1:8080");

        /// Path at which `outbox web` serves its pages.
        ///
        /// Set it for a reverse proxy that passes the paths below one path on unchanged. A proxy that removes
        /// this path needs no setting: all links are relative.
        web_path: String = "/", PATH, text("a path such as /outbox, of letters, digits, `-`, `_`, `.` and `/`", limits::is_path);

        /// Show the pages only: nothing can be changed.
        web_read_only: bool = "false", BOOL, choice("true or false");

        /// Users of the pages, each as `name:hash`, as `outbox hash-password` prints it; none: `outbox web` prints a random password.
        ///
        /// Line breaks or spaces are between them. A browser asks for the name and the password (HTTP Basic). Names
        /// are in the log of changes.
        web_users: Option<Secret> = "none", USERS,
            explained("a list of one or more name:hash, with hashes of `outbox hash-password`", limits::web_users),
            secret();

        /// Tokens for programs that use the pages, each as `name:token` with a token of at least 16 bytes.
        ///
        /// Commas, spaces or line breaks are between them. A program sends `Authorization: Bearer TOKEN`.
        web_tokens: Option<Secret> = "none", TOKENS,
            explained("a list of one or more name:token", limits::web_tokens),
            secret();

        /// Names of headers and of fields in bodies whose values the pages never show; upper and lower case are the same.
        web_redact: Vec<String> = "authorization,password,passwd,secret,token,access_token,refresh_token,api_key,apikey", NAMES,
            list("a list of names of at most 255 characters", limits::is_destination);

        /// Record in the table `outbox_trail` who changed what on the pages, besides the log.
        web_trail: bool = "false", BOOL, choice("true or false");

        /// Addresses of `metrics_listen` of relays, subscribers and executors, whose state the overview shows; may be given several times.
        ///
        /// Such as `http://10.0.0.7:9464`. Without them the overview shows who has leased rows, but no open circuits.
        web_processes: Vec<String> = "", URLS,
            list("a list of addresses such as http://10.0.0.7:9464", limits::is_process_address);
    }

    /// Signed rows.
    Signing "Signing" {
        /// Keys that sign and verify rows, such as `2026-11:SECRET,2026-05:OLDER`; the first one signs, all of them verify.
        ///
        /// Each is an id of up to 40 letters, digits, `-`, `_` and `.`, and a secret of at least 16 bytes;
        /// commas, spaces or line breaks are between them: docs/signing.md.
        signing_keys: Option<Secret> = "none", KEYS,
            explained("a list of one or more id:secret", limits::signing_keys),
            secret();

        /// Sign the rows that this process writes to the outbox.
        ///
        /// Requires `signing_keys`. A process without these settings calls `signing::set_keys`.
        sign: bool = "false", BOOL, choice("true or false");
    }

    /// A program that runs until it is stopped.
    Run "Running" {
        /// Maximum pause between attempts to reach a broker that is not available; a database is tried at least every 30 s.
        maximum_backoff: Duration = "60s", TIME, time(from_1s);

        /// Time to finish the work in progress after a request to stop; none: no limit.
        shutdown_timeout: Option<Duration> = "90s", TIME, time(from_0);

        /// Times that a redelivered message may end its process before it goes to the dead letters, and a function call before it is parked; none: no limit.
        ///
        /// Counted are redeliveries, and executions after the end of a lease, that were started and did not
        /// finish because the process died. With none, nothing is counted. On a topic of ActiveMQ the first
        /// `prefetch_count` messages of each subscription count as redelivered. A relay does not use it.
        delivery_limit: Option<u32> = "10", COUNT, whole(1..=1_000_000);

        /// Time without a turn of a program's loop after which the program counts as stuck.
        ///
        /// `/health/live` answers 503 then, and systemd's watchdog gets no more notifications. Without work a loop
        /// turns every 10 s. An outage of the database or the broker stops no loop.
        live_timeout: Duration = "60s", TIME, time(from_15s);

        /// IP address and port at which a program serves its metrics and its health; none: it serves nothing.
        ///
        /// The pages are `/metrics` (Prometheus and OpenMetrics), `/health/live` and `/health/ready`: docs/metrics.md.
        /// They have no login: listen on an address that only your monitoring can reach. Port 0 takes a free port,
        /// which is logged.
        metrics_listen: Option<SocketAddr> = "none", ADDR, choice("an IP address and a port, such as 127.0.0.1:9464");
    }

    /// A relay, or an executor of function calls.
    Claim "Claiming and retrying" {
        /// Maximum number of rows that are claimed at once.
        ///
        /// Fewer are claimed if they are large (`memory_limit`).
        chunk_size: usize = "200", ROWS, whole(1..=10_000);

        /// Claim only the rows of these streams; may be given several times.
        ///
        /// A stream is a named part of the outbox. Empty: everything is claimed.
        stream: Vec<String> = "", NAMES,
            list("a list of names of at most 100 characters", limits::is_stream);

        /// Maximum number of bytes of rows in memory; a larger row is handled alone.
        ///
        /// Rows in memory are those claimed, in flight, and not yet seen by hooks (a quarter of the
        /// limit).
        memory_limit: usize = "16777216", BYTES, whole(65_536..=2_147_483_647);

        /// Pause between two polls of an empty outbox.
        poll_interval: Duration = "1s", TIME, time(from_1ms);

        /// Watch the database for new rows between two polls.
        ///
        /// This takes a connection of its own.
        wake_up: bool = "true", BOOL, choice("true or false");

        /// What a relay does with a row that has no valid signature: off (nothing is verified), warn (it is logged and sent) or require (it is parked).
        ///
        /// Requires `signing_keys`, except for off: docs/signing.md.
        verify_signatures: VerifySignatures = "off", WHAT, choice("off, warn or require");

        /// Failed attempts before a row is parked; outages do not count.
        retry_attempts: u32 = "50", COUNT, whole(1..=1_000_000);

        /// Pause after a row's first failed attempt.
        ///
        /// Each further pause is `retry_factor` times as long.
        retry_first_delay: Duration = "1s", TIME, time(from_1ms);

        /// Factor by which the pause grows with each failed attempt of a row.
        retry_factor: f64 = "2", NUMBER, number(1..=100);

        /// Random part of a pause: 0.2 makes it up to 20 % longer or shorter.
        retry_jitter: f64 = "0.2", NUMBER, number(0..=1);

        /// Maximum pause between two attempts of a row.
        ///
        /// Not shorter than `retry_first_delay`.
        retry_maximum_delay: Duration = "60s", TIME, time(from_1ms);

        /// What happens to the ordering key of an exhausted row: block (until an operator retries or skips the row) or park (later rows continue).
        when_exhausted: WhenExhausted = "block", WHAT, choice("block or park");

        /// The same for single streams, such as `audit=park`; may be given several times.
        when_exhausted_of: Vec<String> = "", RULES,
            list("a list such as audit=park, of streams with block or park", retry_rules::is_exhausted_rule);
    }

    /// A relay.
    Publish "Publishing" {
        /// Send only the rows of these destinations, version included; may be given several times.
        ///
        /// Empty: everything is sent.
        destination: Vec<String> = "", NAMES,
            list("a list of destinations of at most 255 characters", limits::is_destination);

        /// Maximum number of rows that are sent and wait for their receipts.
        window: usize = "128", ROWS, whole(1..=10_000);

        /// Maximum size of a body that the broker accepts; a larger one is parked at once.
        ///
        /// The default is that of RabbitMQ until 3.13. Set 4000000 for RabbitMQ 4, which accepts frames of 4 MiB
        /// unless its `stomp.max_frame_size` is set, and then bodies of 16777216 unless `max_message_size` is set
        /// too. Set 104857600 for ActiveMQ.
        maximum_message_size: usize = "134217728", BYTES, whole(1..=2_147_483_647);

        /// Time for which claimed rows belong to this relay; longer than `receipt_timeout`.
        lease: Duration = "60s", TIME, time(from_1ms);

        /// Retry settings of single destinations, version included; may be given several times.
        ///
        /// A rule is `/queue/mail attempts=3 first_delay=5s maximum_delay=10m factor=3 jitter=0`, with one
        /// or more of these; for the others the settings above apply.
        retry_of: Vec<String> = "", RULES,
            list("a list such as /queue/mail attempts=3 first_delay=5s maximum_delay=10m factor=3 jitter=0, with one or more of these", retry_rules::is_retry_rule);

        /// Streams whose rows share one ordering key unless they have their own; may be given several times.
        ///
        /// The rule of a stream comes before that of a destination.
        ordered_stream: Vec<String> = "", NAMES,
            list("a list of names of at most 100 characters", limits::is_stream);

        /// Destinations, version included, whose rows share one ordering key unless they have their own; may be given several times.
        ordered_destination: Vec<String> = "", NAMES,
            list("a list of destinations of at most 255 characters", limits::is_destination);

        /// Consecutive rows that fail before the circuit of their destination opens; 0: never.
        ///
        /// Counted are rows that fail at their first attempt, without a success of the destination between
        /// them. While the circuit is open, the destination's rows wait.
        breaker_failures: u32 = "5", COUNT, whole(0..=1_000_000);

        /// Time for which a circuit stays open before some rows of its destination are tried again.
        ///
        /// Rows that have not failed are tried at once when the circuit opens, and after the pause if they
        /// fail too.
        breaker_pause: Duration = "30s", TIME, time(from_1ms);

    }

    /// An executor of function calls.
    Execute "Executing calls" {
        /// Maximum number of calls that run at the same time; none: the number of cores.
        ///
        /// Each function that works in a transaction takes a database connection while it runs.
        call_workers: Option<usize> = "none", COUNT, whole(1..=1_000);

        /// Time limit of a call whose function sets none of its own; none: no limit.
        ///
        /// After it an async function is dropped, and the attempt has failed. A blocking function cannot be
        /// ended: a line is logged, and its result counts when it returns. Time in which the whole process stood
        /// still counts as a fifth of the limit at most.
        call_timeout: Option<Duration> = "none", TIME, time(from_1ms);

        /// Time for which claimed calls belong to this executor; renewed every third of it while they run.
        ///
        /// After the death of an executor its calls wait this long.
        call_lease: Duration = "30s", TIME, time(from_1ms);
    }

    /// A subscriber. A table `[[subscription]]` of the file may contain these settings.
    Subscribe "Subscribing" {
        /// Maximum number of callbacks that run at the same time; messages with the same key are handled one after another.
        ///
        /// With one worker all messages are.
        workers: usize = "1", COUNT, whole(1..=1_000);

        /// Header that contains the key of a message, if there are several workers.
        key_header: String = "key", NAME, text("the name of a header", limits::is_header_name);

        /// Maximum number of messages that the broker delivers before they are acknowledged; none: twice the workers.
        prefetch_count: Option<u32> = "none", COUNT, whole(1..=65_535);

        /// Maximum number of bytes of messages that are received and not yet handled.
        ///
        /// It applies to each subscription, whatever `prefetch_count` is. If there are more, nothing is
        /// read from the broker. The message that exceeds the limit is still accepted, so the maximum is
        /// the limit and one message.
        prefetch_bytes: usize = "67108864", BYTES, whole(1_024..=2_147_483_647);

        /// Additional headers of SUBSCRIBE, or other values of durable and auto-delete; may be given several times.
        ///
        /// Each is written as `name:value`, such as `x-queue-type:quorum`. A quorum queue's delivery limit
        /// and `x-message-ttl` create dead letters by themselves: docs/brokers.md#rabbitmq. They apply to
        /// the dead-letter queue too, except `auto-delete`, `x-expires`, `x-message-ttl`, `x-max-length`,
        /// `x-max-length-bytes` and `x-overflow`.
        queue_headers: Vec<String> = "", HEADERS,
            list("a list of headers such as x-queue-type:quorum, none of which the subscription sets itself", limits::is_queue_header);

        /// Additional headers of the dead-letter queue, or other values of those from `queue_headers`; may be given several times.
        ///
        /// A header that makes the broker delete dead letters is logged as a warning.
        dead_letter_headers: Vec<String> = "", HEADERS,
            list("a list of headers such as x-queue-type:quorum, none of which the subscription sets itself", limits::is_queue_header);

        /// Exclude all other subscriptions from the queue.
        exclusive: bool = "false", BOOL, choice("true or false");

        /// Attempts to handle a message before it goes to the dead letters.
        callback_attempts: u32 = "3", COUNT, whole(1..=1_000);

        /// Pause after a callback's first failed attempt; it doubles with each further one.
        callback_first_delay: Duration = "1s", TIME, time(from_0);

        /// What sends a message to the dead letters: outbox (the subscriber, with headers that contain the reason), broker (the broker, after NACK), or none (the message is dropped).
        ///
        /// After NACK the message is unchanged and does not contain the reason. A dropped message is
        /// logged.
        dead_letter: DeadLetter = "outbox", WAY, choice("broker, outbox, or none");

        /// Headers that may contain a message's id; the first one that is present counts.
        msg_id_headers: Vec<String> = "cap-msg-id,dop-msg-id,message-id", NAMES,
            some("a list of one or more header names", limits::is_header_name);

        /// Name under which messages are recorded as received; empty: one effect for the whole service.
        ///
        /// Two subscriptions that receive the same messages need different names. Leave it empty in a
        /// table that is shared with Django, which looks up by `msg_id` alone.
        consumer: String = "", NAME,
            text("a text of at most 100 characters without U+0000", limits::is_consumer);

        /// Time limit of a program that is started for a message; none: no limit.
        ///
        /// After it the program gets SIGTERM, and 2 s later SIGKILL; the attempt has failed. Time in which the whole
        /// process of `subscribe` stood still counts as a fifth of the limit at most.
        exec_timeout: Option<Duration> = "none", TIME, time(from_1ms);
    }

    /// The deletion of old rows.
    Cleanup "Cleaning up" {
        /// Days after which sent messages and executed calls are deleted.
        ///
        /// Counted from `sent_at` or `done_at`; for a row that Django has sent, from its `added`. A relay deletes
        /// messages, an executor calls.
        days_to_keep: u32 = "30", DAYS, whole(0..=36_500);

        /// Age in days at which subscribe deletes rows of the inbox; less than 1 counts as 1.
        ///
        /// Less than 1 is logged as a warning. Of several subscribers of one outbox the longest time counts.
        inbox_days_to_keep: u32 = "30", DAYS, whole(0..=36_500);

        /// Pause between two deletions of old rows.
        cleanup_interval: Duration = "24h", TIME, time(from_1s);
    }

    /// The log, on standard error.
    Log "Logging" {
        /// Format of log lines.
        ///
        /// One line of text, or one JSON object on a line, for each event.
        log_format: LogFormat = "text", FORMAT, choice("text or json");

        /// Log lines to write: a level, or a list such as `info,diesel_outbox=debug`.
        ///
        /// Directives are those of `tracing-subscriber`'s `EnvFilter`, each with its `=`.
        log_level: String = "info", FILTER,
            text("a level (off, error, warn, info, debug, trace) or a list such as info,diesel_outbox=debug", limits::is_log_level);
    }
}
