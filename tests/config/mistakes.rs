//! The error for each mistake.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use diesel_outbox::config::{Config, ConfigError, Flags, LogFormat, Origin};

use crate::{file, flags, from_env, from_file, message, parse};

#[test]
fn an_unknown_key_is_reported_with_its_place_and_the_key_that_is_near() {
    let (path, error) = from_file("chunk_sise = 3").unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "unknown key \"chunk_sise\" in file {}: did you mean `chunk_size`?",
            path.display()
        ),
    );
    assert_eq!(
        message(from_env("OUTBOX_LEAS", "3s")),
        "unknown setting in environment variable OUTBOX_LEAS: did you mean `OUTBOX_LEASE`?",
    );
    let line = line!() + 1;
    let error = message(Config::builder().set("chunk-size", 3).build());
    assert_eq!(
        error,
        format!(
            "unknown key \"chunk-size\" in the code at tests/config/mistakes.rs:{line}: did you mean `chunk_size`?"
        ),
    );
    let (path, error) = from_file("[relay]\nchunk_size = 3").unwrap_err();
    let start = format!(
        "unknown key \"relay\" in file {}: the nearest are `",
        path.display()
    );
    assert!(error.to_string().starts_with(&start), "{error}");
    let error = message(from_env("OUTBOX_COLOUR", "red"));
    assert!(
        error.contains("OUTBOX_COLOUR: the nearest are `OUTBOX_"),
        "{error}"
    );
    assert_eq!(error.matches("OUTBOX_").count(), 4, "{error}");
    assert!(
        error.ends_with("; docs/configuration.md and --help list all"),
        "{error}"
    );
    let (_, error) = from_file("[[subscriptions]]\ncallback = \"log\"").unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("did you mean `[[subscription]]`?"),
        "{error}"
    );
    let table = "[[subscription]]\ncallback = \"log\"\ndestination = \"/queue/a\"\n";
    for (key, advice) in [
        ("worker = 3", "did you mean `workers`?"),
        ("chunk_size = 3", "write it above the tables"),
        ("colour = 3", "the nearest are `"),
    ] {
        let (_, error) = from_file(&format!("{table}{key}")).unwrap_err();
        assert!(error.to_string().contains(advice), "{error}");
    }

    let others = [
        ("OUTBOX_TEST_POSTGRES", "x"),
        ("OUTBOX_HEADER_DOP_MSG_ID", "x"),
        ("OUTBOX_SERVICE_PORT", "x"),
        ("OUTBOXES", "x"),
    ];
    assert_eq!(
        Config::builder().env_from(others).build().unwrap(),
        Config::default()
    );
    let error = parse::<Flags>(&["--chunk-sise", "3"]).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("--chunk-size"), "{error}");
}

#[test]
fn a_bad_value_is_reported_with_its_key_its_place_and_its_limits() {
    let (path, error) = from_file("chunk_size = \"many\"").unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "chunk_size = \"many\" from file {} is not a whole number from 1 to 10000",
            path.display()
        ),
    );
    assert_eq!(
        message(from_env("OUTBOX_LEASE", "soon")),
        "lease = \"soon\" from environment variable OUTBOX_LEASE is not a time from 1ms to 365 days, \
         such as 30s or 1m 30s",
    );
    let builder = Config::builder().flags(&flags(&["--days-to-keep", "-5"]));
    assert_eq!(
        message(builder.build()),
        "days_to_keep = \"-5\" from flag --days-to-keep is not a whole number from 0 to 36500",
    );
    let line = line!() + 1;
    let error = Config::builder().set("window", 0).build().unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "window = 0 from the code at tests/config/mistakes.rs:{line} is not a whole number from 1 to 10000"
        ),
    );
    assert!(matches!(
        error,
        ConfigError::BadValue {
            key: "window",
            origin: Origin::Code(_),
            ..
        }
    ));
    let text = OsString::from_vec(vec![b'a', 0xff]);
    let error = Config::builder()
        .env_from([(OsString::from("OUTBOX_CONSUMER"), text)])
        .build();
    assert_eq!(
        message(error),
        "consumer = \"a\\xFF\" from environment variable OUTBOX_CONSUMER is not text in UTF-8",
    );
}

