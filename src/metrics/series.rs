//! The table of all series: the only place that names one.

/// A series: a metric with its name, labels and meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Series {
    /// Its name.
    pub name: &'static str,
    /// What kind of metric it is.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [Label],
    /// Who emits it.
    pub by: &'static [Emitter],
    /// What it measures.
    pub help: &'static str,
}

/// The kind of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A number that only grows.
    Counter,
    /// A number that rises and falls.
    Gauge,
    /// A distribution of times in seconds, with the buckets [`BUCKETS`].
    Histogram,
}

/// A label of a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// Its values that exist from the start.
    pub values: &'static [&'static str],
    /// Whether it has other values too: up to 100, and [`OTHER`] for all further ones.
    pub is_open: bool,
}

/// Who emits a series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Emitter {
    /// A relay: the program `publish`.
    Relay,
    /// A subscriber: the program `subscribe`.
    Subscriber,
    /// An executor of function calls: the program `calls`.
    Executor,
}

/// The upper bounds of the buckets of all histograms, in seconds: those of OpenTelemetry's HTTP durations, and 30 s,
/// 60 s and 300 s.
pub const BUCKETS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0,
    300.0,
];

/// The value of a label for all values beyond the first 100.
pub const OTHER: &str = "__other__";

const fn closed(name: &'static str, values: &'static [&'static str]) -> Label {
    Label {
        name,
        values,
        is_open: false,
    }
}

const fn open(name: &'static str) -> Label {
    Label {
        name,
        values: &[OTHER],
        is_open: true,
    }
}

/// The label for a stream. Rows without a stream have the empty one.
const STREAM: Label = Label {
    name: "stream",
    values: &[""],
    is_open: true,
};
const DESTINATION: Label = open("destination");
const CALLBACK: Label = open("callback");
const NAME: Label = open("name");
const RELAY: Emitter = Emitter::Relay;
const SUBSCRIBER: Emitter = Emitter::Subscriber;
const EXECUTOR: Emitter = Emitter::Executor;

macro_rules! series {
    ($($constant:ident: $kind:ident $name:literal [$($label:expr),*] by [$($by:expr),*] $help:literal;)*) => {
        $(pub(crate) const $constant: &Series = &Series {
            name: concat!("outbox_", $name),
            kind: Kind::$kind,
            labels: &[$($label),*],
            by: &[$($by),*],
            help: $help,
        };)*

        /// All series, in the order of the documentation.
        pub const SERIES: &[Series] = &[$(*$constant),*];
    };
}

series! {
    PUBLISHED: Counter "published_total" [DESTINATION] by [RELAY]
        "Messages that the broker has confirmed.";
    FAILED: Counter "failed_total" [DESTINATION, closed("reason", &["refused", "connection_closed"])] by [RELAY]
        "Failed attempts to send a message: the broker refused it, or closed the connection at it. Outages do not count.";
    PARKED: Counter "parked_total"
        [DESTINATION, closed("reason", &["exhausted", "unsendable", "expired"])] by [RELAY, EXECUTOR]
        "Rows that were parked: all attempts used, not sendable at all, or expired. The destination of a call is its name.";
    DEFERRED: Counter "deferred_total" [] by [RELAY, EXECUTOR]
        "Rows that were claimed and released or postponed without a counted attempt, such as in an outage.";
    EXPIRED: Counter "expired_total" [] by [RELAY, EXECUTOR]
        "Rows that were parked because they had expired.";
    LEASE_LOST: Counter "lease_lost_total" [] by [RELAY, EXECUTOR]
        "Rows whose result was not recorded because their lease had passed to another process.";
    RECLAIMED: Counter "reclaimed_total" [] by [RELAY, EXECUTOR]
        "Rows that were claimed after an earlier lease had ended without a result, as after the death of a process.";
    RECONNECTS: Counter "reconnects_total" [] by [RELAY, SUBSCRIBER]
        "Connections to the broker that were opened after one was lost.";
    DATABASE_ERRORS: Counter "database_errors_total"
        [closed("kind", &["connection", "contention", "timeout", "statement"])] by [RELAY, SUBSCRIBER, EXECUTOR]
        "Failed work on the database: no connection or a lost one, another transaction in the way, no answer in time, a refused statement.";
    CLEANED: Counter "cleaned_total" [closed("table", &["published", "received", "outbox_calls"])]
        by [RELAY, SUBSCRIBER, EXECUTOR]
        "Old rows that were deleted.";
    INBOX_RECEIVED: Counter "inbox_received_total" [CALLBACK] by [SUBSCRIBER]
        "Messages received from the broker, redeliveries and duplicates included.";
    INBOX_DUPLICATES: Counter "inbox_duplicates_total" [CALLBACK] by [SUBSCRIBER]
        "Messages whose effect was there already.";
    INBOX_DEAD_LETTERED: Counter "inbox_dead_lettered_total"
        [CALLBACK, closed("reason", &["failed", "discarded", "crashed", "unreadable"])] by [SUBSCRIBER]
        "Messages moved to the dead letters: their callback failed, discarded them, ended its process, or they could not be read.";
    CALLS_EXECUTED: Counter "calls_executed_total" [NAME] by [EXECUTOR]
        "Function calls whose function returned Ok.";
    CALLS_FAILED: Counter "calls_failed_total"
        [NAME, closed("reason", &["error", "panic", "timeout", "unsendable"])] by [EXECUTOR]
        "Failed executions of function calls: an error, a panic, the time limit, or arguments and errors that no retry would change.";
    OLDEST_PENDING_AGE: Gauge "oldest_pending_age_seconds" [STREAM] by [RELAY, EXECUTOR]
        "How long the first row that can be claimed now could have been claimed. Delayed, leased and blocked rows and paused streams do not count; 0 if there is no such row.";
    ROWS: Gauge "rows" [closed("state", &[
        "due", "blocked", "delayed", "retrying", "leased", "parked", "expired", "cancelled",
    ])] by [RELAY, EXECUTOR]
        "Rows in each state, without those that were sent or executed. Counts stop at 100,000.";
    IN_FLIGHT: Gauge "in_flight" [] by [RELAY, SUBSCRIBER, EXECUTOR]
        "Rows that wait for their receipts, callbacks that run, or calls that run.";
    STREAM_PAUSED: Gauge "stream_paused" [STREAM] by [RELAY, EXECUTOR]
        "1 if the stream is paused, otherwise 0.";
    CIRCUIT_OPEN: Gauge "circuit_open" [DESTINATION] by [RELAY]
        "1 if the circuit of the destination is open or half-open, otherwise 0.";
    DELIVERY_LAG: Histogram "delivery_lag_seconds" [] by [RELAY]
        "Time from the moment at which a message could be sent, written or due, to its receipt.";
    CONFIRM_DURATION: Histogram "confirm_duration_seconds" [] by [RELAY]
        "Time from the sending of a message to its receipt.";
    CLAIM_DURATION: Histogram "claim_duration_seconds" [] by [RELAY, EXECUTOR]
        "Time of a claim, the wait for a database connection included.";
    INBOX_LAG: Histogram "inbox_lag_seconds" [CALLBACK] by [SUBSCRIBER]
        "Time from the writing of a message, by its header dop-msg-sent-time, to its effect. The clocks of two hosts are compared.";
    INBOX_HANDLED: Histogram "inbox_handled_seconds" [CALLBACK] by [SUBSCRIBER]
        "Time from the arrival of a message at the subscriber to its effect, all its attempts included.";
    CALL_DURATION: Histogram "call_duration_seconds" [NAME] by [EXECUTOR]
        "Time of an execution of a function call, whether it succeeded or failed.";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_follow_the_rules_of_prometheus() {
        let names: HashSet<&str> = SERIES.iter().map(|series| series.name).collect();
        assert_eq!(names.len(), SERIES.len(), "each name is there once");
        for series in SERIES {
            let Series { name, kind, .. } = series;
            let is_allowed = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(
                name.starts_with("outbox_") && name.chars().all(is_allowed),
                "{name}"
            );
            assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
            let has_seconds = name.ends_with("_seconds");
            assert!(has_seconds || *kind != Kind::Histogram, "{name}");
            assert!(
                !series.by.is_empty() && series.help.ends_with('.'),
                "{name}"
            );
        }
        assert!(BUCKETS.is_sorted());
    }
}
