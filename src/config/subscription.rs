//! `[[subscription]]`: what one process subscribes to, where that is more than one queue.

use std::path::Path;

use figment::value::{Dict, Value};

use super::error::{ConfigError, Origin};
use super::keys::{self, Group, KEYS};
use super::value::FromValue;
use super::{Config, check, suggest, value};

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
    /// The queue that collects them; `None` for the last segment of the destination.
    pub queue: Option<String>,
    /// The settings, with those that the subscription has of its own.
    pub config: Config,
}

impl SubscriptionConfig {
    /// A subscription with these settings; without a queue that of the destination's last segment.
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

/// Reads a table: the three names, and any of the keys about subscribing.
pub(super) fn read(
    table: &Dict,
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
        let Some(key) = keys::find(name).filter(|key| key.group == Group::Subscribe) else {
            problems.push(ConfigError::UnknownKey {
                key: name.clone(),
                origin: origin.clone(),
                advice: advice(name),
            });
            continue;
        };
        if config.assign(key.name, value).is_err() {
            problems.push(ConfigError::BadValue {
                key: key.name,
                value: Some(value::show(value)),
                origin: origin.clone(),
                expected: key.expected.to_owned(),
            });
        } else {
            read.push(key.name);
        }
    }
    let checked = check::problems(&config, &|_| origin.clone());
    // What is wrong with the other settings is told once, and not here.
    let own = |problem: &ConfigError| problem.keys().any(|key| read.contains(&key));
    problems.extend(checked.into_iter().filter(own));
    let mut text = |name: &'static str, is_needed: bool| -> Option<String> {
        let Some(value) = table.get(name) else {
            if is_needed {
                problems.push(ConfigError::Missing {
                    key: name,
                    advice: format!("say it in {origin}"),
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

/// The tables of a file's value.
pub(super) fn tables(value: Value) -> Option<Vec<Dict>> {
    value
        .into_array()?
        .into_iter()
        .map(Value::into_dict)
        .collect()
}

fn advice(name: &str) -> String {
    let of_group = || KEYS.iter().filter(|key| key.group == Group::Subscribe);
    match suggest::nearest(name).filter(|near| of_group().any(|key| key.name == *near)) {
        Some(key) => format!("did you mean `{key}`?"),
        None => {
            let names = NAMES.into_iter().chain(of_group().map(|key| key.name));
            format!("there are {}", names.collect::<Vec<_>>().join(", "))
        }
    }
}
