//! What the benchmarks reckon with.

use std::str::FromStr;
use std::time::Duration;

/// A number that a variable of the environment gives.
pub(crate) fn number<N: FromStr>(variable: &str) -> Option<N> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse().ok();
    Some(number.unwrap_or_else(|| panic!("{variable} is no number")))
}

/// The words of the command line, without cargo's own flag; none means all.
pub(crate) fn is_chosen(part: &str) -> bool {
    let mut words = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .peekable();
    words.peek().is_none() || words.any(|word| word == part)
}

/// The address of the broker.
pub(crate) fn broker() -> String {
    let url = crate::support::server("OUTBOX_TEST_RABBITMQ", "RabbitMQ");
    url.expect("run it by `make`, which brings up the servers")
}

pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// So many in a second.
pub(crate) fn rate<N: TryInto<u32>>(count: N, time: Duration) -> f64 {
    let count = count.try_into().ok().expect("not that many");
    f64::from(count) / time.as_secs_f64()
}
