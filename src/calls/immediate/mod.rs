//! Calls that are executed right after the commit, by the process that wrote them.
//!
//! Their rows are written under a lease: no executor claims them as long as it lasts. After the commit the rows that
//! are there are read by the token of the lease, which shows the ones that a savepoint has rolled back, and executed
//! in the thread that committed. If the process dies, the lease ends, and an executor claims the rows.

mod committed;
#[allow(clippy::module_inception)]
mod immediate;
mod installed;
mod open_transaction;
mod renewals;

pub use immediate::Immediate;
pub use installed::transaction;

pub(super) use open_transaction::{keep_unwritten, lease};
