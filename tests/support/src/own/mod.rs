//! Servers of a test's own, which it may stop, fill and promote, or whose settings no other test may have. They
//! run from Debian's packages, as the
//! package's user if we are root.

mod mariadb;
mod pgbouncer;
mod postgres;
mod process;

pub use mariadb::MariaDb;
pub use pgbouncer::PgBouncer;
pub use postgres::Cluster;