#[test]
fn every_limit_holds_in_every_source() {
    let long = "x".repeat(101);
    for (key, bad) in [
        ("database_url", ""),
        ("database_url_file", ""),
        ("stomp_url", "http://127.0.0.1/"),
        ("stomp_url", "stomp"),
        ("stomp_url_file", " "),
        ("tls_key_password_file", ""),
        ("database_schema", ""),
        ("database_schema", &"s".repeat(64)),
        ("database_pool_size", "0"),
        ("database_pool_size", ""),
        ("database_timeout", "0"),
        ("statement_timeout", "0"),
        ("database_keepalive", "1ms"),
        ("connect_timeout", "0"),
        ("receipt_timeout", "0"),
        ("maximum_backoff", "0"),
        ("maximum_backoff", "366 days"),
        ("heartbeat_send", "1us"),
        ("heartbeat_receive", "-1"),
        ("shutdown_timeout", "never"),
        ("chunk_size", "0"),
        ("chunk_size", "10001"),
        ("chunk_size", "1.5"),
        ("chunk_size", "99999999999999999999"),
        ("window", "10001"),
        ("lease", "0"),
        ("lease", "1e300"),
        ("lease", "NaN"),
        ("poll_interval", "0"),
        ("retry_attempts", "0"),
        ("retry_first_delay", "0"),
        ("retry_maximum_delay", "366 days"),
        ("retry_factor", "0.9"),
        ("retry_factor", "NaN"),
        ("retry_jitter", "1.1"),
        ("retry_of", "/queue/a"),
        ("retry_of", "/queue/a tries=3"),
        ("retry_of", "/queue/a first_delay=2m maximum_delay=1m"),
        ("when_exhausted", "drop"),
        ("when_exhausted_of", "audit"),
        ("ordered_stream", ","),
        ("ordered_destination", ","),
        ("breaker_failures", "-1"),
        ("breaker_pause", "0"),
        ("prefetch_count", "65536"),
        ("exclusive", "maybe"),
        ("callback_attempts", "0"),
        ("callback_first_delay", "366 days"),
        ("msg_id_headers", ""),
        ("msg_id_headers", "a,,b"),
        ("consumer", &long),
        ("exec_timeout", "0"),
        ("days_to_keep", "36501"),
        ("inbox_days_to_keep", "36501"),
        ("cleanup_interval", "0"),
        ("log_format", "xml"),
        ("broker", "kafka"),
        ("prefetch_bytes", "1023"),
        ("queue_headers", "no-colon"),
        ("queue_headers", "x-queue-name:other"),
        ("dead_letter_headers", "no-colon"),
        ("dead_letter_headers", "x-dead-letter-exchange:other"),
        ("queue_headers", "a b:c"),
        ("log_level", "inof"),
        ("stomp_versions", ""),
        ("stomp_versions", "1.3"),
        ("resolve_timeout", "0"),
        ("tls_timeout", "366 days"),
        ("connected_timeout", "soon"),
        ("tls_ca_file", ""),
        ("tls_cert_file", ""),
        ("tls_key_file", " "),
        ("tls_verify", "maybe"),
        ("maximum_header_size", "1023"),
        ("maximum_headers", "9"),
        ("maximum_body_size", "1023"),
    ] {
        let error = Config::builder().set(key, bad).build().expect_err(key);
        let blamed: Vec<&str> = error
            .problems()
            .iter()
            .filter_map(|problem| match problem {
                ConfigError::BadValue { key, .. } => Some(*key),
                _ => None,
            })
            .collect();
        assert_eq!(blamed, [key], "{key} = {bad}: {error}");
    }
    for (key, toml) in [
        ("exclusive", "1"),
        ("consumer", "5"),
        ("lease", "[1]"),
        ("window", "{}"),
    ] {
        let (_, error) = from_file(&format!("{key} = {toml}")).expect_err(key);
        assert!(matches!(&error, ConfigError::BadValue { key: blamed, .. } if *blamed == key));
    }
}

#[test]
fn values_that_do_not_go_together_are_reported_with_both_places() {
    let builder = Config::builder().env_from([("OUTBOX_RECEIPT_TIMEOUT", "2m")]);
    assert_eq!(
        message(builder.build()),
        "lease = 1m from the default must be longer than receipt_timeout = 2m \
         from environment variable OUTBOX_RECEIPT_TIMEOUT",
    );
    assert!(
        Config::builder().set("lease", "30s").build().is_err(),
        "equal is not longer"
    );
    assert!(
        Config::builder()
            .set("retry_maximum_delay", "500ms")
            .build()
            .is_err()
    );
    assert!(
        Config::builder()
            .set("retry_maximum_delay", "1s")
            .build()
            .is_ok()
    );
    // If one of the two cannot be read, there is nothing to compare.
    let builder = Config::builder()
        .set("lease", "soon")
        .set("receipt_timeout", "5m");
    assert_eq!(builder.build().unwrap_err().problems().len(), 1);
}

#[test]
fn a_schema_where_there_are_none_is_reported() {
    for url in ["mysql://h/d", "outbox.db", "sqlite:outbox.db"] {
        let text = message(
            Config::builder()
                .set("database_url", url)
                .env_from([("OUTBOX_DATABASE_SCHEMA", "tenant")])
                .build(),
        );
        assert_eq!(
            text,
            "database_schema = \"tenant\" from environment variable OUTBOX_DATABASE_SCHEMA is not \
             for this database_url: only PostgreSQL has schemas; MySQL, MariaDB and SQLite keep the \
             outbox in the database that database_url names"
        );
    }
    for url in ["postgres://h/d", "POSTGRESQL://h/d", "host=h dbname='a:b'"] {
        let config = Config::builder()
            .set("database_url", url)
            .set("database_schema", "tenant")
            .build()
            .unwrap();
        assert_eq!(config.database_schema.as_deref(), Some("tenant"));
    }
}

