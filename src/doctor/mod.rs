//! Checks a deployment and changes nothing: the settings, the database and the broker.
//!
//! The program `outbox doctor` prints a [`Report`]. `docs/doctor.md` lists the checks.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use diesel_outbox::config::Config;
//! use diesel_outbox::doctor;
//!
//! let config = Config::builder().env().build()?;
//! let report = doctor::examine(&config, &[]).await;
//! for check in report.checks() {
//!     println!("{} {}: {}", check.verdict, check.name, check.text);
//! }
//! # Ok(())
//! # }
//! ```

mod alarms;
mod broker;
mod certificates;
mod check;
mod connections;
mod database;
mod expected;
mod indexes;
mod management;
mod migrations;
mod queue_object;
mod queues;
mod report;
mod rights;
mod routes;
mod settings;
mod statistics;

use crate::backend::inspection::UsedDestination;
use crate::config::{Config, ConfigError, SubscriptionConfig};
use crate::db::Address;

pub(crate) use check::counted;
pub use check::{Check, Verdict};
pub use report::Report;

/// Checks a deployment. `subscriptions` are checked beside those of [`Config::subscription`].
///
/// The database and the broker are only read, with one exception: on RabbitMQ a message is sent to a queue that
/// does not exist, which RabbitMQ drops, because only a connection that has sent a message shows an alarm. It takes
/// at most a few times the settings' time limits.
pub async fn examine(config: &Config, subscriptions: &[SubscriptionConfig]) -> Report {
    let mut report = Report::default();
    let all: Vec<&SubscriptionConfig> = config.subscription.iter().chain(subscriptions).collect();
    let queues = settings::check(config, &all, &mut report);
    let used = match address(config, &mut report) {
        Some(address) => on_database(config, &address, &queues, &mut report).await,
        None => None,
    };
    broker::check(config, &queues, used.as_deref(), &mut report).await;
    report
}

/// The report for settings that cannot be used: a line for each problem.
#[must_use]
pub fn of_settings(error: &ConfigError) -> Report {
    let mut report = Report::default();
    for problem in error.problems() {
        let advice = "correct the setting: docs/configuration.md lists all of them";
        report.push(Check::error(settings::NAME, problem, advice));
    }
    report
}

fn address(config: &Config, report: &mut Report) -> Option<Address> {
    let parsed = match config.require_database_url() {
        Ok(url) => Address::parse(url).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    parsed
        .map_err(|error| {
            report.push(Check::error(
                settings::NAME,
                error,
                "set database_url; the database is not checked",
            ));
        })
        .ok()
}

async fn on_database(
    config: &Config,
    address: &Address,
    queues: &[queues::Subscribed],
    report: &mut Report,
) -> Option<Vec<UsedDestination>> {
    macro_rules! check {
        ($module:ident: $connection:ty) => {
            if address.is_for::<$connection>() {
                return database::check::<$connection>(config, address, queues, report).await;
            }
        };
    }
    crate::backend::databases!(check);
    None
}
