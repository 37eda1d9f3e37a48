//! Whose fault a failure is: the database's and the network's, or the work's own.
//!
//! Kinds of Diesel's and numbers of the server's decide if there are any. Otherwise the text does: only
//! as a whole or by its fixed beginning, with the values cut out that the server quotes, so that a
//! message cannot say by its own words that the database is away. docs/databases.md has the table.
//! A text that looks like an outage is a suspicion; what is made of it is `subscriber::blame`'s.

mod mysql;
mod postgres;
mod postgres_words;
mod sqlite;
mod text;

use std::error::Error;

use diesel::result::{ConnectionError, DatabaseErrorKind, Error as DieselError};

/// Whose fault a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The work's.
    Own,
    /// Another transaction's: a deadlock, a serialization failure, a lock.
    Contention,
    /// The server's or the network's.
    Outage,
    /// The server's, which takes no writes: it may be a former primary.
    ReadOnly,
}

/// The last error of a session as the server keeps it.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastError {
    /// The server's number for it.
    pub number: u32,
    /// Its text, by which it is known to be the error in question.
    pub text: String,
}

/// Whether a failure, or one that it was caused by, has nothing to do with the work itself: a
/// lost connection, a deadlock, a serialization failure, a database that is locked or full of
/// connections. The same work may succeed when it is tried again.
pub(crate) fn is_infrastructure(error: &(dyn Error + 'static)) -> bool {
    fault(error, None) != Fault::Own
}

/// Whether another transaction was in the way: the database is there.
pub(crate) fn is_contention(error: &(dyn Error + 'static)) -> bool {
    fault(error, None) == Fault::Contention
}

/// Whether the error could not be sent to the server: by a connection that is lost, or by the client
/// library, such as a statement with more than 65,535 values. The connection's state tells which.
pub(crate) fn is_unsent(error: &(dyn Error + 'static)) -> bool {
    matches!(
        diesel_error(error),
        Some(DieselError::DatabaseError(
            DatabaseErrorKind::UnableToSendCommand,
            _
        ))
    )
}

/// Whether the server ended the statement before its end: by a time limit, or because it was asked to.
pub(crate) fn is_interrupted(error: &(dyn Error + 'static)) -> bool {
    matches!(
        diesel_error(error),
        Some(DieselError::DatabaseError(DatabaseErrorKind::Unknown, about))
            if postgres::is_interrupted(about.message())
                || mysql::is_interrupted(about.message())
                || sqlite::is_interrupted(about.message())
    )
}

/// Whether it says that a connection is lost. Where the connection is there, that is another one, or
/// words of a trigger.
pub(crate) fn is_of_a_connection(error: &(dyn Error + 'static)) -> bool {
    match diesel_error(error) {
        Some(DieselError::DatabaseError(DatabaseErrorKind::Unknown, about)) => {
            postgres::is_of_a_connection(about.message())
                || mysql::is_of_a_connection(about.message())
        }
        Some(DieselError::DatabaseError(kind, _)) => matches!(
            kind,
            DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand
        ),
        _ => false,
    }
}

/// Whether Diesel tells of a failure that is not known to be the server's.
pub(crate) fn is_unexplained(error: &(dyn Error + 'static)) -> bool {
    diesel_error(error).is_some() && fault(error, None) == Fault::Own
}

/// Whether the server's number for it would help.
pub(crate) fn is_unknown(error: &(dyn Error + 'static)) -> bool {
    matches!(
        diesel_error(error),
        Some(DieselError::DatabaseError(DatabaseErrorKind::Unknown, _))
    )
}

/// Whose fault it is; `last` is what the server keeps of the session's last error, if it was asked.
pub(crate) fn fault(error: &(dyn Error + 'static), last: Option<&LastError>) -> Fault {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<DieselError>() {
            return of_diesel(error, last);
        }
        if let Some(error) = error.downcast_ref::<crate::Error>() {
            match error {
                crate::Error::Database(error) => return of_diesel(error, last),
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

/// Diesel's error, or the one that an error was caused by.
fn diesel_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a DieselError> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<DieselError>() {
            return Some(error);
        }
        if let Some(crate::Error::Database(error)) = error.downcast_ref() {
            return Some(error);
        }
        next = error.source();
    }
    None
}

fn of_diesel(error: &DieselError, last: Option<&LastError>) -> Fault {
    match error {
        DieselError::DatabaseError(DatabaseErrorKind::SerializationFailure, _) => Fault::Contention,
        DieselError::DatabaseError(DatabaseErrorKind::ReadOnlyTransaction, _) => Fault::ReadOnly,
        DieselError::DatabaseError(
            DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand,
            _,
        )
        | DieselError::BrokenTransactionManager => Fault::Outage,
        DieselError::DatabaseError(DatabaseErrorKind::Unknown, information) => {
            let text = information.message();
            if let Some(last) = last.filter(|last| last.text == text) {
                return mysql::of_number(last.number, text);
            }
            postgres::fault(information.as_ref())
                .or_else(|| mysql::of_text(text))
                .or_else(|| sqlite::fault(text))
                .unwrap_or(Fault::Own)
        }
        DieselError::RollbackErrorOnCommit {
            rollback_error,
            commit_error,
        } => match of_diesel(rollback_error, last) {
            Fault::Own => of_diesel(commit_error, last),
            fault => fault,
        },
        DieselError::QueryBuilderError(error) | DieselError::DeserializationError(error) => {
            fault(error.as_ref(), last)
        }
        _ => Fault::Own,
    }
}

#[cfg(test)]
mod tests;
