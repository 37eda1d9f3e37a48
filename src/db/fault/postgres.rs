//! PostgreSQL's errors that Diesel has no kind for.
//!
//! Diesel makes kinds of some SQLSTATEs (40001, 25006, 08xxx) and of a connection that libpq found
//! closed; it does not expose the others. What is left is the text, in the server's language
//! (`lc_messages`): our own connections ask for English if they may, and otherwise the sentences of
//! every language that PostgreSQL 15 speaks are known.

use diesel::result::DatabaseErrorInformation;

use super::Fault;
use super::postgres_words::{
    CONTENTION_SENTENCES, CONTENTION_STARTS, INTERRUPTIONS, OUTAGE_SENTENCES, OUTAGE_STARTS,
};
use super::text::{begins, skeleton};

/// None of its languages quotes with the apostrophe.
const QUOTES: [(char, char); 5] = [('"', '"'), ('«', '»'), ('»', '«'), ('„', '“'), ('“', '”')];

/// libpq's own, and what the server says before it closes a connection.
const CONNECTION: [&str; 12] = [
    "terminating connection",
    "terminating background worker",
    "server closed the connection unexpectedly",
    "connection to server ",
    "connection not open",
    "no connection to the server",
    "lost synchronization with server",
    "could not receive data from server",
    "could not send data to server",
    "ssl connection has been closed",
    "ssl syscall error",
    "ssl error",
];

/// What it says where it does not let us in, and of memory.
const NOT_NOW: [&str; 7] = [
    "the database system is ",
    "sorry, too many clients already",
    "remaining connection slots are reserved",
    "too many connections for ",
    "database \"\" is not currently accepting connections",
    "out of shared memory",
    // A pooler, such as PgBouncer, has given the session to somebody else.
    "prepared statement \"\" does not exist",
];

/// Lock modes, which no language translates.
const LOCK_MODES: [&str; 8] = [
    "AccessShareLock",
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
];

pub(super) fn fault(error: &dyn DatabaseErrorInformation) -> Option<Fault> {
    let text = skeleton(error.message(), &QUOTES);
    let is = |sentences: &[&str]| sentences.contains(&text.as_str());
    if is(CONTENTION_SENTENCES)
        || begins(&text, CONTENTION_STARTS)
        || error.details().is_some_and(tells_of_a_deadlock)
    {
        return Some(Fault::Contention);
    }
    let is_outage = is(INTERRUPTIONS)
        || is(OUTAGE_SENTENCES)
        || begins(&text, OUTAGE_STARTS)
        || begins(&text, &CONNECTION)
        || begins(&text, &NOT_NOW);
    is_outage.then_some(Fault::Outage)
}

/// 57014.
pub(super) fn is_interrupted(text: &str) -> bool {
    INTERRUPTIONS.contains(&skeleton(text, &QUOTES).as_str())
}

/// Whether it says that a connection is lost.
pub(super) fn is_of_a_connection(text: &str) -> bool {
    begins(&skeleton(text, &QUOTES), &CONNECTION)
}

/// The details of a deadlock have a line for each process in the circle: "Process 1 waits for
/// ShareLock on transaction 2; blocked by process 3", in any language.
fn tells_of_a_deadlock(details: &str) -> bool {
    let is_waiter = |line: &str| {
        let mut words = line.split(|letter: char| !letter.is_ascii_alphanumeric());
        let numbers = line
            .split(|letter: char| !letter.is_ascii_digit())
            .filter(|digits| !digits.is_empty())
            .count();
        words.any(|word| LOCK_MODES.contains(&word)) && numbers >= 3
    };
    details.lines().count() >= 2 && details.lines().all(is_waiter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadlock_shows_in_its_details_in_any_language() {
        let portuguese = "\
Processo 71 espera por ShareLock em transação 742; bloqueado pelo processo 72.
Processo 72 espera por ShareLock em transação 741; bloqueado pelo processo 71.";
        assert!(tells_of_a_deadlock(portuguese));
        for other in [
            "Key (note)=(ShareLock 1 2 3) already exists.",
            "ShareLock 1 2 3",
            "Failing row contains (1,\nShareLock 1 2 3).",
            "",
        ] {
            assert!(!tells_of_a_deadlock(other), "{other}");
        }
    }
}
