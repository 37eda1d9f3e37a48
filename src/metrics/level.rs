//! A gauge that several parts of a process share.

use super::handles::{Gauge, gauge};
use super::series::Series;

/// The part of this process's total that its holder has. The gauge shows the sum of all parts.
#[derive(Debug)]
pub(crate) struct Level {
    gauge: Gauge,
    last: usize,
}

impl Level {
    pub(crate) fn new(series: &Series) -> Self {
        Self {
            gauge: gauge(series, &[]),
            last: 0,
        }
    }

    /// Changes this part.
    pub(crate) fn set(&mut self, value: usize) {
        if value == self.last {
            return;
        }
        #[allow(clippy::cast_precision_loss)] // numbers of rows
        self.gauge.increment(value as f64 - self.last as f64);
        self.last = value;
    }
}

impl Drop for Level {
    fn drop(&mut self) {
        self.set(0);
    }
}
