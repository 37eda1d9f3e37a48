//! The settings: which source wins, what each mistake is told, and that no password is shown.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Command};
use diesel_outbox::config::{
    Builder, Config, ConfigArgs, ConfigError, ConnectionArgs, Flags, LogArgs, LogFormat, Origin,
    Secret, SubscribeArgs,
};

const NOTHING: [(&str, &str); 0] = [];

/// The flags that a program with all of them would see.
fn flags(words: &[&str]) -> ConfigArgs {
    parse::<ConfigArgs>(words).expect("the command line is good")
}

fn parse<A: Args>(words: &[&str]) -> Result<A, clap::Error> {
    let command = A::augment_args(Command::new("program").no_binary_name(true));
    A::from_arg_matches(&command.try_get_matches_from(words)?)
}

struct File {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

fn file(text: &str) -> File {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("settings.toml");
    std::fs::write(&path, text).unwrap();
    File {
        _directory: directory,
        path,
    }
}

fn from_file(text: &str) -> Result<Config, (PathBuf, ConfigError)> {
    let file = file(text);
    Config::builder()
        .file(&file.path)
        .build()
        .map_err(|error| (file.path.clone(), error))
}

fn from_env(name: &str, value: &str) -> Result<Config, ConfigError> {
    Config::builder().env_from([(name, value)]).build()
}

fn message(result: Result<Config, ConfigError>) -> String {
    result.expect_err("the configuration is bad").to_string()
}

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

/// The one test that moves: no other names a file that exists by a relative path.
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
        "cannot read the configuration file {shown}, named by the code at tests/config.rs:"
    );
    assert!(by_code.starts_with(&by_code_start), "{by_code}");
    // A directory where the usual file is looked for is no absence.
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
        ("exclusive", "true", "true"),
        ("msg_id_headers", "[\"a\", \"b\"]", "a, b"),
        ("log_format", "\"json\"", "json"),
        ("consumer", "\"billing\"", "billing"),
        ("consumer", "\"17\"", "17"),
        ("days_to_keep", "0", "0"),
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
        let word = format!("--{}={text}", info.flag);
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

#[test]
fn an_unknown_key_is_told_with_its_place_and_the_key_that_is_near() {
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
            "unknown key \"chunk-size\" in the code at tests/config.rs:{line}: did you mean `chunk_size`?"
        ),
    );
    let (path, error) = from_file("[relay]\nchunk_size = 3").unwrap_err();
    let start = format!(
        "unknown key \"relay\" in file {}: there are database_url, ",
        path.display()
    );
    assert!(error.to_string().starts_with(&start), "{error}");
    assert!(
        error.to_string().ends_with(", log_format, log_level"),
        "{error}"
    );
    let error = message(from_env("OUTBOX_COLOUR", "red"));
    assert!(
        error.contains("OUTBOX_COLOUR: there are OUTBOX_DATABASE_URL, "),
        "{error}"
    );

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
    let error = parse::<ConfigArgs>(&["--chunk-sise", "3"]).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("--chunk-size"), "{error}");
}

