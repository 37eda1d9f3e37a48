//! SQLite's errors that Diesel has no kind for. It has no language but English, and its sentences hold
//! no values, so the whole text is compared: `sqlite3ErrStr` in SQLite's source.

use super::Fault;

const INTERRUPTION: &str = "interrupted";

pub(super) fn is_interrupted(text: &str) -> bool {
    text == INTERRUPTION
}

pub(super) fn fault(text: &str) -> Option<Fault> {
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
        // They go on with the table's or the schema's name.
        _ => ["database table is locked: ", "database schema is locked: "]
            .iter()
            .any(|start| text.starts_with(start))
            .then_some(Fault::Contention),
    }
}
