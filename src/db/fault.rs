//! Whose fault a failure is: the database's and the network's, or the work's own.

use std::error::Error;

use diesel::result::{ConnectionError, DatabaseErrorKind, Error as DieselError};

/// Whether a failure, or one that it was caused by, has nothing to do with the work itself: a
/// lost connection, a deadlock, a serialization failure, a database that is locked or full of
/// connections. The same work may succeed when it is tried again.
pub(crate) fn is_infrastructure(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<DieselError>() {
            return of_diesel(error);
        }
        if let Some(error) = error.downcast_ref::<crate::Error>() {
            match error {
                crate::Error::Database(error) => return of_diesel(error),
                crate::Error::Pool(_) => return true,
                crate::Error::Message(_) | crate::Error::Duplicate(_) => return false,
            }
        }
        if error.is::<r2d2::Error>() || error.is::<ConnectionError>() {
            return true;
        }
        next = error.source();
    }
    false
}

fn of_diesel(error: &DieselError) -> bool {
    match error {
        DieselError::DatabaseError(
            DatabaseErrorKind::SerializationFailure
            | DatabaseErrorKind::ClosedConnection
            | DatabaseErrorKind::UnableToSendCommand
            | DatabaseErrorKind::ReadOnlyTransaction,
            _,
        ) => true,
        // Diesel has no kind for these, so their texts have to do.
        DieselError::DatabaseError(DatabaseErrorKind::Unknown, information) => {
            let text = information.message().to_ascii_lowercase();
            [
                "deadlock detected",
                "database is locked",
                "database table is locked",
                "disk i/o error",
                "could not serialize access",
                "terminating connection",
                "server closed the connection",
                "connection to server",
                "no connection to the server",
                "the database system is",
                "too many connections",
                "remaining connection slots",
                "canceling statement due to conflict with recovery",
                "canceling statement due to lock timeout",
                "cannot execute",
                "ssl connection has been closed",
                "could not receive data from server",
                "could not send data to server",
                "deadlock found",
                "lock wait timeout exceeded",
                "server has gone away",
                "lost connection to",
                "can't connect to",
                "server shutdown in progress",
                "connection was killed",
                "query execution was interrupted",
                "option so it cannot execute this statement",
            ]
            .iter()
            .any(|known| text.contains(known))
        }
        DieselError::BrokenTransactionManager => true,
        DieselError::RollbackErrorOnCommit {
            rollback_error,
            commit_error,
        } => of_diesel(rollback_error) || of_diesel(commit_error),
        DieselError::QueryBuilderError(error) | DieselError::DeserializationError(error) => {
            is_infrastructure(error.as_ref())
        }
        _ => false,
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
        assert!(is_infrastructure(&crate::Error::Database(lost)));
        assert!(!is_infrastructure(&Wrapped(unique)));
        assert!(!is_infrastructure(&Wrapped(DieselError::NotFound)));
        assert!(!is_infrastructure(&std::fmt::Error));
    }
}
