//! Whose fault a failure is: the database's and the network's, or the work's own.

use std::error::Error;

use diesel::result::{ConnectionError, DatabaseErrorKind, Error as DieselError};

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// The work's.
    Own,
    /// Another transaction's: a deadlock, a serialization failure, a lock.
    Contention,
    /// The server's or the network's.
    Outage,
}

/// Whether a failure, or one that it was caused by, has nothing to do with the work itself: a
/// lost connection, a deadlock, a serialization failure, a database that is locked or full of
/// connections. The same work may succeed when it is tried again.
pub(crate) fn is_infrastructure(error: &(dyn Error + 'static)) -> bool {
    fault(error) != Fault::Own
}

/// Whether another transaction was in the way: the database is there.
pub(crate) fn is_contention(error: &(dyn Error + 'static)) -> bool {
    fault(error) == Fault::Contention
}

fn fault(error: &(dyn Error + 'static)) -> Fault {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<DieselError>() {
            return of_diesel(error);
        }
        if let Some(error) = error.downcast_ref::<crate::Error>() {
            match error {
                crate::Error::Database(error) => return of_diesel(error),
                crate::Error::Pool(_) => return Fault::Outage,
                crate::Error::Message(_) | crate::Error::Duplicate(_) => return Fault::Own,
            }
        }
        if error.is::<r2d2::Error>() || error.is::<ConnectionError>() {
            return Fault::Outage;
        }
        next = error.source();
    }
    Fault::Own
}

/// How the databases say that another transaction was in the way.
const CONTENTION: [&str; 8] = [
    "deadlock detected",
    "database is locked",
    "database table is locked",
    "could not serialize access",
    "canceling statement due to conflict with recovery",
    "canceling statement due to lock timeout",
    "deadlock found",
    "lock wait timeout exceeded",
];

/// How they say that they are not there, or not for us.
const OUTAGE: [&str; 19] = [
    "disk i/o error",
    "terminating connection",
    "server closed the connection",
    "connection to server",
    "no connection to the server",
    "the database system is",
    "too many connections",
    "remaining connection slots",
    "cannot execute",
    "ssl connection has been closed",
    "could not receive data from server",
    "could not send data to server",
    "server has gone away",
    "lost connection to",
    "can't connect to",
    "server shutdown in progress",
    "connection was killed",
    "query execution was interrupted",
    "option so it cannot execute this statement",
];

fn of_diesel(error: &DieselError) -> Fault {
    match error {
        DieselError::DatabaseError(DatabaseErrorKind::SerializationFailure, _) => Fault::Contention,
        DieselError::DatabaseError(
            DatabaseErrorKind::ClosedConnection
            | DatabaseErrorKind::UnableToSendCommand
            | DatabaseErrorKind::ReadOnlyTransaction,
            _,
        )
        | DieselError::BrokenTransactionManager => Fault::Outage,
        // Diesel has no kind for these, so their texts have to do.
        DieselError::DatabaseError(DatabaseErrorKind::Unknown, information) => {
            let text = information.message().to_ascii_lowercase();
            let says = |known: &[&str]| known.iter().any(|known| text.contains(known));
            if says(&CONTENTION) {
                Fault::Contention
            } else if says(&OUTAGE) {
                Fault::Outage
            } else {
                Fault::Own
            }
        }
        DieselError::RollbackErrorOnCommit {
            rollback_error,
            commit_error,
        } => match of_diesel(rollback_error) {
            Fault::Own => of_diesel(commit_error),
            fault => fault,
        },
        DieselError::QueryBuilderError(error) | DieselError::DeserializationError(error) => {
            fault(error.as_ref())
        }
        _ => Fault::Own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(kind: DatabaseErrorKind, text: &str) -> DieselError {
        DieselError::DatabaseError(kind, Box::new(text.to_owned()))
    }

    #[test]
    fn the_cause_is_looked_for_below_the_error() {
        #[derive(Debug, thiserror::Error)]
        #[error("the callback failed")]
        struct Wrapped(#[source] DieselError);

        let deadlock = || database(DatabaseErrorKind::Unknown, "deadlock detected");
        let lost = database(DatabaseErrorKind::ClosedConnection, "x");
        let unique = database(DatabaseErrorKind::UniqueViolation, "deadlock detected");
        assert!(is_infrastructure(&Wrapped(deadlock())));
        assert!(is_contention(&Wrapped(deadlock())));
        assert!(!is_contention(&database(
            DatabaseErrorKind::ClosedConnection,
            "x"
        )));
        assert!(is_infrastructure(&crate::Error::Database(lost)));
        assert!(!is_infrastructure(&Wrapped(unique)));
        assert!(!is_infrastructure(&Wrapped(DieselError::NotFound)));
        assert!(!is_infrastructure(&std::fmt::Error));
    }
}
