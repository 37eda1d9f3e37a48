//! Times of what wakes an idle process, and their percentiles.

use std::time::Duration;

use crate::report::{Goal, Report};

/// The pause before the event with this number, in which the process becomes idle. It varies, so that it does
/// not synchronize with the process's own pauses.
pub(crate) fn rest(n: usize) -> Duration {
    Duration::from_micros(20_000 + (n as u64 * 7_919) % 61_000)
}

/// Adds p50 and p99, with their goals in milliseconds.
pub(crate) fn add(
    what: &str,
    mut times: Vec<Duration>,
    goals: (Option<f64>, Option<f64>),
    report: &mut Report,
) {
    times.sort();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1000.0;
    for (percent, goal) in [(50, goals.0), (99, goals.1)] {
        let milliseconds = at(percent);
        report.add(
            &format!("{what}, p{percent}"),
            format!("{milliseconds:.1} ms"),
            milliseconds,
            goal.map_or(Goal::None, Goal::AtMost),
        );
    }
}
