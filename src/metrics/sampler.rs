//! The numbers of rows in the database.

use std::collections::HashMap;

use super::by_label::ByLabel;
use super::handles::{Gauge, gauge};
use super::series;
use crate::admin::{AdminError, Rows, Status};
use crate::backend::AsBackend;

/// Reads the numbers of rows and sets the gauges `outbox_rows`, `outbox_oldest_pending_age_seconds` and
/// `outbox_stream_paused`.
///
/// A sample costs what [`admin::status`](crate::admin::status()) costs: rows that were sent are not read.
#[derive(Debug)]
pub struct Sampler {
    rows: Vec<Rows>,
    states: [Gauge; 8],
    streams: ByLabel<OfStream>,
    /// The streams that have a gauge with another value than 0.
    shown: Vec<String>,
}

/// The gauges of a stream.
#[derive(Debug)]
struct OfStream {
    age: Gauge,
    is_paused: Gauge,
}

/// The values of a stream's gauges.
#[derive(Debug, Clone, Copy, Default)]
struct Values {
    age: f64,
    is_paused: bool,
}

impl Sampler {
    /// A sampler of messages, of calls, or of both, whose numbers are then added.
    #[must_use]
    pub fn new(rows: &[Rows]) -> Self {
        let state = |state| gauge(series::ROWS, &[state]);
        let mut streams = ByLabel::new(|stream| OfStream {
            age: gauge(series::OLDEST_PENDING_AGE, &[stream]),
            is_paused: gauge(series::STREAM_PAUSED, &[stream]),
        });
        streams.of("");
        Self {
            rows: rows.to_vec(),
            states: [
                "due",
                "blocked",
                "delayed",
                "retrying",
                "leased",
                "parked",
                "expired",
                "cancelled",
            ]
            .map(state),
            streams,
            shown: Vec::new(),
        }
    }

    /// Reads the numbers and sets the gauges.
    ///
    /// # Errors
    ///
    /// If the database fails, or the tables are missing. The gauges keep their values.
    pub fn sample<C: AsBackend>(&mut self, conn: &mut C) -> Result<(), AdminError> {
        let read = self.rows.iter().map(|rows| rows.status(conn));
        let read: Vec<Status> = read.collect::<Result<_, _>>()?;
        self.record(&read);
        Ok(())
    }

    /// Sets the gauges to these numbers.
    pub(crate) fn record(&mut self, read: &[Status]) {
        let numbers: [fn(&Status) -> i64; 8] = [
            |status| status.due,
            |status| status.blocked,
            |status| status.delayed,
            |status| status.retrying,
            |status| status.leased,
            |status| status.parked - status.expired - status.cancelled,
            |status| status.expired,
            |status| status.cancelled,
        ];
        for (gauge, number) in self.states.iter().zip(numbers) {
            #[allow(clippy::cast_precision_loss)] // numbers of rows
            gauge.set(read.iter().map(number).sum::<i64>() as f64);
        }
        let mut values: HashMap<String, Values> = HashMap::new();
        for stream in std::mem::take(&mut self.shown) {
            values.insert(stream, Values::default());
        }
        for stream in read.iter().flat_map(|status| &status.streams) {
            let name = stream.name.as_deref().unwrap_or_default();
            let name = self.streams.name(name).to_owned();
            let values = values.entry(name).or_default();
            values.age = values.age.max(stream.oldest_claimable.as_secs_f64());
            values.is_paused |= stream.is_paused;
        }
        for (stream, Values { age, is_paused }) in values {
            let gauges = self.streams.of(&stream);
            gauges.age.set(age);
            gauges.is_paused.set(f64::from(u8::from(is_paused)));
            if age > 0.0 || is_paused {
                self.shown.push(stream);
            }
        }
    }
}