#[test]
fn a_bad_value_is_told_with_its_key_its_place_and_its_limits() {
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
            "window = 0 from the code at tests/config.rs:{line} is not a whole number from 1 to 10000"
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
        ("stomp_url", "http://127.0.0.1/"),
        ("stomp_url", "stomp"),
        ("database_pool_size", "0"),
        ("database_pool_size", ""),
        ("database_timeout", "0"),
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
        ("prefetch_count", "65536"),
        ("exclusive", "maybe"),
        ("callback_attempts", "0"),
        ("callback_first_delay", "366 days"),
        ("msg_id_headers", ""),
        ("msg_id_headers", "a,,b"),
        ("consumer", &long),
        ("exec_timeout", "0"),
        ("days_to_keep", "36501"),
        ("cleanup_interval", "0"),
        ("log_format", "xml"),
        ("log_level", "inof"),
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
fn values_that_do_not_go_together_are_told_with_both_places() {
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
    // Where one of the two cannot be read there is nothing to compare.
    let builder = Config::builder()
        .set("lease", "soon")
        .set("receipt_timeout", "5m");
    assert_eq!(builder.build().unwrap_err().problems().len(), 1);
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
fn a_missing_database_is_told_with_the_ways_to_name_it() {
    let builder = Config::builder().env_from(NOTHING).require_database_url();
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
    // A file that cannot be read may well hold it: no second complaint.
    let broken = file("database_url = \"x");
    let error = Config::builder()
        .file(&broken.path)
        .require_database_url()
        .build()
        .unwrap_err();
    assert_eq!(error.problems().len(), 1, "{error}");
}

#[test]
fn a_syntax_error_is_told_with_its_line_and_not_with_its_text() {
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
fn no_password_is_ever_shown() {
    let url = "postgres://app:hunter2@db/shop";
    let broker = "stomp://app:hunter2@mq/";
    let words = ["--database-url", url, "--stomp-url", broker];
    let args = flags(&words);
    let builder = Config::builder().set("stomp_url", broker).flags(&args);
    let mut shown = format!("{args:?} {builder:?}");
    let config = builder.build().unwrap();
    assert_eq!(config.require_database_url().unwrap().expose(), url);
    shown.push_str(&format!("{config:?} {config:#?} {}", config.stomp_url));
    shown.push_str(&config.stomp_url.redacted());

    let bad = "app:hunter2@db";
    let nul = "postgres://app:hunter2@db/\n";
    let mut errors = vec![
        Config::builder()
            .flags(&flags(&["--stomp-url", bad]))
            .build()
            .unwrap_err(),
        Config::builder()
            .set("database_url", nul)
            .build()
            .unwrap_err(),
        from_env("STOMP_URL", bad).unwrap_err(),
        from_env("OUTBOX_DATABSE_URL", url).unwrap_err(),
        from_file(&format!("databse_url = \"{url}\""))
            .unwrap_err()
            .1,
        from_file(&format!("database_url = [\"{url}\"]"))
            .unwrap_err()
            .1,
        from_file(&format!("stomp_url = {{ url = \"{url}\" }}"))
            .unwrap_err()
            .1,
        from_file(&format!("stomp_url = {url}")).unwrap_err().1,
        from_file(&format!("stomp_url = \"{url}\\q\""))
            .unwrap_err()
            .1,
        from_file(&format!("{url} = 1")).unwrap_err().1,
    ];
    let not_utf8 = OsString::from_vec([b"stomp://app:hunter2@mq/", &[0xff][..]].concat());
    let variables = [(OsString::from("STOMP_URL"), not_utf8)];
    errors.push(Config::builder().env_from(variables).build().unwrap_err());
    let mut config = Config::default();
    config.stomp_url = Secret::new(bad);
    errors.push(config.validate().unwrap_err());
    for error in errors {
        shown.push_str(&format!("{error} {error:?} {error:#?}\n"));
    }
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(shown.contains(
        "stomp_url (its value is not shown) from flag --stomp-url is not the address of a broker"
    ));
}

#[test]
fn a_program_has_the_flags_of_its_groups_only() {
    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        connection: ConnectionArgs,
        #[command(flatten)]
        subscribe: SubscribeArgs,
        #[command(flatten)]
        log: LogArgs,
        callback: String,
    }
    let read = |words: &[&str]| <Program as clap::Parser>::try_parse_from(words);

    let program = read(&[
        "subscribe",
        "--exclusive",
        "log",
        "--log-format=json",
        "--stomp-url",
        "stomp://x/",
    ])
    .unwrap();
    assert_eq!(program.callback, "log");
    let all: &dyn Flags = &(&program.connection, (&program.subscribe, &program.log));
    let config = Config::builder().flags(all).build().unwrap();
    assert!(config.exclusive);
    assert_eq!(config.log_format, LogFormat::Json);
    assert_eq!(config.stomp_url.expose(), "stomp://x/");

    let config = Config::builder().flags(&read(&["s", "--exclusive=no", "log"]).unwrap().subscribe);
    assert!(
        message(config.build()).contains("exclusive = \"no\" from flag --exclusive is not true")
    );
    assert!(
        read(&["subscribe", "log", "--chunk-size", "3"]).is_err(),
        "a flag of the publisher"
    );
}

#[test]
fn the_help_names_the_default_and_the_variable() {
    let mut command = ConfigArgs::augment_args(Command::new("program").term_width(0));
    command.build();
    let help = command.render_long_help().to_string();
    for key in Config::keys() {
        let at = help
            .find(&format!("--{} <", key.flag))
            .or(help.find(&format!("--{}[=", key.flag)));
        let own = &help[at.expect(key.flag)..];
        let end = own.find("[env: ").expect("a variable in brackets");
        let end = end + own[end..].find(']').expect("the end of the variable");
        let own = &own[..end];
        let variable = format!("[env: {}", key.env());
        assert!(own.contains(&variable), "{own}");
        if !key.default.is_empty() && key.name != "database_url" {
            assert!(
                own.contains(&format!("[default: {}]", key.default)),
                "{own}"
            );
        }
    }
}

#[test]
fn the_list_of_keys_tells_the_true_defaults() {
    for key in Config::keys() {
        assert_eq!(key.flag, key.name.replace('_', "-"));
        let config = Config::builder().set(key.name, key.default).build();
        assert_eq!(config.expect(key.name), Config::default(), "{}", key.name);
    }
}

/// The text between a line that holds `start` and the next line that is "```".
fn block<'a>(document: &'a str, start: &str) -> &'a str {
    let (_, rest) = document.split_once(start).expect(start);
    rest.split_once("\n```").expect("the end of the block").0
}

