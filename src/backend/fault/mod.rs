//! Classifies failures: caused by the database or the network, or by the work itself.
//!
//! Diesel's error kinds and the server's error numbers decide if they are available. Otherwise the text
//! decides, only as a whole or by its fixed beginning, without the values that the server quotes, so that
//! a message's content cannot look like an outage. docs/databases.md has the table.
//! A text that looks like an outage is only a suspicion; `subscriber::outage_check` verifies it.

#[allow(dead_code)] // not every database needs it
pub(super) mod text;

use std::error::Error;

use crate::error::causes;
use diesel::result::{
    ConnectionError, DatabaseErrorInformation, DatabaseErrorKind, Error as DieselError,
};

use super::last_error::LastError;

/// Whether a function of one of the databases returns true for a text.
macro_rules! any {
    ($text:ident, $question:ident) => {{
        macro_rules! ask {
            ($module:ident: $connection:ty) => {
                if super::$module::fault::$question($text) {
                    return true;
                }
            };
        }
        super::databases!(ask);
        false
    }};
}

/// Who caused a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The work itself.
    Own,
    /// Another transaction: a deadlock, a serialization failure, a lock.
    Contention,
    /// The server or the network.
    Outage,
    /// The server, because it takes no writes: it may be a former primary.
    ReadOnly,
}

/// Whether a failure, or its cause, has nothing to do with the work itself: a
/// lost connection, a deadlock, a serialization failure, a database that is locked or full of
/// connections. The same work may succeed if it is retried.
pub(crate) fn is_infrastructure(error: &(dyn Error + 'static)) -> bool {
    fault(error, None) != Fault::Own
}

/// Whether another transaction was in the way; the database is available.
pub(crate) fn is_contention(error: &(dyn Error + 'static)) -> bool {
    fault(error, None) == Fault::Contention
}

/// Whether the error means that nothing could be sent to the server: the connection is lost, or the client
/// library refused, for example a statement with more than 65,535 values. The connection's state shows which.
pub(crate) fn is_unsent(error: &(dyn Error + 'static)) -> bool {
    matches!(
        diesel_error(error),
        Some(DieselError::DatabaseError(
            DatabaseErrorKind::UnableToSendCommand,
            _
        ))
    )
}

/// Whether the server interrupted the statement: by a time limit, or because it was asked to.
pub(crate) fn is_interrupted(error: &(dyn Error + 'static)) -> bool {
    matches!(
        diesel_error(error),
        Some(DieselError::DatabaseError(DatabaseErrorKind::Unknown, about))
            if is_any_interruption(about.message())
    )
}

/// Whether its text says that a connection is lost. If our connection works, the text is about another one,
/// or a trigger wrote it.
pub(crate) fn is_of_a_connection(error: &(dyn Error + 'static)) -> bool {
    match diesel_error(error) {
        Some(DieselError::DatabaseError(DatabaseErrorKind::Unknown, about)) => {
            is_any_lost_connection(about.message())
        }
        Some(DieselError::DatabaseError(kind, _)) => matches!(
            kind,
            DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand
        ),
        _ => false,
    }
}

/// Whether it is an error of Diesel's that is not known to be the server's fault.
pub(crate) fn is_unexplained(error: &(dyn Error + 'static)) -> bool {
    diesel_error(error).is_some() && fault(error, None) == Fault::Own
}

/// Whether the server's error number would help to classify it.
pub(crate) fn is_unknown(error: &(dyn Error + 'static)) -> bool {
    matches!(
        diesel_error(error),
        Some(DieselError::DatabaseError(DatabaseErrorKind::Unknown, _))
    )
}

/// Who caused the failure; `last` is the session's last error as the server keeps it, if it was asked.
pub(crate) fn fault(error: &(dyn Error + 'static), last: Option<&LastError>) -> Fault {
    for error in causes(error) {
        if let Some(error) = error.downcast_ref::<DieselError>() {
            return of_diesel(error, last);
        }
        if let Some(error) = error.downcast_ref::<crate::Error>() {
            match error {
                crate::Error::Database(error) | crate::Error::Tables(error) => {
                    return of_diesel(error, last);
                }
                crate::Error::Pool(_) => return Fault::Outage,
                _ => return Fault::Own,
            }
        }
        if error.is::<r2d2::Error>() || error.is::<ConnectionError>() {
            return Fault::Outage;
        }
    }
    Fault::Own
}

/// Diesel's error, or the Diesel error that caused it.
fn diesel_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a DieselError> {
    causes(error).find_map(|error| {
        if let Some(error) = error.downcast_ref::<DieselError>() {
            return Some(error);
        }
        if let Some(crate::Error::Database(error) | crate::Error::Tables(error)) =
            error.downcast_ref()
        {
            return Some(error);
        }
        None
    })
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
            let last = last.filter(|last| last.text == text);
            of_server(information.as_ref(), last).unwrap_or(Fault::Own)
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

// Each database's module has the four functions below for its own texts.

fn of_server(about: &dyn DatabaseErrorInformation, last: Option<&LastError>) -> Option<Fault> {
    macro_rules! first {
        ($module:ident: $connection:ty) => {
            if let Some(fault) = super::$module::fault::fault(about, last) {
                return Some(fault);
            }
        };
    }
    super::databases!(first);
    None
}

/// Whether a connection failed because the server refuses it permanently: a refused login, a database that
/// does not exist.
pub(crate) fn is_refusal(text: &str) -> bool {
    any!(text, is_refusal)
}

fn is_any_interruption(text: &str) -> bool {
    any!(text, is_interrupted)
}

fn is_any_lost_connection(text: &str) -> bool {
    any!(text, is_of_a_connection)
}

#[cfg(test)]
mod tests;
