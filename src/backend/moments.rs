//! Times that every database can store and compare.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, TimeZone, Utc};

/// The time at which rows that never expire expire: the year 9000.
pub(crate) fn never() -> DateTime<Utc> {
    Utc.with_ymd_and_hms(9000, 1, 1, 0, 0, 0)
        .single()
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

/// The nearest moment from 1970 to 9000. Earlier and later times do not compare as text on SQLite (more or
/// fewer digits), are refused by MySQL, or are beyond what PostgreSQL's clients can read.
pub(crate) fn storable(moment: DateTime<Utc>) -> DateTime<Utc> {
    moment.clamp(DateTime::UNIX_EPOCH, never())
}

/// The time that is `time` after `now`, as a time that can be stored.
pub(crate) fn after(now: DateTime<Utc>, time: Duration) -> DateTime<Utc> {
    let moment = TimeDelta::from_std(time)
        .ok()
        .and_then(|time| now.checked_add_signed(time));
    moment.map_or_else(never, storable)
}

/// The time that is `time` before `now`, as a time that can be stored.
pub(crate) fn before(now: DateTime<Utc>, time: Duration) -> DateTime<Utc> {
    let moment = TimeDelta::from_std(time)
        .ok()
        .and_then(|time| now.checked_sub_signed(time));
    moment.map_or(DateTime::UNIX_EPOCH, storable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_time_has_a_moment_that_can_be_stored() {
        let now: DateTime<Utc> = "2026-11-28T00:00:00Z".parse().unwrap();
        let day = Duration::from_secs(24 * 3600);
        assert_eq!(after(now, day), now + day);
        assert_eq!(before(now, day), now - day);
        // More days than from 1970 to 9000.
        for days in [10_000_000, u32::MAX] {
            assert_eq!(after(now, day * days), never());
            assert_eq!(before(now, day * days), DateTime::UNIX_EPOCH);
        }
        assert_eq!(after(now, Duration::MAX), never());
        assert_eq!(before(now, Duration::MAX), DateTime::UNIX_EPOCH);
        assert_eq!(storable(DateTime::<Utc>::MAX_UTC), never());
        assert_eq!(storable(DateTime::<Utc>::MIN_UTC), DateTime::UNIX_EPOCH);
    }
}
