//! The measured bodies and their headers.

use std::time::Duration;

/// How many bytes are decoded or encoded per round (at least one frame): few enough that the
/// operating system rarely interrupts a round.
pub(crate) const TOTAL: usize = 1 << 20;

/// The sizes of bodies and their names.
pub(crate) const SIZES: [(usize, &str); 4] = [
    (100, "100 B"),
    (1 << 10, "1 KiB"),
    (64 << 10, "64 KiB"),
    (16 << 20, "16 MiB"),
];

/// Text without NUL, so that it can be sent without a length.
pub(crate) fn body(size: usize) -> Vec<u8> {
    (b'!'..=b'~').cycle().take(size).collect()
}

/// The headers of a published message.
pub(crate) fn headers() -> Vec<(String, String)> {
    [
        ("content-type", "application/json"),
        ("persistent", "true"),
        ("dop-msg-id", "0190163d-8694-739b-aea5-966c26f8ad90"),
        ("dop-msg-destination", "/topic/orders.created.v1"),
        ("dop-msg-type", "Published"),
        ("dop-msg-sent-time", "2026-01-01T00:00:00.000000Z"),
        ("dop-correlation-id", "0190163d-8694-739b-aea5-966c26f8ad91"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

/// How many times longer the first takes than the second: the median of the rounds' ratios. In each
/// round both are measured one after the other.
pub(crate) fn ratio(these: &[Duration], those: &[Duration]) -> f64 {
    let ratio = |(one, other): (&Duration, &Duration)| one.as_secs_f64() / other.as_secs_f64();
    let mut ratios: Vec<f64> = these.iter().zip(those).map(ratio).collect();
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

/// The rate for this many bytes in this many frames.
pub(crate) fn speed(bytes: usize, frames: usize, time: Duration) -> String {
    #[allow(clippy::cast_precision_loss)] // a figure for people
    let (bytes, frames) = (bytes as f64, frames as f64);
    let seconds = time.as_secs_f64();
    format!(
        "{:.2} GB/s, {:.0} frames/s",
        bytes / seconds / 1e9,
        frames / seconds
    )
}
