//! Where values come from, and which one applies.

use std::time::Duration;

use diesel_outbox::config::{Builder, Config, ConfigError};

use crate::{file, flags, from_env, from_file, message};

#[test]
fn each_source_is_stronger_than_the_one_before() {
    let file = file("chunk_size = 2");
    let build = |sources: usize| {
        let mut builder = Config::builder();
        if sources > 3 {
            builder = builder.flags(&flags(&["--chunk-size", "4"]));
        }
        if sources > 2 {
            builder = builder.env_from([("OUTBOX_CHUNK_SIZE", "3")]);
        }
        if sources > 1 {
            builder = builder.file(&file.path);
        }
        if sources > 0 {
            builder = builder.set("chunk_size", 1);
        }
        builder.build().unwrap().chunk_size
    };
    assert_eq!([0, 1, 2, 3, 4].map(build), [200, 1, 2, 3, 4]);
}

#[test]
fn the_prefixed_variable_wins_over_the_bare_one() {
    let bare = [("DATABASE_URL", "bare.db"), ("STOMP_URL", "stomp://bare/")];
    let prefixed = [
        ("OUTBOX_DATABASE_URL", "prefixed.db"),
        ("OUTBOX_STOMP_URL", "stomp://prefixed/"),
    ];
    let config = Config::builder().env_from(bare).build().unwrap();
    assert_eq!(config.require_database_url().unwrap().expose(), "bare.db");
    assert_eq!(config.stomp_url.expose(), "stomp://bare/");
    let config = Config::builder()
        .env_from(prefixed.into_iter().chain(bare))
        .build()
        .unwrap();
    assert_eq!(
        config.require_database_url().unwrap().expose(),
        "prefixed.db"
    );
    assert_eq!(config.stomp_url.expose(), "stomp://prefixed/");
}

#[test]
fn the_flag_names_the_file_before_the_environment_and_the_code() {
    let [code, environment, flag] = [1, 2, 3].map(|window| file(&format!("window = {window}")));
    let variables = [("OUTBOX_CONFIG", environment.path.to_str().unwrap())];
    let words = ["--config", flag.path.to_str().unwrap()];
    let window = |builder: Builder| builder.build().unwrap().window;

    assert_eq!(window(Config::builder().file(&code.path)), 1);
    assert_eq!(
        window(Config::builder().file(&code.path).env_from(variables)),
        2
    );
    let all = Config::builder()
        .file(&code.path)
        .env_from(variables)
        .flags(&flags(&words));
    assert_eq!(window(all), 3);
    let usual = Config::builder().file_if_present(&code.path);
    assert_eq!(window(usual), 1);
    let usual = Config::builder()
        .file_if_present(&code.path)
        .env_from(variables);
    assert_eq!(window(usual), 2);
    assert_eq!(
        window(Config::builder().file_if_present("not-there.toml")),
        128
    );
}

/// A value from a file belongs to the source that names the file.
#[test]
fn a_secret_may_come_from_a_file() {
    let [secret, other] = ["stomp://secret/\n", "stomp://other/"].map(file);
    let path = |file: &crate::File| file.path.to_str().unwrap().to_owned();
    let toml = file(&format!("stomp_url_file = {:?}", path(&secret)));
    let from_toml = || Config::builder().file(&toml.path);
    let url = |builder: Builder| builder.build().unwrap().stomp_url.expose().to_owned();
    assert_eq!(url(from_toml()), "stomp://secret/");
    assert_eq!(
        url(from_toml().set("stomp_url", "stomp://code/")),
        "stomp://secret/"
    );
    let in_environment = |name: &str, value: String| from_toml().env_from([(name, value)]);
    assert_eq!(
        url(in_environment(
            "STOMP_URL",
            "stomp://environment/".to_owned()
        )),
        "stomp://environment/"
    );
    let by_file = || in_environment("STOMP_URL_FILE", path(&other));
    assert_eq!(url(by_file()), "stomp://other/");
    assert_eq!(
        url(by_file().flags(&flags(&["--stomp-url", "stomp://flag/"]))),
        "stomp://flag/"
    );
    assert_eq!(
        url(in_environment("OUTBOX_STOMP_URL_FILE", "none".to_owned())),
        Config::default().stomp_url.expose()
    );
    let builder = Config::builder()
        .set("stomp_url", "stomp+ssl://h/")
        .set("tls_cert_file", "a.pem")
        .set("tls_key_file", "a.key")
        .set("tls_key_password_file", path(&secret));
    let config = builder.build().unwrap();
    assert_eq!(config.tls_key_password.unwrap().expose(), "stomp://secret/");
    let twice = Config::builder().env_from([
        ("STOMP_URL", "stomp://hunter2/".to_owned()),
        ("OUTBOX_STOMP_URL_FILE", path(&secret)),
    ]);
    assert_eq!(
        message(twice.build()),
        "stomp_url from environment variable STOMP_URL and stomp_url_file from environment variable \
         OUTBOX_STOMP_URL_FILE are both set: remove one of them"
    );
}

