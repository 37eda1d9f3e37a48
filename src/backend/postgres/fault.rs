//! PostgreSQL's errors for which Diesel has no kind.
//!
//! Diesel has kinds for some SQLSTATEs (40001, 25006, 08xxx) and for a connection that libpq found
//! closed; it does not expose the others. Only the text is left, in the server's language
//! (`lc_messages`). Our own connections ask for English if they may; otherwise the texts of
//! all languages of PostgreSQL 15 are known.

use diesel::result::DatabaseErrorInformation;

use super::fault_sentences::{
    CONTENTION_SENTENCES, CONTENTION_STARTS, INTERRUPTIONS, OUTAGE_SENTENCES, OUTAGE_STARTS,
};
use super::refusals::REFUSALS;
use crate::backend::fault::Fault;
use crate::backend::fault::text::{begins, skeleton};
use crate::backend::last_error::LastError;

/// None of its languages quotes with an apostrophe.
const QUOTES: [(char, char); 5] = [('"', '"'), ('«', '»'), ('»', '«'), ('„', '“'), ('“', '”')];

/// libpq's own texts, and those that the server sends before it closes a connection.
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

/// The server's texts while it accepts no connections.
const NOT_NOW: [&str; 5] = [
    "the database system is ",
    "sorry, too many clients already",
    "remaining connection slots are reserved",
    "too many connections for ",
    "database \"\" is not currently accepting connections",
];

/// Lock modes, which are not translated.
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

pub(crate) fn fault(error: &dyn DatabaseErrorInformation, _: Option<&LastError>) -> Option<Fault> {
    let text = skeleton(error.message(), &QUOTES);
    let is = |sentences: &[&str]| sentences.contains(&text.as_str());
    if is(CONTENTION_SENTENCES)
        || begins(&text, CONTENTION_STARTS)
        || error.details().is_some_and(shows_a_deadlock)
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
pub(crate) fn is_interrupted(text: &str) -> bool {
    INTERRUPTIONS.contains(&skeleton(text, &QUOTES).as_str())
}

/// Whether the text says that a connection is lost.
pub(crate) fn is_of_a_connection(text: &str) -> bool {
    begins(&skeleton(text, &QUOTES), &CONNECTION)
}

/// Whether waiting does not help. `own`: a text of libpq's, and ours for an address that libpq cannot parse.
pub(crate) fn is_refusal(text: &str) -> bool {
    let plain = text.to_lowercase();
    let own = ["no password supplied", "invalid connection option"];
    let skeleton = skeleton(text, &QUOTES);
    own.iter().any(|words| plain.contains(words))
        || REFUSALS.iter().any(|words| skeleton.contains(words))
}

/// The details of a deadlock have a line for each process in the cycle: "Process 1 waits for
/// ShareLock on transaction 2; blocked by process 3", in any language.
fn shows_a_deadlock(details: &str) -> bool {
    let is_waiter = |line: &str| {
        let mut words = line.split(|character: char| !character.is_ascii_alphanumeric());
        let numbers = line
            .split(|character: char| !character.is_ascii_digit())
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
        assert!(shows_a_deadlock(portuguese));
        for other in [
            "Key (note)=(ShareLock 1 2 3) already exists.",
            "ShareLock 1 2 3",
            "Failing row contains (1,\nShareLock 1 2 3).",
            "",
        ] {
            assert!(!shows_a_deadlock(other), "{other}");
        }
    }
}
