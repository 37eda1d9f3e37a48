//! SQLite's errors for which Diesel has no kind. They are always English, and the texts contain
//! no values, so the whole text is compared: `sqlite3ErrStr` in SQLite's source.

use diesel::result::DatabaseErrorInformation;

use crate::backend::fault::Fault;
use crate::backend::last_error::LastError;

const INTERRUPTION: &str = "interrupted";

pub(crate) fn is_interrupted(text: &str) -> bool {
    text == INTERRUPTION
}

/// Never true: the database is a file, so there is no connection to lose.
pub(crate) fn is_of_a_connection(_: &str) -> bool {
    false
}

/// Whether waiting does not help: the path of the database is wrong.
pub(crate) fn is_refusal(text: &str) -> bool {
    let text = text.to_lowercase();
    ["unable to open database file", "file is not a database"]
        .iter()
        .any(|words| text.contains(words))
}

pub(crate) fn fault(error: &dyn DatabaseErrorInformation, _: Option<&LastError>) -> Option<Fault> {
    of_text(error.message())
}

fn of_text(text: &str) -> Option<Fault> {
    match text {
        "database is locked" | "database table is locked" | "database schema is locked" => {
            Some(Fault::Contention)
        }
        "disk I/O error"
        | "database or disk is full"
        | "unable to open database file"
        | "database disk image is malformed"
        | "file is not a database"
        | "large file support is disabled"
        | "locking protocol"
        | "out of memory"
        | INTERRUPTION => Some(Fault::Outage),
        "attempt to write a readonly database" => Some(Fault::ReadOnly),
        // The name of the table or the schema follows.
        _ => ["database table is locked: ", "database schema is locked: "]
            .iter()
            .any(|start| text.starts_with(start))
            .then_some(Fault::Contention),
    }
}