/// The only test that changes the working directory: no other test uses a relative path of a file that
/// exists.
#[test]
fn a_program_finds_the_file_in_its_working_directory() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("outbox.toml"), "window = 7").unwrap();
    let flags = flags(&["--database-url", "shop.db"]);
    let home = std::env::current_dir().unwrap();
    std::env::set_current_dir(directory.path()).unwrap();
    let config = Config::load(&flags);
    std::env::set_current_dir(home).unwrap();
    assert_eq!(config.unwrap().window, 7);
}

#[test]
fn a_named_file_that_is_missing_is_an_error() {
    let missing = tempfile::tempdir().unwrap().path().join("gone.toml");
    let shown = missing.display();
    let start = |origin: &str| {
        format!("cannot read the configuration file {shown}, named by {origin}: No such file")
    };

    let by_flag = Config::builder().flags(&flags(&["--config", missing.to_str().unwrap()]));
    assert!(message(by_flag.build()).starts_with(&start("flag --config")));
    let by_env = message(from_env("OUTBOX_CONFIG", missing.to_str().unwrap()));
    assert!(
        by_env.starts_with(&start("environment variable OUTBOX_CONFIG")),
        "{by_env}"
    );
    let by_code = message(Config::builder().file(&missing).build());
    let by_code_start = format!(
        "cannot read the configuration file {shown}, named by the code at tests/config/sources.rs:"
    );
    assert!(by_code.starts_with(&by_code_start), "{by_code}");
    // A directory with the name of the usual file is an error.
    let directory = tempfile::tempdir().unwrap();
    let error = Config::builder()
        .file_if_present(directory.path())
        .build()
        .unwrap_err();
    assert!(matches!(error, ConfigError::File { .. }), "{error}");
}

#[test]
fn values_read_alike_from_every_source() {
    let cases = [
        ("lease", "\"1m 30s\"", "1m 30s"),
        ("lease", "90", "90"),
        ("lease", "90.0", "90.0"),
        ("shutdown_timeout", "\"none\"", "none"),
        ("exec_timeout", "0.25", "250ms"),
        ("prefetch_count", "7", "7"),
        ("prefetch_bytes", "4096", "4096"),
        ("exclusive", "true", "true"),
        ("wake_up", "false", "false"),
        ("msg_id_headers", "[\"a\", \"b\"]", "a, b"),
        ("log_format", "\"json\"", "json"),
        (
            "queue_headers",
            "[\"x-queue-type:quorum\", \"durable:false\"]",
            "x-queue-type:quorum,durable:false",
        ),
        (
            "dead_letter_headers",
            "[\"x-queue-type:quorum\"]",
            "x-queue-type:quorum",
        ),
        ("stream", "[\"a\", \"b\"]", "a,b"),
        ("destination", "[\"/topic/a\"]", "/topic/a"),
        ("broker", "\"activemq\"", "activemq"),
        ("database_schema", "\"Tenant 1\"", "Tenant 1"),
        ("consumer", "\"billing\"", "billing"),
        ("consumer", "\"17\"", "17"),
        ("days_to_keep", "0", "0"),
        ("inbox_days_to_keep", "7", "7"),
        ("heartbeat_send", "0", "0s"),
        (
            "database_url",
            "\"postgres://u:p=[,]@h/d\"",
            "postgres://u:p=[,]@h/d",
        ),
    ];
    for (key, toml, text) in cases {
        let from_file = from_file(&format!("{key} = {toml}")).unwrap();
        let info = Config::keys().find(|info| info.name == key).unwrap();
        let from_env = from_env(&info.env(), text).unwrap();
        let word = format!("--{}={text}", info.flag());
        let from_flag = Config::builder().flags(&flags(&[&word])).build().unwrap();
        let from_code = Config::builder().set(key, text).build().unwrap();
        assert_ne!(from_file, Config::default(), "{key}");
        assert_eq!(from_file, from_env, "{key}");
        assert_eq!(from_file, from_flag, "{key}");
        assert_eq!(from_file, from_code, "{key}");
    }
    let config = from_file("lease = 90").unwrap();
    assert_eq!(config.lease, Duration::from_secs(90));
    let config = Config::builder()
        .set("lease", Duration::from_millis(90_500))
        .set("exclusive", true)
        .set("msg_id_headers", vec!["one"])
        .set("window", 5_usize)
        .build()
        .unwrap();
    assert_eq!(config.lease, Duration::from_millis(90_500));
    assert!(config.exclusive);
    assert_eq!(
        (config.msg_id_headers, config.window),
        (vec!["one".to_owned()], 5)
    );
}

#[test]
fn none_takes_back_what_a_weaker_source_has_set() {
    let file = file("prefetch_count = 5");
    let builder = Config::builder().file(&file.path);
    assert_eq!(
        builder.flags(&flags(&[])).build().unwrap().prefetch_count,
        Some(5)
    );
    let builder = Config::builder().file(&file.path);
    let config = builder
        .flags(&flags(&["--prefetch-count", "none"]))
        .build()
        .unwrap();
    assert_eq!(config.prefetch_count, None);
}
