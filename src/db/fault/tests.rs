use super::*;

fn database(kind: DatabaseErrorKind, text: &str) -> DieselError {
    DieselError::DatabaseError(kind, Box::new(text.to_owned()))
}

fn unknown(text: &str) -> DieselError {
    database(DatabaseErrorKind::Unknown, text)
}

#[test]
fn the_cause_is_looked_for_below_the_error() {
    #[derive(Debug, thiserror::Error)]
    #[error("the callback failed")]
    struct Wrapped(#[source] DieselError);

    let lost = database(DatabaseErrorKind::ClosedConnection, "x");
    let unique = database(DatabaseErrorKind::UniqueViolation, "deadlock detected");
    let deadlock = Wrapped(unknown("deadlock detected"));
    assert!(is_infrastructure(&deadlock));
    assert_eq!(fault(&deadlock, None), Fault::Contention);
    assert_eq!(fault(&lost, None), Fault::Outage);
    assert!(is_infrastructure(&crate::Error::Database(lost)));
    assert!(!is_infrastructure(&Wrapped(unique)));
    assert!(!is_infrastructure(&Wrapped(DieselError::NotFound)));
    assert!(!is_infrastructure(&std::fmt::Error));
}

/// The table of docs/databases.md, as each server writes it.
#[test]
fn a_text_of_the_servers_own_is_known() {
    use Fault::{Contention, Outage, ReadOnly};

    for (text, expected) in [
        // PostgreSQL
        ("deadlock detected", Contention),
        ("canceling statement due to lock timeout", Contention),
        (
            "canceling statement due to conflict with recovery",
            Contention,
        ),
        (
            "could not obtain lock on row in relation \"orders\"",
            Contention,
        ),
        ("could not obtain lock on relation \"orders\"", Contention),
        ("Verklemmung (Deadlock) entdeckt", Contention),
        (
            "storniere Anfrage wegen Zeitüberschreitung einer Sperre",
            Contention,
        ),
        ("interblocage (deadlock) détecté", Contention),
        ("обнаружена взаимоблокировка", Contention),
        ("發現死結", Contention),
        ("canceling statement due to statement timeout", Outage),
        (
            "storniere Anfrage wegen Zeitüberschreitung der Anfrage",
            Outage,
        ),
        ("canceling statement due to user request", Outage),
        (
            "terminating connection due to administrator command",
            Outage,
        ),
        (
            "terminating connection due to idle-in-transaction timeout",
            Outage,
        ),
        ("the database system is starting up", Outage),
        ("sorry, too many clients already", Outage),
        (
            "server closed the connection unexpectedly\n\tThis probably means…",
            Outage,
        ),
        (
            "could not extend file \"base/5/16384\": No space left on device",
            Outage,
        ),
        (
            "konnte Datei »base/5/16384« nicht erweitern: Auf dem Gerät…",
            Outage,
        ),
        (
            "n'a pas pu étendre le fichier « base/5/16384 » : Aucun espace…",
            Outage,
        ),
        (
            "could not read block 7 in file \"base/5/16384\": Input/output error",
            Outage,
        ),
        ("out of memory", Outage),
        ("cached plan must not change result type", Outage),
        // MySQL and MariaDB
        (
            "Record has changed since last read in table 'orders'; try restarting transaction",
            Contention,
        ),
        (
            "Deadlock found when trying to get lock; try restarting transaction",
            Contention,
        ),
        (
            "Lock wait timeout exceeded; try restarting transaction",
            Contention,
        ),
        ("Server has gone away", Outage),
        ("MySQL server has gone away", Outage),
        ("Lost connection to MySQL server during query", Outage),
        ("Lost connection to server during query", Outage),
        ("Can't connect to MySQL server on 'db' (111)", Outage),
        ("Too many connections", Outage),
        ("Connection was killed", Outage),
        (
            "Query execution was interrupted (max_statement_time exceeded)",
            Outage,
        ),
        (
            "Disk full (/tmp/#sql.MAI); waiting for someone to free some space...",
            Outage,
        ),
        ("The table 'orders' is full", Outage),
        (
            "Error writing file 'binlog' (errno: 28 \"No space left on device\")",
            Outage,
        ),
        (
            "Got error 28 \"No space left on device\" from storage engine InnoDB",
            Outage,
        ),
        (
            "The MariaDB server is running with the --read-only option so it cannot execute this statement",
            ReadOnly,
        ),
        (
            "The MySQL server is running with the --super-read-only option so it cannot execute this statement",
            ReadOnly,
        ),
        ("Running in read-only mode", ReadOnly),
        // SQLite
        ("database is locked", Contention),
        ("database table is locked: orders", Contention),
        ("database or disk is full", Outage),
        ("disk I/O error", Outage),
        ("unable to open database file", Outage),
        ("attempt to write a readonly database", ReadOnly),
    ] {
        assert_eq!(fault(&unknown(text), None), expected, "{text}");
    }
}

/// Each of these was an outage, and stopped a subscriber for good.
#[test]
fn a_messages_own_words_are_not_the_servers() {
    for text in [
        "invalid input syntax for type integer: \"my dog has lost connection to his owner\"",
        "invalid input syntax for type integer: \"deadlock detected\"",
        "cannot execute the transfer",
        "the transfer cannot execute: deadlock detected",
        "deadlock detected by the customer",
        "ungültige Eingabesyntax für Typ integer: »Verklemmung (Deadlock) entdeckt«",
        "Incorrect integer value: 'server has gone away' for column `a`.`n` at row 1",
        "Data too long for column 'lost connection to' at row 1",
        "no such column: disk i/o error",
        "near \"database is locked\": syntax error",
        "my database is locked",
        "The MariaDB server is running with the --secure-file-priv option so it cannot execute this statement",
    ] {
        assert_eq!(fault(&unknown(text), None), Fault::Own, "{text}");
    }
}

#[test]
fn the_servers_number_comes_before_the_text() {
    let of = |number, text: &str| {
        let last = LastError {
            number,
            text: text.to_owned(),
        };
        fault(&unknown(text), Some(&last))
    };
    // As the server says it with lc_messages = de_DE and pt_BR.
    let german = "Datensatz wurde seit dem letzten Zugriff auf Tabelle 't' geändert";
    assert_eq!(of(1020, german), Fault::Contention);
    let deadlock = "Deadlock encontrado em transação: tente novamente";
    assert_eq!(of(1213, deadlock), Fault::Contention);
    assert_eq!(of(1021, "Festplatte voll"), Fault::Outage);
    let option = "Der MariaDB-Server läuft mit der Option --read-only und kann diese…";
    assert_eq!(of(1290, option), Fault::ReadOnly);
    assert_eq!(of(1290, "… --secure-file-priv …"), Fault::Own);
    // SIGNAL with words of the message's.
    let signalled = "Deadlock found when trying to get lock";
    assert_eq!(of(1644, signalled), Fault::Own);
    // The number of another error says nothing.
    let other = LastError {
        number: 1213,
        text: "x".to_owned(),
    };
    assert_eq!(fault(&unknown("y"), Some(&other)), Fault::Own);
}
