//! Metrics of relays, subscribers and executors, through the facade of the crate
//! [`metrics`](https://docs.rs/metrics).
//!
//! With the feature `metrics` a [`Relay`](crate::relay::Relay), a [`Subscriber`](crate::subscriber::Subscriber) and an
//! [`Executor`](crate::calls::Executor) emit the series of the table [`SERIES`]. Install a recorder, such as that of
//! `metrics-exporter-prometheus`, before you create them: their series exist from then on. Without a recorder
//! nothing is recorded. Set the buckets of histograms to [`BUCKETS`].
//!
//! The numbers of rows in the database come from a [`Sampler`]: sample on a timer, or before each scrape.
//!
//! ```
//! # #[cfg(feature = "sqlite")] {
//! use diesel::prelude::*;
//! use diesel_outbox::admin::Rows;
//! use diesel_outbox::metrics::Sampler;
//! # use diesel_outbox::migrations::Migrate;
//! # let conn = &mut SqliteConnection::establish(":memory:")?;
//! # conn.migrate()?;
//!
//! let mut sampler = Sampler::new(&[Rows::Messages]);
//! sampler.sample(conn)?; // sets outbox_rows, outbox_oldest_pending_age_seconds and outbox_stream_paused
//! # }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The programs serve their metrics by themselves: the setting
//! [`metrics_listen`](crate::config::Config::metrics_listen).

mod by_label;
#[cfg(any(feature = "relay", feature = "subscriber"))]
mod database_errors;
#[cfg(feature = "relay")]
mod engine;
#[cfg(feature = "calls")]
mod executor;
mod handles;
#[cfg(any(feature = "relay", feature = "subscriber"))]
mod level;
#[cfg(feature = "relay")]
mod relay;
mod sampler;
mod series;
#[cfg(feature = "subscriber")]
mod subscriber;

#[cfg(any(feature = "relay", feature = "subscriber"))]
pub(crate) use database_errors::DatabaseErrors;
#[cfg(feature = "relay")]
pub(crate) use engine::{EngineMetrics, ParkCause, ParkedMetrics};
#[cfg(feature = "calls")]
pub(crate) use executor::{CallMetrics, FailedCall};
pub(crate) use handles::{Counter, counter};
#[cfg(feature = "relay")]
pub(crate) use relay::RelayMetrics;
pub use sampler::Sampler;
pub use series::{BUCKETS, Emitter, Kind, Label, OTHER, SERIES, Series};
pub(crate) use series::{CLEANED, RECONNECTS};
#[cfg(feature = "subscriber")]
pub(crate) use subscriber::{DeadCause, SubscriberMetrics};

/// Makes the series of an emitter exist, with the values of labels that are known, and describes them.
pub(crate) fn register(emitter: Emitter) {
    if !cfg!(feature = "metrics") {
        return;
    }
    for series in SERIES.iter().filter(|series| series.by.contains(&emitter)) {
        handles::describe(series);
        let mut all: Vec<Vec<&str>> = vec![Vec::new()];
        for label in series.labels {
            let with = |value: &&'static str| {
                let value = *value;
                all.iter().map(move |values| {
                    let mut values = values.clone();
                    values.push(value);
                    values
                })
            };
            all = label.values.iter().flat_map(with).collect();
        }
        for values in all {
            match series.kind {
                Kind::Counter => handles::counter(series, &values).increment(0),
                Kind::Gauge => handles::gauge(series, &values).increment(0.0),
                Kind::Histogram => drop(handles::histogram(series, &values)),
            }
        }
    }
}
