//! `[[subscription]]`: the subscriptions of one process.

use std::path::Path;

use super::error::ConfigError;
use super::from_value::FromValue;
use super::origin::Origin;
use super::settings::KEYS;
use super::value::Table;
use super::{Config, Group, key, suggest, validation, value};

/// The name of the tables in the file.
pub(super) const TABLES: &str = "subscription";

/// One of several subscriptions of a process.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SubscriptionConfig {
    /// The callback's name.
    pub callback: String,
    /// Where the messages are sent.
    pub destination: String,
    /// The queue; `None` for the last segment of the destination. If the destination is itself a queue,
    /// the queue cannot have another name.
    pub queue: Option<String>,
    /// The settings, with those of the subscription in place of the general ones.
    pub config: Config,
}

impl SubscriptionConfig {
    /// A subscription with these settings. Without a queue it uses the last segment of the destination.
    #[must_use]
    pub fn new(callback: &str, destination: &str, queue: Option<&str>, config: &Config) -> Self {
        Self {
            callback: callback.to_owned(),
            destination: destination.to_owned(),
            queue: queue.map(str::to_owned),
            config: config.clone(),
        }
    }
}

const NAMES: [&str; 3] = ["callback", "destination", "queue"];

/// Reads a table: the three names, and any of the settings about subscribing.
pub(super) fn read(
    table: &Table,
    number: usize,
    path: &Path,
    base: &Config,
) -> Result<SubscriptionConfig, Vec<ConfigError>> {
    let origin = Origin::Subscription(path.to_owned(), number);
    let mut problems = Vec::new();
    let mut config = base.clone();
    let mut read = Vec::new();
    for (name, value) in table
        .iter()
        .filter(|(name, _)| !NAMES.contains(&name.as_str()))
    {
        let Some(key) = key::find(name).filter(|key| key.group == Group::Subscribe) else {
            problems.push(ConfigError::UnknownKey {
                key: name.clone(),
                origin: origin.clone(),
                advice: advice(name),
            });
            continue;
        };
        if (key.read)(&mut config, value).is_err() {
            problems.push(ConfigError::BadValue {
                key: key.name,
                value: Some(value::show(value)),
                origin: origin.clone(),
                expected: key.expected(),
            });
        } else {
            read.push(key.name);
        }
    }
    let checked = validation::problems(&config, &|_| origin.clone());
    // Errors of the other settings are reported once, and not for each table.
    let own = |problem: &ConfigError| problem.keys().any(|key| read.contains(&key));
    problems.extend(checked.into_iter().filter(own));
    let mut text = |name: &'static str, is_needed: bool| -> Option<String> {
        let Some(value) = table.get(name) else {
            if is_needed {
                problems.push(ConfigError::Missing {
                    key: name,
                    advice: format!("add it to {origin}"),
                });
            }
            return None;
        };
        let text = String::from_value(value).ok();
        let text = text.filter(|text| !text.trim().is_empty());
        if text.is_none() {
            problems.push(ConfigError::BadValue {
                key: name,
                value: Some(value::show(value)),
                origin: origin.clone(),
                expected: "a text of at least one character".to_owned(),
            });
        }
        text
    };
    let callback = text("callback", true);
    let destination = text("destination", true);
    let queue = text("queue", false);
    match (callback, destination) {
        (Some(callback), Some(destination)) if problems.is_empty() => Ok(SubscriptionConfig {
            callback,
            destination,
            queue,
            config,
        }),
        _ => Err(problems),
    }
}

fn advice(name: &str) -> String {
    if key::find(name).is_some() {
        return format!("`{name}` applies to the whole program: write it above the tables");
    }
    let of_group = KEYS.iter().filter(|key| key.group == Group::Subscribe);
    let known: Vec<&str> = NAMES
        .into_iter()
        .chain(of_group.map(|key| key.name))
        .collect();
    suggest::advice(name, &known, str::to_owned)
}
