//! Moments that a writer asks for.

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::backend::after;

/// A moment, absolute or relative to the database's present. The database's clock decides when it is
/// reached; the writer's clock may be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    At(DateTime<Utc>),
    In(Duration),
}

impl Moment {
    /// The absolute moment; `now` is the database's present.
    pub(crate) fn from(self, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::At(moment) => moment,
            Self::In(time) => after(now, time),
        }
    }

    /// Whether the database's present is needed for one of them.
    pub(crate) fn any_is_relative<const N: usize>(moments: [Option<Self>; N]) -> bool {
        let mut moments = moments.iter().flatten();
        moments.any(|moment| matches!(moment, Self::In(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::never;

    #[test]
    fn a_time_counts_from_the_databases_present() {
        // Its clock and the writer's are years apart.
        let now: DateTime<Utc> = "2001-01-01T00:00:00Z".parse().unwrap();
        let minute = Duration::from_secs(60);
        assert_eq!(Moment::In(minute).from(now), now + minute);
        assert_eq!(Moment::In(Duration::ZERO).from(now), now);
        assert_eq!(Moment::In(Duration::MAX).from(now), never());
        assert_eq!(Moment::At(now - minute).from(now), now - minute);
    }
}
