//! Calculations and parameters of the benchmarks.

use std::str::FromStr;
use std::time::Duration;

/// Parses an environment variable as a number.
pub(crate) fn number<N: FromStr>(variable: &str) -> Option<N> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse().ok();
    Some(number.unwrap_or_else(|| panic!("{variable} is not a number")))
}

/// Whether a part was selected; without arguments all are.
pub(crate) fn is_chosen(part: &str) -> bool {
    words().next().is_none() || is_named(part)
}

/// Whether a part was selected by its name.
pub(crate) fn is_named(part: &str) -> bool {
    words().any(|word| word == part)
}

/// The arguments without cargo's own flag.
fn words() -> impl Iterator<Item = String> {
    std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
}

pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Items per second.
pub(crate) fn rate<N: TryInto<u32>>(count: N, time: Duration) -> f64 {
    let count = count.try_into().ok().expect("not that many");
    f64::from(count) / time.as_secs_f64()
}
