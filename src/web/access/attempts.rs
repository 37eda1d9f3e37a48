//! Slows down those who fail to log in.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Failures without a pause.
const FREE: u32 = 5;
/// The longest pause.
const LONGEST: Duration = Duration::from_secs(60);
/// After this time without a failure, earlier ones are forgotten.
const FORGET: Duration = Duration::from_secs(15 * 60);
/// Addresses that are remembered; if there are more, those of all others count together.
const ADDRESSES: usize = 10_000;

/// The failures of each address. If the address is not known, all such failures count together.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<HashMap<Option<IpAddr>, Failures>>);

#[derive(Debug, Clone, Copy)]
struct Failures {
    count: u32,
    last: Instant,
}

impl Failures {
    /// When the next attempt is allowed.
    fn until(self) -> Instant {
        let over = self.count.saturating_sub(FREE);
        let pause = match over {
            0 => Duration::ZERO,
            over => Duration::from_secs(1 << (over - 1).min(6)),
        };
        self.last + pause.min(LONGEST)
    }
}

impl Attempts {
    /// How long this address has to wait before it may try again; zero: not at all.
    pub(super) fn pause(&self, address: Option<IpAddr>, now: Instant) -> Duration {
        let failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = failures.get(&place(&failures, address)).copied();
        found.map_or(Duration::ZERO, |found| {
            found.until().saturating_duration_since(now)
        })
    }

    /// Counts a failure.
    pub(super) fn failed(&self, address: Option<IpAddr>, now: Instant) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.retain(|_, found| now.saturating_duration_since(found.last) < FORGET);
        let place = place(&failures, address);
        let found = failures.entry(place).or_insert(Failures {
            count: 0,
            last: now,
        });
        found.count = found.count.saturating_add(1);
        found.last = now;
    }

    /// Forgets the failures of an address.
    pub(super) fn succeeded(&self, address: Option<IpAddr>) {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(&address);
    }
}

fn place(failures: &HashMap<Option<IpAddr>, Failures>, address: Option<IpAddr>) -> Option<IpAddr> {
    let has_room = failures.len() < ADDRESSES || failures.contains_key(&address);
    address.filter(|_| has_room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_for_an_address_and_end_with_a_success() {
        let attempts = Attempts::default();
        let (one, two) = (
            Some(IpAddr::from([10, 0, 0, 1])),
            Some(IpAddr::from([10, 0, 0, 2])),
        );
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..14 {
            attempts.failed(one, now);
            pauses.push(attempts.pause(one, now).as_secs());
            now += Duration::from_millis(10);
        }
        assert_eq!(pauses, [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert_eq!(attempts.pause(two, now), Duration::ZERO);
        assert_eq!(attempts.pause(one, now + LONGEST), Duration::ZERO);
        attempts.succeeded(one);
        assert_eq!(attempts.pause(one, now), Duration::ZERO);
    }

    #[test]
    fn more_addresses_than_are_remembered_count_together() {
        let attempts = Attempts::default();
        let now = Instant::now();
        let address = |n: u32| Some(IpAddr::from(n.to_be_bytes()));
        for n in 0..u32::try_from(ADDRESSES).unwrap() + 100 {
            attempts.failed(address(n), now);
        }
        assert!(attempts.0.lock().unwrap().len() <= ADDRESSES + 1);
        let unknown = address(4_000_000_000);
        assert!(attempts.pause(unknown, now) > Duration::from_secs(1));
        assert_eq!(attempts.pause(address(1), now), Duration::ZERO);
        attempts.failed(address(1), now + FORGET);
        assert_eq!(attempts.0.lock().unwrap().len(), 1);
    }
}
