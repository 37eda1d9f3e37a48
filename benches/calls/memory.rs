//! The executor's memory beside many waiting calls.

use crate::child::By;
use crate::outbox::Outbox;
use crate::report::{Goal, Report};
use crate::{Size, child};

/// Waiting calls, as a multiple of the calls of a round.
const TIMES: i64 = 50;
/// Of those, this part is executed.
const PART: i64 = 10;

pub(crate) fn measure(size: Size, report: &mut Report) {
    let calls = size.calls * TIMES;
    let mut outbox = Outbox::new();
    outbox.fill("bench.nothing", calls);
    let peak = child::execute(By::Executor, &outbox.database.url, calls / PART).peak_memory;
    let left = outbox.waiting();
    assert!(left <= calls - calls / PART, "{left} are left");
    #[allow(clippy::cast_precision_loss)] // a figure for people
    let mebibytes = peak as f64 / 1024.0 / 1024.0;
    let what = format!("memory: {calls} waiting calls, peak of the process");
    report.add(
        &what,
        format!("{mebibytes:.1} MiB"),
        mebibytes,
        Goal::AtMost(32.0),
    );
}