#[test]
fn settings_made_in_code_are_checked_too() {
    let mut config = Config::default();
    config.validate().unwrap();
    config.chunk_size = 0;
    config.lease = Duration::from_secs(1);
    let error = config.validate().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the configuration has 2 problems:\
         \n  chunk_size = 0 from the program's own code is not a whole number from 1 to 10000\
         \n  lease = 1s from the program's own code must be longer than receipt_timeout = 30s \
         from the program's own code",
    );
}

#[test]
fn all_problems_are_found_at_once() {
    let file = file("chunk_sise = 3\nwindow = 0");
    let error = Config::builder()
        .file(&file.path)
        .env_from([("OUTBOX_LEASE", "soon"), ("OUTBOX_COLOUR", "red")])
        .flags(&flags(&["--log-format", "xml"]))
        .require_database_url()
        .build()
        .unwrap_err();
    let text = error.to_string();
    assert_eq!(error.problems().len(), 6, "{text}");
    for part in [
        "6 problems",
        "chunk_sise",
        "window",
        "lease",
        "OUTBOX_COLOUR",
        "--log-format",
        "database_url",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn a_missing_database_is_reported_with_the_ways_to_name_it() {
    let builder = Config::builder()
        .env_from([("", ""); 0])
        .require_database_url();
    let error = message(builder.build());
    assert!(error.starts_with("database_url is not set: "), "{error}");
    for way in [
        "--database-url",
        "OUTBOX_DATABASE_URL",
        "DATABASE_URL",
        "outbox.toml",
    ] {
        assert!(error.contains(way), "{way} in {error}");
    }
    assert_eq!(
        Config::default()
            .require_database_url()
            .unwrap_err()
            .to_string(),
        error
    );
    // A file that cannot be read may contain it: there is no second error.
    let broken = file("database_url = \"x");
    let error = Config::builder()
        .file(&broken.path)
        .require_database_url()
        .build()
        .unwrap_err();
    assert_eq!(error.problems().len(), 1, "{error}");
}

#[test]
fn a_syntax_error_is_reported_with_its_line_and_not_with_its_text() {
    let (path, error) =
        from_file("window = 1\ndatabase_url = \"postgres://u:hunter2@h/d\n").unwrap_err();
    let start = format!(
        "the configuration file {} is not valid TOML, at line 2: ",
        path.display()
    );
    assert!(error.to_string().starts_with(&start), "{error}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    let (_, error) = from_file("window = 1\nwindow = 2\n").unwrap_err();
    assert!(error.to_string().contains("duplicate key"), "{error}");
}

#[test]
fn a_bad_level_is_a_configuration_error() {
    let error = diesel_outbox::cli::logging::init(LogFormat::Text, "inof").unwrap_err();
    assert!(
        matches!(
            error,
            ConfigError::BadValue {
                key: "log_level",
                ..
            }
        ),
        "{error}"
    );
    assert!(
        error.to_string().contains("log_level = \"inof\""),
        "{error}"
    );
}

#[test]
fn tls_settings_that_do_not_go_together_are_reported() {
    let with = |pairs: &[(&str, &str)]| {
        let mut builder = Config::builder().set("stomp_url", "stomp+ssl://u:hunter2@broker/");
        for (key, value) in pairs {
            builder = builder.set(key, *value);
        }
        builder.build()
    };
    let whole = [
        ("tls_ca_file", "ca.pem"),
        ("tls_cert_file", "a.pem"),
        ("tls_key_file", "a.key"),
        ("tls_key_password", "hunter3"),
    ];
    with(&whole).unwrap();
    // The management API is verified by the same authorities.
    with(&[
        ("stomp_url", "stomp://u:hunter2@broker/"),
        ("management_url", "https://broker:15671/"),
        whole[0],
    ])
    .unwrap();
    for (pairs, expected) in [
        (&whole[1..2], "tls_cert_file = \"a.pem\" from"),
        (
            &whole[1..2],
            "must be set together with tls_key_file = none",
        ),
        (
            &whole[2..3],
            "must be set together with tls_key_file = \"a.key\"",
        ),
        (&whole[3..], "tls_key_password = *** from"),
        (
            &[whole[0], ("tls_verify", "false")],
            "must be true because of tls_ca_file = \"ca.pem\"",
        ),
        (
            &[("stomp_url", "stomp://u:hunter2@broker/"), whole[0]],
            "is not a stomp+ssl:// address, which tls_ca_file from",
        ),
    ] {
        let text = message(with(pairs));
        assert!(text.contains(expected), "{text}");
        assert!(!text.contains("hunter"), "{text}");
    }
}
