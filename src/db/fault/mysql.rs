//! MySQL's and MariaDB's errors that Diesel has no kind for.
//!
//! The server keeps the number of the last error, which is the same in every language; see
//! `Dialect::last_error`. The client library's own errors are always English, and our
//! connections ask the server for English (`lc_messages`), so that texts serve if the number cannot
//! be asked for any more.

use super::Fault;
use super::text::{begins, skeleton};

const QUOTES: [(char, char); 3] = [('\'', '\''), ('"', '"'), ('`', '`')];

/// What a server error's number says, in any language; `text` goes with it.
/// <https://mariadb.com/kb/en/mariadb-error-code-reference/>,
/// <https://dev.mysql.com/doc/mysql-errors/8.0/en/server-error-reference.html>
pub(super) fn of_number(number: u32, text: &str) -> Fault {
    match number {
        // A record that was changed since the snapshot, a lock wait, a deadlock, XA's two of the
        // same, NOWAIT, a certification that failed in a cluster.
        1020 | 1205 | 1213 | 1613 | 1614 | 3101 | 3572 => Fault::Contention,
        // Disk full, files, the storage engine, a table that is full, memory, threads.
        1021 | 1024 | 1026 | 1030 | 1037 | 1038 | 1041 | 1114 | 1135 | 1180 => Fault::Outage,
        // Connections: too many, cut, killed, not let in, a cluster that is not ready.
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
        // A read-only table, transaction and server. The last one is said of other options too.
        1036 | 1792 | 1836 => Fault::ReadOnly,
        1290 if text.contains("--read-only") || text.contains("--super-read-only") => {
            Fault::ReadOnly
        }
        // The client library's: 2014 and a few more are mistakes in its use.
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

/// Those of `OUTAGE` that are of the connection itself.
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

/// Of a table, a transaction, a server.
const READ_ONLY: [&str; 3] = [
    "table '' is read only",
    "cannot execute statement in a read only transaction",
    "running in read-only mode",
];

/// Other options that a statement runs against are its own mistake.
const READ_ONLY_OPTIONS: [&str; 2] = ["--read-only ", "--super-read-only "];

/// What the text says if the number is not known.
pub(super) fn of_text(text: &str) -> Option<Fault> {
    let text = skeleton(text, &QUOTES);
    if begins(&text, &CONTENTION) {
        Some(Fault::Contention)
    } else if begins(&text, &READ_ONLY) || names_read_only(&text) {
        Some(Fault::ReadOnly)
    } else {
        begins(&text, &OUTAGE).then_some(Fault::Outage)
    }
}

/// 1317, 1969, 3024, as far as the server speaks English.
pub(super) fn is_interrupted(text: &str) -> bool {
    begins(&skeleton(text, &QUOTES), &[INTERRUPTION])
}

/// Whether it says that a connection is lost.
pub(super) fn is_of_a_connection(text: &str) -> bool {
    begins(&skeleton(text, &QUOTES), &CONNECTION)
}

fn names_read_only(skeleton: &str) -> bool {
    ["the mysql server ", "the mariadb server "]
        .iter()
        .find_map(|start| skeleton.strip_prefix(start))
        .and_then(|rest| rest.strip_prefix("is running with the "))
        .is_some_and(|option| begins(option, &READ_ONLY_OPTIONS))
}
