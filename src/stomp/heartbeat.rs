//! Heart-beat intervals (STOMP 1.2, "Heart-beating").

use std::time::Duration;

/// The tolerance for both clocks and the network.
const GRACE: Duration = Duration::from_millis(500);

/// The intervals of one connection; `None` means no heart-beats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Heartbeat {
    /// If nothing was written for this long, a heart-beat is written.
    pub(super) send: Option<Duration>,
    /// If nothing was read for this long, the connection is lost.
    pub(super) receive: Option<Duration>,
    /// The negotiated intervals of both sides, ours first.
    pub(super) agreed: (Option<Duration>, Option<Duration>),
}

impl Heartbeat {
    /// Computes the intervals from the client's offer and the `heart-beat` header of CONNECTED.
    pub(super) fn negotiate(ours: (u32, u32), theirs: Option<&str>) -> Self {
        let (they_send, they_want) = theirs.and_then(parse).unwrap_or_default();
        // A bit early, so that the broker never considers us late.
        let agreed = (interval(ours.0, they_want), interval(they_send, ours.1));
        let send = agreed.0.map(|interval| interval * 4 / 5);
        let receive = agreed.1.map(|interval| interval * 2 + GRACE);
        Self {
            send,
            receive,
            agreed,
        }
    }
}

/// An offer in milliseconds, as in CONNECT; at least 1 unless the duration is zero.
pub(super) fn milliseconds(duration: Duration) -> u32 {
    if duration.is_zero() {
        return 0;
    }
    u32::try_from(duration.as_millis())
        .unwrap_or(u32::MAX)
        .max(1)
}

fn interval(one: u32, other: u32) -> Option<Duration> {
    (one > 0 && other > 0).then(|| Duration::from_millis(one.max(other).into()))
}

fn parse(header: &str) -> Option<(u32, u32)> {
    let (send, want) = header.split_once(',')?;
    Some((send.trim().parse().ok()?, want.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_interval_counts_and_zero_means_never() {
        let agreed = |ours, theirs| {
            let Heartbeat { send, receive, .. } = Heartbeat::negotiate(ours, theirs);
            (
                send.map_or(0, |interval| interval.as_millis()),
                receive.map_or(0, |interval| interval.as_millis()),
            )
        };
        assert_eq!(agreed((1000, 2000), Some("3000,500")), (800, 6500));
        assert_eq!(agreed((1000, 2000), Some("500, 5000")), (4000, 4500));
        assert_eq!(agreed((0, 0), Some("500,5000")), (0, 0));
        assert_eq!(agreed((1000, 2000), Some("0,0")), (0, 0));
        assert_eq!(agreed((1000, 2000), Some("what,ever")), (0, 0));
        assert_eq!(agreed((1000, 2000), None), (0, 0));
        let longest = u32::MAX.to_string();
        Heartbeat::negotiate((u32::MAX, u32::MAX), Some(&format!("{longest},{longest}")));
    }

    #[test]
    fn an_offer_is_in_milliseconds() {
        assert_eq!(milliseconds(Duration::ZERO), 0);
        assert_eq!(milliseconds(Duration::from_nanos(1)), 1);
        assert_eq!(milliseconds(Duration::from_secs(10)), 10_000);
        assert_eq!(milliseconds(Duration::MAX), u32::MAX);
    }
}
