//! The results of the calls of an executor.

use std::time::Duration;

use super::by_label::ByLabel;
use super::handles::{Counter, Histogram, counter, histogram};
use super::series;

/// The series of the calls that an executor executes.
#[derive(Debug)]
pub(crate) struct CallMetrics(ByLabel<OfFunction>);

/// The series of a function.
#[derive(Debug)]
struct OfFunction {
    executed: Counter,
    error: Counter,
    panic: Counter,
    timeout: Counter,
    unsendable: Counter,
    duration: Histogram,
}

/// Why an execution failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailedCall {
    /// The function returned an error.
    Error,
    /// It panicked.
    Panic,
    /// Its time limit has passed.
    Timeout,
    /// The call cannot be executed as it is, or another attempt would not help.
    Unsendable,
}

impl CallMetrics {
    /// The series of these functions exist from now on.
    pub(crate) fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut calls = ByLabel::new(OfFunction::new);
        for name in names {
            calls.of(name);
        }
        Self(calls)
    }

    /// A function returned Ok.
    pub(crate) fn executed(&mut self, name: &str, took: Duration) {
        let function = self.0.of(name);
        function.executed.increment(1);
        function.duration.record(took.as_secs_f64());
    }

    /// An execution has failed.
    pub(crate) fn failed(&mut self, name: &str, why: FailedCall, took: Duration) {
        let function = self.0.of(name);
        let counter = match why {
            FailedCall::Error => &function.error,
            FailedCall::Panic => &function.panic,
            FailedCall::Timeout => &function.timeout,
            FailedCall::Unsendable => &function.unsendable,
        };
        counter.increment(1);
        function.duration.record(took.as_secs_f64());
    }
}

impl OfFunction {
    fn new(name: &str) -> Self {
        let failed = |reason| counter(series::CALLS_FAILED, &[name, reason]);
        Self {
            executed: counter(series::CALLS_EXECUTED, &[name]),
            error: failed("error"),
            panic: failed("panic"),
            timeout: failed("timeout"),
            unsendable: failed("unsendable"),
            duration: histogram(series::CALL_DURATION, &[name]),
        }
    }
}
