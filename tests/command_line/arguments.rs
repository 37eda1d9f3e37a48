//! Settings before and after a command.

use diesel_outbox::config::{Config, FlagGroups, Flags, Group};

use crate::{OUTBOX, program, ran};

/// Each setting of `outbox`, before and after the command.
#[test]
fn settings_go_before_the_command_and_behind_it() {
    let database = crate::support::sqlite::<diesel::SqliteConnection>();
    let url = database.url.as_str();
    let nowhere = "/no/such/folder/x.db";
    let outbox = |arguments: &[&str]| ran(&mut program(OUTBOX, arguments, nowhere));
    outbox(&["migrate", "--database-url", url]).says("applied");
    let id = "0192f0aa-0000-7000-8000-000000000001";
    let commands: [(&[&str], i32); 13] = [
        (&["migrate"], 0),
        (&["clean", "--older-than", "1d"], 0),
        (&["retry", "--all"], 0),
        (&["retry", id], 1),
        (&["cancel", id], 1),
        (&["skip", id], 1),
        (&["resend", id], 1),
        (&["delete", id], 1),
        (&["list", "--json"], 0),
        (&["show", id], 1),
        (&["pause", "--stream", "s"], 0),
        (&["resume", "--stream", "s"], 0),
        (&["status"], 0),
    ];
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("f.toml");
    std::fs::write(&file, format!("database_url = {url:?}\n")).unwrap();
    let config = ["--config", file.to_str().unwrap()];
    for (command, code) in commands {
        for settings in [
            &["--database-url", url][..],
            &[
                "--log-level",
                "warn",
                "--log-format",
                "json",
                "--database-url",
                url,
            ],
        ] {
            for arguments in [[settings, command].concat(), [command, settings].concat()] {
                let ran = outbox(&arguments);
                assert_eq!(ran.code, code, "{arguments:?}: {ran:#?}");
            }
        }
        for arguments in [[&config[..], command].concat(), [command, &config].concat()] {
            let mut command = program(OUTBOX, &arguments, "");
            let ran = ran(command.env_remove("DATABASE_URL"));
            assert_eq!(ran.code, code, "{arguments:?}: {ran:#?}");
        }
    }
    // The one after the command applies.
    outbox(&["--database-url", nowhere, "status", "--database-url", url]).says("waiting");
    let broker = ["--stomp-url", "stomp://127.0.0.1:1/"];
    let commands = ["list", "show", "replay", "drop"];
    for what in commands {
        let all = if commands[2..].contains(&what) {
            "--all"
        } else {
            "--raw"
        };
        let arguments = [&["dead-letters", what, "q", all], &broker[..]].concat();
        outbox(&arguments).fails(1, "cannot connect to 127.0.0.1:1");
    }
}

#[test]
fn each_setting_of_a_group_is_taken_behind_each_command() {
    let flags = <Flags<Groups> as clap::Args>::augment_args(clap::Command::new("outbox"));
    let settings: Vec<_> = flags
        .get_arguments()
        .map(|argument| argument.get_id().to_string())
        .collect();
    assert!(settings.len() > 20, "{settings:?}");
    for command in [
        &["migrate"][..],
        &["clean"],
        &["retry"],
        &["cancel"],
        &["skip"],
        &["resend"],
        &["delete"],
        &["list"],
        &["show"],
        &["pause"],
        &["resume"],
        &["status"],
        &["dead-letters", "list"],
        &["dead-letters", "show"],
        &["dead-letters", "replay"],
        &["dead-letters", "drop"],
    ] {
        let help = ran(&mut program(OUTBOX, &[command, &["--help"]].concat(), "")).says("Usage");
        for setting in &settings {
            let flag = Config::keys()
                .find(|key| key.name == setting)
                .map(|key| key.flag());
            let flag = format!("--{}", flag.unwrap_or("config".to_owned()));
            assert!(help.out.contains(&flag), "{command:?} lacks {flag}");
        }
    }
}

enum Groups {}

impl FlagGroups for Groups {
    const GROUPS: &'static [Group] = &[Group::Connection, Group::Log];
}
