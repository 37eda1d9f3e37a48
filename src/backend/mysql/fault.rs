//! MySQL's and MariaDB's errors for which Diesel has no kind.
//!
//! The server keeps the number of the last error, which is the same in every language; see
//! `Dialect::last_error`. The client library's errors are always English, and our
//! connections ask the server for English (`lc_messages`), so the text is enough if the server cannot
//! be asked for the number.

use diesel::result::DatabaseErrorInformation;

use super::refusals::REFUSALS;
use crate::backend::fault::Fault;
use crate::backend::fault::text::{begins, skeleton};
use crate::backend::last_error::LastError;

const QUOTES: [(char, char); 3] = [('\'', '\''), ('"', '"'), ('`', '`')];

/// `last` is the session's last error, if it is this one.
pub(crate) fn fault(
    error: &dyn DatabaseErrorInformation,
    last: Option<&LastError>,
) -> Option<Fault> {
    match last {
        Some(last) => Some(of_number(last.number, error.message())),
        None => of_text(error.message()),
    }
}

/// Whether waiting does not help.
pub(crate) fn is_refusal(text: &str) -> bool {
    let skeleton = skeleton(text, &QUOTES);
    REFUSALS.iter().any(|words| skeleton.contains(words))
}

/// Classifies a server error by its number, in any language, and its `text`.
/// <https://mariadb.com/kb/en/mariadb-error-code-reference/>,
/// <https://dev.mysql.com/doc/mysql-errors/8.0/en/server-error-reference.html>
fn of_number(number: u32, text: &str) -> Fault {
    match number {
        // A record changed since the snapshot, a lock wait, a deadlock, the same two under
        // XA, NOWAIT, a certification that failed in a cluster.
        1020 | 1205 | 1213 | 1613 | 1614 | 3101 | 3572 => Fault::Contention,
        // Disk full, files, the storage engine, a full table, memory, threads.
        1021 | 1024 | 1026 | 1030 | 1037 | 1038 | 1041 | 1114 | 1135 | 1180 => Fault::Outage,
        // Connections: too many, cut, killed, refused, a cluster that is not ready.
        1040
        | 1042
        | 1043
        | 1047
        | 1053
        | 1080
        | 1129
        | 1152
        | 1153
        | 1158..=1161
        | 1184
        | 1203
        | 1226
        | 1927
        | 3169
        | 4031 => Fault::Outage,
        // Interrupted: KILL QUERY and the time limits.
        1317 | 1907 | 1969 | 3024 => Fault::Outage,
        // A read-only table, transaction and server. The last number is also used for other options.
        1036 | 1792 | 1836 => Fault::ReadOnly,
        1290 if text.contains("--read-only") || text.contains("--super-read-only") => {
            Fault::ReadOnly
        }
        // The client library's: 2014 and a few more are incorrect use of it.
        2002..=2006 | 2012 | 2013 | 2026 | 2048 | 2055 => Fault::Outage,
        _ => Fault::Own,
    }
}

const CONTENTION: [&str; 7] = [
    "deadlock found when trying to get lock",
    "lock wait timeout exceeded",
    "record has changed since last read in table ''",
    "xa_rbtimeout: ",
    "xa_rbdeadlock: ",
    "statement aborted because lock(s) could not be acquired immediately",
    "plugin instructed the server to rollback the current transaction",
];

/// Those of `OUTAGE` that concern the connection itself.
const CONNECTION: [&str; 9] = [
    "aborted connection ",
    "got a packet bigger than '' bytes",
    "got an error reading communication packets",
    "got an error writing communication packets",
    "got timeout reading communication packets",
    "connection was killed",
    "server has gone away",
    "mysql server has gone away",
    "lost connection to ",
];

const INTERRUPTION: &str = "query execution was interrupted";

const OUTAGE: [&str; 33] = [
    "disk full (",
    "error writing file ''",
    "error on write of ''",
    "error reading file ''",
    "error on read of ''",
    "got error ",
    "out of memory",
    "out of sort memory",
    "the table '' is full",
    "can't create a new thread",
    "can't create thread",
    "too many connections",
    "can't get hostname for your address",
    "bad handshake",
    "wsrep has not yet prepared node",
    "server shutdown in progress",
    "host '' is blocked because of many connection errors",
    "aborted connection ",
    "got a packet bigger than '' bytes",
    "got an error reading communication packets",
    "got an error writing communication packets",
    "got timeout reading communication packets",
    "user '' has exceeded the '' resource",
    "user '' already has more than '' active connections",
    "connection was killed",
    "the client was disconnected by the server because of inactivity",
    INTERRUPTION,
    "server has gone away",
    "mysql server has gone away",
    "lost connection to ",
    "can't connect to ",
    "unknown mysql server host",
    "tls/ssl error",
];

/// A read-only table, transaction, server.
const READ_ONLY: [&str; 3] = [
    "table '' is read only",
    "cannot execute statement in a read only transaction",
    "running in read-only mode",
];

/// Options with which a server is read-only; with any other option the failure is the statement's own.
const READ_ONLY_OPTIONS: [&str; 2] = ["--read-only ", "--super-read-only "];

/// Classifies an error by its text, if its number is not known.
fn of_text(text: &str) -> Option<Fault> {
    let text = skeleton(text, &QUOTES);
    if begins(&text, &CONTENTION) {
        Some(Fault::Contention)
    } else if begins(&text, &READ_ONLY) || names_read_only(&text) {
        Some(Fault::ReadOnly)
    } else {
        begins(&text, &OUTAGE).then_some(Fault::Outage)
    }
}

/// Errors 1317, 1969 and 3024, if the server writes English.
pub(crate) fn is_interrupted(text: &str) -> bool {
    begins(&skeleton(text, &QUOTES), &[INTERRUPTION])
}

/// Whether the text says that a connection is lost.
pub(crate) fn is_of_a_connection(text: &str) -> bool {
    begins(&skeleton(text, &QUOTES), &CONNECTION)
}

fn names_read_only(skeleton: &str) -> bool {
    ["the mysql server ", "the mariadb server "]
        .iter()
        .find_map(|start| skeleton.strip_prefix(start))
        .and_then(|rest| rest.strip_prefix("is running with the "))
        .is_some_and(|option| begins(option, &READ_ONLY_OPTIONS))
}
