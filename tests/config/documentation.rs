//! The help and the documentation say what the code does.

use std::time::Duration;

use clap::{Args, Command};
use diesel_outbox::config::{Config, FlagGroups, Flags, Group, Key, LogFormat};

use crate::{file, from_file, message};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md");

#[test]
fn a_program_has_the_flags_of_its_groups_only() {
    enum Groups {}

    impl FlagGroups for Groups {
        const GROUPS: &'static [Group] = &[Group::Connection, Group::Subscribe, Group::Log];
    }

    #[derive(clap::Parser)]
    struct Program {
        #[command(flatten)]
        settings: Flags<Groups>,
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
    let config = Config::builder().flags(&program.settings).build().unwrap();
    assert!(config.exclusive);
    assert_eq!(config.log_format, LogFormat::Json);
    assert_eq!(config.stomp_url.expose(), "stomp://x/");

    let config = Config::builder().flags(&read(&["s", "--exclusive=no", "log"]).unwrap().settings);
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
    let mut command = <Flags as Args>::augment_args(Command::new("program").term_width(0));
    command.build();
    let help = command.render_long_help().to_string();
    for key in Config::keys() {
        let at = help
            .find(&format!("--{} <", key.flag()))
            .or(help.find(&format!("--{}[=", key.flag())));
        let own = &help[at.expect(key.name)..];
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
fn the_list_of_keys_has_the_true_defaults() {
    for key in Config::keys() {
        assert_eq!(key.flag(), key.name.replace('_', "-"));
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
    rows_of(DOCUMENT, heading)
}

fn rows_of(path: &str, heading: &str) -> Vec<Vec<String>> {
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
fn each_setting_of_django_jaiminho_has_its_counterpart() {
    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/from-django-jaiminho.md");
    let rows = rows_of(PAGE, "The settings");
    assert!(rows.len() > 6, "{rows:?}");
    for row in rows {
        let [theirs, _, ours, defaults, remark] = &row[..] else {
            panic!("{row:?} has {} cells", row.len());
        };
        assert!(!remark.is_empty(), "{theirs}");
        if ours == "none" {
            assert!(defaults.is_empty(), "{theirs}");
            continue;
        }
        let names = |cell: &str| -> Vec<String> {
            let names = cell.split(", ");
            names
                .map(|name| name.trim_matches('`').to_owned())
                .collect()
        };
        let (keys, defaults) = (names(ours), names(defaults));
        assert_eq!(keys.len(), defaults.len(), "{theirs}");
        for (key, default) in keys.iter().zip(defaults) {
            let known = Config::keys().find(|known| known.name == key);
            assert_eq!(known.expect(key).default, default, "{theirs}: {key}");
        }
    }
}

/// The row of a setting in the table of the documentation.
fn row(key: &Key) -> String {
    let code = |text: &str| match text {
        "" => "—".to_owned(),
        text => format!("`{text}`"),
    };
    let bare = key.bare_env().map(|bare| format!(" or `{bare}`"));
    let cells = [
        code(key.name),
        // "How values are written" has the examples.
        key.expected().replace(", such as 30s or 1m 30s", ""),
        code(key.default),
        format!("`{}`{}", key.env(), bare.unwrap_or_default()),
        code(&format!("--{}", key.flag())),
        linked(&key.documentation()),
    ];
    format!("| {} |", cells.join(" | "))
}

/// Turns `docs/brokers.md#rabbitmq` into a reference, which both rustdoc and GitHub resolve.
fn linked(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        let Some(page) = word.strip_prefix("docs/") else {
            return word.to_owned();
        };
        let end = page.trim_end_matches(['.', ',', ';', ':']);
        let link = match end.split_once('#') {
            Some((name, _)) => format!("[{name}][{end}]"),
            None => format!("[{end}]"),
        };
        format!("{link}{}", &page[end.len()..])
    });
    words.collect::<Vec<_>>().join(" ")
}

/// The table comes from the declaration of the settings: `UPDATE=1 cargo test --test config` writes it.
#[test]
fn the_documentation_lists_the_settings_as_they_are() {
    let document = std::fs::read_to_string(DOCUMENT).unwrap();
    let start = "| key | value | default | environment | flag | what it does |\n\
                 | --- | --- | --- | --- | --- | --- |\n";
    let (before, rest) = document.split_once(start).expect("the head of the table");
    let (table, after) = rest.split_once("\n\n").expect("the end of the table");
    let rows: Vec<String> = Config::keys().map(row).collect();
    if std::env::var_os("UPDATE").is_some() {
        let document = format!("{before}{start}{}\n\n{after}", rows.join("\n"));
        std::fs::write(DOCUMENT, document).unwrap();
        return;
    }
    let hint = "run `UPDATE=1 cargo test --test config the_documentation_lists`";
    assert_eq!(table.lines().count(), rows.len(), "{hint}");
    for (line, row) in table.lines().zip(&rows) {
        assert_eq!(line, row, "{hint}");
    }
    for key in Config::keys() {
        assert!(key.help().len() > 10, "{}", key.name);
        assert!(!key.help().contains(['`', '|']), "{}", key.name);
        assert!(!key.documentation().contains('|'), "{}", key.name);
    }
}

#[test]
fn the_examples_of_the_documentation_work() {
    let document = std::fs::read_to_string(DOCUMENT).unwrap();

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
