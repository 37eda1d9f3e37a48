//! The numbers of messages, for suites that wait for them.

use diesel_outbox::admin;
use diesel_outbox::backend::Backend;

/// The numbers of messages in the outbox and in the inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(dead_code)] // not every suite needs all of them
pub(crate) struct Counts {
    pub(crate) waiting: i64,
    pub(crate) not_due: i64,
    pub(crate) parked: i64,
    pub(crate) sent: i64,
    pub(crate) received: i64,
}

impl Counts {
    pub(crate) fn of<C: Backend>(conn: &mut C) -> Self {
        let status = admin::status(conn).unwrap();
        let totals = admin::totals(conn).unwrap();
        Self {
            waiting: status.waiting,
            not_due: status.not_due,
            parked: status.parked,
            sent: totals.sent,
            received: totals.received,
        }
    }
}
