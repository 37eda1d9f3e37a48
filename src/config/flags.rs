//! The settings as flags of a program.

use std::fmt;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

use clap::builder::{Arg, ValueParser};
use clap::{ArgAction, ArgMatches, Command};

use super::from_value::Shape;
use super::key::Key;
use super::settings::{Group, KEYS};

/// The groups of settings that a program has as flags.
pub trait FlagGroups {
    /// The groups.
    const GROUPS: &'static [Group];
}

/// All groups of settings.
#[derive(Debug)]
pub enum AllGroups {}

impl FlagGroups for AllGroups {
    const GROUPS: &'static [Group] = Group::ALL;
}

/// The flags of a program: `--config`, and one for each setting of the groups `G`. Flatten it into the
/// program's `clap` parser.
///
/// The values are texts, as in the environment, and have the same limits.
///
/// ```
/// use clap::Parser;
/// use diesel_outbox::config::{Config, FlagGroups, Flags, Group};
///
/// enum Groups {}
///
/// impl FlagGroups for Groups {
///     const GROUPS: &'static [Group] = &[Group::Connection, Group::Claim, Group::Log];
/// }
///
/// #[derive(Parser)]
/// struct Arguments {
///     #[command(flatten)]
///     settings: Flags<Groups>,
/// }
///
/// let arguments = Arguments::parse_from(["program", "--chunk-size", "10"]);
/// let config = Config::builder().env().flags(&arguments.settings).build()?;
/// assert_eq!(config.chunk_size, 10);
/// # Ok::<(), diesel_outbox::config::ConfigError>(())
/// ```
pub struct Flags<G = AllGroups> {
    pub(super) values: Vec<(&'static Key, String)>,
    pub(super) config: Option<PathBuf>,
    groups: PhantomData<fn() -> G>,
}

// A value may be a password.
impl<G> fmt::Debug for Flags<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.values.iter().map(|(key, _)| key.name);
        f.write_str("Flags")?;
        f.debug_list().entries(names).finish()
    }
}

impl<G: FlagGroups> clap::FromArgMatches for Flags<G> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        // A flag that the program does not have counts as one that is not given.
        let text = |name| -> Option<String> {
            let given = matches.try_get_many::<String>(name).ok().flatten()?;
            Some(given.cloned().collect::<Vec<_>>().join(","))
        };
        let values = keys::<G>().filter_map(|key| Some((key, text(key.name)?)));
        let config = matches.try_get_one::<PathBuf>("config");
        Ok(Self {
            values: values.collect(),
            config: config.ok().flatten().cloned(),
            groups: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<G: FlagGroups> clap::Args for Flags<G> {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(ValueParser::path_buf())
            .help("Read settings from this TOML file [default: outbox.toml, if it exists] [env: OUTBOX_CONFIG]");
        command.arg(config).args(Self::arguments())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl<G: FlagGroups> Flags<G> {
    /// The flags of the settings, without `--config`.
    pub(crate) fn arguments() -> impl Iterator<Item = Arg> {
        keys::<G>().map(argument)
    }
}

impl<G> Flags<G> {
    /// The file that `--config` names.
    #[must_use]
    pub fn config_file(&self) -> Option<&Path> {
        self.config.as_deref()
    }
}

/// The settings of the groups, in the order of the groups.
fn keys<G: FlagGroups>() -> impl Iterator<Item = &'static Key> {
    let of = |group: &'static Group| KEYS.iter().filter(move |key| key.group == *group);
    G::GROUPS.iter().flat_map(of)
}

fn argument(key: &'static Key) -> Arg {
    let mut help = key.help();
    // The programs require an address of the database.
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
        .long(key.flag())
        .value_name(key.value_name)
        .help(help)
        .help_heading(key.group.heading())
        .allow_negative_numbers(true);
    match key.shape {
        Shape::One => argument,
        Shape::List => argument.action(ArgAction::Append),
        // `--exclusive` alone is true; because of `=` it does not take the next word.
        Shape::Switch => argument
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
    }
}
