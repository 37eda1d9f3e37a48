//! The wall clocks of the processes: all times in the tables are of the database's clock, and a process measures its
//! leases with its monotonic clock. So nothing may break if their wall clocks are hours apart.

use crate::support::clock;
use crate::world::Subject;

const HOUR: i64 = 3_600;

/// The difference between the wall clock of a process and that of the database, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(i64);

impl Clock {
    pub(crate) const RIGHT: Self = Self(0);

    /// That of one of several processes: of three, one is right, one is ahead and one is behind. On SQLite the clock of
    /// the process is that of the database.
    pub(crate) fn of<C: Subject>(process: usize) -> Self {
        if C::NAME == "SQLite" {
            return Self::RIGHT;
        }
        Self([3 * HOUR, -5 * HOUR, 0][process % 3])
    }

    /// The variables with which the process is started.
    pub(crate) fn variables(self) -> Vec<(&'static str, String)> {
        match self.0 {
            0 => Vec::new(),
            seconds => clock::shifted(seconds).into(),
        }
    }
}
