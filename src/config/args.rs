//! The settings as flags, in groups that a program flattens into its parser.

use std::path::{Path, PathBuf};

use clap::builder::{Arg, ValueParser};
use clap::{ArgAction, ArgMatches, Command};

use super::keys::{Group, KEYS, Key};

/// Flags that carry settings. One group of them, a pair of groups (or of pairs), or all.
///
/// The text of a value is taken as it stands: the same parser reads it as that of the file and of
/// the environment, and speaks of the same limits.
pub trait Flags {
    /// Calls `visit` for each setting that was given.
    fn visit(&self, visit: &mut dyn FnMut(&'static Key, &str));

    /// The file that `--config` names.
    fn config_file(&self) -> Option<&Path> {
        None
    }
}

impl<A: Flags, B: Flags> Flags for (A, B) {
    fn visit(&self, visit: &mut dyn FnMut(&'static Key, &str)) {
        self.0.visit(visit);
        self.1.visit(visit);
    }

    fn config_file(&self) -> Option<&Path> {
        self.0.config_file().or_else(|| self.1.config_file())
    }
}

impl<F: Flags + ?Sized> Flags for &F {
    fn visit(&self, visit: &mut dyn FnMut(&'static Key, &str)) {
        (**self).visit(visit);
    }

    fn config_file(&self) -> Option<&Path> {
        (**self).config_file()
    }
}

/// What was given of a group.
#[derive(Clone, Default)]
struct Given {
    values: Vec<(&'static Key, String)>,
    config: Option<PathBuf>,
}

impl Given {
    fn read(matches: &ArgMatches, groups: &[Group]) -> Self {
        // A flag that the program does not have is as good as one that was not given.
        let text = |name| -> Option<String> {
            let given = matches.try_get_many::<String>(name).ok().flatten()?;
            Some(given.cloned().collect::<Vec<_>>().join(","))
        };
        let values = of(groups)
            .filter_map(|key| Some((key, text(key.name)?)))
            .collect();
        let config = matches
            .try_get_one::<PathBuf>("config")
            .ok()
            .flatten()
            .cloned();
        Self {
            values,
            config: config.filter(|_| groups.contains(&Group::Connection)),
        }
    }
}

fn of(groups: &[Group]) -> impl Iterator<Item = &'static Key> {
    KEYS.iter().filter(|key| groups.contains(&key.group))
}

fn augment(mut command: Command, groups: &[Group]) -> Command {
    if groups.contains(&Group::Connection) {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(ValueParser::path_buf())
            .help("Read settings from this TOML file [default: outbox.toml, where it exists] [env: OUTBOX_CONFIG]");
        command = command.arg(config);
    }
    of(groups).fold(command, |command, key| command.arg(argument(key)))
}

fn argument(key: &'static Key) -> Arg {
    let mut help = key.help.to_owned();
    let has_default = !key.default.is_empty() && key.name != "database_url";
    if has_default {
        help.push_str(&format!(" [default: {}]", key.default));
    }
    help.push_str(&format!(" [env: {}", key.env()));
    if let Some(bare) = key.bare_env() {
        help.push_str(&format!(" or {bare}"));
    }
    help.push(']');
    let argument = Arg::new(key.name)
        .long(key.flag)
        .value_name(key.value_name)
        .help(help)
        .help_heading(key.group.heading())
        .allow_negative_numbers(true);
    if key.value_name == "BOOL" {
        // `--exclusive` says true; `=` keeps it from eating the next word of the command line.
        argument
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
    } else if matches!(key.value_name, "NAMES" | "HEADERS" | "RULES" | "VERSIONS") {
        argument.action(ArgAction::Append)
    } else {
        argument
    }
}

macro_rules! groups {
    ($($(#[$doc:meta])* $name:ident = [$($group:ident),*];)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Default)]
        pub struct $name(Given);

        impl $name {
            const GROUPS: &[Group] = &[$(Group::$group),*];
        }

        // A value may be a password.
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let names = self.0.values.iter().map(|(key, _)| key.name);
                f.write_str(stringify!($name))?;
                f.debug_list().entries(names).finish()
            }
        }

        impl Flags for $name {
            fn visit(&self, visit: &mut dyn FnMut(&'static Key, &str)) {
                self.0.values.iter().for_each(|(key, text)| visit(key, text));
            }

            fn config_file(&self) -> Option<&Path> {
                self.0.config.as_deref()
            }
        }

        impl clap::FromArgMatches for $name {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                Ok(Self(Given::read(matches, Self::GROUPS)))
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                *self = Self::from_arg_matches(matches)?;
                Ok(())
            }
        }

        impl clap::Args for $name {
            fn augment_args(command: Command) -> Command {
                augment(command, Self::GROUPS)
            }

            fn augment_args_for_update(command: Command) -> Command {
                Self::augment_args(command)
            }
        }
    )*};
}

groups! {
    /// `--config` and the flags of the database and the broker: for every program.
    ConnectionArgs = [Connection];
    /// The flags of a program that runs until it is stopped.
    RunArgs = [Run];
    /// The flags of a program that sends the rows of the outbox.
    PublishArgs = [Publish];
    /// The flags of a program that receives messages.
    SubscribeArgs = [Subscribe];
    /// The flags of a program that deletes old rows.
    CleanupArgs = [Cleanup];
    /// The flags of a program that writes log lines.
    LogArgs = [Log];
    /// All flags at once, `--config` among them.
    ConfigArgs = [Connection, Run, Publish, Subscribe, Cleanup, Log];
}
