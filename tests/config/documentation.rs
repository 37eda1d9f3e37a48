//! What the help and the documentation say is what the code does.
use std::time::Duration;

use clap::{Args, Command};
use diesel_outbox::config::{
    Config, ConfigArgs, ConnectionArgs, Flags, LogArgs, LogFormat, SubscribeArgs,
};

use crate::{file, from_file, message};

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

/// The rows of the table below a heading of the documentation.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");
    let document = std::fs::read_to_string(path).unwrap();
    let (_, section) = document.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|line| {
        let cells = line.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().to_owned()).collect()
    })
    .collect()
}

#[test]
fn each_setting_of_django_outbox_pattern_has_its_counterpart() {
    for row in rows("The settings of django-outbox-pattern") {
        let [theirs, _, ours, defaults, remark] = &row[..] else {
            panic!("{row:?} has {} cells", row.len());
        };
        if ours == "none" {
            assert!(defaults.is_empty(), "{theirs}");
            continue;
        }
        let keys: Vec<&str> = ours.split(", ").map(|key| key.trim_matches('`')).collect();
        if keys == ["headers::set_generator"] {
            continue;
        }
        let defaults: Vec<&str> = defaults.split(", ").collect();
        assert_eq!(keys.len(), defaults.len(), "{theirs}");
        for (key, default) in keys.iter().zip(defaults) {
            assert!(Config::keys().any(|known| known.name == *key), "{key}");
            let default = default.trim_matches('`').replace('—', "");
            let config = Config::builder().set(key, default.as_str()).build();
            assert_eq!(config.expect(key), Config::default(), "{theirs}: {key}");
        }
        // Where the defaults differ, it says why.
        if matches!(
            theirs.as_str(),
            "`DEFAULT_PAUSE_FOR_RETRY`" | "`DEFAULT_STOMP_QUEUE_HEADERS`"
        ) {
            assert!(remark.len() > 40, "{theirs}");
        }
    }
}

#[test]
fn the_documentation_lists_the_settings_as_they_are() {
    let rows = rows("The settings");
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