#[test]
fn the_documentation_lists_the_settings_as_they_are() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let document = std::fs::read_to_string(path).unwrap();
    let rows: Vec<Vec<String>> = document
        .split_once("## The settings")
        .unwrap()
        .1
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            line.trim_matches('|')
                .split('|')
                .map(|cell| cell.trim().to_owned())
                .collect()
        })
        .collect();
    assert_eq!(rows.len(), Config::keys().len());
    for (key, row) in Config::keys().zip(rows) {
        let [name, _, default, variables, flag, what] = &row[..] else {
            panic!("{} has {} cells", key.name, row.len());
        };
        assert_eq!(name, &format!("`{}`", key.name));
        assert_eq!(flag, &format!("`--{}`", key.flag));
        let bare = key
            .bare_env()
            .map(|bare| format!(" or `{bare}`"))
            .unwrap_or_default();
        assert_eq!(variables, &format!("`{}`{bare}", key.env()));
        assert!(!what.is_empty(), "{name}");
        let default = if default == "—" {
            ""
        } else {
            default.trim_matches('`')
        };
        let config = Config::builder().set(key.name, default).build();
        assert_eq!(
            config.expect(name),
            Config::default(),
            "the default of {name}"
        );
    }
}

#[test]
fn the_examples_of_the_documentation_work() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let document = std::fs::read_to_string(path).unwrap();

    let config = from_file(block(&document, "```toml\n")).expect("the TOML example");
    assert_eq!(config.chunk_size, 500);
    assert_eq!(config.receipt_timeout, Duration::from_secs(45));
    assert_eq!(config.msg_id_headers, ["cap-msg-id", "dop-msg-id"]);

    let variables = block(&document, "```sh\n").lines().map(|line| {
        line.trim_start_matches("export ")
            .split_once('=')
            .expect("a variable and its value")
    });
    let config = Config::builder()
        .env_from(variables)
        .require_database_url()
        .build()
        .unwrap();
    assert_eq!(config.shutdown_timeout, None);

    let file = file("chunk_sise = 1");
    let error = Config::builder()
        .file(&file.path)
        .env_from([("OUTBOX_WINDOW", "many")])
        .build()
        .unwrap_err();
    let shown = error
        .to_string()
        .replace(file.path.to_str().unwrap(), "outbox.toml");
    assert_eq!(block(&document, "```text\n"), shown);
}

#[test]
fn a_bad_level_is_a_configuration_error() {
    let error = diesel_outbox::logging::init(LogFormat::Text, "inof").unwrap_err();
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
